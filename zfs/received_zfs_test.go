package zfs_test

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/zfs-csi/zfs-csi/zfs"
	"github.com/zfs-csi/zfs-csi/zfs/zfstest"
)

// TestDeleteReceived: after a move by zfs send -R what was a caller's snapshot is not taken for somebody else's, which
// would go with its volume.
func TestDeleteReceived(t *testing.T) {
	before := newLocal(t)
	v := newVolume(t, before, zfs.Filesystem, nil)
	take(t, before, v, "s")
	parent := zfs.MustParseDataset(zfstest.NewPool(t, 256<<20).Name + "/csi")
	zfstest.Run(t, "zfs", "snapshot", "-r", v.Parent.String()+"@move")
	zfstest.Run(t, "sh", "-c", "zfs send -R "+v.Parent.String()+"@move | zfs receive -u "+parent.String())

	l := localOn(t, parent, zfs.Exec{Log: slog.New(slog.DiscardHandler)})
	moved := parent.String() + "/" + v.ID.String()
	zfstest.Run(t, "zfs", "set", "zfs-csi:driver="+zfstest.Driver, parent.String())
	zfstest.Run(t, "zfs", "set", "zfs-csi:volume=name", moved)
	if err := l.Delete(t.Context(), v.ID); !errors.Is(err, zfs.ErrDependents) || !strings.Contains(err.Error(), moved+"@s") {
		t.Errorf("a volume that came with a caller's snapshot is deleted: %v", err)
	}
	zfstest.Run(t, "zfs", "destroy", moved+"@s")
	if err := l.Delete(t.Context(), v.ID); err != nil {
		t.Error(err)
	}
	if left := zfstest.Run(t, "zfs", "list", "-Hr", "-t", "filesystem,volume", "-o", "name", parent.String()); left != parent.String() {
		t.Errorf("there is left:\n%s", left)
	}
}

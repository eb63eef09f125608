package zfs_test

import (
	"crypto/rand"
	"errors"
	"os"
	"strconv"
	"testing"

	"github.com/zfs-csi/zfs-csi/zfs"
	"github.com/zfs-csi/zfs-csi/zfs/zfstest"
)

// take takes a snapshot of a volume.
func take(t *testing.T, l *zfs.Local, v *zfs.Volume, name string) zfs.SnapshotID {
	t.Helper()
	taken, err := l.Take(t.Context(), zfs.SnapshotSpec{Name: name, Sources: []zfs.VolumeID{v.ID}})
	if err != nil {
		t.Fatal(err)
	}
	return taken[0].ID
}

// below returns all that there is below the parent, a name each line.
func below(t *testing.T, l *zfs.Local) string {
	t.Helper()
	return zfstest.Run(t, "zfs", "list", "-Hr", "-t", "all", "-o", "name", l.Parents()[0].String())
}

// TestTombstoneFreesSpace: what was written to a deleted volume after its last live snapshot is
// freed with the last clone that needs it, not with that snapshot.
func TestTombstoneFreesSpace(t *testing.T) {
	const written = 4 << 20
	l := newLocal(t)
	v := newVolume(t, l, zfs.Block, nil)
	snapshot := take(t, l, v, "s")
	device, err := l.Device(t.Context(), v.Dataset)
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, written)
	if _, err := rand.Read(data); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(device, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
	clone := zfs.VolumeIDFor("clone", v.Parent)
	spec := zfs.Spec{Parent: v.Parent, Kind: v.Kind, Size: v.Size, Attributes: zfs.Attributes{Name: "clone"}}
	if _, err := l.Clone(t.Context(), clone, v.ID, func(*zfs.Volume) (zfs.CloneSpec, error) { return zfs.CloneSpec{Spec: spec}, nil }); err != nil {
		t.Fatal(err)
	}
	used := func() int64 {
		t.Helper()
		n, err := strconv.ParseInt(zfstest.Run(t, "zfs", "get", "-Hpo", "value", "used", v.Parent.String()), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if err := l.Delete(t.Context(), v.ID); err != nil {
		t.Fatal(err)
	}
	if u := used(); u < written {
		t.Fatalf("with the clone %d bytes are used, want at least the %d that it holds", u, written)
	}
	if err := l.Delete(t.Context(), clone); err != nil {
		t.Fatal(err)
	}
	zfstest.Run(t, "zpool", "sync", v.Parent.Pool())
	if u := used(); u > written/4 {
		t.Errorf("with nothing left but an empty snapshot %d bytes are used; there is\n%s", u, below(t, l))
	}
	if err := l.DeleteSnapshot(t.Context(), snapshot); err != nil {
		t.Fatal(err)
	}
	if left := below(t, l); left != v.Parent.String() {
		t.Errorf("left in the end:\n%s", left)
	}
}

// TestEntryRemoved: a snapshot is deleted also where somebody has removed what stands for its name.
func TestEntryRemoved(t *testing.T) {
	l := newLocal(t)
	v := newVolume(t, l, zfs.Filesystem, nil)
	snapshot := take(t, l, v, "s")
	zfstest.Run(t, "zfs", "destroy", v.Parent.String()+"@s")
	if _, err := l.GetSnapshot(t.Context(), snapshot); err != nil {
		t.Error(err)
	}
	if err := l.DeleteSnapshot(t.Context(), snapshot); err != nil {
		t.Fatal(err)
	}
	if _, err := l.GetSnapshot(t.Context(), snapshot); !errors.Is(err, zfs.ErrNotFound) {
		t.Errorf("error of a deleted snapshot is %v, want %v", err, zfs.ErrNotFound)
	}
	if left, want := below(t, l), v.Parent.String()+"\n"+v.Dataset.String(); left != want {
		t.Errorf("there is\n%s\nwant\n%s", left, want)
	}
}

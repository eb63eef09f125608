package zfs_test

import (
	"context"
	"log/slog"
	"testing"

	"github.com/zfs-csi/zfs-csi/zfs"
	"github.com/zfs-csi/zfs-csi/zfs/zfstest"
)

// counting counts the programs that may change something, by their pools.
type counting struct {
	zfs.Runner
	programs map[string]int
}

func (c counting) Run(ctx context.Context, command zfs.Command) (zfs.Result, error) {
	if call := command.Call; call != nil && call.Program != "" && !call.Only {
		c.programs[command.Args[2]]++ // The pool.
	}
	return c.Runner.Run(ctx, command)
}

// TestDeleteInSecondPool: what is in one pool is deleted there, without a transaction group of the other, and also while
// the other takes no changes.
func TestDeleteInSecondPool(t *testing.T) {
	first, second := zfstest.NewPool(t, 256<<20), zfstest.NewPool(t, 256<<20)
	runner := counting{zfs.Exec{Log: slog.New(slog.DiscardHandler)}, map[string]int{}}
	l, err := zfs.NewLocal(zfs.LocalConfig{
		Driver: zfstest.Driver, DeviceDir: t.TempDir(), Runner: runner,
		Parents: []zfs.Dataset{first.Parent(t, "csi", zfstest.Driver), second.Parent(t, "csi", zfstest.Driver)},
	})
	if err != nil {
		t.Fatal(err)
	}
	round := func() {
		t.Helper()
		for _, kind := range []zfs.Kind{zfs.Filesystem, zfs.Block} {
			parent := l.Parents()[1]
			id := zfs.VolumeIDFor(kind.String(), parent)
			spec := zfs.Spec{Parent: parent, Kind: kind, Size: 16 << 20, Attributes: zfs.Attributes{Name: kind.String()}}
			v, err := l.Create(t.Context(), id, spec)
			if err != nil {
				t.Fatal(err)
			}
			snapshot := take(t, l, v, "s")
			if _, err := l.Take(t.Context(), zfs.SnapshotSpec{Name: "g", Sources: []zfs.VolumeID{id}, Group: true}); err != nil {
				t.Fatal(err)
			}
			group, err := zfs.ParseGroupID("g")
			if err != nil {
				t.Fatal(err)
			}
			clear(runner.programs)
			if err := l.DeleteSnapshot(t.Context(), snapshot); err != nil {
				t.Error(err)
			}
			if err := l.DeleteGroup(t.Context(), group); err != nil {
				t.Error(err)
			}
			if err := l.Delete(t.Context(), id); err != nil {
				t.Error(err)
			}
			// One that finds a new zvol open, as udev has it for a moment, is run again.
			if runner.programs[first.Name] != 0 || runner.programs[second.Name] < 3 {
				t.Errorf("to delete a snapshot, a group and a volume these programs were run: %v", runner.programs)
			}
		}
		if left := zfstest.Run(t, "zfs", "list", "-Hr", "-t", "all", "-o", "name", l.Parents()[1].String()); left != l.Parents()[1].String() {
			t.Errorf("there is left:\n%s", left)
		}
	}
	round()
	writable := first.ReadOnly(t)
	round()
	writable()
}

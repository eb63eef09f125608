package storetest

import (
	"slices"
	"strings"

	"github.com/zfs-csi/zfs-csi/zfs"
)

func testDeleteBusy(x *trial) {
	x.eachKind(func(x *trial, kind zfs.Kind) {
		x.create("a", x.spec(kind))
		x.write("a", "text")
		x.clone("b", "a", x.spec(kind))
		for _, name := range []string{"a", "b"} {
			where, release := x.b.Use(x.t, volumeID(x.t, name))
			x.unchanged(func() {
				x.is(x.store.Delete(x.t.Context(), volumeID(x.t, name)), zfs.ErrBusy, where)
			})
			release()
			x.holds(name, "text")
		}
		x.delete("a", "b")
	})
}

// testNotOurs has a dataset that is not the driver's where a volume could be.
func testNotOurs(x *trial) {
	x.eachKind(func(x *trial, kind zfs.Kind) {
		for _, parent := range x.store.Parents() {
			x.create("b", x.spec(kind))
			name := zfs.MustParseDataset(parent.String() + "/a")
			remove := x.b.ForeignDataset(x.t, name, kind)
			x.unchanged(func() { x.refusedAt(volumeID(x.t, "a"), name, kind) })
			if len(x.list()) != 1 {
				x.t.Errorf("List has %s", show(x.list()...))
			}
			remove()
			x.delete("a", "b")
		}
	})
}

// refusedAt makes each call about a volume in whose place there is something else.
func (x *trial) refusedAt(id zfs.VolumeID, name zfs.Dataset, kind zfs.Kind) {
	x.t.Helper()
	ctx, plan := x.t.Context(), Plan(zfs.CloneSpec{Spec: x.spec(kind)})
	_, err := x.store.Get(ctx, id)
	x.is(err, zfs.ErrNotOurs, name.String())
	_, err = x.store.Create(ctx, id, x.spec(kind))
	x.is(err, zfs.ErrNotOurs, name.String())
	_, err = x.store.Clone(ctx, id, volumeID(x.t, "b"), plan)
	x.is(err, zfs.ErrNotOurs, name.String())
	_, err = x.store.Clone(ctx, volumeID(x.t, "c"), id, plan)
	x.is(err, zfs.ErrInvalid, name.String())
	_, err = x.store.Resize(ctx, id, 2*size)
	x.is(err, zfs.ErrNotOurs, name.String())
	_, err = x.store.Modify(ctx, id, zfs.Change{Thick: new(true)})
	x.is(err, zfs.ErrNotOurs, name.String())
	x.is(x.store.SetFormatted(ctx, id), zfs.ErrNotOurs, name.String())
	x.is(x.store.Delete(ctx, id), zfs.ErrNotOurs, name.String())
	x.sweep()
}

// testForeignSnapshots has a backup tool's snapshots on source and clones, of the same
// names too; they go with the volume they are of, and stay as long as it.
func testForeignSnapshots(x *trial) {
	x.eachKind(func(x *trial, kind zfs.Kind) {
		for _, order := range permutations([]string{"a", "b"}) {
			x.create("a", x.spec(kind))
			x.b.ForeignSnapshot(x.t, volumeID(x.t, "a"), "daily-1")
			x.write("a", "text")
			x.clone("b", "a", x.spec(kind))
			for _, name := range []string{"a", "b"} {
				x.b.ForeignSnapshot(x.t, volumeID(x.t, name), "daily-2")
			}
			x.b.ForeignSnapshot(x.t, volumeID(x.t, "b"), "daily-1")
			dataset := x.get(order[1]).Dataset.String()
			x.delete(order[0])
			x.holds(order[1], "text")
			for _, want := range []string{dataset + "@daily-1", dataset + "@daily-2"} {
				if names := x.b.Contents(x.t); !slices.Contains(names, want) {
					x.t.Errorf("the pools hold %q, without %s", names, want)
				}
			}
			x.delete(order[1])
		}
	})
}

// testSnapshotForeignOfAll has a backup tool's snapshot of a parent, whose name so is nobody's of the callers.
func testSnapshotForeignOfAll(x *trial) {
	x.create("a", x.spec(zfs.Filesystem))
	x.create("b", x.spec(zfs.Filesystem))
	x.take("s", "a")
	x.delete("a")
	for _, parent := range x.store.Parents() {
		remove := x.b.ForeignSnapshotOfAll(x.t, parent, "daily")
		x.unchanged(func() {
			for _, id := range []string{"a@daily", "b@daily", "absent@daily"} {
				_, err := x.store.GetSnapshot(x.t.Context(), snapshotID(x.t, id))
				x.is(err, zfs.ErrNotFound, id)
				_, err = x.store.Restore(x.t.Context(), volumeID(x.t, "r"), snapshotID(x.t, id), Plan(zfs.CloneSpec{Spec: x.spec(zfs.Filesystem)}))
				x.is(err, zfs.ErrNotFound, id)
				x.deleteSnapshot(id)
			}
			_, err := x.store.GetGroup(x.t.Context(), zfs.GroupIDFor("daily"))
			x.is(err, zfs.ErrNotFound)
			if err := x.store.DeleteGroup(x.t.Context(), zfs.GroupIDFor("daily")); err != nil {
				x.t.Error(err)
			}
			_, err = x.store.Take(x.t.Context(), x.snapshotSpec("daily", "b"))
			x.is(err, zfs.ErrExists)
			x.lists("a@s")
		})
		remove()
	}
	x.take("daily", "b")
	x.deleteSnapshot("a@s", "b@daily")
	x.delete("b")
}

// testForeignDependents has clones, holds and children on a volume that are somebody's data.
func testForeignDependents(x *trial) {
	x.eachKind(func(x *trial, kind zfs.Kind) {
		id := volumeID(x.t, "a")
		x.create("a", x.spec(kind))
		x.clone("b", "a", x.spec(kind))
		x.b.ForeignSnapshot(x.t, id, "backup")
		refused := func(says string) {
			x.t.Helper()
			x.unchanged(func() { x.is(x.store.Delete(x.t.Context(), id), zfs.ErrDependents, says) })
		}

		clone, remove := x.b.ForeignClone(x.t, id, "backup")
		refused(clone)
		remove()

		release := x.b.Hold(x.t, id, "backup")
		refused("@backup")
		release()

		if kind == zfs.Filesystem {
			child := zfs.MustParseDataset(x.get("a").Dataset.String() + "/child")
			remove = x.b.ForeignDataset(x.t, child, zfs.Filesystem)
			refused(child.String())
			remove()
		}

		// A clone of the snapshot that the driver's own clone hangs on.
		_, snapshot, _ := strings.Cut(x.get("b").Origin, "@")
		clone, remove = x.b.ForeignClone(x.t, id, snapshot)
		refused(clone)
		x.delete("b")
		refused(clone)
		remove()
		x.delete("a")
	})
}

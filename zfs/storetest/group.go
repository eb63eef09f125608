package storetest

import (
	"errors"

	"github.com/zfs-csi/zfs-csi/zfs"
)

// testGroup takes snapshots of a filesystem and a zvol at one moment.
func testGroup(x *trial) {
	x.create("a", x.spec(zfs.Filesystem))
	x.create("b", x.spec(zfs.Block))
	far := x.spec(zfs.Filesystem)
	far.Parent = x.otherParent()
	x.create("far", far)
	x.write("a", "of a")
	x.write("b", "of b")
	spec := x.snapshotSpec("g", "a", "b")
	spec.Group = true
	spec.Quiesce = func([]*zfs.Volume) (func() error, error) {
		return nil, errors.New("there is nothing to bring to rest")
	}
	taken, err := x.store.Take(x.t.Context(), spec)
	if err != nil {
		x.t.Fatal(err)
	}
	group := zfs.GroupIDFor("g")
	for _, s := range taken {
		if s.Group != group || s.Name != "g" || len(taken) != 2 {
			x.t.Errorf("a snapshot of the group is %+v", s)
		}
	}
	x.write("a", "later")
	x.unchanged(func() {
		if again, err := x.store.Take(x.t.Context(), spec); err != nil || len(again) != 2 {
			x.t.Errorf("taken again: %v, %v", again, err)
		}
		for _, other := range [][]string{{"a"}, {"a", "far"}, {"a", "b", "far"}} {
			s := x.snapshotSpec("g", other...)
			s.Group = true
			_, err := x.store.Take(x.t.Context(), s)
			x.is(err, zfs.ErrExists)
		}
		_, err := x.store.Take(x.t.Context(), x.snapshotSpec("g", "a"))
		x.is(err, zfs.ErrExists)
		s := x.snapshotSpec("h", "a", "far")
		s.Group = true
		_, err = x.store.Take(x.t.Context(), s)
		x.is(err, zfs.ErrPools)
		x.is(x.store.DeleteSnapshot(x.t.Context(), snapshotID(x.t, "a@g")), zfs.ErrGrouped)
		// There is no such snapshot.
		if err := x.store.DeleteSnapshot(x.t.Context(), snapshotID(x.t, "far@g")); err != nil {
			x.t.Error(err)
		}
		_, err = x.store.GetGroup(x.t.Context(), zfs.GroupIDFor("h"))
		x.is(err, zfs.ErrNotFound)
		if err := x.store.DeleteGroup(x.t.Context(), zfs.GroupIDFor("h")); err != nil {
			x.t.Error(err)
		}
	})
	x.delete("a")
	if got, err := x.store.GetGroup(x.t.Context(), group); err != nil || len(got) != 2 {
		x.t.Errorf("GetGroup: %v, %v", got, err)
	}
	x.restores("a@g", "of a")
	x.restores("b@g", "of b")
	for range 2 {
		if err := x.store.DeleteGroup(x.t.Context(), group); err != nil {
			x.t.Fatal(err)
		}
	}
	x.lists()
	x.delete("b", "far")
}

// testSnapshotQuiesce: filesystems on zvols are brought to rest once, and a snapshot that could not be taken at rest is none.
func testSnapshotQuiesce(x *trial) {
	a := x.spec(zfs.Block)
	a.FSType = "ext4"
	x.create("a", a)
	x.create("b", x.spec(zfs.Filesystem))
	fault := errors.New("it does not rest")
	for _, group := range []bool{false, true} {
		for _, faults := range [][2]error{{fault, nil}, {nil, fault}} {
			x.unchanged(func() {
				spec := x.snapshotSpec("s", "a")
				spec.Group = group
				spec.Quiesce = func([]*zfs.Volume) (func() error, error) {
					return func() error { return faults[1] }, faults[0]
				}
				_, err := x.store.Take(x.t.Context(), spec)
				x.is(err, fault)
			})
		}
	}
	spec, rests := x.snapshotSpec("s", "a", "b"), 0
	spec.Group = true
	spec.Quiesce = func(sources []*zfs.Volume) (func() error, error) {
		rests += len(sources)
		return func() error { return nil }, nil
	}
	for range 2 {
		if taken, err := x.store.Take(x.t.Context(), spec); err != nil || len(taken) != 2 || rests != 2 {
			x.t.Errorf("taken: %v, %v, %d volumes at rest", taken, err, rests)
		}
	}
	if err := x.store.DeleteGroup(x.t.Context(), zfs.GroupIDFor("s")); err != nil {
		x.t.Fatal(err)
	}
	x.delete("a", "b")
}

package storetest

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/zfs-csi/zfs-csi/zfs"
)

func (x *trial) take(name string, sources ...string) []*zfs.Snapshot {
	x.t.Helper()
	taken, err := x.store.Take(x.t.Context(), x.snapshotSpec(name, sources...))
	if err != nil {
		x.t.Fatalf("Take(%s of %v): %v", name, sources, err)
	}
	return taken
}

func (x *trial) snapshotSpec(name string, sources ...string) zfs.SnapshotSpec {
	spec := zfs.SnapshotSpec{Name: name}
	for _, s := range sources {
		spec.Sources = append(spec.Sources, volumeID(x.t, s))
	}
	return spec
}

func snapshotID(t testing.TB, s string) zfs.SnapshotID {
	t.Helper()
	id, err := zfs.ParseSnapshotID(s)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func (x *trial) restore(name, snapshot string, spec zfs.CloneSpec) *zfs.Volume {
	x.t.Helper()
	v, err := x.store.Restore(x.t.Context(), volumeID(x.t, name), snapshotID(x.t, snapshot), Plan(spec))
	if err != nil {
		x.t.Fatalf("Restore(%s, %s): %v", name, snapshot, err)
	}
	return v
}

// restores checks what a volume holds that is made of a snapshot.
func (x *trial) restores(snapshot, text string) {
	x.t.Helper()
	s, err := x.store.GetSnapshot(x.t.Context(), snapshotID(x.t, snapshot))
	if err != nil {
		x.t.Errorf("GetSnapshot(%s): %v", snapshot, err)
		return
	}
	spec := x.spec(s.Of.Kind)
	spec.Parent, spec.Size = s.Of.Parent, s.Of.Size
	name := "of_" + strings.ReplaceAll(snapshot, "@", "_")
	x.restore(name, snapshot, zfs.CloneSpec{Spec: spec})
	x.holds(name, text)
	x.delete(name)
}

func (x *trial) deleteSnapshot(ids ...string) {
	x.t.Helper()
	for _, id := range ids {
		if err := x.store.DeleteSnapshot(x.t.Context(), snapshotID(x.t, id)); err != nil {
			x.t.Fatalf("DeleteSnapshot(%s): %v", id, err)
		}
	}
}

// snapshots returns the IDs of all that the Store lists.
func (x *trial) snapshots() []string {
	x.t.Helper()
	list, err := x.store.ListSnapshots(x.t.Context())
	if err != nil {
		x.t.Fatalf("ListSnapshots: %v", err)
	}
	var ids []string
	for _, s := range list {
		ids = append(ids, s.ID.String())
	}
	return ids
}

// lists checks which snapshots the Store lists.
func (x *trial) lists(want ...string) {
	x.t.Helper()
	if got := x.snapshots(); !slices.Equal(got, want) {
		x.t.Errorf("the snapshots are %q, want %q", got, want)
	}
}

func testSnapshot(x *trial) {
	x.eachKind(func(x *trial, kind zfs.Kind) {
		x.create("a", x.spec(kind))
		x.create("b", x.spec(kind))
		x.write("a", "one")
		s := x.take("s", "a")[0]
		if s.ID.String() != "a@s" || s.Name != "s" || s.Of.Kind != kind || s.Of.Size != size || s.Created.IsZero() || s.Group != (zfs.GroupID{}) {
			x.t.Errorf("the snapshot is %+v", s)
		}
		x.write("a", "two")
		x.unchanged(func() {
			if again := x.take("s", "a")[0]; again.ID != s.ID || !again.Created.Equal(s.Created) {
				x.t.Errorf("taken again it is %+v, before %+v", again, s)
			}
			_, err := x.store.Take(x.t.Context(), x.snapshotSpec("s", "b"))
			x.is(err, zfs.ErrExists)
			_, err = x.store.Take(x.t.Context(), x.snapshotSpec("t", "absent"))
			x.is(err, zfs.ErrNotFound)
			_, err = x.store.Take(x.t.Context(), zfs.SnapshotSpec{Name: "t"})
			x.is(err, zfs.ErrInvalid)
			_, err = x.store.GetSnapshot(x.t.Context(), snapshotID(x.t, "b@s"))
			x.is(err, zfs.ErrNotFound)
			x.deleteSnapshot("b@s", "a@t", "absent@s")
			_, err = x.store.Restore(x.t.Context(), volumeID(x.t, "r"), snapshotID(x.t, "a@t"), Plan(zfs.CloneSpec{Spec: x.spec(kind)}))
			x.is(err, zfs.ErrNotFound)
		})
		x.lists("a@s")
		x.restores("a@s", "one")
		x.holds("a", "two")
		x.deleteSnapshot("a@s")
		x.deleteSnapshot("a@s")
		x.lists()
		x.delete("a", "b")
	})
}

// testSnapshotNames gives names that ZFS would not take.
func testSnapshotNames(x *trial) {
	x.create("a", x.spec(zfs.Filesystem))
	for _, name := range []string{"with a space", "x@y,z%q", strings.Repeat("long", 60), "ü"} {
		s := x.take(name, "a")[0]
		if _, err := zfs.ParseSnapshotID(s.ID.String()); err != nil || s.Name != name {
			x.t.Errorf("the snapshot %q is %+v, %v", name, s, err)
		}
		x.deleteSnapshot(s.ID.String())
	}
	x.delete("a")
}

// testRestore makes volumes of a snapshot that are not like its source.
func testRestore(x *trial) {
	x.eachKind(func(x *trial, kind zfs.Kind) {
		x.create("a", x.spec(kind))
		x.write("a", "text")
		x.take("s", "a")
		if _, err := x.store.Resize(x.t.Context(), volumeID(x.t, "a"), 4*size); err != nil {
			x.t.Fatal(err)
		}
		x.write("a", "later")

		larger, other, copied := x.spec(kind), x.spec(kind), x.spec(kind)
		larger.Size = 2 * size
		other.Parent = x.otherParent()
		other.Properties = zfs.Properties{"compression": "zstd"}
		for name, spec := range map[string]zfs.CloneSpec{"larger": {Spec: larger}, "other": {Spec: other}, "copied": {Spec: copied, Copy: true}} {
			v := x.restore(name, "a@s", spec)
			if v.Size != spec.Size || v.Source != "a@s" || (v.Origin == "") != (name != "larger") {
				x.t.Errorf("restored as %s: %s", name, show(v))
			}
			x.holds(name, "text")
		}
		smaller := x.spec(kind)
		smaller.Size = size / 2
		x.unchanged(func() {
			_, err := x.store.Restore(x.t.Context(), volumeID(x.t, "r"), snapshotID(x.t, "a@s"), Plan(zfs.CloneSpec{Spec: smaller}))
			x.is(err, zfs.ErrInvalid)
			_, err = x.store.Restore(x.t.Context(), volumeID(x.t, "a"), snapshotID(x.t, "a@s"), Plan(zfs.CloneSpec{Spec: larger}))
			x.is(err, zfs.ErrExists)
		})
		x.delete("larger", "a", "copied", "other")
		x.restores("a@s", "text")
		x.deleteSnapshot("a@s")
	})
}

// testSnapshotOrders deletes a volume, its snapshot, a volume restored from that, and a
// snapshot of the latter, in all 24 orders.
func testSnapshotOrders(x *trial) {
	orders := permutations([]string{"a", "a@s", "r", "r@t"})
	if x.b.Slow() {
		orders = [][]string{{"a", "r", "a@s", "r@t"}, {"a@s", "a", "r", "r@t"}}
	}
	x.eachKind(func(x *trial, kind zfs.Kind) {
		for _, order := range orders {
			x.sub(strings.Join(order, "-"), func(x *trial) {
				x.create("a", x.spec(kind))
				x.write("a", "one")
				x.take("s", "a")
				x.write("a", "two")
				x.restore("r", "a@s", zfs.CloneSpec{Spec: x.spec(kind)})
				x.write("r", "three")
				x.take("t", "r")
				x.write("r", "four")
				held := map[string]string{"a": "two", "a@s": "one", "r": "four", "r@t": "three"}
				for _, gone := range order {
					delete(held, gone)
					x.deleteEither(gone)
					x.holdAll(held)
				}
				if left := x.b.Contents(x.t); len(left) > 0 {
					x.t.Errorf("left at the end: %q", left)
				}
			})
		}
	})
}

// deleteEither deletes a volume or a snapshot.
func (x *trial) deleteEither(id string) {
	x.t.Helper()
	if strings.Contains(id, "@") {
		x.deleteSnapshot(id)
	} else {
		x.delete(id)
	}
}

// holdAll checks what volumes hold, what snapshots restore to, and that there are no others.
func (x *trial) holdAll(held map[string]string) {
	x.t.Helper()
	volumes, snapshots := 0, 0
	for id, text := range held {
		if strings.Contains(id, "@") {
			snapshots++
			x.restores(id, text)
		} else {
			volumes++
			x.holds(id, text)
		}
	}
	if v, s := x.list(), x.snapshots(); len(v) != volumes || len(s) != snapshots {
		x.t.Errorf("there are %s and %q, want %v", show(v...), s, held)
	}
}

// testTombstone deletes a volume that has a snapshot and makes another of its name.
func testTombstone(x *trial) {
	x.eachKind(func(x *trial, kind zfs.Kind) {
		thick := x.spec(kind)
		thick.Thick = true
		x.create("a", thick)
		x.write("a", "old")
		x.clone("c", "a", x.spec(kind))
		x.take("s", "a")
		x.write("a", "diverged")
		before := x.available(x.parent())
		x.delete("a")
		x.delete("a")
		if after := x.available(x.parent()); after < before+size/2 {
			x.t.Errorf("%d bytes were available, and %d after a volume of %d reserved bytes was deleted", before, after, int64(size))
		}
		_, err := x.store.Get(x.t.Context(), volumeID(x.t, "a"))
		x.is(err, zfs.ErrNotFound)

		x.create("a", x.spec(kind))
		x.holds("a", "")
		x.write("a", "new")
		x.take("u", "a")
		x.lists("a@s", "a@u")
		x.restores("a@s", "old")
		x.restores("a@u", "new")
		x.delete("a") // And a second of that name.
		x.restores("a@s", "old")
		x.restores("a@u", "new")
		x.deleteSnapshot("a@s", "a@u")
		x.holds("c", "old")
		x.delete("c")
		if left := x.b.Contents(x.t); len(left) > 0 {
			x.t.Errorf("left at the end: %q", left)
		}
	})
}

// testSnapshotNameAgain takes snapshots of the names of deleted ones that still have clones.
func testSnapshotNameAgain(x *trial) {
	x.eachKind(func(x *trial, kind zfs.Kind) {
		for _, order := range permutations([]string{"a", "r", "q"}) {
			x.create("a", x.spec(kind))
			x.write("a", "one")
			x.take("s", "a")
			x.restore("r", "a@s", zfs.CloneSpec{Spec: x.spec(kind)})
			x.deleteSnapshot("a@s")
			x.lists()
			_, err := x.store.Restore(x.t.Context(), volumeID(x.t, "no"), snapshotID(x.t, "a@s"), Plan(zfs.CloneSpec{Spec: x.spec(kind)}))
			x.is(err, zfs.ErrNotFound)
			x.write("a", "two")
			x.take("s", "a")
			x.restores("a@s", "two")
			x.restore("q", "a@s", zfs.CloneSpec{Spec: x.spec(kind)})
			x.deleteSnapshot("a@s")
			// Now the clone has one of the name too, which stands in the way of its promotion.
			x.write("r", "three")
			x.take("s", "r")
			x.restores("r@s", "three")
			held := map[string]string{"a": "two", "r": "three", "q": "two", "r@s": "three"}
			for _, gone := range order {
				delete(held, gone)
				x.delete(gone)
				x.holdAll(held)
			}
			x.deleteSnapshot("r@s")
			if x.b.Slow() {
				return
			}
		}
	})
}

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
	rests := 0
	spec.Quiesce = func(sources []*zfs.Volume) (func() error, error) {
		rests++
		return func() error { return nil }, nil
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
		if again, err := x.store.Take(x.t.Context(), spec); err != nil || len(again) != 2 || rests != 1 {
			x.t.Errorf("taken again: %v, %v, %d rests", again, err, rests)
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

// testSnapshotQuiesce: a snapshot that could not be taken at rest is none.
func testSnapshotQuiesce(x *trial) {
	x.create("a", x.spec(zfs.Block))
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
	x.delete("a")
}

// testSnapshotForeign has a backup tool's snapshots among the callers'.
func testSnapshotForeign(x *trial) {
	x.eachKind(func(x *trial, kind zfs.Kind) {
		a := volumeID(x.t, "a")
		x.create("a", x.spec(kind))
		x.b.ForeignSnapshot(x.t, a, "daily-1")
		x.write("a", "text")
		x.take("s", "a")
		x.b.ForeignSnapshot(x.t, a, "daily-2")
		x.lists("a@s")
		_, err := x.store.GetSnapshot(x.t.Context(), snapshotID(x.t, "a@daily-1"))
		x.is(err, zfs.ErrNotFound)

		clone, remove := x.b.ForeignClone(x.t, a, "daily-2")
		x.unchanged(func() { x.is(x.store.Delete(x.t.Context(), a), zfs.ErrDependents, clone) })
		remove()
		x.delete("a")
		for _, name := range x.b.Contents(x.t) {
			if strings.Contains(name, "daily") {
				x.t.Errorf("%s is left of a deleted volume", name)
			}
		}
		x.restores("a@s", "text")
		x.deleteSnapshot("a@s")
	})
}

// testUnfinishedRestore: what the power left of a volume that was being restored is in nobody's way.
func testUnfinishedRestore(x *trial) {
	x.eachKind(func(x *trial, kind zfs.Kind) {
		a, r := volumeID(x.t, "a"), volumeID(x.t, "r")
		x.create("a", x.spec(kind))
		x.write("a", "text")
		x.take("s", "a")
		x.unchanged(func() {
			x.b.Die(x.t, a, r, InRestore)
			x.delete("r")
		})
		x.b.Die(x.t, a, r, InRestore)
		x.restore("r", "a@s", zfs.CloneSpec{Spec: x.spec(kind)})
		x.holds("r", "text")
		x.delete("r")
		x.b.Die(x.t, a, r, InRestore)
		x.deleteSnapshot("a@s")
		x.delete("a")
	})
}

package storetest

import (
	"strings"

	"github.com/zfs-csi/zfs-csi/zfs"
)

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

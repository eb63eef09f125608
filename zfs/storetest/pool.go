package storetest

import (
	"context"
	"errors"

	"github.com/zfs-csi/zfs-csi/zfs"
)

// unavailable checks that each call about the first parent, its volume a, and a volume
// that is nowhere, says that nothing can be said.
func (x *trial) unavailable() {
	x.t.Helper()
	ctx := x.t.Context()
	_, err := x.store.Check(ctx)
	x.is(err, zfs.ErrUnavailable)
	for _, name := range []string{"a", "absent"} {
		id := volumeID(x.t, name)
		_, err := x.store.Get(ctx, id)
		x.is(err, zfs.ErrUnavailable)
		_, err = x.store.Create(ctx, id, x.spec(zfs.Filesystem))
		x.is(err, zfs.ErrUnavailable)
		_, err = x.store.Clone(ctx, volumeID(x.t, "b"), id, Plan(zfs.CloneSpec{Spec: x.spec(zfs.Filesystem)}))
		x.is(err, zfs.ErrUnavailable)
		_, err = x.store.Resize(ctx, id, 2*size)
		x.is(err, zfs.ErrUnavailable)
		_, err = x.store.Modify(ctx, id, zfs.Change{})
		x.is(err, zfs.ErrUnavailable)
		x.is(x.store.SetFormatted(ctx, id), zfs.ErrUnavailable)
		x.is(x.store.Delete(ctx, id), zfs.ErrUnavailable)
		_, err = x.store.Take(ctx, zfs.SnapshotSpec{Name: "s", Sources: []zfs.VolumeID{id}})
		x.is(err, zfs.ErrUnavailable)
		snapshot := zfs.SnapshotIDFor("s", id)
		_, err = x.store.GetSnapshot(ctx, snapshot)
		x.is(err, zfs.ErrUnavailable)
		_, err = x.store.Restore(ctx, volumeID(x.t, "b"), snapshot, Plan(zfs.CloneSpec{Spec: x.spec(zfs.Filesystem)}))
		x.is(err, zfs.ErrUnavailable)
		x.is(x.store.DeleteSnapshot(ctx, snapshot), zfs.ErrUnavailable)
	}
	_, err = x.store.List(ctx)
	x.is(err, zfs.ErrUnavailable)
	_, err = x.store.ListSnapshots(ctx)
	x.is(err, zfs.ErrUnavailable)
	_, err = x.store.GetGroup(ctx, zfs.GroupIDFor("g"))
	x.is(err, zfs.ErrUnavailable)
	x.is(x.store.DeleteGroup(ctx, zfs.GroupIDFor("g")), zfs.ErrUnavailable)
	_, err = x.store.Capacity(ctx, x.parent())
	x.is(err, zfs.ErrUnavailable)
	c, err := x.store.Condition(ctx, x.parent())
	if err != nil || c.Health != zfs.Inaccessible || c.Reason == "" || c.Message == "" || c.Pool != x.parent().Pool() {
		x.t.Errorf("Condition(%s) is %+v, %v", x.parent(), c, err)
	}
}

func testExported(x *trial) {
	x.create("a", x.spec(zfs.Filesystem))
	x.write("a", "text")
	x.unchanged(func() {
		imports := x.b.Export(x.t, x.parent().Pool())
		x.unavailable()
		imports()
	})
	x.holds("a", "text")
	x.delete("a")
}

// testOtherPoolExported: what lies on the pool that is there goes on working, as far as
// it does not need to know what is on the other.
func testOtherPoolExported(x *trial) {
	x.create("a", x.spec(zfs.Filesystem))
	imports := x.b.Export(x.t, x.otherParent().Pool())
	x.get("a")
	x.available(x.parent())
	if c, err := x.store.Condition(x.t.Context(), x.parent()); err != nil || c.Health != zfs.Healthy {
		x.t.Errorf("Condition(%s) is %+v, %v", x.parent(), c, err)
	}
	_, err := x.store.Get(x.t.Context(), volumeID(x.t, "absent"))
	x.is(err, zfs.ErrUnavailable)
	x.is(x.store.Delete(x.t.Context(), volumeID(x.t, "absent")), zfs.ErrUnavailable)
	_, err = x.store.List(x.t.Context())
	x.is(err, zfs.ErrUnavailable)
	some, err := x.store.Check(x.t.Context())
	x.is(err, zfs.ErrUnavailable)
	if !some {
		x.t.Error("one of two pools is away, and none is said to be there")
	}
	x.delete("a")
	importsOther := x.b.Export(x.t, x.parent().Pool())
	some, err = x.store.Check(x.t.Context())
	x.is(err, zfs.ErrUnavailable)
	if some {
		x.t.Error("both pools are away, and one is said to be there")
	}
	importsOther()
	imports()
}

func testUnmarked(x *trial) {
	x.create("a", x.spec(zfs.Filesystem))
	x.unchanged(func() {
		mark := x.b.Unmark(x.t, x.parent())
		x.unavailable()
		mark()
	})
	x.delete("a")
}

func testCondition(x *trial) {
	health := func(want zfs.Health) {
		x.t.Helper()
		c, err := x.store.Condition(x.t.Context(), x.parent())
		if err != nil || c.Health != want || c.Pool != x.parent().Pool() || (c.Reason == "") != (want == zfs.Healthy) {
			x.t.Errorf("Condition(%s) is %+v, %v; want health %d", x.parent(), c, err, want)
		}
	}
	if some, err := x.store.Check(x.t.Context()); err != nil || !some {
		x.t.Errorf("Check: %t, %v", some, err)
	}
	health(zfs.Healthy)
	repair := x.b.Degrade(x.t, x.parent().Pool())
	health(zfs.Degraded)
	x.create("a", x.spec(zfs.Filesystem))
	x.delete("a")
	repair()
	x.eventually("the pool is healthy again", func() bool {
		c, err := x.store.Condition(x.t.Context(), x.parent())
		return err == nil && c.Health == zfs.Healthy
	})
}

// sweep runs Sweep as a driver does that has no other call under way.
func (x *trial) sweep() {
	x.t.Helper()
	err := x.store.Sweep(x.t.Context(), func(zfs.VolumeID) func() { return func() {} })
	if err != nil {
		x.t.Fatal(err)
	}
}

func testSweep(x *trial) {
	x.eachKind(func(x *trial, kind zfs.Kind) {
		x.create("a", x.spec(kind))
		x.write("a", "text")
		x.clone("b", "a", x.spec(kind))
		for _, moment := range []Moment{BeforeClone, InClone, InCopy} {
			x.unchanged(func() {
				x.b.Die(x.t, volumeID(x.t, "a"), volumeID(x.t, "c"), moment)
				x.sweep()
			})
		}

		// What another call is about is left to that.
		x.b.Die(x.t, volumeID(x.t, "a"), volumeID(x.t, "c"), InClone)
		x.unchanged(func() {
			if err := x.store.Sweep(x.t.Context(), func(zfs.VolumeID) func() { return nil }); err != nil {
				x.t.Fatal(err)
			}
		})
		x.delete("c", "a")
		x.holds("b", "text")
		x.delete("b")
	})
}

// testUnfinished: what a process left that died does not stand in the way, swept or not.
func testUnfinished(x *trial) {
	x.eachKind(func(x *trial, kind zfs.Kind) {
		a, c := volumeID(x.t, "a"), volumeID(x.t, "c")
		spec := x.spec(kind)
		x.create("a", spec)
		x.write("a", "text")
		x.b.Die(x.t, a, c, InCreate)
		x.sweep()
		x.create("c", spec)
		x.holds("c", "")
		x.delete("c")
		for i, moment := range []Moment{BeforeClone, InCopy, InClone, InCreate} {
			x.unchanged(func() { // Deleted as if it were there.
				x.b.Die(x.t, a, c, moment)
				x.delete("c")
				x.sweep()
			})
			for _, whole := range []bool{false, true} {
				if x.b.Slow() && whole != (i%2 == 1) {
					continue
				}
				x.unchanged(func() { // Made again.
					x.b.Die(x.t, a, c, moment)
					x.cloneSpec("c", "a", zfs.CloneSpec{Spec: spec, Copy: whole})
					x.holds("c", "text")
					x.delete("c")
					x.sweep()
				})
			}
		}
		// A clone that was not finished does not keep its source.
		x.clone("b", "a", spec)
		x.b.Die(x.t, a, c, InClone)
		x.delete("a")
		x.holds("b", "text")
		x.delete("b")
	})
}

// testEnded: a call whose context has ended changes nothing.
func testEnded(x *trial) {
	x.create("a", x.spec(zfs.Filesystem))
	x.unchanged(func() {
		ctx, cancel := context.WithCancel(x.t.Context())
		cancel()
		_, err := x.store.Create(ctx, volumeID(x.t, "b"), x.spec(zfs.Filesystem))
		if err == nil {
			x.t.Error("Create succeeds in a context that has ended")
		}
		for _, known := range []error{zfs.ErrExists, zfs.ErrNotFound, zfs.ErrInvalid, zfs.ErrUnavailable} {
			if errors.Is(err, known) {
				x.t.Errorf("Create in a context that has ended says %v", err)
			}
		}
		if err := x.store.Delete(ctx, volumeID(x.t, "a")); err == nil {
			x.t.Error("Delete succeeds in a context that has ended")
		}
	})
	x.delete("a")
}

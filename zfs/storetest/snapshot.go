package storetest

import (
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

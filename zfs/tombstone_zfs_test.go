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
	f, err := zfstest.Open(device, os.O_WRONLY)
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

// TestEntryRemoved: snapshots are found, restored and deleted also where somebody has removed what stands for their
// name, be they of a volume that is there or of one that is deleted.
func TestEntryRemoved(t *testing.T) {
	l := newLocal(t)
	for _, deleted := range []bool{false, true} {
		v := newVolume(t, l, zfs.Filesystem, nil)
		snapshot := take(t, l, v, "s")
		zfstest.Run(t, "zfs", "destroy", v.Parent.String()+"@s")
		if deleted {
			remove(t, l, v.ID)
		}
		if _, err := l.GetSnapshot(t.Context(), snapshot); err != nil {
			t.Errorf("deleted=%t: %v", deleted, err)
		}
		spec := zfs.Spec{Parent: v.Parent, Kind: v.Kind, Size: v.Size, Attributes: zfs.Attributes{Name: "r"}}
		r, err := l.Restore(t.Context(), zfs.VolumeIDFor("r", v.Parent), snapshot, func(*zfs.Volume) (zfs.CloneSpec, error) { return zfs.CloneSpec{Spec: spec}, nil })
		if err != nil {
			t.Fatalf("deleted=%t: %v", deleted, err)
		}
		remove(t, l, r.ID)
		// The name may be given again, which makes what bears it no other's.
		other, err := l.Create(t.Context(), zfs.VolumeIDFor("other", v.Parent), spec)
		if err != nil {
			t.Fatal(err)
		}
		again := take(t, l, other, "s")
		if err := l.DeleteSnapshot(t.Context(), snapshot); err != nil {
			t.Fatal(err)
		}
		if _, err := l.GetSnapshot(t.Context(), snapshot); !errors.Is(err, zfs.ErrNotFound) {
			t.Errorf("deleted=%t: error of a deleted snapshot is %v, want %v", deleted, err, zfs.ErrNotFound)
		}
		if listed, err := l.ListSnapshots(t.Context()); err != nil || len(listed) != 1 || listed[0].ID != again {
			t.Errorf("deleted=%t: the snapshots are %v, %v; want %s alone", deleted, listed, err, again)
		}
		if err := l.DeleteSnapshot(t.Context(), again); err != nil {
			t.Fatal(err)
		}
		remove(t, l, other.ID, v.ID)
		if left := below(t, l); left != v.Parent.String() {
			t.Errorf("deleted=%t: left in the end:\n%s", deleted, left)
		}
	}
}

// TestGroupEntryRemoved: so are the snapshots of a group, all in one.
func TestGroupEntryRemoved(t *testing.T) {
	l := newLocal(t)
	a, b := newVolume(t, l, zfs.Filesystem, nil), newVolume(t, l, zfs.Block, nil)
	alone := take(t, l, a, "alone")
	group := zfs.GroupIDFor("g")
	if _, err := l.Take(t.Context(), zfs.SnapshotSpec{Name: "g", Group: true, Sources: []zfs.VolumeID{a.ID, b.ID}}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"g", "alone"} {
		zfstest.Run(t, "zfs", "destroy", a.Parent.String()+"@"+name)
	}
	remove(t, l, a.ID)
	if found, err := l.GetGroup(t.Context(), group); err != nil || len(found) != 2 {
		t.Errorf("of a group of two there are %v, %v", found, err)
	}
	if _, err := l.GetGroup(t.Context(), zfs.GroupIDFor("alone")); !errors.Is(err, zfs.ErrNotFound) {
		t.Errorf("a snapshot that is no group's is %v as a group, want %v", err, zfs.ErrNotFound)
	}
	for _, g := range []zfs.GroupID{group, zfs.GroupIDFor("alone"), group} {
		if err := l.DeleteGroup(t.Context(), g); err != nil {
			t.Fatal(err)
		}
	}
	if listed, err := l.ListSnapshots(t.Context()); err != nil || len(listed) != 1 || listed[0].ID != alone {
		t.Errorf("the snapshots are %v, %v; want %s alone", listed, err, alone)
	}
	if err := l.DeleteSnapshot(t.Context(), alone); err != nil {
		t.Fatal(err)
	}
	remove(t, l, b.ID)
	if left := below(t, l); left != a.Parent.String() {
		t.Errorf("left in the end:\n%s", left)
	}
}

// remove deletes volumes.
func remove(t *testing.T, l *zfs.Local, ids ...zfs.VolumeID) {
	t.Helper()
	for _, id := range ids {
		if err := l.Delete(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
}

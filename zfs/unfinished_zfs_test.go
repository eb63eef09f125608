package zfs_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/zfs-csi/zfs-csi/zfs"
	"github.com/zfs-csi/zfs-csi/zfs/zfstest"
)

// TestForeignProperties: what somebody else's properties hold is never taken for anything, be it what `zfs get` prints
// for another property.
func TestForeignProperties(t *testing.T) {
	l := newLocal(t)
	parent := l.Parents()[0]
	text := "one\ttwo\n" + parent.String() + "/filesystem\tzfs-csi:volume\tforged"
	zfstest.Run(t, "zfs", "set", "org.example:text="+text, parent.Pool())
	v := newVolume(t, l, zfs.Filesystem, nil)
	if _, err := l.Modify(t.Context(), v.ID, zfs.Change{Properties: zfs.Properties{"sync": "always", "copies": "2"}}); err != nil {
		t.Error(err)
	}
	snapshot := take(t, l, v, "s")
	remove(t, l, v.ID)
	spec := zfs.Spec{Parent: parent, Kind: v.Kind, Size: v.Size, Attributes: zfs.Attributes{Name: "r"}}
	plan := func(*zfs.Volume) (zfs.CloneSpec, error) { return zfs.CloneSpec{Spec: spec}, nil }
	if _, err := l.Restore(t.Context(), zfs.VolumeIDFor("r", parent), snapshot, plan); err != nil {
		t.Error(err)
	}
	// An unfinished volume is found to be one: no value is read, nor is it mounted anywhere.
	zfstest.Run(t, "zfs", "create", "-u", v.Dataset.String())
	t.Setenv("TMPDIR", "/nonexistent")
	newVolume(t, l, zfs.Filesystem, nil)
	remove(t, l, v.ID, zfs.VolumeIDFor("r", parent))

	// And somebody's dataset, however much it says that it is a volume, is not.
	zfstest.Run(t, "zfs", "create", "-u", "-o", "org.example:text="+strings.Replace(text, "two", "local", 1), v.Dataset.String())
	for _, err := range []error{
		l.Delete(t.Context(), v.ID),
		func() error { _, err := l.Create(t.Context(), v.ID, spec); return err }(),
		func() error {
			_, err := l.Modify(t.Context(), v.ID, zfs.Change{Properties: zfs.Properties{"sync": "always"}})
			return err
		}(),
	} {
		if !errors.Is(err, zfs.ErrNotOurs) {
			t.Errorf("error of a call for somebody's dataset is %v, want %v", err, zfs.ErrNotOurs)
		}
	}
	zfstest.Run(t, "zfs", "destroy", v.Dataset.String())
	if err := l.DeleteSnapshot(t.Context(), snapshot); err != nil {
		t.Fatal(err)
	}
}

// TestSweepOwn: what this process could not take back when a pool refused, its own sweep marks, but not while the
// volume that it is for is being made.
func TestSweepOwn(t *testing.T) {
	l := newLocal(t)
	v := newVolume(t, l, zfs.Filesystem, nil)
	spec := zfs.Spec{Parent: v.Parent, Kind: v.Kind, Size: v.Size, Attributes: zfs.Attributes{Name: "b"}}
	b, err := l.Clone(t.Context(), zfs.VolumeIDFor("b", v.Parent), v.ID, func(*zfs.Volume) (zfs.CloneSpec, error) { return zfs.CloneSpec{Spec: spec}, nil })
	if err != nil {
		t.Fatal(err)
	}
	origin := zfstest.Run(t, "zfs", "get", "-Hpo", "value", "origin", b.Dataset.String())
	kind := zfstest.Run(t, "zfs", "get", "-Hpo", "value", "zfs-csi:kind", origin)
	left := v.Dataset.String() + "@left"
	zfstest.Run(t, "zfs", "snapshot", "-o", "zfs-csi:kind="+kind, "-o", "zfs-csi:for=c", left)
	for _, unlock := range []func(){nil, func() {}} {
		if err := l.Sweep(t.Context(), func(zfs.VolumeID) func() { return unlock }); err != nil {
			t.Fatal(err)
		}
		if there := strings.Contains(below(t, l), left); there != (unlock == nil) {
			t.Errorf("%s is there: %t, its volume is being made: %t", left, there, unlock == nil)
		}
	}
	remove(t, l, b.ID, v.ID)
}

// TestSweepMoved: where a tombstone was listed there is another volume when the sweep comes to it.
func TestSweepMoved(t *testing.T) {
	l := newLocal(t)
	v := newVolume(t, l, zfs.Filesystem, nil)
	before := below(t, l)
	if err := zfs.SweepTombstone(t.Context(), l, v.Dataset, func(zfs.VolumeID) func() { return func() {} }); err != nil {
		t.Error(err)
	}
	if after := below(t, l); after != before {
		t.Errorf("there was\n%s\nand is\n%s", before, after)
	}
	remove(t, l, v.ID)
}

// TestSweepEmpty: what a process makes to compare with goes with the sweep of the next one, in whatever state the power
// left it; but nothing that somebody wrote to.
func TestSweepEmpty(t *testing.T) {
	l := newLocal(t)
	parent := l.Parents()[0].String()
	v := newVolume(t, l, zfs.Block, nil)
	snapshot := take(t, l, v, "s")
	bare := func(n string) string { return parent + "/.empty-empty-0badc0de-" + n }
	zfstest.Run(t, "zfs", "create", "-s", "-V", "1M", bare("1"))
	zfstest.Run(t, "zfs", "clone", v.Dataset.String()+"@s", bare("2"))
	zfstest.Run(t, "zfs", "clone", "-o", "zfs-csi:kind=empty-0badc0de-3", v.Dataset.String()+"@s", bare("3"))
	zfstest.Run(t, "zfs", "create", "-u", "-o", "org.example:of=somebody", bare("4"))
	if err := l.Sweep(t.Context(), func(zfs.VolumeID) func() { return func() {} }); err != nil {
		t.Fatal(err)
	}
	if left, want := below(t, l), strings.Join([]string{parent, parent + "@s", bare("4"), v.Dataset.String(), v.Dataset.String() + "@s"}, "\n"); left != want {
		t.Errorf("there is\n%s\nwant\n%s", left, want)
	}
	zfstest.Run(t, "zfs", "destroy", bare("4"))
	if err := l.DeleteSnapshot(t.Context(), snapshot); err != nil {
		t.Fatal(err)
	}
	remove(t, l, v.ID)
}

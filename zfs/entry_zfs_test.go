package zfs_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/zfs-csi/zfs-csi/zfs"
	"github.com/zfs-csi/zfs-csi/zfs/zfstest"
)

// entries returns how many entries the parent has, and how many its parts.
func entries(t *testing.T, l *zfs.Local) (ofParent, ofParts int) {
	t.Helper()
	parent := l.Parents()[0].String()
	for line := range strings.Lines(below(t, l)) {
		switch {
		case strings.HasPrefix(line, parent+"@"):
			ofParent++
		case strings.HasPrefix(line, parent+"/.names/") && strings.Contains(line, "@"):
			ofParts++
		}
	}
	return ofParent, ofParts
}

// TestEntries: of a parent that has many entries no more are taken, and what they are taken of then goes with them.
func TestEntries(t *testing.T) {
	const first, all = 2, 8
	l := newLocal(t)
	zfs.SetEntriesOfParent(l, first)
	v, other := newVolume(t, l, zfs.Filesystem, nil), newVolume(t, l, zfs.Block, nil)
	var taken []zfs.SnapshotID
	for i := range all {
		taken = append(taken, take(t, l, v, fmt.Sprint("s", i)))
	}
	if ofParent, ofParts := entries(t, l); ofParent != first || ofParts != all-first {
		t.Errorf("the parent has %d entries and its parts %d, want %d and %d:\n%s", ofParent, ofParts, first, all-first, below(t, l))
	}
	if root, err := zfs.Lineage(t.Context(), run, v.Parent); err != nil || len(root.Children) != 2 {
		t.Errorf("below the parent the lineage has %+v, %v; want two volumes", root.Children, err)
	}

	// Another process knows no more than what it sees.
	l = localOn(t, v.Parent, run)
	zfs.SetEntriesOfParent(l, first)
	if err := l.Sweep(t.Context(), func(zfs.VolumeID) func() { return func() {} }); err != nil {
		t.Fatal(err)
	}
	taken = append(taken, take(t, l, v, "later"))
	if ofParent, _ := entries(t, l); ofParent != first {
		t.Errorf("after a restart the parent has %d entries, want %d", ofParent, first)
	}
	for _, id := range taken {
		name := id.Name().String()
		if _, err := l.Take(t.Context(), zfs.SnapshotSpec{Name: name, Sources: []zfs.VolumeID{other.ID}}); !errors.Is(err, zfs.ErrExists) {
			t.Errorf("the name %s of another volume's snapshot: %v, want %v", name, err, zfs.ErrExists)
		}
		if again := take(t, l, v, name); again != id {
			t.Errorf("taken again, %s is %s", id, again)
		}
	}

	remove(t, l, v.ID) // They are found in a tombstone too.
	for _, id := range taken {
		if s, err := l.GetSnapshot(t.Context(), id); err != nil || s.ID != id {
			t.Errorf("%s: %+v, %v", id, s, err)
		}
		if err := l.DeleteSnapshot(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
	// The parent has none left, so that the next is its own.
	again := take(t, l, other, "again")
	if ofParent, ofParts := entries(t, l); ofParent != 1 || ofParts != 0 {
		t.Errorf("in the end the parent has %d entries and its parts %d, want 1 and 0", ofParent, ofParts)
	}
	if err := l.DeleteSnapshot(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	remove(t, l, other.ID)
	if left := below(t, l); left != l.Parents()[0].String() {
		t.Errorf("left in the end:\n%s", left)
	}
}

// TestEntriesLookedFor: where a sweep saw no entry elsewhere none is looked for, until one is taken there or the parent may be another.
func TestEntriesLookedFor(t *testing.T) {
	l := newLocal(t)
	zfs.SetEntriesOfParent(l, 1)
	v, other := newVolume(t, l, zfs.Filesystem, nil), newVolume(t, l, zfs.Block, nil)
	if !zfs.LooksElsewhere(l, v.Parent) {
		t.Error("before a sweep they are not looked for")
	}
	sweep := func(l *zfs.Local) {
		t.Helper()
		if err := l.Sweep(t.Context(), func(zfs.VolumeID) func() { return func() {} }); err != nil {
			t.Fatal(err)
		}
	}
	sweep(l)
	take(t, l, v, "first")
	if zfs.LooksElsewhere(l, v.Parent) {
		t.Error("they are looked for where there are none")
	}
	take(t, l, v, "second")
	if !zfs.LooksElsewhere(l, v.Parent) {
		t.Error("they are not looked for where there is one")
	}
	for _, l := range []*zfs.Local{l, localOn(t, v.Parent, run)} {
		for range 2 {
			if _, err := l.Take(t.Context(), zfs.SnapshotSpec{Name: "second", Sources: []zfs.VolumeID{other.ID}}); !errors.Is(err, zfs.ErrExists) {
				t.Errorf("the name of another volume's snapshot: %v, want %v", err, zfs.ErrExists)
			}
			sweep(l)
		}
	}

	// One that has lost its mark holds an entry all the same.
	zfstest.Run(t, "zfs", "inherit", "-r", "zfs-csi:kind", v.Parent.String())
	again := localOn(t, v.Parent, run)
	sweep(again)
	if !zfs.LooksElsewhere(again, v.Parent) {
		t.Error("they are not looked for where one is of a dataset without a mark")
	}

	// Its marker gone, the parent may be another pool's.
	l = newLocal(t)
	sweep(l)
	parent := l.Parents()[0]
	zfstest.Run(t, "zfs", "inherit", "zfs-csi:driver", parent.String())
	if some, err := l.Check(t.Context()); some || err == nil {
		t.Errorf("without its marker the parent is usable: %v", err)
	}
	if !zfs.LooksElsewhere(l, parent) {
		t.Error("what was seen is taken for what is")
	}
}

// quiesced makes a volume that is brought to rest for its snapshots, so that a test can do something just before them.
func quiesced(t *testing.T, l *zfs.Local) zfs.VolumeID {
	t.Helper()
	id := zfs.VolumeIDFor("ext4", l.Parents()[0])
	spec := zfs.Spec{Parent: l.Parents()[0], Kind: zfs.Block, Size: 16 << 20, Attributes: zfs.Attributes{Name: "ext4", FSType: "ext4"}}
	if _, err := l.Create(t.Context(), id, spec); err != nil {
		t.Fatal(err)
	}
	return id
}

// TestEntriesSweptMeanwhile: a sweep that sees no entry elsewhere while one is being taken there does not hide it.
func TestEntriesSweptMeanwhile(t *testing.T) {
	l := newLocal(t)
	zfs.SetEntriesOfParent(l, 0)
	id := quiesced(t, l)
	swept := false
	rest := func([]*zfs.Volume) (func() error, error) {
		if !swept { // There is no dataset for the entry yet.
			swept = true
			if err := l.Sweep(t.Context(), func(zfs.VolumeID) func() { return func() {} }); err != nil {
				return nil, err
			}
		}
		return func() error { return nil }, nil
	}
	if _, err := l.Take(t.Context(), zfs.SnapshotSpec{Name: "s", Sources: []zfs.VolumeID{id}, Quiesce: rest}); err != nil || !swept {
		t.Fatalf("take, swept meanwhile %t: %v", swept, err)
	}
	if !zfs.LooksElsewhere(l, l.Parents()[0]) {
		t.Error("the entry is not looked for where it is")
	}
}

// TestEntryRefused: nothing is left of an entry that could not be taken.
func TestEntryRefused(t *testing.T) {
	l := newLocal(t)
	zfs.SetEntriesOfParent(l, 0)
	id := quiesced(t, l)
	refused := errors.New("not now")
	try := func() {
		t.Helper()
		before := below(t, l)
		rests := 0
		rest := func([]*zfs.Volume) (func() error, error) {
			if rests++; rests > 1 { // The first finds no dataset for the entry.
				return nil, refused
			}
			return func() error { return nil }, nil
		}
		if _, err := l.Take(t.Context(), zfs.SnapshotSpec{Name: "s", Sources: []zfs.VolumeID{id}, Quiesce: rest}); !errors.Is(err, refused) {
			t.Errorf("take: %v, want %v", err, refused)
		}
		if after := below(t, l); after != before {
			t.Errorf("left:\n%s\nwant\n%s", after, before)
		}
	}
	try()
	zfstest.Run(t, "zfs", "create", "-o", "canmount=off", l.Parents()[0].String()+"/.names") // Somebody else's.
	try()
}

// TestSweepParts: what a process made for an entry that it did not come to take goes; what has an entry stays, and so does what
// is somebody else's.
func TestSweepParts(t *testing.T) {
	l := newLocal(t)
	zfs.SetEntriesOfParent(l, 0)
	v := newVolume(t, l, zfs.Filesystem, nil)
	snapshot := take(t, l, v, "s")
	folder := v.Parent.String() + "/.names"
	zfstest.Run(t, "zfs", "create", "-o", "canmount=off", folder+"/foreign")
	before := below(t, l)
	for i := range 16 {
		part := fmt.Sprintf("%s/%02d", folder, i)
		if !strings.Contains(before, part) {
			zfstest.Run(t, "zfs", "create", "-o", "canmount=off", "-o", "zfs-csi:kind=entries-0-1", part)
		}
	}
	sweep := func() {
		t.Helper()
		if err := l.Sweep(t.Context(), func(zfs.VolumeID) func() { return func() {} }); err != nil {
			t.Fatal(err)
		}
	}
	sweep()
	if after := below(t, l); after != before {
		t.Errorf("a sweep leaves\n%s\nwant\n%s", after, before)
	}
	if err := l.DeleteSnapshot(t.Context(), snapshot); err != nil {
		t.Fatal(err)
	}
	remove(t, l, v.ID)
	sweep()
	if left := below(t, l); left != strings.Join([]string{v.Parent.String(), folder, folder + "/foreign"}, "\n") {
		t.Errorf("beside somebody else's dataset there is left:\n%s", left)
	}
	zfstest.Run(t, "zfs", "destroy", folder+"/foreign")
	sweep()
	if left := below(t, l); left != v.Parent.String() {
		t.Errorf("left in the end:\n%s", left)
	}
}

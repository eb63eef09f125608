package storetest

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/zfs-csi/zfs-csi/zfs"
)

func show(volumes ...*zfs.Volume) string {
	var parts []string
	for _, v := range volumes {
		parts = append(parts, fmt.Sprintf("%+v", *v))
	}
	return strings.Join(parts, ", ")
}

// seen checks that Get tells of a volume what was returned when it was made.
func (x *trial) seen(made *zfs.Volume) {
	x.t.Helper()
	if got := x.get(made.ID.String()); !same(got, made) {
		x.t.Errorf("made %s, Get says %s", show(made), show(got))
	}
}

// listed checks that List tells of a volume what was returned when it was made.
func (x *trial) listed(made *zfs.Volume) {
	x.t.Helper()
	for _, v := range x.list() {
		if v.ID == made.ID {
			if !same(v, made) {
				x.t.Errorf("made %s, List says %s", show(made), show(v))
			}
			return
		}
	}
	x.t.Errorf("List does not have %s", made.ID)
}

func testCreate(x *trial) {
	x.eachKind(func(x *trial, kind zfs.Kind) {
		for _, parent := range x.store.Parents() {
			spec := x.spec(kind)
			spec.Parent = parent
			v := x.create("a", spec)
			if v.ID.String() != "a" || v.Dataset.String() != parent.String()+"/a" || v.Parent != parent ||
				v.Kind != kind || v.Size != size || v.Thick || v.Origin != "" || v.Source != "" || v.Formatted {
				x.t.Errorf("Create returned %s", show(v))
			}
			if (kind == zfs.Block) != (v.BlockSize == zfs.DefaultVolblocksize) {
				x.t.Errorf("a %s has a block size of %d", kind, v.BlockSize)
			}
			x.seen(v)
			x.listed(v)
			x.holds("a", "")
			x.write("a", "hello")
			x.holds("a", "hello")
			x.delete("a")
		}
	})
}

func testCreateRounds(x *trial) {
	for _, test := range []struct {
		kind         zfs.Kind
		volblocksize string
		size, want   int64
	}{
		{zfs.Filesystem, "", size + 1, size + 1},
		{zfs.Block, "", size + 1, size + zfs.DefaultVolblocksize},
		{zfs.Block, "131072", size + 1, size + 131072},
		{zfs.Block, "4096", size - 4095, size},
	} {
		spec := x.spec(test.kind)
		spec.Size = test.size
		if test.volblocksize != "" {
			spec.Properties = zfs.Properties{"volblocksize": test.volblocksize}
		}
		v := x.create("a", spec)
		if v.Size != test.want {
			x.t.Errorf("%s of %d bytes in blocks of %q has %d, want %d", test.kind, test.size, test.volblocksize, v.Size, test.want)
		}
		x.seen(v)
		x.delete("a")
	}
}

func testCreateProperties(x *trial) {
	for kind, properties := range map[zfs.Kind]zfs.Properties{
		zfs.Filesystem: {"compression": "zstd-7", "recordsize": "8192", "atime": "off", "casesensitivity": "insensitive"},
		zfs.Block:      {"compression": "gzip", "volblocksize": "8192", "sync": "disabled"},
	} {
		spec := x.spec(kind)
		spec.Properties = properties
		x.create("a", spec)
		for name, want := range properties {
			if got := x.b.Property(x.t, volumeID(x.t, "a"), string(name)); got != want {
				x.t.Errorf("property %s of a %s is %q, want %q", name, kind, got, want)
			}
		}
		x.delete("a")
	}
}

func testCreateErrors(x *trial) {
	x.create("a", x.spec(zfs.Filesystem))
	x.unchanged(func() {
		for _, parent := range x.store.Parents() {
			spec := x.spec(zfs.Block)
			spec.Parent = parent
			_, err := x.store.Create(x.t.Context(), volumeID(x.t, "a"), spec)
			x.is(err, zfs.ErrExists, "a")
		}
		for _, change := range []func(*zfs.Spec){
			func(s *zfs.Spec) { s.Parent = zfs.MustParseDataset(x.parent().String() + "/elsewhere") },
			func(s *zfs.Spec) { s.Size = 0 },
			func(s *zfs.Spec) { s.Size = -1 },
			func(s *zfs.Spec) { s.Kind = 0 },
		} {
			spec := x.spec(zfs.Filesystem)
			change(&spec)
			_, err := x.store.Create(x.t.Context(), volumeID(x.t, "b"), spec)
			x.is(err, zfs.ErrInvalid)
		}
	})
	x.delete("a")
}

func testAttributes(x *trial) {
	x.eachKind(func(x *trial, kind zfs.Kind) {
		spec := x.spec(kind)
		spec.Attributes = zfs.Attributes{
			Name:       "a name/with = \"quotes\", 100%, ünï, \\ and\twhite\nspace",
			Parameters: `{"cloneMode":"cow","zfs.compression":"lz4"}`,
			Labels:     map[string]string{"pvc.name": "data-0", "pvc.namespace": "-", "pv.name": "a&b=c;d"},
		}
		if kind == zfs.Block {
			spec.FSType = "ext4"
		}
		v := x.create("a", spec)
		if v.Name != spec.Name || v.Parameters != spec.Parameters || v.FSType != spec.FSType || len(v.Labels) != 3 {
			x.t.Errorf("made with %+v, got %+v", spec.Attributes, v.Attributes)
		}
		x.seen(v)

		if err := x.store.SetFormatted(x.t.Context(), v.ID); err != nil {
			x.t.Fatal(err)
		}
		v.Formatted = true
		x.seen(v)

		// A clone has attributes of its own, but is formatted when its source is.
		spec.Name, spec.Parameters, spec.Labels = "-", "other", map[string]string{"pvc.name": "clone"}
		c := x.clone("b", "a", spec)
		if c.Name != spec.Name || c.Parameters != spec.Parameters || len(c.Labels) != 1 || c.Labels["pvc.name"] != "clone" {
			x.t.Errorf("cloned with %+v, got %+v", spec.Attributes, c.Attributes)
		}
		if !c.Formatted || c.Source != "a" {
			x.t.Errorf("a clone of a formatted volume is %s", show(c))
		}
		x.seen(c)
		x.listed(c)
		// What is remembered of a clone outlives its source.
		x.delete("a")
		c.Origin = ""
		x.seen(c)
		x.delete("b")
	})
}

func testList(x *trial) {
	var want []string
	for i, name := range []string{"c", "a.1", "B", "a", "a-1"} {
		spec := x.spec(zfs.Filesystem)
		spec.Parent = x.store.Parents()[i%2]
		x.create(name, spec)
	}
	want = []string{"B", "a", "a-1", "a.1", "c"}
	for i, v := range x.list() {
		if i >= len(want) || v.ID.String() != want[i] {
			x.t.Errorf("List has %s at %d, want the order %q", v.ID, i, want)
		}
	}
	x.delete(want...)
	if left := x.list(); len(left) > 0 {
		x.t.Errorf("List has %s when all are deleted", show(left...))
	}
}

func testAbsent(x *trial) {
	id := volumeID(x.t, "a")
	_, err := x.store.Get(x.t.Context(), id)
	x.is(err, zfs.ErrNotFound, "a")
	_, err = x.store.Resize(x.t.Context(), id, size)
	x.is(err, zfs.ErrNotFound, "a")
	_, err = x.store.Modify(x.t.Context(), id, zfs.Change{})
	x.is(err, zfs.ErrNotFound, "a")
	x.is(x.store.SetFormatted(x.t.Context(), id), zfs.ErrNotFound, "a")
	x.delete("a", "a")
	x.create("a", x.spec(zfs.Filesystem))
	x.delete("a", "a")
	_, err = x.store.Get(x.t.Context(), id)
	x.is(err, zfs.ErrNotFound, "a")
}

func testDevice(x *trial) {
	v := x.create("a", x.spec(zfs.Block))
	path, err := x.store.Device(x.t.Context(), v.Dataset)
	if err != nil {
		x.t.Fatal(err)
	}
	var f *os.File
	x.eventually("the device can be opened", func() bool {
		f, err = os.Open(path)
		return !errors.Is(err, zfs.ErrRestart)
	})
	if err != nil {
		x.t.Fatal(err)
	}
	if end, err := f.Seek(0, 2); err != nil || end != v.Size {
		x.t.Errorf("device %s has %d bytes (%v), want %d", path, end, err, v.Size)
	}
	var st unix.Stat_t
	if err := errors.Join(unix.Fstat(int(f.Fd()), &st), f.Close()); err != nil {
		x.t.Fatal(err)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFBLK { // That of a Store in memory is a file.
		imports := x.b.Export(x.t, x.otherParent().Pool())
		if owner, err := x.store.Owner(x.t.Context(), st.Rdev); err != nil || owner != v.ID {
			x.t.Errorf("device %s is that of volume %s (%v), want %s", path, owner, err, v.ID)
		}
		imports()
	}
	for _, device := range []uint64{0, unix.Mkdev(1, 3), st.Rdev ^ 1} {
		_, err := x.store.Owner(x.t.Context(), device)
		x.is(err, zfs.ErrNotFound)
	}
	x.delete("a")
}

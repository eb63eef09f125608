package storetest

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/zfs-csi/zfs-csi/zfs"
)

func testClone(x *trial) {
	x.eachKind(func(x *trial, kind zfs.Kind) {
		spec := x.spec(kind)
		x.create("a", spec)
		x.write("a", "before")
		b := x.clone("b", "a", spec)
		if b.Source != "a" || b.Size != size || b.Kind != kind || !strings.HasPrefix(b.Origin, x.get("a").Dataset.String()+"@") {
			x.t.Errorf("the clone is %s", show(b))
		}
		x.seen(b)
		x.listed(b)
		x.holds("b", "before")
		x.write("a", "after")
		x.holds("b", "before")
		x.write("b", "own")
		x.holds("a", "after")

		c := x.clone("c", "b", spec)
		if c.Source != "b" {
			x.t.Errorf("the clone of the clone is %s", show(c))
		}
		x.holds("c", "own")
		x.write("b", "later")
		x.write("c", "third")
		x.holds("a", "after")
		x.holds("b", "later")
		x.holds("c", "third")
		x.delete("a", "b", "c")
	})
}

func testCloneLarger(x *trial) {
	x.eachKind(func(x *trial, kind zfs.Kind) {
		for _, copied := range []bool{false, true} {
			x.create("a", x.spec(kind))
			x.write("a", "text")
			larger := x.spec(kind)
			larger.Size = 3*size + 1
			b := x.cloneSpec("b", "a", zfs.CloneSpec{Spec: larger, Copy: copied})
			want := int64(3*size + 1)
			if kind == zfs.Block {
				want = 3*size + zfs.DefaultVolblocksize
			}
			if b.Size != want {
				x.t.Errorf("a clone to %d bytes has %d, want %d", larger.Size, b.Size, want)
			}
			x.seen(b)
			x.holds("b", "text")
			if a := x.get("a"); a.Size != size {
				x.t.Errorf("the source has %d bytes then, want %d", a.Size, size)
			}
			// The clone of a clone may have the size that was asked for, before rounding.
			x.clone("c", "b", larger)
			x.delete("a", "b", "c")
		}
	})
}

func testCloneProperties(x *trial) {
	for kind, fixed := range map[zfs.Kind]zfs.Property{zfs.Filesystem: "casesensitivity", zfs.Block: "volblocksize"} {
		is, other := "insensitive", "sensitive"
		if kind == zfs.Block {
			is, other = "8192", "4096"
		}
		spec := x.spec(kind)
		spec.Properties = zfs.Properties{"compression": "lz4", "checksum": "sha256", fixed: is}
		x.create("a", spec)
		spec.Properties = zfs.Properties{"compression": "zstd-3", fixed: is}
		for _, copied := range []bool{false, true} {
			x.cloneSpec("b", "a", zfs.CloneSpec{Spec: spec, Copy: copied})
			for name, want := range spec.Properties {
				if got := x.b.Property(x.t, volumeID(x.t, "b"), string(name)); got != want {
					x.t.Errorf("property %s of the clone (copied: %v) is %q, want %q", name, copied, got, want)
				}
			}
			if got := x.b.Property(x.t, volumeID(x.t, "b"), "checksum"); got == "sha256" {
				x.t.Errorf("the clone (copied: %v) has the source's checksum %q without being asked to", copied, got)
			}
			x.delete("b")
		}
		spec.Properties = zfs.Properties{fixed: other}
		x.unchanged(func() {
			_, err := x.store.Clone(x.t.Context(), volumeID(x.t, "b"), volumeID(x.t, "a"), Plan(zfs.CloneSpec{Spec: spec}))
			x.is(err, zfs.ErrInvalid, string(fixed))
		})
		x.delete("a")
	}
}

func testCloneErrors(x *trial) {
	x.eachKind(func(x *trial, kind zfs.Kind) {
		spec := x.spec(kind)
		if kind == zfs.Block {
			spec.FSType = "xfs"
		}
		x.create("a", spec)
		x.create("b", spec)
		for _, test := range []struct {
			id, source string
			change     func(*zfs.CloneSpec)
			want       error
		}{
			{"c", "absent", func(*zfs.CloneSpec) {}, zfs.ErrNotFound},
			{"b", "a", func(*zfs.CloneSpec) {}, zfs.ErrExists},
			{"a", "a", func(*zfs.CloneSpec) {}, zfs.ErrExists},
			{"b", "a", func(s *zfs.CloneSpec) { s.Parent = x.otherParent() }, zfs.ErrExists},
			{"c", "a", func(s *zfs.CloneSpec) { s.Size = size - zfs.DefaultVolblocksize }, zfs.ErrInvalid},
			{"c", "a", func(s *zfs.CloneSpec) { s.Kind = zfs.Filesystem + zfs.Block - kind }, zfs.ErrInvalid},
			{"c", "a", func(s *zfs.CloneSpec) { s.FSType = "ext4" }, zfs.ErrInvalid},
			{"c", "a", func(s *zfs.CloneSpec) { s.Parent = zfs.MustParseDataset(x.parent().String() + "/elsewhere") }, zfs.ErrInvalid},
		} {
			for _, copied := range []bool{false, true} {
				clone := zfs.CloneSpec{Spec: spec, Copy: copied}
				test.change(&clone)
				_, err := x.store.Clone(x.t.Context(), volumeID(x.t, test.id), volumeID(x.t, test.source), Plan(clone))
				x.is(err, test.want)
			}
		}
		if names := x.b.Contents(x.t); len(names) != 2 {
			x.t.Errorf("the pools hold %q after clones that failed", names)
		}
		x.delete("a", "b")
	})
}

func testCloneCopy(x *trial) {
	x.eachKind(func(x *trial, kind zfs.Kind) {
		spec := x.spec(kind)
		x.create("a", spec)
		x.write("a", "text")
		copied := x.cloneSpec("b", "a", zfs.CloneSpec{Spec: spec, Copy: true})
		spec.Parent = x.otherParent()
		other := x.clone("c", "a", spec)
		if other.Parent != x.otherParent() || other.Dataset.String() != x.otherParent().String()+"/c" {
			x.t.Errorf("the copy in the other pool is %s", show(other))
		}
		for _, v := range []*zfs.Volume{copied, other} {
			if v.Origin != "" || v.Source != "a" || v.Size != size {
				x.t.Errorf("the copy is %s", show(v))
			}
			x.seen(v)
			x.holds(v.ID.String(), "text")
		}
		// Nothing ties them together, and no snapshot is left of the copying.
		if names := x.b.Contents(x.t); len(names) != 3 {
			x.t.Errorf("the pools hold %q after two copies of a volume", names)
		}
		x.write("a", "later")
		x.holds("b", "text")
		x.delete("a")
		x.holds("c", "text")
		x.delete("b", "c")
	})
}

func testCloneInUse(x *trial) {
	x.eachKind(func(x *trial, kind zfs.Kind) {
		spec := x.spec(kind)
		x.create("a", spec)
		x.write("a", "text")
		_, release := x.b.Use(x.t, volumeID(x.t, "a"))
		x.clone("b", "a", spec)
		x.cloneSpec("c", "a", zfs.CloneSpec{Spec: spec, Copy: true})
		release()
		x.holds("b", "text")
		x.holds("c", "text")
		x.delete("a", "b", "c")
	})
}

func testCloneQuiesce(x *trial) {
	spec := x.spec(zfs.Block)
	x.create("a", spec)
	x.write("a", "before")
	for _, copied := range []bool{false, true} {
		fault := errors.New("it does not rest")
		quiesce := func(begin, end error) func() (func() error, error) {
			return func() (func() error, error) {
				x.write("a", "at rest")
				return func() error {
					x.write("a", "after")
					return end
				}, begin
			}
		}
		clone := zfs.CloneSpec{Spec: spec, Copy: copied}
		for _, faults := range [][2]error{{fault, nil}, {nil, fault}} {
			clone.Quiesce = quiesce(faults[0], faults[1])
			_, err := x.store.Clone(x.t.Context(), volumeID(x.t, "b"), volumeID(x.t, "a"), Plan(clone))
			x.is(err, fault)
			if names := x.b.Contents(x.t); len(names) != 1 {
				x.t.Errorf("the pools hold %q after a clone that failed", names)
			}
		}
		clone.Quiesce = quiesce(nil, nil)
		x.cloneSpec("b", "a", clone)
		x.holds("b", "at rest")
		x.holds("a", "after")
		x.delete("b")
	}
	x.delete("a")
}

func testCloneConcurrent(x *trial) {
	x.eachKind(func(x *trial, kind zfs.Kind) {
		spec := x.spec(kind)
		x.create("a", spec)
		x.write("a", "text")
		var names []string
		var wg sync.WaitGroup
		faults := make(chan error, 6)
		for i := range cap(faults) {
			name := fmt.Sprintf("b%d", i)
			names = append(names, name)
			id, source := volumeID(x.t, name), volumeID(x.t, "a")
			wg.Go(func() {
				_, err := x.store.Clone(x.t.Context(), id, source, Plan(zfs.CloneSpec{Spec: spec, Copy: i == 0}))
				faults <- err
			})
		}
		wg.Wait()
		close(faults)
		for err := range faults {
			if err != nil {
				x.t.Errorf("one of several clones at once: %v", err)
			}
		}
		x.delete("a")
		for _, name := range names {
			x.holds(name, "text")
		}
		x.delete(names...)
	})
}

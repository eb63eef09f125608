package storetest

import (
	"fmt"

	"github.com/zfs-csi/zfs-csi/zfs"
)

// near tells whether room has fallen by about the bytes of a reservation: ZFS adds to a
// zvol's for its metadata, and needs some itself.
func near(fell, bytes int64) bool { return fell >= bytes-bytes/10 && fell <= bytes+bytes/2 }

func testThick(x *trial) {
	x.eachKind(func(x *trial, kind zfs.Kind) {
		before := x.available(x.parent())
		// fallen waits until the room has fallen by about so many bytes.
		fallen := func(bytes int64) {
			x.t.Helper()
			what := fmt.Sprintf("%d bytes less than %d available", bytes, before)
			x.eventually(what, func() bool {
				fell := before - x.available(x.parent())
				return near(fell, bytes) || bytes == 0 && fell < size/2
			})
		}
		thick := x.spec(kind)
		thick.Thick = true
		v := x.create("a", thick)
		if !v.Thick || v.Size != size {
			x.t.Errorf("made %s", show(v))
		}
		x.seen(v)
		fallen(size)

		grown, err := x.store.Resize(x.t.Context(), v.ID, 2*size)
		if err != nil {
			x.t.Fatal(err)
		}
		if !grown.Thick || grown.Size != 2*size {
			x.t.Errorf("grown to %s", show(grown))
		}
		x.seen(grown)
		fallen(2 * size)

		thin := x.spec(kind)
		thin.Size = 2 * size
		if c := x.clone("b", "a", thin); c.Thick {
			x.t.Errorf("a thin clone of a thick volume is %s", show(c))
		}
		x.seen(x.get("b"))
		fallen(2 * size)
		x.delete("a")
		x.seen(x.get("b"))
		fallen(0)
		thick.Size = 2 * size
		c := x.clone("c", "b", thick)
		if !c.Thick {
			x.t.Errorf("a thick clone of a thin volume is %s", show(c))
		}
		x.seen(c)
		fallen(2 * size)
		x.delete("b", "c")
		fallen(0)
	})
}

func testNoSpace(x *trial) {
	x.eachKind(func(x *trial, kind zfs.Kind) {
		small, large := x.spec(kind), x.spec(kind)
		small.Thick, large.Thick = true, true
		large.Size = x.available(x.parent()) + 1<<30
		v := x.create("a", small)
		x.unchanged(func() {
			_, err := x.store.Create(x.t.Context(), volumeID(x.t, "b"), large)
			x.is(err, zfs.ErrNoSpace)
			_, err = x.store.Clone(x.t.Context(), volumeID(x.t, "b"), v.ID, Plan(zfs.CloneSpec{Spec: large}))
			x.is(err, zfs.ErrNoSpace)
			_, err = x.store.Clone(x.t.Context(), volumeID(x.t, "b"), v.ID, Plan(zfs.CloneSpec{Spec: large, Copy: true}))
			x.is(err, zfs.ErrNoSpace)
			_, err = x.store.Resize(x.t.Context(), v.ID, large.Size)
			x.is(err, zfs.ErrNoSpace)
		})
		// A thin one may be larger than the pool.
		large.Thick = false
		x.seen(x.create("b", large))
		x.delete("a", "b")
	})
}

func testResize(x *trial) {
	x.eachKind(func(x *trial, kind zfs.Kind) {
		x.create("a", x.spec(kind))
		x.write("a", "kept")
		for _, test := range []struct{ size, want int64 }{
			{size, size}, {1, size}, {0, size}, {2 * size, 2 * size}, {size, 2 * size}, {2*size + 1, 2*size + 1},
		} {
			if kind == zfs.Block && test.want == 2*size+1 {
				test.want = 2*size + zfs.DefaultVolblocksize
			}
			v, err := x.store.Resize(x.t.Context(), volumeID(x.t, "a"), test.size)
			if err != nil {
				x.t.Fatal(err)
			}
			if v.Size != test.want {
				x.t.Errorf("resized to %d the volume has %d bytes, want %d", test.size, v.Size, test.want)
			}
			x.seen(v)
		}
		x.holds("a", "kept")
		x.delete("a")
	})
}

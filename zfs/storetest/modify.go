package storetest

import (
	"maps"

	"github.com/zfs-csi/zfs-csi/zfs"
)

// modify changes a volume, which must work, and checks what is told of it.
func (x *trial) modify(name string, change zfs.Change) *zfs.Volume {
	x.t.Helper()
	v, err := x.store.Modify(x.t.Context(), volumeID(x.t, name), change)
	if err != nil {
		x.t.Fatalf("Modify(%s): %v", name, err)
	}
	x.seen(v)
	for property, want := range change.Properties {
		if got := x.property(name, property); got != want {
			x.t.Errorf("property %s of %s is %q, want %q", property, name, got, want)
		}
	}
	return v
}

func (x *trial) property(name string, property zfs.Property) string {
	x.t.Helper()
	return x.b.Property(x.t, volumeID(x.t, name), string(property))
}

// testModify changes properties of a volume in use and of its clone.
func testModify(x *trial) {
	x.eachKind(func(x *trial, kind zfs.Kind) {
		spec := x.spec(kind)
		spec.Properties = zfs.Properties{"compression": "lz4", "checksum": "sha256"}
		made := x.create("a", spec)
		x.write("a", "text")
		x.clone("b", "a", spec)

		_, release := x.b.Use(x.t, made.ID)
		change := zfs.Change{Properties: zfs.Properties{"compression": "zstd-3", "sync": "always"}}
		for range 2 { // Done again it changes nothing more.
			if v := x.modify("a", change); !same(v, made) {
				x.t.Errorf("changed in two properties, %s is %s", show(made), show(v))
			}
		}
		release()
		x.seen(x.modify("a", zfs.Change{}))
		if got := x.property("a", "checksum"); got != "sha256" {
			x.t.Errorf("checksum, which was not to change, is %q", got)
		}
		if got := x.property("b", "compression"); got != "lz4" {
			x.t.Errorf("the compression of a clone has become %q with its source's", got)
		}
		x.modify("b", zfs.Change{Properties: zfs.Properties{"copies": "2"}})
		x.holds("a", "text")
		x.delete("a")
		x.holds("b", "text")
		x.delete("b")
	})
}

// testModifyThick makes volumes thick and thin again.
func testModifyThick(x *trial) {
	x.eachKind(func(x *trial, kind zfs.Kind) {
		x.create("a", x.spec(kind))
		x.write("a", "text")
		x.clone("b", "a", x.spec(kind))
		for _, name := range []string{"a", "b"} {
			before := x.available(x.parent())
			for _, thick := range []bool{true, true, false, false} {
				v := x.modify(name, zfs.Change{Thick: &thick, Properties: zfs.Properties{"logbias": "throughput"}})
				if v.Thick != thick {
					x.t.Errorf("to be thick is %v, and it is %s", thick, show(v))
				}
				x.eventually("the room is as the reservation has it", func() bool {
					fell := before - x.available(x.parent())
					return thick && near(fell, size) || !thick && fell < size/2
				})
			}
			// What is thick grows as such.
			x.modify(name, zfs.Change{Thick: new(true)})
			grown, err := x.store.Resize(x.t.Context(), volumeID(x.t, name), 2*size)
			if err != nil || !grown.Thick {
				x.t.Errorf("made thick and grown: %v, %v", grown, err)
			}
			x.eventually("what it grew by is reserved", func() bool {
				return near(before-x.available(x.parent()), 2*size)
			})
			x.modify(name, zfs.Change{Thick: new(false)})
		}
		x.holds("b", "text")
		x.delete("a", "b")
	})
}

// testModifyRefused: a change that cannot be made as a whole is not made at all.
func testModifyRefused(x *trial) {
	x.eachKind(func(x *trial, kind zfs.Kind) {
		spec := x.spec(kind)
		spec.Size = x.available(x.parent()) + 1<<30
		spec.Properties = zfs.Properties{"compression": "lz4"}
		x.create("a", spec)
		x.write("a", "text")
		fixed, foreign := zfs.Properties{"casesensitivity": "insensitive"}, zfs.Properties{"volblocksize": "8192"}
		if kind == zfs.Block {
			fixed, foreign = foreign, zfs.Properties{"recordsize": "8192"}
		}
		for _, test := range []struct {
			thick      *bool
			properties zfs.Properties
			want       error
		}{
			{nil, fixed, zfs.ErrInvalid},
			{nil, foreign, zfs.ErrInvalid},
			{nil, zfs.Properties{"mountpoint": "/"}, zfs.ErrInvalid},
			{new(false), fixed, zfs.ErrInvalid},
			{new(true), zfs.Properties{}, zfs.ErrNoSpace},
		} {
			// One that has a value of its own, and one that has not.
			change := zfs.Change{Thick: test.thick, Properties: zfs.Properties{"compression": "zstd", "sync": "always"}}
			maps.Copy(change.Properties, test.properties)
			compression, sync := x.property("a", "compression"), x.property("a", "sync")
			x.unchanged(func() {
				_, err := x.store.Modify(x.t.Context(), volumeID(x.t, "a"), change)
				x.is(err, test.want, "a")
			})
			if now := x.property("a", "compression"); now != compression {
				x.t.Errorf("compression is %q after a change to %v that was refused, before %q", now, change, compression)
			}
			if now := x.property("a", "sync"); now != sync {
				x.t.Errorf("sync is %q after a change to %v that was refused, before %q", now, change, sync)
			}
		}
		x.holds("a", "text")
		x.delete("a")
	})
}

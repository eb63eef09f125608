package zfs_test

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/zfs-csi/zfs-csi/zfs"
	"github.com/zfs-csi/zfs-csi/zfs/zfstest"
)

// newLocal returns the store on a parent in a pool of its own, without the features named.
func newLocal(t *testing.T, without ...string) *zfs.Local {
	t.Helper()
	parent := zfstest.NewPool(t, 256<<20, without...).Parent(t, "csi", zfstest.Driver)
	l, err := zfs.NewLocal(zfs.LocalConfig{
		Driver: zfstest.Driver, Parents: []zfs.Dataset{parent}, DeviceDir: t.TempDir(),
		Runner: zfs.Exec{Log: slog.New(slog.DiscardHandler)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// newVolume makes a volume of a kind.
func newVolume(t *testing.T, l *zfs.Local, kind zfs.Kind, properties zfs.Properties) *zfs.Volume {
	t.Helper()
	id := zfs.VolumeIDFor(kind.String(), l.Parents()[0])
	v, err := l.Create(t.Context(), id, zfs.Spec{
		Parent: l.Parents()[0], Kind: kind, Size: 16 << 20, Properties: properties, Attributes: zfs.Attributes{Name: "name"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestModifyHalfWay: where ZFS sets only some properties, each has its value, from where it had it,
// as before.
func TestModifyHalfWay(t *testing.T) {
	l := newLocal(t, "zstd_compress")
	for _, kind := range []zfs.Kind{zfs.Filesystem, zfs.Block} {
		v := newVolume(t, l, kind, zfs.Properties{"copies": "2"})
		zfstest.Run(t, "zfs", "set", "logbias=throughput", v.Parent.String())
		state := func() string {
			return zfstest.Run(t, "zfs", "get", "-Hp", "-o", "property,value,source", "copies,logbias,sync,compression,refreservation", v.Dataset.String())
		}
		before := state()
		for _, source := range []string{"copies\t2\tlocal", "logbias\tthroughput\tinherited", "sync\tstandard\tdefault"} {
			if !strings.Contains(before, source) {
				t.Errorf("the volume has not %q:\n%s", source, before)
			}
		}
		_, err := l.Modify(t.Context(), v.ID, zfs.Change{Thick: new(true), Properties: zfs.Properties{
			"copies": "3", "logbias": "latency", "sync": "always", "compression": "zstd",
		}})
		if !errors.Is(err, zfs.ErrInvalid) || !strings.Contains(err.Error(), "compression=zstd") {
			t.Errorf("error %v, want one that names what was to be set and is %v", err, zfs.ErrInvalid)
		}
		if after := state(); after != before {
			t.Errorf("after a change that failed half-way a %s has\n%s\nbefore\n%s", kind, after, before)
		}
	}
}

// TestModifyEach: each property that can change and that this version of ZFS knows is changed.
func TestModifyEach(t *testing.T) {
	l := newLocal(t)
	for _, kind := range []zfs.Kind{zfs.Filesystem, zfs.Block} {
		v := newVolume(t, l, kind, nil)
		known := map[string]string{}
		for _, name := range zfs.AllowedProperties(kind) {
			if zfs.Mutable(name) {
				known[name] = zfs.ValuesOf(name)[0]
			}
		}
		setAll(t, v.Dataset.String(), known)
		change := zfs.Change{Properties: zfs.Properties{}}
		for name := range known {
			change.Properties[zfs.Property(name)] = zfs.ValuesOf(name)[1]
		}
		if _, err := l.Modify(t.Context(), v.ID, change); err != nil {
			t.Fatal(err)
		}
		for name, want := range change.Properties {
			if got := zfstest.Run(t, "zfs", "get", "-Hp", "-o", "value", string(name), v.Dataset.String()); got != want && got != "on" {
				t.Errorf("%s was changed to %s and is %s", name, want, got)
			}
		}
	}
}

package zfs_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/zfs-csi/zfs-csi/zfs"
	"github.com/zfs-csi/zfs-csi/zfs/zfstest"
)

// newLocal returns the store on a parent in a pool of its own, without the features named.
func newLocal(t *testing.T, without ...string) *zfs.Local {
	t.Helper()
	return localOn(t, zfstest.NewPool(t, 256<<20, without...).Parent(t, "csi", zfstest.Driver), zfs.Exec{Log: slog.New(slog.DiscardHandler)})
}

// localOn returns the store on a parent, which is another process's to the store.
func localOn(t *testing.T, parent zfs.Dataset, run zfs.Runner) *zfs.Local {
	t.Helper()
	l, err := zfs.NewLocal(zfs.LocalConfig{
		Driver: zfstest.Driver, Parents: []zfs.Dataset{parent}, DeviceDir: t.TempDir(), Runner: run,
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
			return zfstest.Run(t, "zfs", "get", "-Hp", "-o", "property,value,source", "copies,logbias,sync,compression,refreservation,zfs-csi:changing", v.Dataset.String())
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

// mortal is a runner whose process dies when it has run the first command that has a text among its arguments.
type mortal struct {
	zfs.Exec
	after string
	dead  bool
}

func (m *mortal) Run(ctx context.Context, c zfs.Command) (zfs.Result, error) {
	if m.dead {
		return zfs.Result{}, errors.New("the process is dead")
	}
	m.dead = strings.Contains(c.String(), m.after)
	result, err := m.Exec.Run(ctx, c)
	if m.dead {
		return zfs.Result{}, errors.New("the process dies")
	}
	return result, err
}

// TestModifyCutOff: a process dies with a part of a change made. Then all of it is made or nothing, whether ZFS can
// make it or not, and whether the call comes again, or another one, or only the sweep of the next process.
func TestModifyCutOff(t *testing.T) {
	l := newLocal(t, "zstd_compress")
	quiet := zfs.Exec{Log: slog.New(slog.DiscardHandler)}
	possible := zfs.Change{Thick: new(true), Properties: zfs.Properties{"copies": "3", "logbias": "latency", "sync": "always"}}
	refused := zfs.Change{Properties: zfs.Properties{"copies": "3", "logbias": "latency", "compression": "zstd"}}
	other := zfs.Change{Properties: zfs.Properties{"sync": "disabled"}}
	lock := func(zfs.VolumeID) func() { return func() {} }
	for _, test := range []struct {
		name, after string
		change      zfs.Change
		then        func(l *zfs.Local, id zfs.VolumeID) error
		want        []string // properties of which the volume has others than before
		err         error
	}{
		{"refused, repeated", "copies=3", refused, func(l *zfs.Local, id zfs.VolumeID) error { _, err := l.Modify(t.Context(), id, refused); return err }, nil, zfs.ErrInvalid},
		{"refused, another", "copies=3", refused, func(l *zfs.Local, id zfs.VolumeID) error { _, err := l.Modify(t.Context(), id, other); return err }, []string{"sync"}, nil},
		{"refused, swept", "copies=3", refused, func(l *zfs.Local, _ zfs.VolumeID) error { return l.Sweep(t.Context(), lock) }, nil, nil},
		{"without the reservation, swept", "copies=3", possible, func(l *zfs.Local, _ zfs.VolumeID) error { return l.Sweep(t.Context(), lock) }, nil, nil},
		{"without the reservation, repeated", "copies=3", possible, func(l *zfs.Local, id zfs.VolumeID) error { _, err := l.Modify(t.Context(), id, possible); return err },
			[]string{"copies", "logbias", "refreservation", "sync"}, nil},
		{"with the reservation, swept", "refreservation=", possible, func(l *zfs.Local, _ zfs.VolumeID) error { return l.Sweep(t.Context(), lock) },
			[]string{"copies", "logbias", "refreservation", "sync"}, nil},
	} {
		v := newVolume(t, l, zfs.Filesystem, zfs.Properties{"copies": "2"})
		zfstest.Run(t, "zfs", "set", "logbias=throughput", v.Parent.String())
		state := func() []string {
			return strings.Split(zfstest.Run(t, "zfs", "get", "-Hp", "-o", "property,value,source", "compression,copies,logbias,refreservation,sync,zfs-csi:changing", v.Dataset.String()), "\n")
		}
		before := state()
		dying := localOn(t, v.Parent, &mortal{Exec: quiet, after: test.after})
		if _, err := dying.Modify(t.Context(), v.ID, test.change); err == nil {
			t.Fatalf("%s: a process that died says that it is done", test.name)
		}
		if strings.Join(state(), "\n") == strings.Join(before, "\n") {
			t.Fatalf("%s: the process died with nothing changed, which tests nothing", test.name)
		}
		if err := test.then(localOn(t, v.Parent, quiet), v.ID); !errors.Is(err, test.err) {
			t.Errorf("%s: %v, want %v", test.name, err, test.err)
		}
		var changed []string
		for i, line := range state() {
			if line != before[i] {
				property, _, _ := strings.Cut(line, "\t")
				changed = append(changed, property)
			}
		}
		if !slices.Equal(changed, test.want) {
			t.Errorf("%s: changed are %q, want %q; there is\n%s", test.name, changed, test.want, strings.Join(state(), "\n"))
		}
		remove(t, l, v.ID)
	}
}

// TestModifyCutOffThenGrown: how much is reserved says nothing of a change after a growth, but whether anything is.
func TestModifyCutOffThenGrown(t *testing.T) {
	l := newLocal(t)
	quiet := zfs.Exec{Log: slog.New(slog.DiscardHandler)}
	v := newVolume(t, l, zfs.Block, nil)
	if _, err := l.Modify(t.Context(), v.ID, zfs.Change{Thick: new(true)}); err != nil {
		t.Fatal(err)
	}
	dying := localOn(t, v.Parent, &mortal{Exec: quiet, after: "copies=3"})
	if _, err := dying.Modify(t.Context(), v.ID, zfs.Change{Thick: new(false), Properties: zfs.Properties{"copies": "3"}}); err == nil {
		t.Fatal("a process that died says that it is done")
	}
	next := localOn(t, v.Parent, quiet)
	if _, err := next.Resize(t.Context(), v.ID, 2*v.Size); err != nil {
		t.Fatal(err)
	}
	if err := next.Sweep(t.Context(), func(zfs.VolumeID) func() { return func() {} }); err != nil {
		t.Fatal(err)
	}
	if got := zfstest.Run(t, "zfs", "get", "-Hpo", "value", "copies,zfs-csi:changing", v.Dataset.String()); got != "1\n-" {
		t.Errorf("copies and what is changing are %q: the change is not undone", got)
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
			if got := zfstest.Run(t, "zfs", "get", "-Hp", "-o", "value", string(name), v.Dataset.String()); got != want && (name != "xattr" || got != "on") {
				t.Errorf("%s was changed to %s and is %s", name, want, got)
			}
		}
	}
}

package storetest

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zfs-csi/zfs-csi/zfs"
)

// size is that of volumes unless a case needs another, in bytes.
const size = 16 << 20

// patience is how long a state is waited for that comes by itself.
const patience = 30 * time.Second

// trial is one case under way. Its methods do what must succeed for the case to go on.
type trial struct {
	t     *testing.T
	b     Backend
	store zfs.Store
}

// sub runs a part of the case.
func (x *trial) sub(name string, run func(*trial)) {
	x.t.Run(name, func(t *testing.T) { run(&trial{t: t, b: x.b, store: x.store}) })
}

// eachKind runs a part of the case for both kinds of volumes.
func (x *trial) eachKind(run func(*trial, zfs.Kind)) {
	for _, kind := range []zfs.Kind{zfs.Filesystem, zfs.Block} {
		x.sub(kind.String(), func(x *trial) { run(x, kind) })
	}
}

func (x *trial) parent() zfs.Dataset { return x.store.Parents()[0] }

// otherParent is on another pool.
func (x *trial) otherParent() zfs.Dataset { return x.store.Parents()[1] }

// spec returns a plain one.
func (x *trial) spec(kind zfs.Kind) zfs.Spec {
	return zfs.Spec{Parent: x.parent(), Kind: kind, Size: size, Attributes: zfs.Attributes{Name: "some name"}}
}

func volumeID(t testing.TB, s string) zfs.VolumeID {
	t.Helper()
	id, err := zfs.ParseVolumeID(s)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func (x *trial) create(name string, spec zfs.Spec) *zfs.Volume {
	x.t.Helper()
	v, err := x.store.Create(x.t.Context(), volumeID(x.t, name), spec)
	if err != nil {
		x.t.Fatalf("Create(%s): %v", name, err)
	}
	return v
}

func (x *trial) clone(name, source string, spec zfs.Spec) *zfs.Volume {
	x.t.Helper()
	return x.cloneSpec(name, source, zfs.CloneSpec{Spec: spec})
}

// Plan returns the plan of a clone that is to be the same whatever its source is.
func Plan(spec zfs.CloneSpec) zfs.Plan {
	return func(*zfs.Volume) (zfs.CloneSpec, error) { return spec, nil }
}

func (x *trial) cloneSpec(name, source string, spec zfs.CloneSpec) *zfs.Volume {
	x.t.Helper()
	v, err := x.store.Clone(x.t.Context(), volumeID(x.t, name), volumeID(x.t, source), Plan(spec))
	if err != nil {
		x.t.Fatalf("Clone(%s, %s): %v", name, source, err)
	}
	return v
}

func (x *trial) get(name string) *zfs.Volume {
	x.t.Helper()
	v, err := x.store.Get(x.t.Context(), volumeID(x.t, name))
	if err != nil {
		x.t.Fatalf("Get(%s): %v", name, err)
	}
	return v
}

func (x *trial) delete(names ...string) {
	x.t.Helper()
	for _, name := range names {
		if err := x.store.Delete(x.t.Context(), volumeID(x.t, name)); err != nil {
			x.t.Fatalf("Delete(%s): %v", name, err)
		}
	}
}

func (x *trial) available(parent zfs.Dataset) int64 {
	x.t.Helper()
	c, err := x.store.Capacity(x.t.Context(), parent)
	if err != nil {
		x.t.Fatalf("Capacity(%s): %v", parent, err)
	}
	return c.Available
}

func (x *trial) list() []*zfs.Volume {
	x.t.Helper()
	volumes, err := x.store.List(x.t.Context())
	if err != nil {
		x.t.Fatalf("List: %v", err)
	}
	return volumes
}

func (x *trial) write(name, text string) {
	x.t.Helper()
	x.b.Write(x.t, volumeID(x.t, name), text)
}

// holds checks what a volume holds.
func (x *trial) holds(name, text string) {
	x.t.Helper()
	if got := x.b.Read(x.t, volumeID(x.t, name)); got != text {
		x.t.Errorf("volume %s holds %q, want %q", name, got, text)
	}
}

// is checks that an error is the one wanted and says certain things.
func (x *trial) is(err, want error, says ...string) {
	x.t.Helper()
	if !errors.Is(err, want) {
		x.t.Errorf("error is %q, want %q", err, want)
		return
	}
	for _, part := range says {
		if err != nil && !strings.Contains(err.Error(), part) {
			x.t.Errorf("error %q does not say %q", err, part)
		}
	}
}

// unchanged checks that what run does leaves all as it was, contents aside.
func (x *trial) unchanged(run func()) {
	x.t.Helper()
	contents, volumes := x.b.Contents(x.t), x.list()
	run()
	if now := x.b.Contents(x.t); !slices.Equal(now, contents) {
		x.t.Errorf("the pools held %q and hold now %q", contents, now)
	}
	if now := x.list(); !slices.EqualFunc(now, volumes, same) {
		x.t.Errorf("the volumes were %s and are now %s", show(volumes...), show(now...))
	}
}

// same tells whether two volumes are alike, but for the space they use.
func same(a, b *zfs.Volume) bool {
	return a.ID == b.ID && a.Dataset == b.Dataset && a.Parent == b.Parent && a.Kind == b.Kind &&
		a.Size == b.Size && a.BlockSize == b.BlockSize && a.Thick == b.Thick && a.Origin == b.Origin &&
		a.Name == b.Name && a.FSType == b.FSType && a.Formatted == b.Formatted && a.Source == b.Source &&
		a.Parameters == b.Parameters && maps.Equal(a.Labels, b.Labels)
}

// eventually waits until a condition holds.
func (x *trial) eventually(what string, holds func() bool) {
	x.t.Helper()
	for deadline := time.Now().Add(patience); !holds(); {
		if time.Now().After(deadline) {
			x.t.Fatalf("not within %v: %s", patience, what)
		}
		select {
		case <-x.t.Context().Done():
			x.t.Fatal(x.t.Context().Err())
		case <-time.After(patience / 300):
		}
	}
}

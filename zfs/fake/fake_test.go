package fake

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/zfs-csi/zfs-csi/zfs"
	"github.com/zfs-csi/zfs-csi/zfs/storetest"
)

var parents = []zfs.Dataset{zfs.MustParseDataset("tank/csi"), zfs.MustParseDataset("other/csi")}

func TestStore(t *testing.T) {
	storetest.Run(t, 1, func(t *testing.T, _, pools int) storetest.Backend {
		s := New(parents[:pools]...)
		s.DeviceDir = t.TempDir()
		return &backend{s}
	})
}

// backend is what the suite's side can do to a Store.
type backend struct{ s *Store }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// locked runs f on the volume of an ID.
func (b *backend) locked(t testing.TB, id zfs.VolumeID, f func(d *dataset)) {
	t.Helper()
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	d, err := b.s.find(id)
	must(t, err)
	f(d)
}

func (b *backend) Store() zfs.Store { return b.s }
func (b *backend) Slow() bool       { return false }

func (b *backend) Contents(testing.TB) []string {
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	names := slices.Collect(maps.Keys(b.s.datasets))
	for _, d := range b.s.datasets {
		for _, snap := range d.snapshots {
			names = append(names, snap.fullName())
		}
	}
	slices.Sort(names)
	return names
}

func (b *backend) Settled(t testing.TB) {
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	for _, p := range b.s.parents {
		if left := b.s.available(p.Pool()); left != DefaultPoolSize {
			t.Errorf("pool %s has %d bytes left in the end, not %d", p.Pool(), left, int64(DefaultPoolSize))
		}
	}
}

func (b *backend) Write(t testing.TB, id zfs.VolumeID, text string) {
	t.Helper()
	must(t, b.s.Write(id, []byte(text)))
}

func (b *backend) Read(t testing.TB, id zfs.VolumeID) string {
	t.Helper()
	data, err := b.s.Read(id)
	must(t, err)
	return string(data)
}

func (b *backend) Property(t testing.TB, id zfs.VolumeID, name string) string {
	t.Helper()
	value, err := b.s.Property(id, zfs.Property(name))
	must(t, err)
	return value
}

func (b *backend) Use(t testing.TB, id zfs.VolumeID) (string, func()) {
	t.Helper()
	must(t, b.s.SetBusy(id, "mounted at /mnt/"+id.String()))
	return "/mnt/" + id.String(), func() { must(t, b.s.SetBusy(id, "")) }
}

// take takes a snapshot.
func take(d *dataset, snap *snapshot) {
	snap.of, snap.content = d, d.content
	d.snapshots = append(d.snapshots, snap)
}

func (b *backend) ForeignSnapshot(t testing.TB, id zfs.VolumeID, name string) {
	t.Helper()
	b.locked(t, id, func(d *dataset) { take(d, &snapshot{name: name}) })
}

// ForeignSnapshotOfAll takes the name and no snapshot, which would be in nobody's way.
func (b *backend) ForeignSnapshotOfAll(_ testing.TB, _ zfs.Dataset, name string) func() {
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	b.s.entries[name] = entry{}
	return func() {
		b.s.mu.Lock()
		defer b.s.mu.Unlock()
		delete(b.s.entries, name)
	}
}

// named returns a snapshot of d.
func (d *dataset) named(t testing.TB, name string) *snapshot {
	t.Helper()
	i := slices.IndexFunc(d.snapshots, func(snap *snapshot) bool { return snap.name == name })
	if i < 0 {
		t.Fatalf("%s has no snapshot %s", d.name, name)
	}
	return d.snapshots[i]
}

func (b *backend) ForeignClone(t testing.TB, id zfs.VolumeID, name string) (string, func()) {
	t.Helper()
	c := &dataset{name: zfs.MustParseDataset("tank/restored")}
	b.locked(t, id, func(d *dataset) {
		c.origin = d.named(t, name)
		c.content = c.origin.content
		b.s.datasets[c.name.String()] = c
	})
	return c.name.String(), func() {
		b.s.mu.Lock()
		defer b.s.mu.Unlock()
		b.s.remove(c)
	}
}

func (b *backend) ForeignDataset(_ testing.TB, name zfs.Dataset, _ zfs.Kind) func() {
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	b.s.datasets[name.String()] = &dataset{name: name}
	return func() {
		b.s.mu.Lock()
		defer b.s.mu.Unlock()
		delete(b.s.datasets, name.String())
	}
}

func (b *backend) Hold(t testing.TB, id zfs.VolumeID, name string) func() {
	t.Helper()
	set := func(held bool) {
		b.locked(t, id, func(d *dataset) { d.named(t, name).held = held })
	}
	set(true)
	return func() { set(false) }
}

func (b *backend) Export(_ testing.TB, pool string) func() {
	b.s.SetPool(pool, Exported)
	return func() { b.s.SetPool(pool, Healthy) }
}

func (b *backend) Degrade(_ testing.TB, pool string) func() {
	b.s.SetPool(pool, Degraded)
	return func() { b.s.SetPool(pool, Healthy) }
}

func (b *backend) Unmark(_ testing.TB, parent zfs.Dataset) func() {
	b.s.SetMarked(parent, false)
	return func() { b.s.SetMarked(parent, true) }
}

func (b *backend) Die(t testing.TB, source, id zfs.VolumeID, moment storetest.Moment) {
	t.Helper()
	b.locked(t, source, func(d *dataset) {
		half := &dataset{name: zfs.MustParseDataset(d.parent.String() + "/" + id.String()), parent: d.parent, unfinished: true}
		switch moment {
		case storetest.InRestore:
			half.origin = d.named(t, "s")
		case storetest.InCreate:
		default:
			half.origin = &snapshot{name: "clone-of-the-dead-" + id.String(), ours: true}
			take(d, half.origin)
		}
		if moment != storetest.BeforeClone && moment != storetest.InCopy {
			b.s.datasets[half.name.String()] = half
		}
	})
}

func TestPoolStates(t *testing.T) {
	id, err := zfs.ParseVolumeID("a")
	must(t, err)
	for state, reason := range map[PoolState]string{Suspended: "PoolSuspended", Exported: "PoolNotImported", Replaced: "ParentMissing"} {
		s := New(parents...)
		s.SetPool("tank", state)
		if _, err := s.Get(t.Context(), id); !errors.Is(err, zfs.ErrUnavailable) {
			t.Errorf("state %d: Get: %v", state, err)
		}
		if err := s.Delete(t.Context(), id); !errors.Is(err, zfs.ErrUnavailable) {
			t.Errorf("state %d: Delete: %v", state, err)
		}
		if c, err := s.Condition(t.Context(), parents[0]); err != nil || c.Health != zfs.Inaccessible || c.Reason != reason {
			t.Errorf("state %d: Condition is %+v, %v", state, c, err)
		}
	}
}

func TestIntercept(t *testing.T) {
	s := New(parents...)
	fault, id := errors.New("injected"), zfs.VolumeIDFor("a", parents[0])
	arrived, goOn := make(chan string), make(chan error)
	s.Intercept = func(op string, id zfs.VolumeID) error {
		arrived <- op + " " + id.String()
		return <-goOn
	}
	spec := zfs.Spec{Parent: parents[0], Kind: zfs.Filesystem, Size: 1}
	done := make(chan error)
	go func() {
		_, err := s.Create(context.Background(), id, spec)
		done <- err
	}()
	if got := <-arrived; got != "Create a" {
		t.Errorf("intercepted %q", got)
	}
	s.SetPoolSize("tank", 100) // While a call blocks the Store can be used.
	goOn <- fault
	if err := <-done; !errors.Is(err, fault) {
		t.Errorf("Create: %v", err)
	}
	s.Intercept = nil
	if _, err := s.Get(t.Context(), id); !errors.Is(err, zfs.ErrNotFound) {
		t.Errorf("after the call that failed, Get: %v", err)
	}
}

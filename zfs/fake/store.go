// Package fake holds a zfs.Store in memory, for tests of what is built on one. It
// passes the same suite as the Store on real ZFS, package storetest's, and has
// knobs for what is hard to bring about there.
package fake

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/zfs-csi/zfs-csi/zfs"
)

// Store is a zfs.Store in memory. Its knobs may be turned while calls run, except
// for the fields, which are set before the first call.
type Store struct {
	// Intercept, when not nil, is called at the start of each call, with the method's
	// name and the volume it is about (the zero VolumeID for none; the new volume for
	// Clone). The call fails with the error it returns, and has then changed nothing.
	// It may block; no lock is held meanwhile.
	Intercept func(op string, id zfs.VolumeID) error
	// DeviceDir is the folder that Device makes files in; if empty, a new temporary
	// one, which Close removes.
	DeviceDir string

	parents []zfs.Dataset

	mu       sync.Mutex
	pools    map[string]*pool
	unmarked map[zfs.Dataset]bool
	datasets map[string]*dataset // by full name
	serial   int                 // of snapshots and tombstones
	entries  map[string]entry    // by the name of the snapshots
	tempDir  string
}

var _ zfs.Store = (*Store)(nil)

// New returns an empty Store with these parents, the default first. Each of their pools
// is healthy and has DefaultPoolSize bytes.
func New(parents ...zfs.Dataset) *Store {
	s := &Store{
		parents:  parents,
		pools:    map[string]*pool{},
		unmarked: map[zfs.Dataset]bool{},
		datasets: map[string]*dataset{},
		entries:  map[string]entry{},
	}
	for _, p := range parents {
		s.pools[p.Pool()] = &pool{name: p.Pool(), size: DefaultPoolSize}
	}
	return s
}

// enter begins a call: the context, then Intercept. With no error the lock is taken.
func (s *Store) enter(ctx context.Context, op string, id zfs.VolumeID) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.Intercept != nil {
		if err := s.Intercept(op, id); err != nil {
			return err
		}
	}
	s.mu.Lock()
	return nil
}

// Parents implements zfs.Store.
func (s *Store) Parents() []zfs.Dataset { return slices.Clone(s.parents) }

// Check implements zfs.Store.
func (s *Store) Check(ctx context.Context) (some bool, err error) {
	if err := s.enter(ctx, "Check", zfs.VolumeID{}); err != nil {
		return false, err
	}
	defer s.mu.Unlock()
	some = slices.ContainsFunc(s.parents, func(p zfs.Dataset) bool { return s.usable(p) == nil })
	return some, s.check()
}

// Create implements zfs.Store.
func (s *Store) Create(ctx context.Context, id zfs.VolumeID, spec zfs.Spec) (*zfs.Volume, error) {
	if err := s.enter(ctx, "Create", id); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	if err := s.free(id, spec.Parent); err != nil {
		return nil, err
	}
	d, err := newDataset(id, spec)
	if err != nil {
		return nil, fmt.Errorf("create volume %s: %w", id, err)
	}
	if err := s.add(d); err != nil {
		return nil, fmt.Errorf("create volume %s: %w", id, err)
	}
	return d.volume(), nil
}

// Get implements zfs.Store.
func (s *Store) Get(ctx context.Context, id zfs.VolumeID) (*zfs.Volume, error) {
	if err := s.enter(ctx, "Get", id); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	d, err := s.find(id)
	if err != nil {
		return nil, err
	}
	return d.volume(), nil
}

// List implements zfs.Store.
func (s *Store) List(ctx context.Context) ([]*zfs.Volume, error) {
	if err := s.enter(ctx, "List", zfs.VolumeID{}); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	if err := s.check(); err != nil {
		return nil, err
	}
	var volumes []*zfs.Volume
	for _, d := range s.datasets {
		if d.ours && !d.deleted {
			volumes = append(volumes, d.volume())
		}
	}
	slices.SortFunc(volumes, func(a, b *zfs.Volume) int { return cmp.Compare(a.ID.String(), b.ID.String()) })
	return volumes, nil
}

// Resize implements zfs.Store.
func (s *Store) Resize(ctx context.Context, id zfs.VolumeID, size int64) (*zfs.Volume, error) {
	if err := s.enter(ctx, "Resize", id); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	d, err := s.find(id)
	if err != nil {
		return nil, err
	}
	size = d.round(size)
	if size <= d.size {
		return d.volume(), nil
	}
	if d.thick {
		if err := s.room(d.name.Pool(), size-d.size); err != nil {
			return nil, fmt.Errorf("grow volume %s from %d to %d bytes: %w", id, d.size, size, err)
		}
	}
	d.size = size
	return d.volume(), nil
}

// SetFormatted implements zfs.Store.
func (s *Store) SetFormatted(ctx context.Context, id zfs.VolumeID) error {
	if err := s.enter(ctx, "SetFormatted", id); err != nil {
		return err
	}
	defer s.mu.Unlock()
	d, err := s.find(id)
	if err != nil {
		return err
	}
	d.attributes.Formatted = true
	return nil
}

// Sweep implements zfs.Store.
func (s *Store) Sweep(ctx context.Context, lock func(zfs.VolumeID) func(), parents ...zfs.Dataset) error {
	if err := s.enter(ctx, "Sweep", zfs.VolumeID{}); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if len(parents) == 0 {
		parents = s.parents
	}
	for _, d := range slices.Collect(maps.Values(s.datasets)) {
		if !slices.Contains(parents, d.parent) {
			continue
		}
		if d.unfinished && d.origin != nil {
			if unlock := lock(zfs.VolumeIDFor(d.name.Leaf(), d.parent)); unlock != nil {
				s.remove(d)
				unlock()
			}
		}
		for _, snap := range slices.Clone(d.snapshots) {
			if snap.ours {
				s.vanish(snap)
			}
		}
	}
	var faults []error
	for _, p := range parents {
		faults = append(faults, s.usable(p))
	}
	return errors.Join(faults...)
}

// find returns the volume of an ID. Like the real Store it takes a volume for absent
// only when every parent was seen.
func (s *Store) find(id zfs.VolumeID) (*dataset, error) {
	var faults []error
	for _, p := range s.parents {
		if err := s.usable(p); err != nil {
			faults = append(faults, err)
			continue
		}
		d := s.datasets[p.String()+"/"+id.String()]
		switch {
		case d == nil:
		case !d.ours:
			return nil, fmt.Errorf("%s: %w", d.name, zfs.ErrNotOurs)
		default:
			return d, nil
		}
	}
	if len(faults) > 0 {
		return nil, fmt.Errorf("volume %s: %w", id, errors.Join(faults...))
	}
	return nil, fmt.Errorf("volume %s: %w", id, zfs.ErrNotFound)
}

// free returns nil when a volume of this ID can be made below a parent.
func (s *Store) free(id zfs.VolumeID, parent zfs.Dataset) error {
	if err := s.usable(parent); err != nil {
		return err
	}
	switch d, err := s.find(id); {
	case err == nil:
		return fmt.Errorf("volume %s is at %s: %w", id, d.name, zfs.ErrExists)
	case errors.Is(err, zfs.ErrNotFound), s.reclaim(id):
		return nil
	default:
		return err
	}
}

// reclaim removes an unfinished dataset in the place of a volume, and tells whether there was one.
func (s *Store) reclaim(id zfs.VolumeID) bool {
	for _, p := range s.parents {
		if d := s.datasets[p.String()+"/"+id.String()]; d != nil && d.unfinished {
			s.remove(d)
			return true
		}
	}
	return false
}

// remove removes a dataset that has no snapshots, and its origin if nothing else needs that.
func (s *Store) remove(d *dataset) {
	delete(s.datasets, d.name.String())
	if d.origin != nil && d.origin.ours {
		s.vanish(d.origin)
	}
}

// add puts a new dataset in its pool, if it has the room.
func (s *Store) add(d *dataset) error {
	if err := s.room(d.name.Pool(), d.reserved()); err != nil {
		return err
	}
	s.datasets[d.name.String()] = d
	return nil
}

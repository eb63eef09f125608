package fake

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/zfs-csi/zfs-csi/zfs"
)

// entry is what a name of snapshots stands for.
type entry struct {
	name      string
	group     bool
	sources   []zfs.VolumeID
	snapshots []*snapshot
}

// Take implements zfs.Store.
func (s *Store) Take(ctx context.Context, spec zfs.SnapshotSpec) ([]*zfs.Snapshot, error) {
	if err := s.enter(ctx, "Take", zfs.VolumeID{}); err != nil {
		return nil, err
	}
	existing, volumes, err := s.prepareTake(spec)
	s.mu.Unlock()
	if existing != nil || err != nil {
		return existing, err
	}
	release, err := spec.Rest(volumes)
	if err != nil {
		return nil, fmt.Errorf("take snapshot %s: bring the filesystem to rest: %w", spec.Name, err)
	}
	s.mu.Lock()
	taken, err := s.take(spec)
	s.mu.Unlock()
	if releaseErr := release(); releaseErr != nil && err == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.forget(zfs.GroupIDFor(spec.Name).String())
		err = releaseErr
	}
	if err != nil {
		return nil, fmt.Errorf("take snapshot %s: %w", spec.Name, err)
	}
	return taken, nil
}

// prepareTake returns the snapshots if they are there, else the volumes to take them of.
func (s *Store) prepareTake(spec zfs.SnapshotSpec) ([]*zfs.Snapshot, []*zfs.Volume, error) {
	if err := s.check(); err != nil {
		return nil, nil, err
	}
	if e, there := s.entries[zfs.GroupIDFor(spec.Name).String()]; there {
		order := func(a, b zfs.VolumeID) int { return cmp.Compare(a.String(), b.String()) }
		same := slices.Equal(slices.SortedFunc(slices.Values(e.sources), order), slices.SortedFunc(slices.Values(spec.Sources), order))
		if e.name != spec.Name || e.group != spec.Group || !same {
			return nil, nil, fmt.Errorf("snapshot %s: the name is that of another, of %v: %w", spec.Name, e.sources, zfs.ErrExists)
		}
		return told(e.snapshots), nil, nil
	}
	var volumes []*zfs.Volume
	for _, id := range spec.Sources {
		d, err := s.find(id)
		if err != nil {
			return nil, nil, fmt.Errorf("take snapshot %s: %w", spec.Name, err)
		}
		volumes = append(volumes, d.volume())
		if d.name.Pool() != volumes[0].Dataset.Pool() {
			return nil, nil, fmt.Errorf("take snapshot %s: %w", spec.Name, zfs.ErrPools)
		}
	}
	if len(volumes) == 0 {
		return nil, nil, fmt.Errorf("take snapshot %s of no volume: %w", spec.Name, zfs.ErrInvalid)
	}
	return nil, volumes, nil
}

func (s *Store) take(spec zfs.SnapshotSpec) ([]*zfs.Snapshot, error) {
	existing, volumes, err := s.prepareTake(spec)
	if existing != nil || err != nil {
		return existing, err
	}
	e := entry{name: spec.Name, group: spec.Group, sources: spec.Sources}
	created := time.Now().Truncate(time.Second)
	for _, v := range volumes {
		d := s.datasets[v.Dataset.String()]
		id := zfs.SnapshotIDFor(spec.Name, v.ID)
		kept := &zfs.Snapshot{ID: id, Name: spec.Name, Created: created, Of: *v}
		kept.Of.Attributes = zfs.Attributes{FSType: v.FSType, Formatted: v.Formatted}
		kept.Of.Thick, kept.Of.Origin = false, ""
		if spec.Group {
			kept.Group = zfs.GroupIDFor(spec.Name)
		}
		snap := &snapshot{name: zfs.GroupIDFor(spec.Name).String(), of: d, content: d.content, kept: kept}
		d.snapshots = append(d.snapshots, snap)
		e.snapshots = append(e.snapshots, snap)
	}
	s.entries[zfs.GroupIDFor(spec.Name).String()] = e
	return told(e.snapshots), nil
}

// told returns snapshots as callers see them, in the order of their IDs.
func told(snapshots []*snapshot) []*zfs.Snapshot {
	var out []*zfs.Snapshot
	for _, snap := range snapshots {
		kept := *snap.kept
		kept.Of.Dataset = snap.of.name
		out = append(out, &kept)
	}
	slices.SortFunc(out, func(a, b *zfs.Snapshot) int { return cmp.Compare(a.ID.String(), b.ID.String()) })
	return out
}

// all returns the live snapshots that want accepts.
func (s *Store) all(want func(*snapshot) bool) []*snapshot {
	var out []*snapshot
	for _, e := range s.entries {
		for _, snap := range e.snapshots {
			if want(snap) {
				out = append(out, snap)
			}
		}
	}
	return out
}

// GetSnapshot implements zfs.Store.
func (s *Store) GetSnapshot(ctx context.Context, id zfs.SnapshotID) (*zfs.Snapshot, error) {
	if err := s.enter(ctx, "GetSnapshot", id.Volume()); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	snap, err := s.live(id)
	if err != nil {
		return nil, err
	}
	return told([]*snapshot{snap})[0], nil
}

func (s *Store) live(id zfs.SnapshotID) (*snapshot, error) {
	found := s.all(func(snap *snapshot) bool { return snap.kept.ID == id && s.usable(snap.of.parent) == nil })
	if len(found) > 0 {
		return found[0], nil
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("snapshot %s: %w", id, zfs.ErrNotFound)
}

// GetGroup implements zfs.Store.
func (s *Store) GetGroup(ctx context.Context, id zfs.GroupID) ([]*zfs.Snapshot, error) {
	if err := s.enter(ctx, "GetGroup", zfs.VolumeID{}); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	if err := s.check(); err != nil {
		return nil, err
	}
	if e := s.entries[id.String()]; e.group {
		return told(e.snapshots), nil
	}
	return nil, fmt.Errorf("group snapshot %s: %w", id, zfs.ErrNotFound)
}

// ListSnapshots implements zfs.Store.
func (s *Store) ListSnapshots(ctx context.Context) ([]*zfs.Snapshot, error) {
	if err := s.enter(ctx, "ListSnapshots", zfs.VolumeID{}); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	if err := s.check(); err != nil {
		return nil, err
	}
	return told(s.all(func(*snapshot) bool { return true })), nil
}

// DeleteSnapshot implements zfs.Store.
func (s *Store) DeleteSnapshot(ctx context.Context, id zfs.SnapshotID) error {
	if err := s.enter(ctx, "DeleteSnapshot", id.Volume()); err != nil {
		return err
	}
	defer s.mu.Unlock()
	snap, err := s.live(id)
	switch {
	case errors.Is(err, zfs.ErrNotFound):
		return nil
	case err != nil:
		return err
	case snap.kept.Group != zfs.GroupID{}:
		return fmt.Errorf("snapshot %s: %w", id, zfs.ErrGrouped)
	}
	s.forget(snap.name)
	return nil
}

// DeleteGroup implements zfs.Store.
func (s *Store) DeleteGroup(ctx context.Context, id zfs.GroupID) error {
	if err := s.enter(ctx, "DeleteGroup", zfs.VolumeID{}); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if err := s.check(); err != nil {
		return err
	}
	if s.entries[id.String()].group {
		s.forget(id.String())
	}
	return nil
}

// forget deletes the snapshots of a name, and the tombstones that were kept for them.
func (s *Store) forget(leaf string) {
	snapshots := s.entries[leaf].snapshots
	delete(s.entries, leaf)
	for _, snap := range snapshots {
		snap.kept, snap.ours = nil, true
		s.serial++
		snap.name = "deleted-" + strconv.Itoa(s.serial)
		s.vanish(snap)
	}
	for _, snap := range snapshots {
		d := snap.of
		if d.deleted && s.datasets[d.name.String()] == d && !slices.ContainsFunc(d.snapshots, func(x *snapshot) bool { return x.kept != nil }) {
			s.replace(d)
		}
	}
}

// bury makes a tombstone of a volume.
func (s *Store) bury(d *dataset) {
	delete(s.datasets, d.name.String())
	s.serial++
	d.name = zfs.MustParseDataset(d.parent.String() + "/.deleted-" + strconv.Itoa(s.serial))
	d.deleted, d.thick, d.content = true, false, d.snapshots[len(d.snapshots)-1].content
	s.datasets[d.name.String()] = d
}

// Restore implements zfs.Store.
func (s *Store) Restore(ctx context.Context, id zfs.VolumeID, source zfs.SnapshotID, plan zfs.Plan) (*zfs.Volume, error) {
	if err := s.enter(ctx, "Restore", id); err != nil {
		return nil, err
	}
	snap, err := s.live(source)
	s.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("source of the volume: %w", err)
	}
	src := told([]*snapshot{snap})[0].Of
	spec, err := plan(&src)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clone(id, snap, source.String(), &src, spec)
}

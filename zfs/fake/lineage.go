package fake

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/zfs-csi/zfs-csi/zfs"
)

// snapshot is a moment of a dataset. One that is ours was taken for a clone and goes
// with the last clone of it, as after `zfs destroy -d`.
type snapshot struct {
	name    string
	of      *dataset
	ours    bool
	held    bool
	inUse   bool // by a Clone under way
	content *content
	// kept is what a caller's snapshot is told as; nil for another, or when it is deleted.
	kept *zfs.Snapshot
}

func (snap *snapshot) fullName() string { return snap.of.name.String() + "@" + snap.name }

// Clone implements zfs.Store.
func (s *Store) Clone(ctx context.Context, id, source zfs.VolumeID, plan zfs.Plan) (*zfs.Volume, error) {
	if err := s.enter(ctx, "Clone", id); err != nil {
		return nil, err
	}
	src, err := s.source(source)
	var seen *zfs.Volume
	if err == nil {
		seen = src.volume()
	}
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	spec, err := plan(seen)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	_, err = s.prepare(id, source.String(), src.volume(), src, spec)
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}

	release := func() error { return nil }
	if spec.Quiesce != nil {
		if release, err = spec.Quiesce(); err != nil {
			return nil, fmt.Errorf("clone volume %s: bring the filesystem to rest: %w", source, err)
		}
	}
	s.mu.Lock()
	snap, err := s.snapshot(source)
	s.mu.Unlock()
	if err := errors.Join(err, release()); err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.done(snap)
		return nil, fmt.Errorf("clone volume %s: %w", source, err)
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.done(snap)
	return s.clone(id, snap, source.String(), snap.of.volume(), spec)
}

// clone makes a volume of a snapshot of src.
func (s *Store) clone(id zfs.VolumeID, snap *snapshot, source string, src *zfs.Volume, spec zfs.CloneSpec) (*zfs.Volume, error) {
	d, err := s.prepare(id, source, src, snap.of, spec)
	if err != nil {
		return nil, err
	}
	if spec.Copy || snap.of.name.Pool() != d.name.Pool() {
		if d.content = snap.content; d.content != nil {
			d.content = &content{d.content.data}
			err = s.room(d.name.Pool(), int64(len(d.content.data))+d.reserved())
		}
	} else {
		d.content, d.origin = snap.content, snap
	}
	if err == nil {
		err = s.add(d)
	}
	if err != nil {
		return nil, fmt.Errorf("clone volume %s to %s: %w", source, d.name, err)
	}
	return d.volume(), nil
}

// source returns what a clone is to be made of.
func (s *Store) source(id zfs.VolumeID) (*dataset, error) {
	d, err := s.find(id)
	if errors.Is(err, zfs.ErrNotOurs) {
		return nil, fmt.Errorf("source of the clone: %v: %w", err, zfs.ErrInvalid) //nolint:errorlint // it is not the target's fault
	}
	if err != nil {
		return nil, fmt.Errorf("source of the clone: %w", err)
	}
	return d, nil
}

// prepare returns the dataset of a clone of src, which of holds, not yet added, or why it cannot be made.
func (s *Store) prepare(id zfs.VolumeID, source string, src *zfs.Volume, of *dataset, spec zfs.CloneSpec) (*dataset, error) {
	if err := s.free(id, spec.Parent); err != nil {
		return nil, err
	}
	wrong := func(format string, args ...any) error {
		return fmt.Errorf("clone %s of %s: %s: %w", id, source, fmt.Sprintf(format, args...), zfs.ErrInvalid)
	}
	if spec.Kind != src.Kind {
		return nil, wrong("the source is a %s and the clone is to be a %s", src.Kind, spec.Kind)
	}
	if spec.FSType != src.FSType {
		return nil, wrong("the source holds filesystem %q and the clone is to hold %q", src.FSType, spec.FSType)
	}
	spec.Properties = maps.Clone(spec.Properties)
	for name, value := range spec.Properties {
		if have := of.property(name); zfs.CreationOnly(string(name)) && value != have {
			return nil, wrong("property %s is fixed when a volume is made: the source has %s, the clone is to have %s", name, have, value)
		}
	}
	for name, value := range of.properties {
		if zfs.CreationOnly(string(name)) {
			if spec.Properties == nil {
				spec.Properties = zfs.Properties{}
			}
			spec.Properties[name] = value
		}
	}
	spec.Source, spec.Formatted = source, src.Formatted
	if of.round(spec.Size) < src.Size {
		return nil, wrong("the source has %d bytes and the clone is to have %d", src.Size, spec.Size)
	}
	return newDataset(id, spec.Spec)
}

// snapshot takes a snapshot of our own.
func (s *Store) snapshot(id zfs.VolumeID) (*snapshot, error) {
	d, err := s.find(id)
	if err != nil {
		return nil, err
	}
	s.serial++
	snap := &snapshot{name: "clone-" + strconv.Itoa(s.serial), of: d, ours: true, inUse: true, content: d.content}
	d.snapshots = append(d.snapshots, snap)
	return snap, nil
}

// done ends the use of a snapshot by the Clone that took it; nil for none taken. Unless
// a clone was made it goes: a copy does not need it any more, a failure neither.
func (s *Store) done(snap *snapshot) {
	if snap != nil {
		snap.inUse = false
		s.vanish(snap)
	}
}

// clones returns the datasets whose origin a snapshot is, in the order of their names.
func (s *Store) clones(snap *snapshot) []*dataset {
	var out []*dataset
	for _, name := range slices.Sorted(maps.Keys(s.datasets)) {
		if d := s.datasets[name]; d.origin == snap {
			out = append(out, d)
		}
	}
	return out
}

// vanish removes a snapshot unless something needs it.
func (s *Store) vanish(snap *snapshot) {
	if snap.kept != nil || snap.held || snap.inUse || len(s.clones(snap)) > 0 {
		return
	}
	snap.of.snapshots = slices.DeleteFunc(snap.of.snapshots, func(x *snapshot) bool { return x == snap })
}

// Delete implements zfs.Store.
func (s *Store) Delete(ctx context.Context, id zfs.VolumeID) error {
	if err := s.enter(ctx, "Delete", id); err != nil {
		return err
	}
	defer s.mu.Unlock()
	d, err := s.find(id)
	if errors.Is(err, zfs.ErrNotFound) || s.reclaim(id) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("delete volume %s: %w", id, err)
	}
	if dependent := s.foreignDependent(d); dependent != "" {
		return fmt.Errorf("volume %s: %s depends on it and is not this driver's; remove that first: %w", id, dependent, zfs.ErrDependents)
	}
	if d.busy != "" {
		return fmt.Errorf("volume %s is in use (%s): %w", id, d.busy, zfs.ErrBusy)
	}
	for _, snap := range slices.Clone(d.snapshots) {
		for _, c := range s.clones(snap) {
			if c.unfinished {
				s.remove(c)
			}
		}
		s.vanish(snap)
	}
	if slices.ContainsFunc(d.snapshots, func(snap *snapshot) bool { return snap.kept != nil }) {
		s.bury(d)
	} else {
		s.replace(d)
	}
	return nil
}

// replace removes a dataset after its clones have taken its snapshots over.
func (s *Store) replace(d *dataset) {
	for i := len(d.snapshots) - 1; i >= 0; i = len(d.snapshots) - 1 {
		s.promote(s.clones(d.snapshots[i])[0])
	}
	s.remove(d)
}

// foreignDependent names a child, clone or hold that is not ours and needs d; empty for none.
func (s *Store) foreignDependent(d *dataset) string {
	for name := range s.datasets {
		if strings.HasPrefix(name, d.name.String()+"/") {
			return name
		}
	}
	for _, snap := range d.snapshots {
		if snap.held {
			return "a hold of " + snap.fullName()
		}
		for _, c := range s.clones(snap) {
			if !c.ours && !c.unfinished {
				return c.name.String()
			}
		}
	}
	return ""
}

// promote gives a clone its origin's snapshots up to the one it was made from, and the
// origin's own origin, as `zfs promote` does: the two then have changed places.
func (s *Store) promote(c *dataset) {
	d, made := c.origin.of, c.origin
	n := slices.Index(d.snapshots, made) + 1
	for _, snap := range d.snapshots[:n] {
		snap.of = c
	}
	c.snapshots = slices.Concat(d.snapshots[:n], c.snapshots)
	d.snapshots = slices.Clone(d.snapshots[n:])
	c.origin, d.origin = d.origin, made
}

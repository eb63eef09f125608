package zfs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Take implements Store.
func (l *Local) Take(ctx context.Context, spec SnapshotSpec) ([]*Snapshot, error) {
	leaf := snapshotLeaf(spec.Name)
	names := func(parent Dataset) []string {
		names := l.entriesOf(leaf)(parent)
		for _, id := range spec.Sources {
			names = append(names, parent.volume(id).name, parent.volume(id).name+"@"+leaf)
		}
		return names
	}
	properties, err := spec.properties()
	if err != nil {
		return nil, fmt.Errorf("take snapshot %s: %w", leaf, err)
	}
	f, err := l.look(ctx, names)
	if err != nil {
		return nil, err
	}
	if existing, err := l.taken(ctx, f, spec, leaf); existing != nil || err != nil {
		return existing, err
	}
	volumes, sources, err := f.sources(spec.Sources)
	if err == nil {
		properties = append(properties, propSources+"="+formatSources(sources))
		err = checkLength(propSources, formatSources(sources))
	}
	if err == nil {
		err = l.take(ctx, f, spec, leaf, properties, volumes)
		if errors.Is(err, ErrExists) {
			if existing := l.takenAlone(ctx, spec, leaf); existing != nil {
				return existing, nil
			}
		}
	}
	if err != nil {
		return nil, fmt.Errorf("take snapshot %s: %w", leaf, err)
	}
	if fresh := l.fresh(ctx, volumes, leaf); fresh != nil {
		return fresh, nil
	}
	return l.whole(ctx, spec, leaf, sources)
}

// fresh returns the snapshots that were just taken. It looks for them only where they were taken, and returns nil when one of
// them is not there.
func (l *Local) fresh(ctx context.Context, volumes []*Volume, leaf string) []*Snapshot {
	var names []string
	for _, v := range volumes {
		names = append(names, v.Dataset.name+"@"+leaf)
	}
	rows, err := l.stats(ctx, volumes[0].Dataset.Pool(), names)
	if err != nil {
		return nil
	}
	var out []*Snapshot
	for i, v := range volumes {
		s, err := decodeSnapshot(v.Parent, v.Dataset, leaf, rows[names[i]])
		if err != nil || s == nil {
			return nil
		}
		out = append(out, s)
	}
	return out
}

// whole returns the live snapshots of that name of all the sources.
func (l *Local) whole(ctx context.Context, spec SnapshotSpec, leaf string, sources []source) ([]*Snapshot, error) {
	members, err := l.members(ctx, leaf, sources)
	if err == nil && len(members) != len(sources) {
		err = fmt.Errorf("snapshot %s was taken, and somebody has removed a part of it; delete it: %w", spec.Name, ErrExists)
	}
	return members, err
}

// taken returns the snapshots when they are there already. Errors: ErrExists when the name is
// another's.
func (l *Local) taken(ctx context.Context, f *findings, spec SnapshotSpec, leaf string) ([]*Snapshot, error) {
	name, group, sources, err := f.entry(leaf)
	if err != nil || name == "" {
		return nil, err
	}
	ids := make([]VolumeID, len(sources))
	for i, s := range sources {
		ids[i] = s.id
	}
	if name != spec.Name || group != spec.Group || !sameIDs(ids, spec.Sources) {
		return nil, fmt.Errorf("snapshot %s: the name is that of another, of %v: %w", spec.Name, ids, ErrExists)
	}
	return l.whole(ctx, spec, leaf, sources)
}

// takenAlone returns the snapshots when they are there and somebody has removed what stood for their name.
func (l *Local) takenAlone(ctx context.Context, spec SnapshotSpec, leaf string) []*Snapshot {
	volume := anyVolume
	if !spec.Group {
		volume = spec.Sources[0].id
	}
	existing, err := l.orphans(ctx, leaf, volume)
	if err != nil {
		return nil // The caller has an error to tell.
	}
	ids := make([]VolumeID, len(existing))
	for i, s := range existing {
		if ids[i] = s.ID.volume; s.Name != spec.Name || (s.Group != GroupID{}) != spec.Group {
			return nil
		}
	}
	if !sameIDs(ids, spec.Sources) {
		return nil
	}
	return existing
}

// entry returns what the entry of a name says, below the parents that were looked at: the caller's
// name, whether it is a group's, and what it is of. The name is empty where there is none. Errors: ErrExists
// where there is nothing but somebody else's snapshot.
func (f *findings) entry(leaf string) (name string, group bool, sources []source, err error) {
	var foreign error
	for _, p := range f.store.parents {
		for _, entry := range p.entries(leaf) {
			r, there := f.rows[entry]
			if !there || f.fault[p] != nil {
				continue
			}
			if r.local(propSnapshot) == "" {
				foreign = fmt.Errorf("%s is not a snapshot of this driver's: %w", entry, ErrExists)
				continue // Elsewhere the name may stand for something.
			}
			name, err = unescape(r.local(propSnapshot))
			if err == nil {
				sources, err = parseSources(r.local(propSources))
			}
			if err != nil {
				return "", false, nil, fmt.Errorf("%s: %w", entry, err)
			}
			return name, r.local(propGroup) != "", sources, nil
		}
	}
	if len(f.faults) > 0 && foreign == nil {
		return "", false, nil, fmt.Errorf("snapshot %s: %w", leaf, errors.Join(f.faults...))
	}
	return "", false, nil, foreign
}

// members returns the live snapshots of that name of the sources, wherever those are now.
func (l *Local) members(ctx context.Context, leaf string, sources []source) ([]*Snapshot, error) {
	places := func(parent Dataset) (names []string) {
		for _, s := range sources {
			for _, d := range s.places(parent) {
				names = append(names, d.name+"@"+leaf)
			}
		}
		return names
	}
	f, err := l.look(ctx, places)
	if err != nil {
		return nil, err
	}
	var out []*Snapshot
	for _, p := range l.parents {
		for _, name := range places(p) {
			if r, there := f.rows[name]; there && f.fault[p] == nil {
				s, err := decodeSnapshot(p, Dataset{strings.TrimSuffix(name, "@"+leaf)}, leaf, r)
				if err != nil {
					return nil, err
				}
				if s != nil {
					out = append(out, s)
				}
			}
		}
	}
	if len(out) == len(sources) {
		return out, nil
	}
	return out, errors.Join(f.faults...)
}

// sources returns the volumes to take snapshots of, which must be there and in one pool.
func (f *findings) sources(ids []VolumeID) ([]*Volume, []source, error) {
	var volumes []*Volume
	var sources []source
	for _, id := range ids {
		v, err := f.volume(id)
		if err != nil {
			return nil, nil, err
		}
		volumes = append(volumes, v)
		sources = append(sources, source{id, f.rows[v.Dataset.name]["guid"].value, v.Size, v.Formatted})
		if first := volumes[0]; v.Dataset.Pool() != first.Dataset.Pool() {
			return nil, nil, fmt.Errorf("volume %s is in pool %s and volume %s in pool %s; only volumes in one pool have a moment in common: %w",
				first.ID, first.Dataset.Pool(), id, v.Dataset.Pool(), ErrPools)
		}
	}
	if len(volumes) == 0 {
		return nil, nil, fmt.Errorf("no volume is named: %w", ErrInvalid)
	}
	return volumes, sources, nil
}

// clearNames renames deleted snapshots of the same name that wait for their last clone to go.
func (l *Local) clearNames(ctx context.Context, f *findings, volumes []*Volume, leaf string) error {
	for _, v := range volumes {
		if r, there := f.rows[v.Dataset.name+"@"+leaf]; there && r["defer_destroy"].value == "on" {
			if err := l.setAside(ctx, v.Dataset.name+"@"+leaf); err != nil && !errors.Is(err, ErrNotFound) {
				return err
			}
		}
	}
	return nil
}

// setAside gives a snapshot that waits to vanish a name that is in nobody's way.
func (l *Local) setAside(ctx context.Context, name string) error {
	dataset, _, _ := strings.Cut(name, "@")
	return l.zfs(ctx, name, "rename", name, dataset+"@"+l.snapshotName(kindDeleted))
}

// properties returns those of the snapshots but for what they are of.
func (s SnapshotSpec) properties() ([]string, error) {
	name, labels := escape(s.Name), formatLabels(s.Labels)
	properties := []string{propSnapshot + "=" + name}
	if s.Group {
		properties = append(properties, propGroup+"=yes")
	}
	if labels != "" {
		properties = append(properties, propLabels+"="+labels)
	}
	return properties, cmp.Or(checkLength(propSnapshot, name), checkLength(propLabels, labels))
}

// take takes the entry of the snapshots, and them.
func (l *Local) take(ctx context.Context, f *findings, spec SnapshotSpec, leaf string, properties []string, volumes []*Volume) error {
	if err := l.clearNames(ctx, f, volumes, leaf); err != nil {
		return err
	}
	place := l.placeEntry(volumes[0].Parent, leaf)
	err := l.takeAtRest(ctx, spec, leaf, properties, volumes, place)
	if place == volumes[0].Parent {
		return err
	}
	// As a rule it is the part that is not there: it was not used yet, or went with its last entry just now.
	var made []Dataset
	for tries := 0; errors.Is(err, ErrNotFound) && tries < 3; tries++ {
		var fresh []Dataset
		if fresh, err = l.makePart(ctx, place); err == nil {
			err = l.takeAtRest(ctx, spec, leaf, properties, volumes, place)
		}
		made = append(made, fresh...)
	}
	// A sweep may have looked before the part was there.
	l.entries[volumes[0].Parent].changed()
	if err != nil {
		if fault := l.sweepParts(context.WithoutCancel(ctx), made); fault != nil {
			l.log.WarnContext(ctx, "a dataset for entries that has none stays until the next sweep", "dataset", place.name, "error", fault)
		}
	}
	return err
}

// takeAtRest takes them while what is mounted is at rest.
func (l *Local) takeAtRest(ctx context.Context, spec SnapshotSpec, leaf string, properties []string, volumes []*Volume, place Dataset) error {
	names := []string{place.name + "@" + leaf}
	for _, v := range volumes {
		names = append(names, v.Dataset.name+"@"+leaf)
	}
	var taken bool
	err := atRest(func() (func() error, error) { return spec.Rest(volumes) }, func() error {
		err := l.snapshots(ctx, properties, names...)
		if taken = err == nil; taken {
			l.countEntry(names[0], 1)
		}
		return err
	})
	if err != nil && taken {
		err = errors.Join(err, l.undoTake(context.WithoutCancel(ctx), leaf, volumes[0].ID, spec.Group))
	}
	return err
}

// snapshots takes snapshots of datasets in one pool, all or none, at one moment and with the same
// user properties. What is wrong with a call that is refused the command says in words.
// Errors: ErrNotFound, ErrExists, ErrNoSpace, ErrReadOnly, ErrUnavailable.
func (l *Local) snapshots(ctx context.Context, properties []string, names ...string) error {
	c := Command{Name: "zfs", Args: slices.Concat([]string{"snapshot"}, options(properties), names)}
	asked := slices.Clone(names)
	for _, name := range names {
		asked = append(asked, name[:strings.IndexByte(name, '@')]) // Of what is not there its dataset is named.
	}
	pairs, _ := callProperties(properties) // Those of users are known, all of them.
	c.Call = snapshotCall(names, pairs)
	err := l.carryOut(context.WithoutCancel(ctx), c, asked...)
	if refusedByKernel(err) {
		c.Call = nil
		err = l.carryOut(context.WithoutCancel(ctx), c, asked...)
	}
	return err
}

// sameIDs tells whether two lists name the same volumes.
func sameIDs(a, b []VolumeID) bool {
	order := func(x, y VolumeID) int { return strings.Compare(x.id, y.id) }
	return slices.Equal(slices.SortedFunc(slices.Values(a), order), slices.SortedFunc(slices.Values(b), order))
}

package zfs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// GetSnapshot implements Store.
func (l *Local) GetSnapshot(ctx context.Context, id SnapshotID) (*Snapshot, error) {
	s, _, err := l.snapshot(ctx, id)
	return s, err
}

// snapshot returns a live snapshot and the look that found it, with extra volumes looked at too.
func (l *Local) snapshot(ctx context.Context, id SnapshotID, extra ...VolumeID) (*Snapshot, *findings, error) {
	f, err := l.look(ctx, func(parent Dataset) []string {
		names := []string{parent.volume(id.volume).name + "@" + id.leaf}
		for _, e := range extra {
			names = append(names, parent.volume(e).name)
		}
		return names
	})
	if err != nil {
		return nil, nil, err
	}
	for _, p := range l.parents {
		d := p.volume(id.volume)
		if r, there := f.rows[d.name+"@"+id.leaf]; there && f.fault[p] == nil {
			if s, err := decodeSnapshot(p, d, id.leaf, r); s != nil || err != nil {
				return s, f, err
			}
		}
	}
	// It may be a tombstone's, which what stands for its name tells.
	index, err := l.look(ctx, l.entriesOf(id.leaf))
	if err != nil {
		return nil, nil, err
	}
	maps.Copy(f.rows, index.rows)
	members, err := l.named(ctx, index, id.leaf)
	if err == nil && !slices.ContainsFunc(members, func(s *Snapshot) bool { return s.ID == id }) {
		members, err = l.orphans(ctx, id.leaf, id.volume.id)
	}
	if err != nil {
		return nil, nil, err
	}
	for _, s := range members {
		if s.ID == id {
			r, err := readRow(ctx, l.runner, Dataset{s.fullName()}, strings.Join(asked, ","))
			if err != nil {
				return nil, nil, err
			}
			f.rows[s.fullName()] = r
			return s, f, nil
		}
	}
	return nil, nil, fmt.Errorf("snapshot %s: %w", id, ErrNotFound)
}

// named returns the live snapshots that a name stands for; none where it stands for nothing, or is that of
// somebody else's snapshot of a parent.
func (l *Local) named(ctx context.Context, f *findings, leaf string) ([]*Snapshot, error) {
	name, _, sources, err := f.entry(leaf)
	if errors.Is(err, ErrExists) {
		return nil, errors.Join(f.faults...)
	}
	if err != nil || name == "" {
		return nil, err
	}
	return l.members(ctx, leaf, sources)
}

// GetGroup implements Store.
func (l *Local) GetGroup(ctx context.Context, id GroupID) ([]*Snapshot, error) {
	f, err := l.look(ctx, l.entriesOf(id.leaf))
	if err != nil {
		return nil, err
	}
	members, err := l.named(ctx, f, id.leaf)
	if err == nil && len(members) == 0 {
		members, err = l.orphans(ctx, id.leaf, anyVolume)
	}
	if err == nil && (len(members) == 0 || members[0].Group != id) {
		err = fmt.Errorf("group snapshot %s: %w", id, ErrNotFound)
	}
	return members, err
}

// nowhere names nothing, where what is looked for has no name that is known.
func nowhere(Dataset) []string { return nil }

// anyVolume stands for all volumes where a group's snapshots are looked for or deleted.
const anyVolume = "-"

// orphans returns the live snapshots of a name that nothing stands for, since somebody has removed
// that: those of one volume, or with anyVolume those of a group.
func (l *Local) orphans(ctx context.Context, leaf, volume string) ([]*Snapshot, error) {
	found, err := l.inPools(ctx, nowhere, func(pool string) (deletion, error) { return l.program(ctx, pool, "orphans", leaf, volume) })
	if errors.Is(err, ErrReadOnly) { // Such a pool takes no program.
		return l.orphansListed(ctx, leaf, volume)
	}
	if err != nil {
		return nil, fmt.Errorf("look for snapshots %s: %w", leaf, err)
	}
	var out []*Snapshot
	for _, text := range found.Sources {
		sources, err := parseSources(text)
		if err != nil {
			return nil, fmt.Errorf("snapshots %s: %w", leaf, err)
		}
		members, err := l.members(ctx, leaf, sources)
		if err != nil {
			return nil, err
		}
		out = append(out, members...)
	}
	return out, nil
}

// orphansListed is orphans at a cost that grows with the number of snapshots.
func (l *Local) orphansListed(ctx context.Context, leaf, volume string) ([]*Snapshot, error) {
	all, err := l.ListSnapshots(ctx)
	return slices.DeleteFunc(all, func(s *Snapshot) bool {
		return s.ID.leaf != leaf || volume == anyVolume && s.Group.leaf != leaf || volume != anyVolume && s.ID.volume.id != volume
	}), err
}

// ListSnapshots implements Store. Its cost grows with the number of snapshots.
func (l *Local) ListSnapshots(ctx context.Context) ([]*Snapshot, error) {
	if _, err := l.Check(ctx); err != nil {
		return nil, err
	}
	var snapshots []*Snapshot
	err := l.each(ctx, []string{"-d", "2", "-t", "snapshot"}, func(d Dataset, leaf string, r row) error {
		s, err := decodeSnapshot(d.parent(), d, leaf, r)
		if err != nil {
			l.log.WarnContext(ctx, "a snapshot is left out of the list", "error", err)
		}
		if s != nil {
			snapshots = append(snapshots, s)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	slices.SortFunc(snapshots, func(a, b *Snapshot) int { return strings.Compare(a.ID.String(), b.ID.String()) })
	return snapshots, nil
}

// DeleteSnapshot implements Store.
func (l *Local) DeleteSnapshot(ctx context.Context, id SnapshotID) error {
	return l.deleteSnapshots(ctx, "snapshot", id.leaf, id.volume.id, id.String())
}

// DeleteGroup implements Store.
func (l *Local) DeleteGroup(ctx context.Context, id GroupID) error {
	return l.deleteSnapshots(ctx, "group", id.leaf, anyVolume, id.String())
}

// undoTake removes what was just taken.
func (l *Local) undoTake(ctx context.Context, leaf string, volume VolumeID, group bool) error {
	if group {
		return l.DeleteGroup(ctx, GroupID{leaf})
	}
	return l.DeleteSnapshot(ctx, SnapshotID{volume, leaf})
}

func (l *Local) deleteSnapshots(ctx context.Context, what, leaf, volume, id string) error {
	d, err := l.deleteNamed(ctx, l.entriesOf(leaf), what, leaf, volume, id)
	if d.Status != "absent" {
		return err
	}
	_, err = l.deleteNamed(ctx, nowhere, "orphaned "+what, leaf, volume, id)
	return err
}

// deleteNamed makes the program's deletion of that name where any of the names is.
func (l *Local) deleteNamed(ctx context.Context, names func(parent Dataset) []string, what, leaf, volume, id string) (d deletion, err error) {
	err = patiently(ctx, func() error {
		d, err = l.inPools(ctx, names, func(pool string) (deletion, error) {
			d, err := l.program(ctx, pool, what, leaf, volume)
			if err != nil {
				return d, fmt.Errorf("delete %s %s: %w", what, id, err)
			}
			switch d.Status {
			case "grouped":
				return d, fmt.Errorf("snapshot %s: delete the group snapshot %s instead: %w", id, leaf, ErrGrouped)
			case "busy":
				return d, fmt.Errorf("snapshot %s: %s is being sent or looked into: %w", id, d.Dataset, ErrBusy)
			case "failed":
				return d, d.err(id)
			case "deleted":
				l.log.InfoContext(ctx, what+" deleted", "name", d.Dataset)
				l.countEntry(d.Dataset, -1)
				for _, tombstone := range d.Left {
					if err := l.removeTombstone(ctx, Dataset{tombstone}); err != nil {
						// The snapshot is gone all the same.
						l.log.WarnContext(ctx, "what was kept for a snapshot cannot go yet", "dataset", tombstone, "error", err)
					}
				}
			}
			return d, nil
		})
		return err
	})
	return d, err
}

package zfs

import (
	"context"
	"errors"
	"fmt"
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
		names := []string{parent.name + "@" + id.leaf, parent.volume(id.volume).name + "@" + id.leaf}
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
	members, err := l.entrySnapshots(ctx, f, id.leaf, nil)
	if err != nil {
		return nil, nil, err
	}
	for _, s := range members {
		if s.ID == id {
			rows, err := l.properties(ctx, Dataset{s.fullName()})
			if err != nil {
				return nil, nil, err
			}
			f.rows[s.fullName()] = rows
			return s, f, nil
		}
	}
	return nil, nil, fmt.Errorf("snapshot %s: %w", id, ErrNotFound)
}

// entrySnapshots returns the live snapshots that a name stands for; group, when not nil,
// takes whether it is a group's.
func (l *Local) entrySnapshots(ctx context.Context, f *findings, leaf string, group *bool) ([]*Snapshot, error) {
	name, grouped, sources, err := f.entry(leaf)
	if err != nil && !errors.Is(err, ErrExists) || name == "" {
		return nil, err
	}
	if group != nil {
		*group = grouped
	}
	return l.members(ctx, leaf, sources)
}

// GetGroup implements Store.
func (l *Local) GetGroup(ctx context.Context, id GroupID) ([]*Snapshot, error) {
	f, err := l.look(ctx, func(parent Dataset) []string { return []string{parent.name + "@" + id.leaf} })
	if err != nil {
		return nil, err
	}
	var group bool
	members, err := l.entrySnapshots(ctx, f, id.leaf, &group)
	if err == nil && (!group || len(members) == 0) {
		err = fmt.Errorf("group snapshot %s: %w", id, ErrNotFound)
	}
	return members, err
}

// ListSnapshots implements Store. Its cost grows with the number of snapshots.
func (l *Local) ListSnapshots(ctx context.Context) ([]*Snapshot, error) {
	if err := l.Check(ctx); err != nil {
		return nil, err
	}
	c := getCommand(strings.Join(asked, ","), append([]string{"-d", "2", "-t", "snapshot"}, names(l.parents)...)...)
	out, err := l.run(ctx, c, names(l.parents)...)
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	rows, order, err := parseGet(out)
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	var snapshots []*Snapshot
	for _, name := range order {
		dataset, leaf, _ := strings.Cut(name, "@")
		d, err := ParseDataset(dataset)
		if err != nil || !slices.Contains(l.parents, d.parent()) {
			continue
		}
		s, err := decodeSnapshot(d.parent(), d, leaf, rows[name])
		if err != nil {
			l.log.WarnContext(ctx, "a snapshot is left out of the list", "error", err)
		}
		if s != nil {
			snapshots = append(snapshots, s)
		}
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
	return l.deleteSnapshots(ctx, "group", id.leaf, "-", id.String())
}

// undoTake removes what was just taken.
func (l *Local) undoTake(ctx context.Context, leaf string, volume VolumeID, group bool) error {
	if group {
		return l.DeleteGroup(ctx, GroupID{leaf})
	}
	return l.DeleteSnapshot(ctx, SnapshotID{volume, leaf})
}

func (l *Local) deleteSnapshots(ctx context.Context, what, leaf, volume, id string) error {
	return patiently(ctx, func() error {
		_, err := l.inPools(ctx, func(pool string) (deletion, error) {
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
}

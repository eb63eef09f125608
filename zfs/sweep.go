package zfs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Sweep implements Store. It looks for what only a process that died can have left:
// clones, copies and tombstones that were not finished, and snapshots for a clone that was not
// made or whose snapshot was not marked for removal. New volumes that were not finished it
// leaves to the next call about them, which alone knows that there is to be a volume.
// Snapshots that this process takes carry its nonce.
func (l *Local) Sweep(ctx context.Context, lock func(VolumeID) (unlock func()), parents ...Dataset) error {
	f, err := l.find(ctx)
	if err != nil {
		return err
	}
	if len(parents) == 0 {
		parents = l.parents
	}
	var faults []error
	for _, p := range parents {
		fault := f.usable(p)
		if fault == nil {
			fault = l.sweep(ctx, p, lock)
		}
		faults = append(faults, fault)
	}
	return errors.Join(faults...)
}

func (l *Local) sweep(ctx context.Context, p Dataset, lock func(VolumeID) func()) error {
	seen := l.entries[p].look()
	c := getCommand(strings.Join([]string{"origin", "defer_destroy", propKind, propVolume, propFor, propDeleted, propChanging}, ","),
		"-d", "2", "-t", "filesystem,volume,snapshot", p.name)
	out, err := l.run(ctx, c, p.name)
	if err != nil {
		return fmt.Errorf("sweep %s: %w", p, err)
	}
	rows, order, err := parseGet(out)
	if err != nil {
		return fmt.Errorf("sweep %s: %w", p, err)
	}
	var faults []error
	var parts []Dataset
	var count int64
	some := false
	for _, name := range order {
		some = some || isPart(p, name) // Also one that lost its mark can have entries.
		switch d, err := ParseDataset(name); {
		case err == nil && isPart(p, name) && strings.HasPrefix(rows[name].local(propKind), kindEntries):
			parts = append(parts, d)
		case strings.HasPrefix(name, p.name+"@"):
			count++
		}
	}
	seen(count, some)
	faults = append(faults, l.sweepParts(ctx, parts))
	// A snapshot goes with its last clone, so the clones come first.
	for _, name := range order {
		if d, err := ParseDataset(name); err == nil && d.parent() == p {
			faults = append(faults, l.sweepDataset(ctx, d, rows, lock))
		}
	}
	for _, name := range order {
		if strings.Contains(name, "@") {
			faults = append(faults, l.sweepSnapshot(ctx, name, rows[name], lock))
		}
	}
	return errors.Join(faults...)
}

// sweepSnapshot marks a snapshot that an earlier process took for its own use, or this one for a volume that no call
// is making any more, as where the pool refused to undo it.
func (l *Local) sweepSnapshot(ctx context.Context, name string, r row, lock func(VolumeID) func()) error {
	made := r.local(propKind)
	if made == "" || r["defer_destroy"].value == "on" {
		return nil
	}
	if strings.Contains(made, l.nonce) {
		id, err := ParseVolumeID(r.local(propFor))
		if err != nil {
			return nil //nolint:nilerr // It is for no volume, and its taker is at it.
		}
		unlock := lock(id)
		if unlock == nil {
			return nil
		}
		defer unlock()
	}
	l.log.InfoContext(ctx, "sweep marks a snapshot for removal that was left", "name", name)
	_, err := l.run(ctx, Command{Name: "zfs", Args: []string{"destroy", "-d", name}}, name, name[:strings.IndexByte(name, '@')])
	if errors.Is(err, ErrNotFound) {
		return nil // Its last clone, or what it is of, has been deleted since, and the snapshot with it.
	}
	return err
}

// sweepDataset removes or finishes what is not, or not yet, a volume.
func (l *Local) sweepDataset(ctx context.Context, d Dataset, rows map[string]row, lock func(VolumeID) func()) error {
	r := rows[d.name]
	switch {
	case r.local(propDeleted) != "":
		return l.sweepTombstone(ctx, d, lock)
	case strings.HasPrefix(d.Leaf(), emptyPrefix):
		return l.sweepEmpty(ctx, d, r)
	case r.local(propChanging) != "":
		return l.sweepChange(ctx, d, lock)
	}
	made := r.local(propKind)
	clone, err := l.bareClone(ctx, d, rows)
	if err != nil {
		return err
	}
	if made == "" && !clone || strings.Contains(made, l.nonce) {
		return nil
	}
	id, err := ParseVolumeID(strings.TrimPrefix(d.Leaf(), copyPrefix))
	if err != nil {
		return nil
	}
	unlock := lock(id)
	if unlock == nil {
		return nil
	}
	defer unlock()
	// It was listed before it was locked.
	now, err := l.properties(ctx, d)
	if errors.Is(err, ErrNotFound) || err == nil && now.local(propKind) != made {
		return nil
	}
	switch {
	case err != nil:
		return err
	case strings.HasPrefix(d.Leaf(), copyPrefix):
		l.log.InfoContext(ctx, "sweep removes a copy that an earlier process did not finish", "dataset", d.name)
		return l.discard(ctx, d)
	case made != "":
		// A copy that is whole and has its name.
		return l.zfs(ctx, d.name, "inherit", propKind, d.name)
	}
	if err := l.reclaim(ctx, d); !errors.Is(err, ErrNotOurs) {
		return err
	}
	return nil
}

// bareClone tells whether d is a clone without the properties of a volume, made of a snapshot that was taken for it. That can be of a
// volume below another parent in the pool, which rows have not; what is cloned from elsewhere is somebody else's.
func (l *Local) bareClone(ctx context.Context, d Dataset, rows map[string]row) (bool, error) {
	origin := rows[d.name].origin()
	if origin == "" || rows[d.name].local(propVolume) != "" {
		return false, nil
	}
	from, listed := rows[origin]
	if !listed && slices.Contains(l.parents, Dataset{origin}.parent()) {
		var err error
		if from, err = readRow(ctx, l.runner, Dataset{origin}, propFor); err != nil && !errors.Is(err, ErrNotFound) {
			return false, err
		}
	}
	return from.local(propFor) == d.Leaf(), nil
}

// sweepEmpty removes what an earlier process made to compare with. What does not have propKind yet takes
// the proof that nothing was ever written to it.
func (l *Local) sweepEmpty(ctx context.Context, d Dataset, r row) error {
	if strings.Contains(d.Leaf(), l.nonce) {
		return nil
	}
	l.log.InfoContext(ctx, "sweep removes what an earlier process made to compare with", "dataset", d.name)
	if r.local(propKind) != "" {
		return l.discard(ctx, d)
	}
	if err := l.reclaim(ctx, d); !errors.Is(err, ErrNotOurs) {
		return err
	}
	return nil
}

// sweepChange ends a change of a volume that an earlier process has begun.
func (l *Local) sweepChange(ctx context.Context, d Dataset, lock func(VolumeID) func()) error {
	id, err := ParseVolumeID(d.Leaf())
	if err != nil {
		return nil //nolint:nilerr // It is no volume.
	}
	unlock := lock(id)
	if unlock == nil {
		return nil
	}
	defer unlock()
	r, err := l.properties(ctx, d)
	if err == nil && r.local(propChanging) != "" {
		err = l.endChange(ctx, d, r)
	}
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// sweepTombstone finishes a tombstone, and removes one that is kept for nothing.
func (l *Local) sweepTombstone(ctx context.Context, d Dataset, lock func(VolumeID) func()) error {
	if id, err := ParseVolumeID(d.Leaf()); err == nil {
		unlock := lock(id)
		if unlock == nil {
			return nil
		}
		defer unlock()
	}
	buried := l.bury(ctx, d)
	if errors.Is(buried, ErrExists) {
		buried = nil // Since it was listed it was moved, and another volume has its place.
	}
	return errors.Join(l.removeTombstone(ctx, d), buried)
}

package zfs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Sweep implements Store. It looks for what only a process that died can have left:
// snapshots for a clone that was not made or whose snapshot was not marked for
// removal, and copies that were not finished. What this process makes itself carries
// its nonce and is left alone, so Sweep needs no locks of volumes.
func (l *Local) Sweep(ctx context.Context) error {
	f, err := l.find(ctx)
	if err != nil {
		return err
	}
	faults := slices.Clone(f.faults)
	for _, p := range l.parents {
		if f.fault[p] == nil {
			faults = append(faults, l.sweep(ctx, p))
		}
	}
	return errors.Join(faults...)
}

func (l *Local) sweep(ctx context.Context, p Dataset) error {
	c := getCommand(propKind+",defer_destroy", "-d", "2", "-t", "filesystem,volume,snapshot", "-s", "local,none", p.name)
	out, err := l.run(ctx, c, p.name)
	if err != nil {
		return fmt.Errorf("sweep %s: %w", p, err)
	}
	rows, order, err := parseGet(out)
	if err != nil {
		return fmt.Errorf("sweep %s: %w", p, err)
	}
	var faults []error
	for _, name := range order {
		r := rows[name]
		made := r.local(propKind)
		if made == "" || strings.Contains(made, l.nonce) || r["defer_destroy"].value == "on" {
			continue
		}
		l.log.InfoContext(ctx, "sweep makes good what an earlier process left", "name", name)
		if strings.Contains(name, "@") {
			// Its clone may have been deleted since, and the snapshot with it.
			if err := l.zfs(ctx, name, "destroy", "-d", name); !errors.Is(err, ErrNotFound) {
				faults = append(faults, err)
			}
		} else if strings.HasPrefix(name, p.name+"/"+unfinishedPrefix) {
			faults = append(faults, l.sweepCopy(ctx, Dataset{name}, made))
		} else {
			// A copy that is whole and has its name.
			faults = append(faults, l.zfs(ctx, name, "inherit", propKind, name))
		}
	}
	return errors.Join(faults...)
}

// sweepCopy discards an unfinished copy, which an earlier process marked as made, unless
// this process has made another in its place or is about to.
func (l *Local) sweepCopy(ctx context.Context, unfinished Dataset, made string) error {
	if !l.copying.TryLock() {
		return nil // The copy made again, the deletion, or the next start finds it.
	}
	defer l.copying.Unlock()
	r, err := readRow(ctx, l.runner, unfinished, propKind)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil || r.local(propKind) != made {
		return err
	}
	return l.discard(ctx, unfinished)
}

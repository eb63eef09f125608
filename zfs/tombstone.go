package zfs

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// A volume that is deleted while a caller's snapshots of it live becomes a tombstone: marked by
// propDeleted and rolled back in the deletion's own transaction group, then without a
// reservation, without a quota, which what a full filesystem is to be rolled back to may exceed, and out of the way of
// another volume of its name.

// bury finishes a tombstone. Done again it changes nothing.
func (l *Local) bury(ctx context.Context, d Dataset) error {
	r, err := readRow(ctx, l.runner, d, "guid,refquota,refreservation,"+propDeleted)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if r.local(propDeleted) == "" {
		return fmt.Errorf("%s is not deleted: %w", d, ErrExists)
	}
	aside := Dataset{d.parent().name + "/" + tombstonePrefix + r["guid"].value}
	var limited []string
	for _, property := range []string{"refquota", "refreservation"} {
		if value := r[property].value; value != "-" && value != "0" && value != "none" {
			limited = append(limited, property+"=none")
		}
	}
	if len(limited) > 0 {
		err = l.change(ctx, d, slices.Concat([]string{"set"}, limited, []string{d.name})...)
	}
	if err == nil && d != aside {
		if err = l.change(ctx, d, "rename", d.name, aside.name); err == nil {
			// The last of its snapshots may have been deleted just now.
			err = l.removeTombstone(ctx, aside)
		}
	}
	if errors.Is(err, ErrNotFound) {
		return nil // It went with the last of its snapshots.
	}
	return err
}

// removeTombstone removes a tombstone that holds no live snapshot any more; another it leaves.
func (l *Local) removeTombstone(ctx context.Context, d Dataset) error {
	return patiently(ctx, func() error { return l.tryTombstone(ctx, d) })
}

func (l *Local) tryTombstone(ctx context.Context, d Dataset) error {
	result, err := l.program(ctx, d.Pool(), "tombstone", d.name, "-")
	if err != nil {
		return err
	}
	switch result.Status {
	case "deleted", "buried", "absent":
		return nil
	case "dependent", "conflict":
		if err := l.clear(ctx, result); err != nil {
			return fmt.Errorf("%w (%w)", result.err("tombstone "+d.name), err)
		}
		return l.tryTombstone(ctx, d)
	}
	return result.err("tombstone " + d.name)
}

package zfs

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// A volume that is deleted while a caller's snapshots of it live becomes a tombstone: marked by
// propDeleted and rolled back in the deletion's own transaction group, then without a
// reservation and out of the way of another volume of its name.

// bury finishes a tombstone. Done again it changes nothing.
func (l *Local) bury(ctx context.Context, d Dataset) error {
	r, err := readRow(ctx, l.runner, d, "guid,refreservation,"+propDeleted)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if r.local(propDeleted) == "" {
		return fmt.Errorf("%s is not deleted: %w", d, ErrExists)
	}
	if value := r["refreservation"].value; value != "0" && value != "none" {
		if err := l.change(ctx, d, "set", "refreservation=none", d.name); err != nil {
			return err
		}
	}
	if strings.HasPrefix(d.Leaf(), tombstonePrefix) {
		return nil
	}
	return l.change(ctx, d, "rename", d.name, d.parent().name+"/"+tombstonePrefix+r["guid"].value)
}

// removeTombstone removes a tombstone that holds no live snapshot any more; another it leaves.
func (l *Local) removeTombstone(ctx context.Context, d Dataset) error {
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
		return l.removeTombstone(ctx, d)
	}
	return result.err("tombstone " + d.name)
}

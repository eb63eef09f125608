package zfs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Change is what is to change of a volume that exists. What it does not name stays as it is.
type Change struct {
	// Thick, when not nil, tells whether the size is to be reserved.
	Thick *bool
	// Properties are native ZFS properties to set, each of which is Mutable.
	Properties Properties
}

// Empty tells whether nothing is to change.
func (c Change) Empty() bool { return c.Thick == nil && len(c.Properties) == 0 }

// Modify implements Store.
//
// ZFS sets properties in one transaction group if it can set them all; else those that
// it can (zfs_set_prop_nvlist in OpenZFS's module/zfs/zfs_ioctl.c). So they are put back
// as they were when anything fails. The reservation, which ZFS sets in a transaction group of
// its own, comes last and alone: to put one back might lack the room.
func (l *Local) Modify(ctx context.Context, id VolumeID, change Change) (*Volume, error) {
	f, err := l.survey(below(id), func(f *findings, names map[string][]string) error { return f.get(ctx, "all", names) })
	if err != nil {
		return nil, err
	}
	v, err := f.volume(id)
	if err != nil {
		return nil, err
	}
	before := f.rows[v.Dataset.name]
	if err := change.fit(v.Kind, before); err != nil {
		return nil, fmt.Errorf("modify volume %s: %w", id, err)
	}
	for _, properties := range [][]string{change.Properties.sorted(), change.reservation(v)} {
		if err := l.set(ctx, v.Dataset, properties); err != nil {
			what := fmt.Sprintf("modify volume %s to %s", id, strings.Join(properties, " "))
			if left := l.restore(context.WithoutCancel(ctx), v.Dataset, before, change.Properties); left != nil {
				return nil, fmt.Errorf("%s: %v; and not all is put back: %w", what, err, left) //nolint:errorlint // what err means holds only where nothing has changed
			}
			return nil, fmt.Errorf("%s: %w", what, err)
		}
	}
	if change.Thick != nil {
		v.Thick = *change.Thick
	}
	return v, nil
}

// fit returns ErrInvalid for a property that a volume of the kind, which has those in r, cannot change.
func (c Change) fit(kind Kind, r row) error {
	for _, name := range slices.Sorted(maps.Keys(c.Properties)) {
		if !Mutable(string(name)) {
			return fmt.Errorf("property %s is fixed when a volume is made: %w", name, ErrInvalid)
		}
		if _, there := r[string(name)]; !there {
			return fmt.Errorf("property %s does not exist for a %s in this version of ZFS: %w", name, kind, ErrInvalid)
		}
	}
	return nil
}

// reservation is the property that reserves the size of v or no longer does, if it is to be set.
func (c Change) reservation(v *Volume) []string {
	switch {
	case c.Thick == nil:
		return nil
	case !*c.Thick:
		return []string{"refreservation=none"}
	case v.Kind == Block:
		return []string{"refreservation=auto"}
	}
	return []string{"refreservation=" + strconv.FormatInt(v.Size, 10)}
}

// set sets properties of a volume, which may be in use.
func (l *Local) set(ctx context.Context, d Dataset, properties []string) error {
	if len(properties) == 0 {
		return nil
	}
	return l.zfs(ctx, d.name, append(append([]string{"set"}, properties...), d.name)...)
}

// restore gives properties the values that they had before, each from where it had it.
func (l *Local) restore(ctx context.Context, d Dataset, before row, changed Properties) error {
	var local []string
	var faults []error
	for _, name := range slices.Sorted(maps.Keys(changed)) {
		switch was := before[string(name)]; was.source {
		case "local":
			local = append(local, string(name)+"="+was.value)
		case "temporary":
			// A mount option hides the property, which then is the other of on and off; where it
			// has that from is not told.
			local = append(local, string(name)+"="+map[string]string{"on": "off", "off": "on"}[was.value])
		case "received":
			faults = append(faults, l.zfs(ctx, d.name, "inherit", "-S", string(name), d.name))
		default:
			faults = append(faults, l.zfs(ctx, d.name, "inherit", string(name), d.name))
		}
	}
	return errors.Join(append(faults, l.set(ctx, d, local))...)
}

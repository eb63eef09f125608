package zfs

import (
	"context"
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
// as they were when anything fails, which propChanging keeps for where the process dies before. The
// reservation, which ZFS sets in a transaction group of its own, comes last and alone: to put one back might
// lack the room.
func (l *Local) Modify(ctx context.Context, id VolumeID, change Change) (*Volume, error) {
	v, r, err := l.toModify(ctx, id, change)
	if err == nil && r.local(propChanging) != "" {
		if err = l.endChange(ctx, v.Dataset, r); err == nil {
			v, r, err = l.toModify(ctx, id, change)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("modify volume %s: %w", id, err)
	}
	before := change.before(r)
	properties, marked := change.Properties.sorted(), change.parts() > 1
	mark := []string{propChanging + "=" + before.String()}
	if !marked {
		mark = nil
	}
	// The mark is first: where ZFS cannot set all at once, it sets one after the other.
	for i, step := range [][]string{properties, change.reservation(v)} {
		if i == 0 {
			step = append(mark, step...)
		}
		if err := l.set(ctx, v.Dataset, step); err != nil {
			err = fmt.Errorf("modify volume %s to %s: %w", id, strings.Join(append(properties, change.reservation(v)...), " "), err)
			return nil, l.undo(ctx, v.Dataset, before.properties(), marked, err)
		}
	}
	if marked {
		if err := l.zfs(ctx, v.Dataset.name, "inherit", propChanging, v.Dataset.name); err != nil {
			return nil, l.undo(ctx, v.Dataset, before, marked, fmt.Errorf("modify volume %s: %w", id, err))
		}
	}
	if change.Thick != nil {
		v.Thick = *change.Thick
	}
	return v, nil
}

// toModify returns a volume and its properties, when it can be changed so.
func (l *Local) toModify(ctx context.Context, id VolumeID, change Change) (*Volume, row, error) {
	properties := append(slices.Clone(asked), propChanging)
	for _, name := range slices.Sorted(maps.Keys(change.Properties)) {
		if Mutable(string(name)) {
			properties = append(properties, string(name))
		}
	}
	// By their names: somebody's own properties can hold anything, also what looks like another line.
	f, err := l.survey(below(id), func(f *findings, names map[string][]string) error {
		return f.get(ctx, strings.Join(properties, ","), names)
	})
	if err != nil {
		return nil, nil, err
	}
	v, err := f.volume(id)
	if err != nil {
		return nil, nil, err
	}
	r := f.rows[v.Dataset.name]
	return v, r, change.fit(v.Kind, r)
}

// parts counts what ZFS sets by itself, so that one can be set and another not.
func (c Change) parts() int {
	if c.Thick == nil {
		return len(c.Properties)
	}
	return len(c.Properties) + 1
}

// fit returns ErrInvalid for a property that a volume of the kind, which has those in r, cannot change.
func (c Change) fit(kind Kind, r row) error {
	for _, name := range slices.Sorted(maps.Keys(c.Properties)) {
		if !Mutable(string(name)) {
			return fmt.Errorf("property %s is fixed when a volume is made: %w", name, ErrInvalid)
		}
		if c, there := r[string(name)]; !there || c.value == "-" {
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

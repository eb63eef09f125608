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

// Clone implements Store.
//
// A clone is a snapshot of the source, a ZFS clone of that, and the snapshot marked
// for deferred destruction, so that ZFS itself removes it with the last clone of it:
// there is nothing to remember and nothing to leak. The mark is made after Clone has returned.
func (l *Local) Clone(ctx context.Context, id, source VolumeID, plan Plan) (*Volume, error) {
	f, err := l.find(ctx, id, source)
	if err != nil {
		return nil, err
	}
	v, snapshot, err := l.cloneFound(ctx, f, id, source, plan)
	if err == nil && v.Origin != "" {
		l.mark(snapshot, v.Dataset) //nolint:contextcheck // The call has been answered by then.
		return v, nil
	}
	if snapshot != "" {
		// Where there is no clone it goes at once.
		err = errors.Join(err, l.zfs(context.WithoutCancel(ctx), snapshot, "destroy", "-d", snapshot))
	}
	if err != nil {
		return nil, fmt.Errorf("clone volume %s to %s: %w", source, id, err)
	}
	return v, nil
}

// cloneFound makes a clone of what was found. It returns the snapshot too that it is made of. With an error snapshot is one that is
// left; empty for none.
func (l *Local) cloneFound(ctx context.Context, f *findings, id, source VolumeID, plan Plan) (v *Volume, snapshot string, err error) {
	src, err := f.volume(source)
	if errors.Is(err, ErrNotOurs) {
		return nil, "", fmt.Errorf("source of the clone: %v: %w", err, ErrInvalid) //nolint:errorlint // it is not the target's fault
	}
	if err != nil {
		return nil, "", fmt.Errorf("source of the clone: %w", err)
	}
	spec, err := f.plan(ctx, id, src, src.Dataset.name, plan)
	if err != nil {
		return nil, "", err
	}
	spec.Source = source.id
	make, kind := l.clone, kindClone
	if spec.copies(src) {
		make, kind = l.copy, kindCopy
	}
	taken, err := l.snapshotAtRest(ctx, src, id, kind, spec.Quiesce)
	if err != nil {
		return nil, "", err
	}
	v, err = make(ctx, id, src, taken, spec, f.rows[spec.Parent.name])
	return v, taken, err
}

// Restore implements Store.
func (l *Local) Restore(ctx context.Context, id VolumeID, source SnapshotID, plan Plan) (*Volume, error) {
	from, f, err := l.snapshot(ctx, source, id)
	if err != nil {
		return nil, fmt.Errorf("source of the volume: %w", err)
	}
	src := &from.Of
	spec, err := f.plan(ctx, id, src, from.fullName(), plan)
	if err != nil {
		return nil, err
	}
	spec.Source = source.String()
	make := l.clone
	if spec.copies(src) {
		make = l.copy
	}
	v, err := make(ctx, id, src, from.fullName(), spec, f.rows[spec.Parent.name])
	if err != nil {
		return nil, fmt.Errorf("restore snapshot %s to %s: %w", source, spec.Parent.volume(id), err)
	}
	return v, nil
}

// plan returns what a volume made of src is to be, when it can be made. name is that of the
// dataset or snapshot to make it of.
func (f *findings) plan(ctx context.Context, id VolumeID, src *Volume, name string, plan Plan) (CloneSpec, error) {
	spec, err := plan(src)
	if err != nil {
		return spec, err
	}
	if err := f.vacate(ctx, id, spec.Parent); err != nil {
		return spec, err
	}
	r, err := f.creation(ctx, name, spec.Properties)
	if err != nil {
		return spec, err
	}
	if err := spec.fit(src, r); err != nil {
		return spec, fmt.Errorf("make volume %s of %s: %w", id, src.ID, err)
	}
	// Where a filesystem has been made on the source it is on the clone too.
	spec.Formatted = src.Formatted
	return spec, nil
}

// creation returns the properties of a dataset or snapshot, with those among p that are fixed when a
// volume is made.
func (f *findings) creation(ctx context.Context, name string, p Properties) (row, error) {
	r := f.rows[name]
	var missing []string
	for property := range p {
		if _, there := r[string(property)]; CreationOnly(string(property)) && !there {
			missing = append(missing, string(property))
		}
	}
	if len(missing) == 0 {
		return r, nil
	}
	more, err := readRow(ctx, f.store.runner, Dataset{name}, strings.Join(missing, ","))
	if err != nil {
		return nil, err
	}
	maps.Copy(more, r)
	return more, nil
}

// copies tells whether the volume is to be a full copy of src.
func (s CloneSpec) copies(src *Volume) bool {
	return s.Copy || src.Dataset.Pool() != s.Parent.Pool()
}

// clone makes a ZFS clone of a snapshot of src.
func (l *Local) clone(ctx context.Context, id VolumeID, src *Volume, snapshot string, spec CloneSpec, parent row) (*Volume, error) {
	attributes, err := spec.Attributes.properties()
	if err != nil {
		return nil, err
	}
	target := spec.Parent.volume(id)
	err = l.fitting(ctx, &spec.Spec, snapshot, func() error {
		properties := slices.Concat(spec.fixed(parent), spec.native(), attributes)
		if spec.Kind == Filesystem || spec.Thick || spec.Size > src.Size {
			properties = append(properties, spec.limits()...)
		}
		c := Command{Name: "zfs", Args: slices.Concat([]string{"clone"}, options(properties), []string{snapshot, target.name})}
		if pairs, ok := callProperties(properties); ok {
			c.Call = cloneCall(target.name, snapshot, pairs)
		}
		return l.make(ctx, target, c)
	})
	if err != nil {
		return nil, err
	}
	v := spec.made(id, src.BlockSize)
	v.Origin = snapshot
	return v, nil
}

// snapshotAtRest takes a snapshot of src, of which a volume of that ID is to be made, and returns its full name.
func (l *Local) snapshotAtRest(ctx context.Context, src *Volume, id VolumeID, kind string, quiesce func() (func() error, error)) (string, error) {
	leaf := l.snapshotName(kind)
	name := src.Dataset.name + "@" + leaf
	var taken bool
	err := atRest(quiesce, func() error {
		err := l.snapshots(ctx, []string{propKind + "=" + leaf, propFor + "=" + id.id}, name)
		taken = err == nil
		return err
	})
	if err != nil && taken {
		// The snapshot alone is worth nothing; what went wrong first is told.
		err = errors.Join(err, l.zfs(ctx, name, "destroy", "-d", name))
	}
	return name, err
}

// atRest calls f between quiesce, unless that is nil, and what it returns.
func atRest(quiesce func() (func() error, error), f func() error) (err error) {
	if quiesce != nil {
		release, restErr := quiesce()
		if restErr != nil {
			return fmt.Errorf("bring the filesystem to rest: %w", restErr)
		}
		// Also where f panics: what is at rest hangs its users.
		defer func() { err = errors.Join(err, release()) }()
	}
	return f()
}

// fit completes the spec from the source and checks it against what a clone can be.
func (s *CloneSpec) fit(src *Volume, r row) error {
	if s.Kind != src.Kind {
		return fmt.Errorf("the source is a %s and the clone is to be a %s: %w", src.Kind, s.Kind, ErrInvalid)
	}
	if s.FSType != src.FSType {
		return fmt.Errorf("the source holds filesystem %q and the clone is to hold %q: %w", src.FSType, s.FSType, ErrInvalid)
	}
	for name, value := range s.Properties {
		if have := r[string(name)].value; CreationOnly(string(name)) && value != have {
			return fmt.Errorf("property %s is fixed when a volume is made: the source has %s, the clone is to have %s: %w", name, have, value, ErrInvalid)
		}
	}
	// A clone has these by itself, and ZFS takes none for it.
	s.Properties = maps.Clone(s.Properties)
	maps.DeleteFunc(s.Properties, func(name Property, _ string) bool { return CreationOnly(string(name)) })
	block, err := r.size(propVolblocksize)
	if err != nil {
		return err
	}
	s.Size = s.round(max(block, 1))
	if s.Size < src.Size {
		return fmt.Errorf("the source has %s bytes and the clone is to have %s: %w",
			strconv.FormatInt(src.Size, 10), strconv.FormatInt(s.Size, 10), ErrInvalid)
	}
	return nil
}

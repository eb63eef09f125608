package zfs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
)

// Clone implements Store.
//
// A clone is a snapshot of the source, a ZFS clone of that, and the snapshot marked
// for deferred destruction, so that ZFS itself removes it with the last clone of it:
// there is nothing to remember and nothing to leak.
func (l *Local) Clone(ctx context.Context, id, source VolumeID, plan Plan) (*Volume, error) {
	f, err := l.find(ctx, id, source)
	if err != nil {
		return nil, err
	}
	src, err := f.volume(source)
	if errors.Is(err, ErrNotOurs) {
		return nil, fmt.Errorf("source of the clone: %v: %w", err, ErrInvalid) //nolint:errorlint // it is not the target's fault
	}
	if err != nil {
		return nil, fmt.Errorf("source of the clone: %w", err)
	}
	spec, err := f.plan(ctx, id, src, f.rows[src.Dataset.name], plan)
	if err != nil {
		return nil, err
	}
	spec.Source = source.id
	make, kind := l.clone, kindClone
	if spec.copies(src) {
		make, kind = l.copy, kindCopy
	}
	snapshot, err := l.snapshotAtRest(ctx, src, id, kind, spec.Quiesce)
	if err != nil {
		return nil, fmt.Errorf("clone volume %s: %w", src.ID, err)
	}
	v, err := make(ctx, id, src, snapshot, spec, f.rows[spec.Parent.name])
	// The snapshot goes with its last clone, or at once when there is none.
	destroyErr := l.zfs(context.WithoutCancel(ctx), snapshot, "destroy", "-d", snapshot)
	if err := errors.Join(err, destroyErr); err != nil {
		return nil, fmt.Errorf("clone volume %s to %s: %w", src.ID, spec.Parent.volume(id), err)
	}
	return v, nil
}

// Restore implements Store.
func (l *Local) Restore(ctx context.Context, id VolumeID, source SnapshotID, plan Plan) (*Volume, error) {
	from, f, err := l.snapshot(ctx, source, id)
	if err != nil {
		return nil, fmt.Errorf("source of the volume: %w", err)
	}
	src := &from.Of
	spec, err := f.plan(ctx, id, src, f.rows[from.fullName()], plan)
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

// plan returns what a volume made of src, whose properties are r, is to be, when it can be made.
func (f *findings) plan(ctx context.Context, id VolumeID, src *Volume, r row, plan Plan) (CloneSpec, error) {
	spec, err := plan(src)
	if err != nil {
		return spec, err
	}
	if err := f.vacate(ctx, id, spec.Parent); err != nil {
		return spec, err
	}
	if err := spec.fit(src, r); err != nil {
		return spec, fmt.Errorf("make volume %s of %s: %w", id, src.ID, err)
	}
	// Where a filesystem has been made on the source it is on the clone too.
	spec.Formatted = src.Formatted
	return spec, nil
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
	properties := options(spec.fixed(parent), spec.native(), attributes)
	if spec.Kind == Filesystem || spec.Thick || spec.Size > src.Size {
		properties = append(properties, options(spec.limits())...)
	}
	if err := l.make(ctx, target, append(append([]string{"clone"}, properties...), snapshot, target.name)...); err != nil {
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
	args := append([]string{"snapshot"}, options([]string{propKind + "=" + leaf, propFor + "=" + id.id})...)
	command := Command{Name: "zfs", Args: append(args, name)}
	var taken bool
	err := atRest(quiesce, func() error {
		_, err := l.run(ctx, command, src.Dataset.name, name)
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

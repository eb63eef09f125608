package zfs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Create implements Store.
func (l *Local) Create(ctx context.Context, id VolumeID, spec Spec) (*Volume, error) {
	f, err := l.find(ctx, id)
	if err != nil {
		return nil, err
	}
	if err := f.vacate(ctx, id, spec.Parent); err != nil {
		return nil, err
	}
	if spec.Kind != Filesystem && spec.Kind != Block || spec.Size <= 0 {
		// For ZFS a refquota of 0 is none at all.
		return nil, fmt.Errorf("create volume %s: a %s of %d bytes cannot be made: %w", id, spec.Kind, spec.Size, ErrInvalid)
	}
	block, err := volblocksize(spec.Properties, DefaultVolblocksize)
	if err != nil {
		return nil, err
	}
	spec.Size = spec.round(block)
	target := spec.Parent.volume(id)
	attributes, err := spec.Attributes.properties()
	if err != nil {
		return nil, err
	}
	properties := slices.Concat(spec.fixed(f.rows[spec.Parent.name]), spec.native(), attributes)
	args := []string{"create"}
	if spec.Kind == Block {
		args = append(args, "-V", strconv.FormatInt(spec.Size, 10), "-b", strconv.FormatInt(block, 10))
		if !spec.Thick {
			args = append(args, "-s")
		}
		args = append(args, options(properties)...)
		properties = append(properties, append(spec.limits(), propVolblocksize+"="+strconv.FormatInt(block, 10))...)
	} else {
		properties = append(properties, spec.limits()...)
		args = append(args, options(properties)...)
	}
	c := Command{Name: "zfs", Args: append(args, target.name)}
	if pairs, ok := callProperties(properties); ok {
		c.Call = createCall(target.name, spec.Kind, pairs)
	}
	if err := l.make(ctx, target, c); err != nil {
		return nil, fmt.Errorf("create volume %s: %w", id, err)
	}
	return spec.made(id, block), nil
}

// vacate returns nil when the parent can take a new volume of this ID, after it has removed
// an unfinished one. The ID must be free below all parents, so that it never means
// two volumes.
func (f *findings) vacate(ctx context.Context, id VolumeID, parent Dataset) error {
	if err := f.usable(parent); err != nil {
		return err
	}
	switch v, err := f.volume(id); {
	case err == nil:
		return fmt.Errorf("volume %s is at %s: %w", id, v.Dataset, ErrExists)
	case errors.Is(err, ErrNotFound):
		if tombstone := f.place(id); !tombstone.isZero() {
			return f.store.bury(ctx, tombstone)
		}
		return nil
	case errors.Is(err, ErrNotOurs):
		return f.store.reclaim(ctx, f.place(id))
	default:
		return err
	}
}

// zvolProperties are what every zvol has: no partitions of it appear on the node, and
// no devices of its snapshots.
var zvolProperties = []string{"volmode=dev", "snapdev=hidden"}

// fixed are the properties that every volume of the kind has, as far as it does not
// inherit them. A zvol had better inherit volmode: to set it, ZFS takes the device
// away and makes it anew, and who opens it at that moment can have it stay away.
func (s Spec) fixed(parent row) []string {
	if s.Kind == Filesystem {
		return []string{"mountpoint=legacy", "canmount=on"}
	}
	return slices.DeleteFunc(slices.Clone(zvolProperties), func(p string) bool {
		name, value, _ := strings.Cut(p, "=")
		return parent[name].value == value
	})
}

// native are the properties the caller asked for; a zvol's block size is not among
// them, since it goes by an argument of its own and only to a new zvol.
func (s Spec) native() []string {
	return slices.DeleteFunc(s.Properties.sorted(), func(p string) bool {
		return p == propVolblocksize+"="+s.Properties[propVolblocksize]
	})
}

// limits are the properties that hold the size and its reservation. It is refquota,
// never quota, which charges snapshots to the user and makes promotion fail.
//
// ZFS lets the last write to a filesystem go beyond its quota, and sets none that is below what it holds. So what is made of a
// full one has a quota of what that holds, and its size is noted, which counts as long as it has that quota.
func (s Spec) limits() []string {
	size := strconv.FormatInt(s.Size, 10)
	var out []string
	switch quota := strconv.FormatInt(s.held, 10); {
	case s.Kind == Block:
		out = []string{"volsize=" + size}
	case s.held > s.Size:
		out = []string{"refquota=" + quota, propSize + "=" + size + "/" + quota}
	default:
		out = []string{"refquota=" + size}
	}
	switch {
	case s.Thick && s.Kind == Block:
		out = append(out, "refreservation=auto")
	case s.Thick:
		out = append(out, "refreservation="+size)
	}
	return out
}

// fitting calls f, and where there is no room since the filesystem or snapshot of that name holds more than the size, calls
// it again with that in spec.
func (l *Local) fitting(ctx context.Context, spec *Spec, name string, f func() error) error {
	err := f()
	if spec.Kind != Filesystem || !errors.Is(err, ErrNoSpace) {
		return err
	}
	r, readErr := readRow(ctx, l.runner, Dataset{name}, "referenced")
	if readErr != nil {
		return errors.Join(err, readErr)
	}
	if spec.held, readErr = r.size("referenced"); readErr != nil || spec.held <= spec.Size {
		return errors.Join(err, readErr)
	}
	return f()
}

// round returns the size as ZFS takes it: a zvol's is a multiple of its block size.
func (s Spec) round(block int64) int64 {
	if s.Kind != Block {
		return s.Size
	}
	return (s.Size + block - 1) / block * block
}

// made returns the volume that was made to the spec; block is a zvol's block size.
func (s Spec) made(id VolumeID, block int64) *Volume {
	v := &Volume{
		ID: id, Parent: s.Parent, Dataset: s.Parent.volume(id),
		Kind: s.Kind, Size: s.Size, Thick: s.Thick, Attributes: s.Attributes,
	}
	if s.Kind == Block {
		v.BlockSize = block
	}
	return v
}

const propVolblocksize = "volblocksize"

// volblocksize returns the block size in bytes that the properties ask for.
func volblocksize(p Properties, otherwise int64) (int64, error) {
	value, asked := p[propVolblocksize]
	if !asked {
		return otherwise, nil
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("volblocksize %q: %w", value, ErrInvalid)
	}
	return n, nil
}

// Resize implements Store.
func (l *Local) Resize(ctx context.Context, id VolumeID, size int64) (*Volume, error) {
	f, err := l.find(ctx, id)
	if err != nil {
		return nil, err
	}
	v, err := f.volume(id)
	if err != nil {
		return nil, err
	}
	block, err := f.rows[v.Dataset.name].size(propVolblocksize)
	if err != nil {
		return nil, err
	}
	spec := Spec{Kind: v.Kind, Size: size, Thick: v.Thick}
	spec.Size = spec.round(max(block, 1))
	// ZFS sets the size first and its reservation then; a repeated call makes sure of both.
	if spec.Size < v.Size || spec.Size == v.Size && !v.Thick {
		return v, nil
	}
	if err := l.limit(ctx, v.Dataset, spec); err != nil {
		if v.Thick {
			// The size is set before its reservation fails for want of room.
			spec.Size = v.Size
			err = errors.Join(err, l.limit(context.WithoutCancel(ctx), v.Dataset, spec))
		}
		return nil, fmt.Errorf("grow volume %s from %d to %d bytes: %w", id, v.Size, size, err)
	}
	v.Size = spec.Size
	return v, nil
}

// limit sets the size of a volume and its reservation.
func (l *Local) limit(ctx context.Context, d Dataset, spec Spec) error {
	return l.fitting(ctx, &spec, d.name, func() error {
		return l.change(ctx, d, slices.Concat([]string{"set"}, spec.limits(), []string{d.name})...)
	})
}

// SetFormatted implements Store.
func (l *Local) SetFormatted(ctx context.Context, id VolumeID) error {
	v, err := l.Get(ctx, id)
	if err != nil || v.Formatted {
		return err
	}
	return l.zfs(ctx, v.Dataset.name, "set", propFormatted+"=yes", v.Dataset.name)
}

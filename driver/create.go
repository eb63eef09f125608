package driver

import (
	"context"
	"errors"
	"fmt"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/zfs-csi/zfs-csi/zfs"
)

// CreateVolume implements csi.ControllerServer.
func (d *Driver) CreateVolume(ctx context.Context, req *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
	c, err := d.parseCreation(req)
	if err != nil {
		return nil, err
	}
	v, err := hold(ctx, d, c.id.String(), c.source.locks(c.id), func(work context.Context) (*zfs.Volume, error) {
		defer d.listing.forget()
		return d.create(ctx, work, c)
	})
	if err != nil {
		return nil, err
	}
	return &csi.CreateVolumeResponse{Volume: d.volume(v)}, nil
}

// create makes the volume, or returns the one that an earlier call has made: what is
// there answers, whatever has become of its source in the meantime. Its mutable parameters
// are not compared but set, since they may have changed between the two. ctx is the
// call's own; work does not end with the call.
func (d *Driver) create(ctx, work context.Context, c creation) (*zfs.Volume, error) {
	v, err := d.make(ctx, work, c)
	if err == nil {
		return v, nil
	}
	if existing, getErr := d.store.Get(work, c.id); getErr == nil {
		if err := c.compare(existing); err != nil {
			return nil, err
		}
		return d.modify(work, existing, c.mutable)
	}
	if errors.Is(err, zfs.ErrNotOurs) {
		return nil, status.Error(codes.AlreadyExists, err.Error())
	}
	return nil, err
}

// make makes the volume, empty or as a clone.
func (d *Driver) make(ctx, work context.Context, c creation) (*zfs.Volume, error) {
	spec := c.spec()
	if c.source.none() {
		return d.store.Create(work, c.id, spec)
	}
	release := func() {}
	defer func() { release() }()
	plan := func(source *zfs.Volume) (_ zfs.CloneSpec, err error) {
		if spec.Size, err = c.cloneSize(source); err != nil {
			return zfs.CloneSpec{}, err
		}
		clone := zfs.CloneSpec{Spec: spec, Copy: c.copy}
		if c.source.snapshot == (zfs.SnapshotID{}) {
			if release, err = d.whole(source); err != nil {
				return zfs.CloneSpec{}, err
			}
			// To come to rest may take waiting for a device, which lasts no longer than the call.
			clone.Quiesce = d.quiesce(ctx, source)
		}
		return clone, nil
	}
	v, err := d.from(work, c, plan)
	if errors.Is(err, zfs.ErrNotFound) {
		return nil, fmt.Errorf("%w on node %q; a clone is made on the node of its source", err, d.config.NodeID)
	}
	return v, err
}

// from makes the volume of its source.
func (d *Driver) from(ctx context.Context, c creation, plan zfs.Plan) (*zfs.Volume, error) {
	if c.source.snapshot != (zfs.SnapshotID{}) {
		return d.store.Restore(ctx, c.id, c.source.snapshot, plan)
	}
	return d.store.Clone(ctx, c.id, c.source.volume, plan)
}

// whole locks the source of a clone against its filesystem's being made meanwhile: half of
// one is none.
func (d *Driver) whole(source *zfs.Volume) (release func(), err error) {
	if source.FSType == "" || source.Formatted {
		return func() {}, nil
	}
	release, taken := d.locks.try(onNode(source.ID.String()))
	if release == nil {
		return func() {}, pending(taken)
	}
	return release, nil
}

// cloneSize returns the size of a clone of source, in bytes: that of the source unless
// a larger one is asked for.
func (c creation) cloneSize(source *zfs.Volume) (int64, error) {
	if have := useOf(source); have != c.use {
		return 0, invalid(fmt.Errorf("volume %q is a %s; a clone of it cannot be a %s", source.ID, have, c.use))
	}
	size, err := c.sizes.choose(c.use, source.Size, blockSize(source))
	if err != nil {
		return 0, err
	}
	if size < source.Size {
		return 0, status.Errorf(codes.OutOfRange, "volume %q has %d bytes; a clone of it cannot have %d", source.ID, source.Size, size)
	}
	return size, nil
}

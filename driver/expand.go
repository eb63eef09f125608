package driver

import (
	"context"
	"errors"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/zfs-csi/zfs-csi/zfs"
)

// ControllerExpandVolume implements csi.ControllerServer. A dataset or raw zvol is
// then as large as asked at once; a filesystem on a zvol still has to grow on the node.
func (d *Driver) ControllerExpandVolume(ctx context.Context, req *csi.ControllerExpandVolumeRequest) (*csi.ControllerExpandVolumeResponse, error) {
	id, err := parseID(req.GetVolumeId())
	if err != nil {
		return nil, err
	}
	wanted, err := parseSizes(req.GetCapacityRange())
	if err != nil {
		return nil, err
	}
	if wanted == (sizes{}) {
		return nil, invalid(errors.New("capacity_range is missing; it needs required_bytes or limit_bytes"))
	}
	v, err := hold(ctx, d, id.String(), nil, func(ctx context.Context) (*zfs.Volume, error) {
		defer d.listing.forget()
		v, err := d.store.Get(ctx, id)
		if err != nil {
			return nil, err
		}
		if c := req.GetVolumeCapability(); c != nil {
			if err := checkUse(v, c); err != nil {
				return nil, invalid(err)
			}
		}
		return d.expand(ctx, v, wanted)
	})
	if err != nil {
		return nil, err
	}
	return &csi.ControllerExpandVolumeResponse{CapacityBytes: v.Size, NodeExpansionRequired: v.FSType != ""}, nil
}

// expand returns the volume with a size as wanted. One that is large enough is left alone, unless its
// size is reserved: ZFS sets the reservation after the size, and this call may repeat one that was cut off in between.
func (d *Driver) expand(ctx context.Context, v *zfs.Volume, wanted sizes) (*zfs.Volume, error) {
	if wanted.limit > 0 && wanted.limit < v.Size {
		return nil, status.Errorf(codes.OutOfRange, "volume %q has %d bytes, more than limit_bytes %d; volumes do not shrink", v.ID, v.Size, wanted.limit)
	}
	size := v.Size
	if wanted.required > v.Size {
		var err error
		if size, err = wanted.choose(useOf(v), v.Size, blockSize(v)); err != nil {
			return nil, err
		}
	} else if !v.Thick || wanted == (sizes{}) {
		return v, nil
	}
	return d.store.Resize(ctx, v.ID, size)
}

package driver

import (
	"context"
	"errors"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/zfs-csi/zfs-csi/zfs"
)

// ControllerModifyVolume implements csi.ControllerServer.
func (d *Driver) ControllerModifyVolume(ctx context.Context, req *csi.ControllerModifyVolumeRequest) (*csi.ControllerModifyVolumeResponse, error) {
	id, err := parseID(req.GetVolumeId())
	if err != nil {
		return nil, err
	}
	given := req.GetMutableParameters()
	if len(given) == 0 {
		return nil, invalid(errors.New("mutable_parameters are missing"))
	}
	_, err = hold(ctx, d, id.String(), nil, func(ctx context.Context) (*zfs.Volume, error) {
		defer d.listing.forget()
		v, err := d.store.Get(ctx, id)
		if err != nil {
			return nil, err
		}
		change, err := parseMutable(given, v.Kind)
		if err != nil {
			return nil, invalid(err)
		}
		return d.modify(ctx, v, change)
	})
	if err != nil {
		return nil, err
	}
	return &csi.ControllerModifyVolumeResponse{}, nil
}

// modify returns the volume with the change made to it.
func (d *Driver) modify(ctx context.Context, v *zfs.Volume, change zfs.Change) (*zfs.Volume, error) {
	if change.Empty() {
		return v, nil
	}
	return d.store.Modify(ctx, v.ID, change)
}

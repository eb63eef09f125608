package driver

import (
	"context"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/zfs-csi/zfs-csi/zfs"
)

// GetCapacity implements csi.ControllerServer. Kubernetes' scheduler goes by the
// maximum volume size where there is one. A thin volume may be larger than what is
// available, which is what thin provisioning is for; a thick one may not.
func (d *Driver) GetCapacity(ctx context.Context, req *csi.GetCapacityRequest) (*csi.GetCapacityResponse, error) {
	u := use{kind: zfs.Filesystem}
	var err error
	if len(req.GetVolumeCapabilities()) > 0 {
		if u, err = parseUse(req.GetVolumeCapabilities()); err != nil {
			return nil, invalid(err)
		}
	}
	p, err := parseParameters(req.GetParameters(), u.kind, d.store.Parents())
	if err != nil && len(req.GetVolumeCapabilities()) == 0 {
		// Kubernetes does not say of which kind the volumes of the StorageClass are.
		u.kind = zfs.Block
		if block, blockErr := parseParameters(req.GetParameters(), u.kind, d.store.Parents()); blockErr == nil {
			p, err = block, nil
		}
	}
	if err != nil {
		return nil, invalid(err)
	}
	if t := req.GetAccessibleTopology(); t != nil && !d.here(t) {
		return capacity(u, p, 0), nil
	}
	room, err := ask(ctx, d, func(ctx context.Context) (zfs.Capacity, error) { return d.store.Capacity(ctx, p.parent) })
	if err != nil {
		return nil, err
	}
	return capacity(u, p, room.Available), nil
}

// capacity returns what callers are told of so many bytes of room.
func capacity(u use, p parameters, available int64) *csi.GetCapacityResponse {
	least, most := u.bounds()
	if p.thick {
		most = min(most, available)
	}
	if available < least {
		most = 0 // Nothing more can be made here, however thin.
	}
	return &csi.GetCapacityResponse{
		AvailableCapacity: available,
		MaximumVolumeSize: wrapperspb.Int64(most),
		MinimumVolumeSize: wrapperspb.Int64(least),
	}
}

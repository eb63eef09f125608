package driver

import (
	"context"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// DeleteVolume implements csi.ControllerServer. It answers OK only for a volume that is
// proven absent, which one is too whose ID no volume can have.
func (d *Driver) DeleteVolume(ctx context.Context, req *csi.DeleteVolumeRequest) (*csi.DeleteVolumeResponse, error) {
	id, err := parseID(req.GetVolumeId())
	if status.Code(err) == codes.NotFound {
		return &csi.DeleteVolumeResponse{}, nil
	}
	if err != nil {
		return nil, err
	}
	return hold(ctx, d, id.String(), nil, func(ctx context.Context) (*csi.DeleteVolumeResponse, error) {
		defer d.listing.forget()
		return &csi.DeleteVolumeResponse{}, d.store.Delete(ctx, id)
	})
}

package driver

import (
	"context"
	"slices"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/zfs-csi/zfs-csi/zfs"
)

// ListVolumes implements csi.ControllerServer.
func (d *Driver) ListVolumes(ctx context.Context, req *csi.ListVolumesRequest) (*csi.ListVolumesResponse, error) {
	p, err := parsePage(req.GetMaxEntries(), req.GetStartingToken())
	if err != nil {
		return nil, err
	}
	volumes, err := d.volumes(ctx, p.further())
	if err != nil {
		return nil, err
	}
	part, next := p.of(volumes)
	resp := &csi.ListVolumesResponse{NextToken: next}
	for _, v := range part {
		resp.Entries = append(resp.Entries, &csi.ListVolumesResponse_Entry{
			Volume: d.volume(v),
			Status: &csi.ListVolumesResponse_VolumeStatus{},
		})
	}
	return resp, nil
}

// ControllerGetVolume implements csi.ControllerServer.
func (d *Driver) ControllerGetVolume(ctx context.Context, req *csi.ControllerGetVolumeRequest) (*csi.ControllerGetVolumeResponse, error) {
	id, err := parseID(req.GetVolumeId())
	if err != nil {
		return nil, err
	}
	v, err := d.get(ctx, id)
	if err != nil {
		return nil, err
	}
	return &csi.ControllerGetVolumeResponse{Volume: d.volume(v), Status: &csi.ControllerGetVolumeResponse_VolumeStatus{}}, nil
}

// page is the part of a list that a caller asks for. A token says after which volume
// the next part begins, so that it stays good while volumes come and go.
type page struct {
	after string // empty for the first
	size  int    // 0 for all that is left
}

const tokenPrefix = "after:"

func parsePage(size int32, token string) (page, error) {
	if size < 0 {
		return page{}, status.Errorf(codes.InvalidArgument, "max_entries %d is negative", size)
	}
	if token == "" {
		return page{size: int(size)}, nil
	}
	after, ours := strings.CutPrefix(token, tokenPrefix)
	if _, err := zfs.ParseVolumeID(after); !ours || err != nil {
		return page{}, status.Errorf(codes.Aborted, "starting_token %q is not one this driver gave; start again without", token)
	}
	return page{after: after, size: int(size)}, nil
}

// further tells whether this is not the first page.
func (p page) further() bool { return p.after != "" }

// of returns this page of volumes, which are in the order of their IDs, and the token of the
// next, empty if this is the last.
func (p page) of(volumes []*zfs.Volume) (part []*zfs.Volume, next string) {
	start, found := slices.BinarySearchFunc(volumes, p.after, func(v *zfs.Volume, id string) int {
		return strings.Compare(v.ID.String(), id)
	})
	if found {
		start++
	}
	part = volumes[start:]
	if p.size == 0 || len(part) <= p.size {
		return part, ""
	}
	part = part[:p.size]
	return part, tokenPrefix + part[p.size-1].ID.String()
}

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
	p, err := parsePage(req.GetMaxEntries(), req.GetStartingToken(), isVolumeID)
	if err != nil {
		return nil, err
	}
	volumes, err := d.volumes(ctx, p)
	if err != nil {
		return nil, err
	}
	part, next := pageOf(p, volumes, volumeKey)
	resp := &csi.ListVolumesResponse{NextToken: next}
	for _, v := range part {
		resp.Entries = append(resp.Entries, &csi.ListVolumesResponse_Entry{
			Volume: d.volume(v),
			Status: &csi.ListVolumesResponse_VolumeStatus{},
		})
	}
	return resp, nil
}

// volumes returns all volumes, for a page of them.
func (d *Driver) volumes(ctx context.Context, p page) ([]*zfs.Volume, error) {
	return read(ctx, d, &d.listing, p.further(), d.store.List)
}

func volumeKey(v *zfs.Volume) string { return v.ID.String() }

func isVolumeID(s string) error {
	_, err := zfs.ParseVolumeID(s)
	return err
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

// page is the part of a list that a caller asks for. A token says after which ID
// the next part begins, so that it stays good while volumes and snapshots come and go.
type page struct {
	after string // empty for the first
	size  int    // 0 for all that is left
}

const tokenPrefix = "after:"

// parsePage returns the page; isID tells whether a token's end can be an ID of the list.
func parsePage(size int32, token string, isID func(string) error) (page, error) {
	if size < 0 {
		return page{}, status.Errorf(codes.InvalidArgument, "max_entries %d is negative", size)
	}
	if token == "" {
		return page{size: int(size)}, nil
	}
	after, ours := strings.CutPrefix(token, tokenPrefix)
	if err := isID(after); !ours || err != nil {
		return page{}, status.Errorf(codes.Aborted, "starting_token %q is not one this driver gave; start again without", token)
	}
	return page{after: after, size: int(size)}, nil
}

// further tells whether this is not the first page.
func (p page) further() bool { return p.after != "" }

// pageOf returns the page p of items, which are in the order of their IDs, and the token of
// the next, empty if this is the last.
func pageOf[T any](p page, items []T, id func(T) string) (part []T, next string) {
	start, found := slices.BinarySearchFunc(items, p.after, func(item T, after string) int {
		return strings.Compare(id(item), after)
	})
	if found {
		start++
	}
	part = items[start:]
	if p.size == 0 || len(part) <= p.size {
		return part, ""
	}
	part = part[:p.size]
	return part, tokenPrefix + id(part[p.size-1])
}

package driver

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/zfs-csi/zfs-csi/zfs"
)

// ControllerGetCapabilities implements csi.ControllerServer.
func (d *Driver) ControllerGetCapabilities(context.Context, *csi.ControllerGetCapabilitiesRequest) (*csi.ControllerGetCapabilitiesResponse, error) {
	resp := &csi.ControllerGetCapabilitiesResponse{}
	for _, t := range []csi.ControllerServiceCapability_RPC_Type{
		csi.ControllerServiceCapability_RPC_CREATE_DELETE_VOLUME,
		csi.ControllerServiceCapability_RPC_CLONE_VOLUME,
		csi.ControllerServiceCapability_RPC_EXPAND_VOLUME,
		csi.ControllerServiceCapability_RPC_MODIFY_VOLUME,
		csi.ControllerServiceCapability_RPC_GET_CAPACITY,
		csi.ControllerServiceCapability_RPC_CREATE_DELETE_SNAPSHOT,
		csi.ControllerServiceCapability_RPC_LIST_SNAPSHOTS,
		csi.ControllerServiceCapability_RPC_GET_SNAPSHOT,
		csi.ControllerServiceCapability_RPC_LIST_VOLUMES,
		csi.ControllerServiceCapability_RPC_GET_VOLUME,
		csi.ControllerServiceCapability_RPC_GET_VOLUME_HEALTH,
		csi.ControllerServiceCapability_RPC_LIST_VOLUME_HEALTH,
		csi.ControllerServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER,
	} {
		if t == csi.ControllerServiceCapability_RPC_EXPAND_VOLUME && d.config.ExpandOnNode {
			continue
		}
		resp.Capabilities = append(resp.Capabilities, &csi.ControllerServiceCapability{
			Type: &csi.ControllerServiceCapability_Rpc{Rpc: &csi.ControllerServiceCapability_RPC{Type: t}},
		})
	}
	return resp, nil
}

// ValidateVolumeCapabilities implements csi.ControllerServer.
func (d *Driver) ValidateVolumeCapabilities(ctx context.Context, req *csi.ValidateVolumeCapabilitiesRequest) (*csi.ValidateVolumeCapabilitiesResponse, error) {
	id, err := parseID(req.GetVolumeId())
	if err != nil {
		return nil, err
	}
	if len(req.GetVolumeCapabilities()) == 0 {
		return nil, invalid(errors.New("volume_capabilities are missing"))
	}
	v, err := d.get(ctx, id)
	if err != nil {
		return nil, err
	}
	if err := d.validate(v, req); err != nil {
		return &csi.ValidateVolumeCapabilitiesResponse{Message: err.Error()}, nil
	}
	return &csi.ValidateVolumeCapabilitiesResponse{Confirmed: &csi.ValidateVolumeCapabilitiesResponse_Confirmed{
		VolumeCapabilities: req.GetVolumeCapabilities(),
		Parameters:         req.GetParameters(),
		MutableParameters:  req.GetMutableParameters(),
	}}, nil
}

// validate returns what is asked of the volume that it does not have. A context no
// volume has: CreateVolume gives none. Mutable parameters it has when it can be changed to them.
func (d *Driver) validate(v *zfs.Volume, req *csi.ValidateVolumeCapabilitiesRequest) error {
	if keys := slices.Sorted(maps.Keys(req.GetVolumeContext())); len(keys) > 0 {
		return fmt.Errorf("volume %q has no volume_context, and so not the keys %q", v.ID, keys)
	}
	for _, c := range req.GetVolumeCapabilities() {
		if err := checkUse(v, c); err != nil {
			return err
		}
	}
	if _, err := parseMutable(req.GetMutableParameters(), v.Kind); err != nil {
		return err
	}
	if len(req.GetParameters()) == 0 {
		return nil
	}
	p, err := parseParameters(req.GetParameters(), v.Kind, d.store.Parents())
	if err != nil {
		return err
	}
	return differences{}.parameters(v, p).err()
}

// parseID returns the volume ID that a caller gave. One that cannot be a volume's is
// NOT_FOUND, and comes near no command.
func parseID(s string) (zfs.VolumeID, error) {
	if s == "" {
		return zfs.VolumeID{}, invalid(errors.New("volume_id is missing"))
	}
	id, err := zfs.ParseVolumeID(s)
	if err != nil {
		return zfs.VolumeID{}, status.Errorf(codes.NotFound, "no volume has such an ID: %v", err)
	}
	return id, nil
}

// get returns a volume; the error is a gRPC status.
func (d *Driver) get(ctx context.Context, id zfs.VolumeID) (*zfs.Volume, error) {
	return ask(ctx, d, func(ctx context.Context) (*zfs.Volume, error) {
		v, err := d.store.Get(ctx, id)
		if !errors.Is(err, zfs.ErrNotOurs) {
			return v, err
		}
		// Perhaps it is just being made, and does not have its mark yet.
		release, taken := d.locks.try(id.String())
		if release == nil {
			return nil, pending(taken)
		}
		defer release()
		return d.store.Get(ctx, id)
	})
}

// volume returns what callers are told of a volume. Whatever call tells of it, new or
// repeated, tells the same.
func (d *Driver) volume(v *zfs.Volume) *csi.Volume {
	told := &csi.Volume{
		VolumeId:           v.ID.String(),
		CapacityBytes:      v.Size,
		AccessibleTopology: []*csi.Topology{d.topology()},
	}
	told.ContentSource = contentSource(v.Source)
	return told
}

// contentSource returns what a volume remembers of its source.
func contentSource(source string) *csi.VolumeContentSource {
	switch {
	case source == "":
		return nil
	case strings.Contains(source, "@"):
		return &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Snapshot{
			Snapshot: &csi.VolumeContentSource_SnapshotSource{SnapshotId: source},
		}}
	}
	return &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Volume{
		Volume: &csi.VolumeContentSource_VolumeSource{VolumeId: source},
	}}
}

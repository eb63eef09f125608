package driver

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/zfs-csi/zfs-csi/zfs"
)

// GroupControllerGetCapabilities implements csi.GroupControllerServer.
func (d *Driver) GroupControllerGetCapabilities(context.Context, *csi.GroupControllerGetCapabilitiesRequest) (*csi.GroupControllerGetCapabilitiesResponse, error) {
	return &csi.GroupControllerGetCapabilitiesResponse{Capabilities: []*csi.GroupControllerServiceCapability{{
		Type: &csi.GroupControllerServiceCapability_Rpc{Rpc: &csi.GroupControllerServiceCapability_RPC{
			Type: csi.GroupControllerServiceCapability_RPC_CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT,
		}},
	}}}, nil
}

// CreateVolumeGroupSnapshot implements csi.GroupControllerServer: all snapshots are taken in
// one transaction group of their pool.
func (d *Driver) CreateVolumeGroupSnapshot(ctx context.Context, req *csi.CreateVolumeGroupSnapshotRequest) (*csi.CreateVolumeGroupSnapshotResponse, error) {
	if len(req.GetSourceVolumeIds()) == 0 {
		return nil, invalid(errors.New("source_volume_ids are missing"))
	}
	parameters := maps.Clone(req.GetParameters())
	switch policy := parameters[deletionPolicy]; policy {
	case "", "Delete", "Retain":
		delete(parameters, deletionPolicy)
	default:
		return nil, invalid(fmt.Errorf("parameter %s=%q: it is Delete or Retain, and a field of the class, not a parameter", deletionPolicy, policy))
	}
	spec, err := d.parseSnapshot(req.GetName(), req.GetSourceVolumeIds(), parameters)
	if err != nil {
		return nil, err
	}
	spec.Group = true
	taken, err := d.take(ctx, spec)
	if err != nil {
		return nil, err
	}
	return &csi.CreateVolumeGroupSnapshotResponse{GroupSnapshot: groupSnapshot(taken)}, nil
}

// DeleteVolumeGroupSnapshot implements csi.GroupControllerServer.
func (d *Driver) DeleteVolumeGroupSnapshot(ctx context.Context, req *csi.DeleteVolumeGroupSnapshotRequest) (*csi.DeleteVolumeGroupSnapshotResponse, error) {
	id, err := parseGroupID(req.GetGroupSnapshotId())
	if status.Code(err) == codes.NotFound {
		return &csi.DeleteVolumeGroupSnapshotResponse{}, nil
	}
	if err != nil {
		return nil, err
	}
	return hold(ctx, d, nameLock(id), nil, func(ctx context.Context) (*csi.DeleteVolumeGroupSnapshotResponse, error) {
		defer d.snapshots.forget()
		members, err := d.store.GetGroup(ctx, id)
		if err == nil {
			err = mismatch(members, req.GetSnapshotIds())
		}
		if err != nil && !errors.Is(err, zfs.ErrNotFound) {
			return nil, err
		}
		return &csi.DeleteVolumeGroupSnapshotResponse{}, d.store.DeleteGroup(ctx, id)
	})
}

// GetVolumeGroupSnapshot implements csi.GroupControllerServer.
func (d *Driver) GetVolumeGroupSnapshot(ctx context.Context, req *csi.GetVolumeGroupSnapshotRequest) (*csi.GetVolumeGroupSnapshotResponse, error) {
	id, err := parseGroupID(req.GetGroupSnapshotId())
	if err != nil {
		return nil, err
	}
	members, err := ask(ctx, d, func(ctx context.Context) ([]*zfs.Snapshot, error) { return d.store.GetGroup(ctx, id) })
	if err == nil {
		err = mismatch(members, req.GetSnapshotIds())
	}
	if err != nil {
		return nil, err
	}
	return &csi.GetVolumeGroupSnapshotResponse{GroupSnapshot: groupSnapshot(members)}, nil
}

// mismatch returns INVALID_ARGUMENT when a group has snapshots that the caller does not name, or
// the caller, who may name none, names one that it never had. One that somebody destroyed is no mismatch.
func mismatch(members []*zfs.Snapshot, named []string) error {
	if len(named) == 0 {
		return nil
	}
	group := members[0].Group
	for _, m := range members {
		if !slices.Contains(named, m.ID.String()) {
			return invalid(fmt.Errorf("snapshot %q is part of the group snapshot %q and snapshot_ids do not name it", m.ID, group))
		}
	}
	for _, n := range named {
		if id, err := zfs.ParseSnapshotID(n); err != nil || id.Name() != group {
			return invalid(fmt.Errorf("snapshot %q of snapshot_ids is not part of the group snapshot %q", n, group))
		}
	}
	return nil
}

// deletionPolicy is a field of a VolumeGroupSnapshotClass that is Kubernetes' own business. Its storage suite (1.36,
// volume_group_snapshottable.go) writes it among the parameters too, where it says and changes nothing.
const deletionPolicy = "deletionPolicy"

// parseGroupID returns the group snapshot ID that a caller gave, like parseSnapshotID.
func parseGroupID(s string) (zfs.GroupID, error) {
	if s == "" {
		return zfs.GroupID{}, invalid(errors.New("group_snapshot_id is missing"))
	}
	id, err := zfs.ParseGroupID(s)
	if err != nil {
		return zfs.GroupID{}, status.Errorf(codes.NotFound, "no group snapshot has such an ID: %v", err)
	}
	return id, nil
}

// groupSnapshot returns what callers are told of a group.
func groupSnapshot(members []*zfs.Snapshot) *csi.VolumeGroupSnapshot {
	told := &csi.VolumeGroupSnapshot{
		GroupSnapshotId: members[0].Group.String(),
		CreationTime:    timestamppb.New(members[0].Created),
		ReadyToUse:      true,
	}
	for _, m := range members {
		told.Snapshots = append(told.Snapshots, snapshot(m))
	}
	return told
}

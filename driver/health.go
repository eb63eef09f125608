package driver

import (
	"context"
	"slices"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/zfs-csi/zfs-csi/zfs"
)

// ControllerGetVolumeHealth implements csi.ControllerServer. A volume is as well as
// what its parent lies on. One that cannot be looked for, because a pool does not
// answer, is inaccessible; one that is proven gone is NOT_FOUND.
func (d *Driver) ControllerGetVolumeHealth(ctx context.Context, req *csi.ControllerGetVolumeHealthRequest) (*csi.ControllerGetVolumeHealthResponse, error) {
	id, err := parseID(req.GetVolumeId())
	if err != nil {
		return nil, err
	}
	health, err := d.health(ctx, id)
	if err != nil {
		return nil, err
	}
	return &csi.ControllerGetVolumeHealthResponse{VolumeHealth: health}, nil
}

// ControllerListVolumeHealth implements csi.ControllerServer. It lists the volumes
// that are not well, and walks the volumes only when a parent is not. While a pool is
// not there nobody knows which volumes it has, and the answer is UNAVAILABLE.
func (d *Driver) ControllerListVolumeHealth(ctx context.Context, req *csi.ControllerListVolumeHealthRequest) (*csi.ControllerListVolumeHealthResponse, error) {
	p, err := parsePage(req.GetMaxEntries(), req.GetStartingToken(), isVolumeID)
	if err != nil {
		return nil, err
	}
	conditions, err := d.conditions(ctx)
	if err != nil {
		return nil, err
	}
	if len(conditions.unwell()) == 0 {
		return &csi.ControllerListVolumeHealthResponse{}, nil
	}
	volumes, err := d.volumes(ctx, p)
	if err != nil {
		return nil, err
	}
	volumes = slices.DeleteFunc(slices.Clone(volumes), func(v *zfs.Volume) bool {
		return conditions[v.Parent].Health == zfs.Healthy
	})
	part, next := pageOf(p, volumes, volumeKey)
	resp := &csi.ControllerListVolumeHealthResponse{NextToken: next}
	for _, v := range part {
		resp.Entries = append(resp.Entries, volumeHealth(v.ID, conditions[v.Parent]))
	}
	return resp, nil
}

// health returns the health of a volume; the error is a gRPC status.
func (d *Driver) health(ctx context.Context, id zfs.VolumeID) (*csi.VolumeHealth, error) {
	// The conditions come first, since they do not wait for a pool that hangs.
	conditions, err := d.conditions(ctx)
	if err != nil {
		return nil, err
	}
	lost := slices.DeleteFunc(conditions.unwell(), func(c zfs.Condition) bool { return c.Health != zfs.Inaccessible })
	if len(lost) > 0 && len(lost) == len(conditions) {
		return volumeHealth(id, lost...), nil
	}
	v, err := d.get(ctx, id)
	if status.Code(err) == codes.Unavailable && len(lost) > 0 {
		return volumeHealth(id, lost...), nil
	}
	if err != nil {
		return nil, err
	}
	return volumeHealth(id, conditions[v.Parent]), nil
}

// conditions are the states of what the parents lie on.
type conditions map[zfs.Dataset]zfs.Condition

// conditions returns the state of every parent; the error is a gRPC status.
func (d *Driver) conditions(ctx context.Context) (conditions, error) {
	return ask(ctx, d, func(ctx context.Context) (conditions, error) {
		all := conditions{}
		for _, parent := range d.store.Parents() {
			c, err := d.store.Condition(ctx, parent)
			if err != nil {
				return nil, err
			}
			all[parent] = c
		}
		return all, nil
	})
}

// unwell returns the conditions that are adverse.
func (all conditions) unwell() []zfs.Condition {
	var unwell []zfs.Condition
	for _, c := range all {
		if c.Health != zfs.Healthy {
			unwell = append(unwell, c)
		}
	}
	return unwell
}

// volumeHealth returns what callers are told of a volume in these conditions, each
// reason once.
func volumeHealth(id zfs.VolumeID, in ...zfs.Condition) *csi.VolumeHealth {
	health := &csi.VolumeHealth{VolumeId: id.String()}
	for _, c := range in {
		if c.Health == zfs.Healthy || slices.ContainsFunc(health.HealthStatuses, func(e *csi.VolumeHealth_VolumeHealthEntry) bool {
			return e.GetReason() == c.Reason
		}) {
			continue
		}
		entry := &csi.VolumeHealth_VolumeHealthEntry{Status: csi.VolumeHealthErrorType_INACCESSIBLE, Reason: c.Reason, Message: c.Message}
		if c.Health == zfs.Degraded {
			entry.Status = csi.VolumeHealthErrorType_DEGRADED
		}
		health.HealthStatuses = append(health.HealthStatuses, entry)
	}
	return health
}

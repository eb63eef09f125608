package driver

import (
	"context"
	"errors"
	"fmt"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/moby/sys/mountinfo"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/zfs-csi/zfs-csi/zfs"
)

// publication is a request to publish a volume, parsed.
type publication struct {
	staging
	target   string
	readOnly bool
	// alone: the volume may be published at one target only.
	alone bool
}

// NodePublishVolume implements csi.NodeServer. It shows the staged filesystem, or the
// device of a raw block volume, at the target too. Read-only or not is each target's
// own, so both kinds of use may go on at once.
//
// The read-only flag of a raw block volume stands in the mount table but does not stop
// writes: no mount flag does for a device, and the kernel's switch (blockdev --setro)
// would stop all who use the volume. The orchestrator enforces it; Kubernetes gives a
// container with a read-only claim the device without the right to write
// (the device cgroup's "r").
func (d *Driver) NodePublishVolume(ctx context.Context, req *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	id, err := parseID(req.GetVolumeId())
	if err != nil {
		return nil, err
	}
	p, err := parsePublication(req)
	if err != nil {
		return nil, toStatus(err)
	}
	return hold(ctx, d, onNode(id.String()), []string{id.String()}, func(context.Context) (*csi.NodePublishVolumeResponse, error) {
		v, err := d.store.Get(ctx, id)
		if err != nil {
			return nil, err
		}
		if err := checkUse(v, p.capability); err != nil {
			return nil, refuse("%v", err)
		}
		if p.path, err = locate(p.path); err != nil {
			return nil, refuse("volume %q is not staged: %v", id, err)
		}
		if p.target, err = locate(p.target); err != nil {
			return nil, refuse("target_path: %v; the orchestrator makes the folder it lies in", err)
		}
		h, err := d.holdingOf(ctx, v)
		if err != nil {
			return nil, err
		}
		if err := d.publish(h, p); err != nil {
			return nil, err
		}
		return &csi.NodePublishVolumeResponse{}, nil
	})
}

// parsePublication parses the request. The error is INVALID_ARGUMENT, but the CSI
// specification wants FAILED_PRECONDITION where no staging path is given.
func parsePublication(req *csi.NodePublishVolumeRequest) (publication, error) {
	target, err := parsePath("target_path", req.GetTargetPath())
	if err != nil {
		return publication{}, invalid(err)
	}
	c := req.GetVolumeCapability()
	if c == nil {
		return publication{}, invalid(errors.New("volume_capability is missing"))
	}
	if req.GetStagingTargetPath() == "" {
		return publication{}, refuse("staging_target_path is missing: stage the volume first")
	}
	s, err := parseStaging(req.GetStagingTargetPath(), c)
	if err != nil {
		return publication{}, invalid(err)
	}
	if s.path == target {
		return publication{}, invalid(fmt.Errorf("target_path and staging_target_path are both %s", target))
	}
	p := publication{staging: s, target: target, readOnly: req.GetReadonly() || s.flags.readOnly}
	switch c.GetAccessMode().GetMode() {
	case csi.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY, csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY:
		p.readOnly = true
	case csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER:
		p.alone = true
	default: // Any number of targets, as many writers as there are.
	}
	return p, nil
}

// publish binds the volume to the target unless it is there already.
func (d *Driver) publish(h holding, p publication) error {
	table, err := d.mountTable()
	if err != nil {
		return err
	}
	if at := table.at(p.target); at != nil {
		return p.published(h, at)
	}
	source := h.node
	if !h.raw() {
		staged := h.at(table, p.path)
		if staged == nil {
			return refuse("volume %q is not staged at %s; stage it first", h.volume.ID, p.path)
		}
		if hasOption(staged.VFSOptions, "ro") && !p.readOnly {
			// The kernel mounts a dataset of a pool that is read-only all the same.
			return fmt.Errorf("volume %q is mounted read-only at %s, as its pool or its filesystem is; publish it read-only: %w",
				h.volume.ID, p.path, zfs.ErrReadOnly)
		}
		source = staged.Mountpoint
	}
	if p.alone {
		if other := p.other(h, table); other != nil {
			return refuse("volume %q is published at %s already, and its access mode SINGLE_NODE_SINGLE_WRITER allows one target", h.volume.ID, other.Mountpoint)
		}
	}
	made, err := makeTarget(p.target, !h.raw())
	if err != nil {
		return err
	}
	if err := d.config.Mounter.Bind(source, p.target, p.readOnly); err != nil {
		if made {
			err = errors.Join(err, removeTarget(p.target))
		}
		return fmt.Errorf("publish volume %q: %w", h.volume.ID, err)
	}
	return nil
}

// published compares what is at the target with what is to be there. Mount flags are
// those of the staging mount and were compared there.
func (p publication) published(h holding, at *mountinfo.Info) error {
	switch {
	case !h.has(at):
		return contradicts("target %s holds something else than volume %q: %s", p.target, h.volume.ID, describe(at))
	case readOnly(at) != p.readOnly:
		return contradicts("volume %q is published at %s with readonly=%t; unpublish it there first", h.volume.ID, p.target, readOnly(at))
	}
	return nil
}

// other returns a mount of the volume that is neither the staging path's nor the target's.
func (p publication) other(h holding, table mountTable) *mountinfo.Info {
	var staged place
	if m := h.at(table, p.path); m != nil {
		staged = table.place(m)
	}
	for _, m := range h.in(table) {
		if m.Mountpoint != p.path && table.place(m) != staged {
			return m
		}
	}
	return nil
}

// NodeUnpublishVolume implements csi.NodeServer. It needs neither the store nor the
// pool, and works where the filesystem has gone bad. What it removes is the target
// itself, and only when it is empty. A target that is not there is no error.
func (d *Driver) NodeUnpublishVolume(ctx context.Context, req *csi.NodeUnpublishVolumeRequest) (*csi.NodeUnpublishVolumeResponse, error) {
	if err := d.unmountTarget(ctx, req.GetVolumeId(), "target_path", req.GetTargetPath(), removeTarget); err != nil {
		return nil, err
	}
	return &csi.NodeUnpublishVolumeResponse{}, nil
}

// mountOf returns the mount of the volume at a path that a caller gave as one of
// its own, or NOT_FOUND.
func (d *Driver) mountOf(ctx context.Context, v *zfs.Volume, path string) (holding, *mountinfo.Info, error) {
	nothing := status.Errorf(codes.NotFound, "volume %q is not at %s", v.ID, path)
	if _, err := parsePath("volume_path", path); err != nil {
		return holding{}, nil, nothing
	}
	at, err := locate(path)
	if err != nil {
		return holding{}, nil, nothing
	}
	h, err := d.holdingOf(ctx, v)
	if err != nil {
		return holding{}, nil, err
	}
	table, err := d.mountTable()
	if err != nil {
		return holding{}, nil, err
	}
	m := h.at(table, at)
	if m == nil {
		return holding{}, nil, nothing
	}
	return h, m, nil
}

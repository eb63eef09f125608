package driver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/zfs-csi/zfs-csi/driver/filesystem"
	"github.com/zfs-csi/zfs-csi/zfs"
)

// staging is a request to stage a volume, parsed.
type staging struct {
	path       string
	capability *csi.VolumeCapability
	flags      mountFlags
}

// NodeStageVolume implements csi.NodeServer. It mounts the volume's filesystem at the
// staging path, always for reading and writing: read-only is each publish's own, and
// a dataset cannot be mounted twice with different flags. For a raw block volume there
// is nothing to do but to wait for its device.
//
// An orchestrator stages a volume at one path of a node. One that comes with a second
// path has lost or moved the first; it gets a mount there too, of the same filesystem.
func (d *Driver) NodeStageVolume(ctx context.Context, req *csi.NodeStageVolumeRequest) (*csi.NodeStageVolumeResponse, error) {
	id, err := parseID(req.GetVolumeId())
	if err != nil {
		return nil, err
	}
	s, err := parseStaging(req.GetStagingTargetPath(), req.GetVolumeCapability())
	if err != nil {
		return nil, invalid(err)
	}
	return hold(ctx, d, onNode(id.String()), []string{id.String()}, func(work context.Context) (*csi.NodeStageVolumeResponse, error) {
		v, err := d.store.Get(ctx, id)
		if err != nil {
			return nil, err
		}
		if err := checkUse(v, s.capability); err != nil {
			return nil, refuse("%v", err)
		}
		if s.path, err = locate(s.path); err != nil {
			return nil, refuse("staging_target_path: %v; the orchestrator makes it", err)
		}
		h, err := d.holdingOf(ctx, v)
		if err != nil {
			return nil, err
		}
		if err := d.stage(ctx, work, h, s); err != nil {
			return nil, err
		}
		return &csi.NodeStageVolumeResponse{}, nil
	})
}

func parseStaging(path string, c *csi.VolumeCapability) (staging, error) {
	path, err := parsePath("staging_target_path", path)
	if err != nil {
		return staging{}, err
	}
	if c == nil {
		return staging{}, errors.New("volume_capability is missing")
	}
	if _, err := parseCapability(c); err != nil {
		return staging{}, err
	}
	flags, err := parseMountFlags(c.GetMount().GetMountFlags())
	return staging{path: path, capability: c, flags: flags}, err
}

// stage mounts the volume at the staging path unless it is mounted there already. Only
// what changes the volume runs with the context work, which does not end with the call.
func (d *Driver) stage(ctx, work context.Context, h holding, s staging) error {
	table, err := d.mountTable()
	if err != nil {
		return err
	}
	at := table.at(s.path)
	switch {
	case h.raw() && at == nil:
		return nil
	case at != nil && (h.raw() || !h.has(at)):
		return contradicts("staging path %s holds something else than volume %q: %s", s.path, h.volume.ID, describe(at))
	case at != nil && !s.flags.mounted(at.Options):
		return contradicts("volume %q is staged at %s with other mount flags: %s", h.volume.ID, s.path, at.Options)
	}
	if h.volume.Kind == zfs.Filesystem {
		if at != nil {
			return nil
		}
		options, err := datasetOptions(s)
		if err != nil {
			return err
		}
		return d.mountVolume(h, s, "zfs", h.volume.Dataset.String(), options)
	}
	if at == nil {
		device, err := filesystem.Hold(ctx, h.node)
		if err != nil {
			return fmt.Errorf("device of volume %q: %w", h.volume.ID, err)
		}
		defer device.Close()
		if err := d.makeFilesystem(ctx, work, h); err != nil {
			return err
		}
		if err := d.mountVolume(h, s, h.volume.FSType, h.node, zvolOptions(h, s)); err != nil {
			return err
		}
	}
	// A clone may be larger than its source. Also after a replay: what was cut off
	// between mount and growth is done now.
	return filesystem.Grow(h.node, s.path)
}

// datasetFlags are the options of its own that ZFS knows for a mount. It takes others
// without a word, so that a misspelt one would go unseen.
var datasetFlags = []string{
	"xattr", "noxattr", "dirxattr", "saxattr", "nbmand", "nonbmand", "devices", "nodevices", "setuid", "nosetuid",
	"context", "fscontext", "defcontext", "rootcontext",
}

// datasetOptions returns the options of a dataset's mount. What ZFS mounts by itself when
// somebody looks into .zfs/snapshot goes below "mntpoint", as mount.zfs(8) sets it too.
func datasetOptions(s staging) ([]string, error) {
	for _, option := range s.flags.data {
		if name, _, _ := strings.Cut(option, "="); !slices.Contains(datasetFlags, name) {
			return nil, invalid(fmt.Errorf("mount flag %q is not one that ZFS knows; beside those of every filesystem it knows %s", option, strings.Join(datasetFlags, ", ")))
		}
	}
	if strings.Contains(s.path, ",") {
		return s.flags.data, nil
	}
	return append(slices.Clone(s.flags.data), "mntpoint="+s.path), nil
}

// zvolOptions are the options of the mount of a filesystem on a zvol. A clone carries the
// UUID of its source, beside which XFS would not mount it. The UUID is not rewritten:
// that writes to the volume, and has ended in lost data elsewhere.
func zvolOptions(h holding, s staging) []string {
	if h.volume.FSType != "xfs" || hasOption(strings.Join(s.flags.data, ","), "nouuid") {
		return s.flags.data
	}
	return append(slices.Clone(s.flags.data), "nouuid")
}

// mountVolume mounts the volume at the staging path, and tells a fault in the terms of its use.
func (d *Driver) mountVolume(h holding, s staging, fsType, source string, options []string) error {
	err := d.config.Mounter.Mount(source, s.path, fsType, s.flags.bits, strings.Join(options, ","))
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EBUSY):
		return refuse("volume %q is mounted elsewhere with other flags%s: %v", h.volume.ID, d.elsewhere(h), err)
	case errors.Is(err, unix.ENODEV):
		return refuse("the kernel has no %s: %v", fsType, err)
	case errors.Is(err, unix.EINVAL):
		return refuse("the kernel refuses the mount of volume %q (options %q, or its filesystem is damaged; its log tells more): %v",
			h.volume.ID, strings.Join(options, ","), err)
	case errors.Is(err, unix.ENOTDIR), errors.Is(err, fs.ErrNotExist):
		return refuse("staging_target_path %s: %v; the orchestrator makes it", s.path, err)
	}
	return fmt.Errorf("stage volume %q: %w", h.volume.ID, err)
}

// elsewhere lists where the volume is mounted, for people.
func (d *Driver) elsewhere(h holding) string {
	table, err := d.mountTable()
	if err != nil {
		return ""
	}
	var out string
	for _, m := range h.in(table) {
		out += " " + m.Mountpoint
	}
	return out
}

// NodeUnstageVolume implements csi.NodeServer. It needs neither the store nor the pool,
// and the staging path itself stays: the orchestrator made it. A path where nothing
// is mounted, or that is not there, is no error.
//
// The last mount of a filesystem cannot go while its pool is suspended; the call then
// ends at its deadline, and the next ones are ABORTED until the pool is back.
func (d *Driver) NodeUnstageVolume(ctx context.Context, req *csi.NodeUnstageVolumeRequest) (*csi.NodeUnstageVolumeResponse, error) {
	err := d.unmountTarget(ctx, req.GetVolumeId(), "staging_target_path", req.GetStagingTargetPath(), func(string) error { return nil })
	if err != nil {
		return nil, err
	}
	return &csi.NodeUnstageVolumeResponse{}, nil
}

// unmountTarget takes all mounts off a path, and then calls remove with it, with the node's
// lock of the volume held. The ID is not looked at further: no volume is needed for it,
// and a path that is a mount's no longer may be that of a volume that is no longer.
func (d *Driver) unmountTarget(ctx context.Context, volumeID, field, path string, remove func(path string) error) error {
	if volumeID == "" {
		return status.Error(codes.InvalidArgument, "volume_id is missing")
	}
	path, err := parsePath(field, path)
	if err != nil {
		return invalid(err)
	}
	_, err = hold(ctx, d, onNode(volumeID), nil, func(context.Context) (struct{}, error) {
		at, err := locate(path)
		if errors.Is(err, fs.ErrNotExist) {
			return struct{}{}, nil
		}
		if err == nil {
			err = d.unmountAll(at)
		}
		if err == nil {
			err = remove(at)
		}
		return struct{}{}, err
	})
	return err
}

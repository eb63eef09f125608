package driver

import (
	"context"
	"errors"
	"fmt"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"

	"github.com/zfs-csi/zfs-csi/zfs"
)

// NodeGetVolumeStats implements csi.NodeServer: bytes and inodes of a filesystem, the
// size of a raw block volume in bytes.
func (d *Driver) NodeGetVolumeStats(ctx context.Context, req *csi.NodeGetVolumeStatsRequest) (*csi.NodeGetVolumeStatsResponse, error) {
	id, err := parseID(req.GetVolumeId())
	if err != nil {
		return nil, err
	}
	path := req.GetVolumePath()
	if path == "" {
		return nil, invalid(errors.New("volume_path is missing"))
	}
	v, err := d.get(ctx, id)
	if err != nil {
		return nil, err
	}
	return ask(ctx, d, func(ctx context.Context) (*csi.NodeGetVolumeStatsResponse, error) {
		h, m, err := d.mountOf(ctx, v, path)
		if err != nil {
			return nil, err
		}
		if h.raw() {
			return &csi.NodeGetVolumeStatsResponse{Usage: []*csi.VolumeUsage{{Unit: csi.VolumeUsage_BYTES, Total: v.Size}}}, nil
		}
		usage, err := d.usage(ctx, v, m.Mountpoint)
		if err != nil {
			return nil, err
		}
		return &csi.NodeGetVolumeStatsResponse{Usage: usage}, nil
	})
}

// usage returns what statfs(2) says of the volume's filesystem at a path.
func (d *Driver) usage(ctx context.Context, v *zfs.Volume, path string) ([]*csi.VolumeUsage, error) {
	st, err := probe(ctx, &d.probes, v.ID.String()+" statfs "+path, func() (unix.Statfs_t, error) {
		var st unix.Statfs_t
		err := unix.Statfs(path, &st)
		return st, err
	})
	if err != nil {
		return nil, fmt.Errorf("the filesystem of volume %q at %s does not tell its usage: %w", v.ID, path, err)
	}
	block := st.Frsize
	if block == 0 {
		block = st.Bsize
	}
	return []*csi.VolumeUsage{
		{
			Unit:      csi.VolumeUsage_BYTES,
			Total:     int64(st.Blocks) * block,
			Available: int64(st.Bavail) * block,
			Used:      int64(st.Blocks-st.Bfree) * block,
		},
		{
			Unit:      csi.VolumeUsage_INODES,
			Total:     int64(st.Files),
			Available: int64(st.Ffree),
			Used:      int64(st.Files - st.Ffree),
		},
	}, nil
}

package driver

import (
	"context"
	"errors"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/zfs-csi/zfs-csi/driver/filesystem"
	"github.com/zfs-csi/zfs-csi/zfs"
)

// NodeExpandVolume implements csi.NodeServer. It grows the volume where that is still to
// be done, and then the filesystem on a zvol, which has to be mounted; a dataset or
// a raw block volume needs no more. It answers with the size the volume has.
//
// The path of a volume that needs no mount for it is not looked at: what it may be differs
// between orchestrators, and nothing is done there.
func (d *Driver) NodeExpandVolume(ctx context.Context, req *csi.NodeExpandVolumeRequest) (*csi.NodeExpandVolumeResponse, error) {
	id, err := parseID(req.GetVolumeId())
	if err != nil {
		return nil, err
	}
	if req.GetVolumePath() == "" {
		return nil, invalid(errors.New("volume_path is missing"))
	}
	wanted, err := parseSizes(req.GetCapacityRange())
	if err != nil {
		return nil, err
	}
	v, err := hold(ctx, d, id.String(), []string{onNode(id.String())}, func(work context.Context) (*zfs.Volume, error) {
		v, err := d.store.Get(ctx, id)
		if err != nil {
			return nil, err
		}
		if c := req.GetVolumeCapability(); c != nil {
			if err := checkUse(v, c); err != nil {
				return nil, invalid(err)
			}
		}
		before := v.Size
		if v, err = d.expand(work, v, wanted); err != nil {
			return nil, err
		}
		if v.Size != before {
			d.listing.forget()
		}
		return v, d.growMounted(ctx, v)
	})
	if err != nil {
		return nil, err
	}
	return &csi.NodeExpandVolumeResponse{CapacityBytes: v.Size}, nil
}

// growMounted grows the filesystem on a volume's zvol, where it is mounted for writing.
func (d *Driver) growMounted(ctx context.Context, v *zfs.Volume) error {
	if v.Kind != zfs.Block || v.FSType == "" {
		return nil
	}
	h, err := d.holdingOf(ctx, v)
	if err != nil {
		return err
	}
	table, err := d.mountTable()
	if err != nil {
		return err
	}
	m := h.writable(table)
	if m == nil {
		return refuse("the %s of volume %q can grow only while it is mounted: stage it first", v.FSType, v.ID)
	}
	return filesystem.Grow(h.node, m.Mountpoint)
}

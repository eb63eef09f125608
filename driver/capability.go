package driver

import (
	"errors"
	"fmt"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/zfs-csi/zfs-csi/zfs"
)

// use is what a volume is used as.
type use struct {
	kind zfs.Kind
	// fsType is the filesystem on a zvol; empty for a dataset and a raw zvol.
	fsType string
}

// String describes the use to people.
func (u use) String() string {
	switch {
	case u.kind == zfs.Filesystem:
		return "ZFS filesystem"
	case u.fsType != "":
		return u.fsType + " filesystem on a zvol"
	}
	return "raw block volume"
}

func useOf(v *zfs.Volume) use { return use{kind: v.Kind, fsType: v.FSType} }

// parseUse returns what a new volume with all the capabilities is to be. Any access
// mode will do, also those for several nodes: the topology pins every workload of a
// volume to the one node that has it.
func parseUse(capabilities []*csi.VolumeCapability) (use, error) {
	if len(capabilities) == 0 {
		return use{}, errors.New("volume_capabilities are missing")
	}
	var all use
	for i, c := range capabilities {
		u, err := parseCapability(c)
		if err != nil {
			return use{}, err
		}
		if i > 0 && u != all {
			return use{}, fmt.Errorf("volume_capabilities contradict each other: a volume cannot be both a %s and a %s", all, u)
		}
		all = u
	}
	return all, nil
}

// parseCapability returns what a new volume with the capability is to be.
func parseCapability(c *csi.VolumeCapability) (use, error) {
	mode := c.GetAccessMode().GetMode()
	if _, known := csi.VolumeCapability_AccessMode_Mode_name[int32(mode)]; !known || mode == csi.VolumeCapability_AccessMode_UNKNOWN {
		return use{}, fmt.Errorf("volume capability: access_mode %s is not one that can be served", mode)
	}
	switch c.GetAccessType().(type) {
	case *csi.VolumeCapability_Block:
		return use{kind: zfs.Block}, nil
	case *csi.VolumeCapability_Mount:
		switch fsType := c.GetMount().GetFsType(); fsType {
		case "", "zfs":
			return use{kind: zfs.Filesystem}, nil
		case "ext4", "xfs":
			return use{kind: zfs.Block, fsType: fsType}, nil
		default:
			return use{}, fmt.Errorf(`volume capability: fsType %q is not supported; allowed: "zfs" (or none) for a ZFS filesystem, "ext4" and "xfs" for one on a zvol`, fsType)
		}
	}
	return use{}, errors.New("volume capability: access_type is missing; it is block or mount")
}

// checkUse returns nil when a volume that exists can be used with the capability.
// A mount without a filesystem type takes whatever filesystem the volume has.
func checkUse(v *zfs.Volume, c *csi.VolumeCapability) error {
	wanted, err := parseCapability(c)
	if err != nil {
		return err
	}
	have := useOf(v)
	if c.GetMount() != nil && c.GetMount().GetFsType() == "" && have != (use{kind: zfs.Block}) {
		return nil
	}
	if have != wanted {
		return fmt.Errorf("volume %q is a %s and cannot be used as a %s", v.ID, have, wanted)
	}
	return nil
}

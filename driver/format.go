package driver

import (
	"context"
	"errors"
	"fmt"

	"github.com/zfs-csi/zfs-csi/driver/filesystem"
)

// makeFilesystem makes the volume's filesystem on its zvol, if and only if it has never
// been made and nothing is there. When the driver dies between mkfs and the note that
// it was done, the next call finds the filesystem; when it dies within mkfs, the next
// finds nothing, or an XFS that says it is unfinished, and nobody's data are lost:
// mkfs writes last that by which a filesystem is recognised.
func (d *Driver) makeFilesystem(ctx, work context.Context, h holding) error {
	v := h.volume
	found, err := filesystem.Recognise(ctx, h.node)
	if err != nil {
		return fmt.Errorf("see what is on volume %q: %w", v.ID, err)
	}
	switch {
	case found == v.FSType && v.Formatted:
		return nil
	case found == v.FSType:
		return d.adopt(ctx, work, h)
	case found != filesystem.Nothing && found != filesystem.Unfinished:
		return refuse("volume %q is to hold %s, but its zvol %s holds %s: it was changed by hand, and is left alone", v.ID, v.FSType, v.Dataset, found)
	case v.Formatted:
		return refuse("%s was made on volume %q, but is not recognised on its zvol %s: its beginning is damaged or was overwritten. "+
			"It is never made again; repair it by hand or restore it from a snapshot", v.FSType, v.ID, v.Dataset)
	}
	d.config.Log.InfoContext(ctx, "making filesystem", "volume", v.ID.String(), "type", v.FSType, "device", h.node)
	if err := filesystem.Make(work, v.FSType, h.node); err != nil {
		return fmt.Errorf("make the filesystem of volume %q: %w", v.ID, err)
	}
	return d.store.SetFormatted(work, v.ID)
}

// adopt notes that the volume has the filesystem that was found on it, if that is whole.
// One with faults is not made again either: to tell a mkfs that was cut off from data
// that came to the pool in another way, as by zfs receive, is left to people.
func (d *Driver) adopt(ctx, work context.Context, h holding) error {
	v := h.volume
	err := filesystem.Check(ctx, v.FSType, h.node)
	if errors.Is(err, filesystem.ErrUnsound) {
		return refuse("volume %q was never used, as far as is known, and the %s on its zvol %s is not whole (%v): it is neither mounted nor made again. "+
			"If it holds data, repair it, or mount and unmount it once by hand if only its log is to be replayed; if not, delete the volume", v.ID, v.FSType, v.Dataset, err)
	}
	if err != nil {
		return fmt.Errorf("look through the filesystem of volume %q: %w", v.ID, err)
	}
	return d.store.SetFormatted(work, v.ID)
}

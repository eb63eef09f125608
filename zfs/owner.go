package zfs

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Owner implements Store.
func (l *Local) Owner(ctx context.Context, device uint64) (VolumeID, error) {
	name, err := l.devices.zvol(ctx, device)
	if err != nil {
		return VolumeID{}, err
	}
	if d, err := ParseDataset(name); err == nil {
		for _, p := range l.parents {
			if id, err := ParseVolumeID(d.Leaf()); err == nil && d == p.volume(id) {
				return id, nil
			}
		}
	}
	return VolumeID{}, fmt.Errorf("zvol %s is no volume of this driver: %w", name, ErrNotFound)
}

// zvol returns the name of the zvol whose block device has the number. The error is ErrNotFound where that is no zvol's.
func (d *devices) zvol(ctx context.Context, device uint64) (string, error) {
	major, minor := unix.Major(device), unix.Minor(device)
	kernel := fmt.Sprintf("zd%d", minor) // as zvol_os_create_minor of OpenZFS names it
	number, err := d.number(kernel)
	if errors.Is(err, os.ErrNotExist) || err == nil && number != device {
		return "", fmt.Errorf("block device %d:%d is not that of a zvol: %w", major, minor, ErrNotFound)
	}
	if err != nil {
		return "", err
	}
	node, err := d.node(kernel)
	if err != nil {
		return "", err
	}
	name, err := d.inquire(ctx, node)
	if err != nil {
		return "", fmt.Errorf("ask %s which zvol it is: %w", node, err)
	}
	return name, nil
}

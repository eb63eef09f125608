package zfs

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// TestCheckFilesystem: a pool's file lies on a disk of its machine, not on ZFS and not where other machines have it too.
func TestCheckFilesystem(t *testing.T) {
	for _, magic := range []uint32{unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.OVERLAYFS_SUPER_MAGIC, unix.TMPFS_MAGIC} {
		if err := checkFilesystem(magic); err != nil {
			t.Errorf("%#x: %v", magic, err)
		}
	}
	for _, magic := range []uint32{0x2fc12fc1, unix.NFS_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.CEPH_SUPER_MAGIC, unix.FUSE_SUPER_MAGIC} {
		if err := checkFilesystem(magic); !errors.Is(err, ErrInvalid) {
			t.Errorf("%#x: %v", magic, err)
		}
	}
}

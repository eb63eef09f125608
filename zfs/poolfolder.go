package zfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// makeFile makes the file that is to be the pool, or empties what an earlier call left of it: no pool is imported from
// that, and a volume was never in it.
func (p PoolFile) makeFile(path string) error {
	if err := p.fits(); err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(file.Truncate(p.Size), file.Sync(), file.Close())
}

// checkFolder returns an error where a pool's file cannot be.
func (p PoolFile) checkFolder() error {
	st, err := p.statFolder()
	if err != nil {
		return err
	}
	return checkFilesystem(uint32(st.Type))
}

// checkFilesystem is given the type of a filesystem by its magic number, as in linux/magic.h.
func checkFilesystem(magic uint32) error {
	switch magic {
	case 0x2fc12fc1: // ZFS_SUPER_MAGIC of OpenZFS, include/sys/fs/zfs.h
		return fmt.Errorf("%w: the folder lies on ZFS, and a pool inside another can block both; use that pool: zfs-csi init POOL/csi", ErrInvalid)
	case unix.NFS_SUPER_MAGIC, unix.SMB_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.CEPH_SUPER_MAGIC, unix.OCFS2_SUPER_MAGIC,
		unix.AFS_SUPER_MAGIC, unix.CODA_SUPER_MAGIC, unix.FUSE_SUPER_MAGIC, unix.V9FS_MAGIC:
		return fmt.Errorf("%w: the folder lies on a filesystem that other machines may have too (type %#x): a pool that two of them import is lost; "+
			"choose a folder on a disk of this machine", ErrInvalid, magic)
	}
	return nil
}

func (p PoolFile) statFolder() (st unix.Statfs_t, err error) {
	if err := unix.Statfs(filepath.Dir(p.Path), &st); err != nil {
		return st, &os.PathError{Op: "statfs", Path: filepath.Dir(p.Path), Err: err}
	}
	return st, nil
}

// fits returns an error unless the whole file would find room in its folder: a pool whose file cannot grow any
// more stands still, with all its volumes.
func (p PoolFile) fits() error {
	st, err := p.statFolder()
	if err != nil {
		return err
	}
	if free := int64(st.Bavail) * st.Bsize; p.Size > free {
		return fmt.Errorf("%w: the file is to have %d bytes and its folder has room for %d; choose a smaller size or another folder", ErrNoSpace, p.Size, free)
	}
	return nil
}

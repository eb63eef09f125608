package filesystem

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Requests of ioctl(2), from the kernel's linux/fs.h, ext4.h and xfs_fs.h.
const (
	blkGetSize64  = 0x80081272 // _IOR(0x12, 114, size_t)
	ext4ResizeFS  = 0x40086610 // _IOW('f', 16, __u64)
	xfsGeometryV1 = 0x80705864 // _IOR('X', 100, struct xfs_fsop_geom_v1)
	xfsGrowData   = 0x4010586e // _IOW('X', 110, struct xfs_growfs_data)
)

// xfsGeometry is struct xfs_fsop_geom_v1.
type xfsGeometry struct {
	blocksize, rtextsize, agblocks, agcount, logblocks, sectsize, inodesize, imaxpct uint32
	datablocks, rtblocks, rtextents, logstart                                        uint64
	uuid                                                                             [16]byte
	sunit, swidth                                                                    uint32
	version                                                                          int32
	flags, logsectsize, rtsectsize, dirblocksize                                     uint32
	_                                                                                uint32
}

// xfsGrowth is struct xfs_growfs_data.
type xfsGrowth struct {
	newblocks uint64
	imaxpct   uint32
	_         uint32
}

// Grow grows the filesystem of a type, "ext4" or "xfs", which is on a device and mounted
// for writing at a path, to the size of the device; one that has it is left alone. It
// asks the kernel itself, which does the whole work for both: resize2fs(8) and
// xfs_growfs(8) look for the mount first, and may find one that is read-only.
func Grow(fsType, device, path string) error {
	size, err := deviceSize(device)
	if err != nil {
		return fmt.Errorf("size of %s: %w", device, err)
	}
	dir, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("grow the %s at %s: it cannot be opened: %w", fsType, path, err)
	}
	defer unix.Close(dir)
	switch fsType {
	case "ext4":
		err = growExt4(dir, device, size)
	case "xfs":
		err = growXFS(dir, size)
	default:
		err = errors.New("how is not known")
	}
	if err != nil {
		return fmt.Errorf("grow the %s at %s to the %d bytes of its device: %w", fsType, path, size, err)
	}
	return nil
}

// deviceSize returns the size of a block device in bytes.
func deviceSize(node string) (uint64, error) {
	fd, err := unix.Open(node, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	var size uint64
	err = ioctl(fd, blkGetSize64, unsafe.Pointer(&size))
	return size, err
}

func growExt4(dir int, node string, size uint64) error {
	have, block, err := ext4Blocks(node)
	if err != nil {
		return err
	}
	blocks := size / block
	if blocks <= have {
		return nil // The request needs CAP_SYS_RESOURCE even for nothing.
	}
	return ioctl(dir, ext4ResizeFS, unsafe.Pointer(&blocks))
}

// ext4Blocks reads the number and size of a filesystem's blocks from its superblock, see the
// kernel's Documentation/filesystems/ext4/super.rst. While it is mounted the kernel
// reads and writes the superblock by the same pages as those who read the device.
func ext4Blocks(node string) (count, size uint64, err error) {
	f, err := os.Open(node)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	var super [1024]byte
	if _, err := f.ReadAt(super[:], 1024); err != nil {
		return 0, 0, err
	}
	number := func(at int) uint64 { return uint64(binary.LittleEndian.Uint32(super[at:])) }
	const incompat64bit = 0x80
	if count = number(0x4); number(0x60)&incompat64bit != 0 {
		count |= number(0x150) << 32
	}
	if binary.LittleEndian.Uint16(super[0x38:]) != 0xef53 || number(0x18) > 6 {
		return 0, 0, fmt.Errorf("%s holds no ext4", node)
	}
	return count, 1024 << number(0x18), nil
}

func growXFS(dir int, size uint64) error {
	var g xfsGeometry
	if err := ioctl(dir, xfsGeometryV1, unsafe.Pointer(&g)); err != nil {
		return err
	}
	growth := xfsGrowth{newblocks: size / uint64(g.blocksize), imaxpct: g.imaxpct}
	if growth.newblocks <= g.datablocks {
		return nil // Fewer would be taken for a wish to shrink.
	}
	return ioctl(dir, xfsGrowData, unsafe.Pointer(&growth))
}

func ioctl(fd int, request uint, argument unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(argument)); errno != 0 {
		return errno
	}
	return nil
}

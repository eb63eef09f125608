package zfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// node returns the path of a node for a device of the kernel: the one in /dev, or,
// where there is none or it is another device's, one of the driver's own.
func (d *devices) node(kernel string) (string, error) {
	number, err := d.number(kernel)
	if err != nil {
		return "", err
	}
	public := filepath.Join(d.dev, kernel)
	if have, err := blockDevice(public); err == nil && have == number {
		return public, nil
	}
	d.making.Lock()
	defer d.making.Unlock()
	if err := d.prepare(); err != nil {
		return "", fmt.Errorf("make a folder for device nodes: %w", err)
	}
	own := filepath.Join(d.dir, kernel)
	if have, err := blockDevice(own); err == nil && have == number {
		return own, nil
	}
	if err := os.Remove(own); err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("remove an outdated device node: %w", err)
	}
	if err := unix.Mknod(own, unix.S_IFBLK|0o600, int(number)); err != nil {
		return "", fmt.Errorf("make device node %s: %w", own, err)
	}
	if have, err := blockDevice(own); err != nil || have != number {
		return "", fmt.Errorf("%s is not the device node that was made there", own)
	}
	return own, nil
}

// prepare makes the folder of the driver's own nodes. On most systems /run is mounted
// nodev, and no device could be opened there: the folder then gets a mount of its own.
func (d *devices) prepare() error {
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return err
	}
	// Who may look into the folder may open any volume.
	info, err := os.Lstat(d.dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a folder", d.dir)
	}
	if info.Mode().Perm() != 0o700 {
		if err := os.Chmod(d.dir, 0o700); err != nil {
			return err
		}
	}
	var st unix.Statfs_t
	if err := unix.Statfs(d.dir, &st); err != nil {
		return fmt.Errorf("statfs %s: %w", d.dir, err)
	}
	if st.Flags&unix.ST_NODEV == 0 {
		return nil
	}
	if err := unix.Mount("zfs-csi", d.dir, "tmpfs", unix.MS_NOSUID|unix.MS_NOEXEC, "mode=0700,size=1m"); err != nil {
		return fmt.Errorf("mount a tmpfs on %s: %w", d.dir, err)
	}
	return nil
}

// number returns the device number of a device of the kernel.
func (d *devices) number(kernel string) (uint64, error) {
	text, err := os.ReadFile(filepath.Join(d.sys, kernel, "dev"))
	if err != nil {
		return 0, err
	}
	var major, minor uint32
	if _, err := fmt.Sscanf(strings.TrimSpace(string(text)), "%d:%d", &major, &minor); err != nil {
		return 0, fmt.Errorf("device number %q of %s: %w", text, kernel, err)
	}
	return unix.Mkdev(major, minor), nil
}

// blockDevice returns the device number of a node, which must be a block device itself and no link to one.
func blockDevice(node string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Lstat(node, &st); err != nil {
		return 0, &os.PathError{Op: "lstat", Path: node, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return 0, fmt.Errorf("%s is not a block device", node)
	}
	return st.Rdev, nil
}

// readIoctl runs an ioctl that fills a buffer.
func readIoctl(fd int, request uint, into []byte) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(unsafe.Pointer(&into[0]))); errno != 0 {
		return errno
	}
	return nil
}

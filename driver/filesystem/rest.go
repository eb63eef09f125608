package filesystem

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Requests of ioctl(2), from the kernel's linux/fs.h.
const (
	freezeRequest = 0xc0045877 // FIFREEZE, _IOWR('X', 119, int)
	thawRequest   = 0xc0045878 // FITHAW, _IOWR('X', 120, int)
)

// Freeze brings a filesystem to rest, whose folder dir is open: what was written is on
// the device, and nothing more is until Thaw. Errors: EBUSY when it is frozen already,
// EIO when it has failed.
func Freeze(dir int) error {
	// First without the freeze, so that writers are held up for the rest only.
	if err := unix.Syncfs(dir); err != nil {
		return err
	}
	return ioctlInt(dir, freezeRequest)
}

// Thaw lets a filesystem go on that is frozen, by whomever. Errors: EINVAL when it is not.
func Thaw(dir int) error { return ioctlInt(dir, thawRequest) }

// ioctlInt runs an ioctl whose argument is a number that does not matter.
func ioctlInt(fd int, request uint) error {
	var zero int32
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(unsafe.Pointer(&zero))); errno != 0 {
		return errno
	}
	return nil
}

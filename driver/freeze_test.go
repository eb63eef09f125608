package driver

import (
	"errors"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/zfs-csi/zfs-csi/driver/filesystem"
)

// frozen tells whether a filesystem is at rest, by trying to bring it there.
func frozen(t *testing.T, path string) bool {
	t.Helper()
	dir, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	must(t, err)
	defer unix.Close(dir)
	err = filesystem.Freeze(dir)
	if errors.Is(err, unix.EBUSY) {
		return true
	}
	must(t, err)
	must(t, filesystem.Thaw(dir))
	return false
}

// shutDown has a filesystem fail, as after an error of its device.
func shutDown(t *testing.T, path string) {
	t.Helper()
	dir, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	must(t, err)
	defer unix.Close(dir)
	var noLogFlush uint32 = 2
	// _IOR('X', 125, __u32) of both filesystems.
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(dir), 0x8004587d, uintptr(unsafe.Pointer(&noLogFlush))); errno != 0 {
		t.Fatal(errno)
	}
}

func TestQuiesce(t *testing.T) {
	eachType(t, func(n *node, u use) {
		v := n.volume("v", u, 512*mib)
		staging := n.folder("staging")
		quiesce := n.quiesce(n.context(), v)

		release, err := quiesce()
		must(n.T, err)
		must(n.T, release()) // It is not mounted.

		must(n.T, n.stage("v", staging, mountCapability("", multiWriter)))
		first, err := quiesce()
		must(n.T, err)
		second, err := quiesce()
		must(n.T, err)
		if !frozen(n.T, staging) {
			n.Error("the filesystem is not at rest")
		}
		must(n.T, first())
		must(n.T, first()) // Counts once.
		if !frozen(n.T, staging) {
			n.Error("the filesystem goes on while one clone is still being made")
		}
		n.thawAtStart(n.context())
		if !frozen(n.T, staging) {
			n.Error("the filesystem was let go on at the start of the driver, while a clone is being made")
		}
		must(n.T, second())
		if frozen(n.T, staging) {
			n.Error("the filesystem is still at rest")
		}

		// Frozen by somebody else: that serves, and is not ours to end.
		dir, err := unix.Open(staging, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		must(n.T, err)
		defer unix.Close(dir)
		must(n.T, filesystem.Freeze(dir))
		release, err = quiesce()
		must(n.T, err)
		must(n.T, release())
		if !frozen(n.T, staging) {
			n.Error("what somebody else froze was thawed")
		}
		// Unless we start: then it may have been ours.
		n.thawAtStart(n.context())
		if frozen(n.T, staging) {
			n.Error("a filesystem was left at rest at the start")
		}
	})
}

func TestQuiesceNothing(t *testing.T) {
	n := newArguments(t)
	v := n.volume("w", dataset, gib)
	if n.quiesce(n.context(), v) != nil {
		t.Error("a dataset needs no rest")
	}
	n.thawAtStart(n.context())
}

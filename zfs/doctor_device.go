package zfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// majorOfZvols is ZVOL_MAJOR of OpenZFS's include/sys/zvol.h.
const majorOfZvols = 230

// devices looks whether the zvols of the machine have device nodes in /dev, and
// whether the driver could make nodes of its own.
func (d Doctor) devices() Finding {
	const check = "devices of zvols"
	zvols, err := filepath.Glob(d.path("sys/block/zd*"))
	if err != nil {
		return Finding{check, Warning, "they cannot be listed: " + err.Error(), "see /sys/block"}
	}
	bare := 0
	for _, zvol := range zvols {
		if _, err := os.Lstat(d.path("dev/" + filepath.Base(zvol))); err != nil {
			bare++
		}
	}
	words := "there are none yet"
	switch {
	case bare > 0:
		words = fmt.Sprintf("%d of %d have no node in /dev, for want of udev", bare, len(zvols))
	case len(zvols) > 0:
		words = fmt.Sprintf("each of the %d has a node in /dev", len(zvols))
	}
	if err := d.makeNode(); err != nil {
		found := Finding{check, Warning, words + ", and this process cannot make nodes: " + err.Error(),
			"run as root; in a container, as a privileged one: else volumes on zvols depend on udev"}
		if bare > 0 {
			found.Severity = Fault
		}
		return found
	}
	return Finding{Check: check, Message: words + "; this process can make nodes itself"}
}

// makeNode makes a device node in a folder of its own and removes it, unopened.
func (d Doctor) makeNode() (err error) {
	mknod := d.mknod
	if mknod == nil {
		mknod = unix.Mknod
	}
	dir, err := os.MkdirTemp("", "zfs-csi-check-")
	if err != nil {
		return err
	}
	node := filepath.Join(dir, "node")
	defer func() { err = errors.Join(err, os.Remove(dir)) }()
	if err := mknod(node, unix.S_IFBLK|0o600, int(unix.Mkdev(majorOfZvols, 0))); err != nil {
		return fmt.Errorf("mknod: %w", err)
	}
	return os.Remove(node)
}

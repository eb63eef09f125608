package driver

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// Mounter is the mount table of this machine, as the kernel keeps it. No method
// follows a symbolic link at the end of a path, and none looks into what is mounted.
type Mounter interface {
	// Mounts returns the mounts that this process sees.
	Mounts() ([]*mountinfo.Info, error)
	// Mount mounts a filesystem on the folder target; see mount(2) for flags and data.
	// source is a dataset's name for "zfs", else a device node.
	Mount(source, target, fsType string, flags uintptr, data string) error
	// Bind lets what is at source be seen at target too, which is a folder or a file as
	// source is. A read-only one is never seen writable, not even for a moment.
	Bind(source, target string, readOnly bool) error
	// Unmount takes the topmost mount off target. It does so for good or not at all: a
	// mount that is merely hidden (MNT_DETACH) goes on to hold its volume, with no
	// path left by which to find it.
	Unmount(target string) error
}

// kernelMounter is the Mounter of the machine the driver runs on. It calls the kernel
// itself: mount(8) and umount(8) look through the target first, which fails where the
// filesystem has gone bad, and tell faults in words only.
type kernelMounter struct{}

// Mounts implements Mounter.
func (kernelMounter) Mounts() ([]*mountinfo.Info, error) {
	infos, err := mountinfo.GetMounts(nil)
	if err != nil {
		return nil, fmt.Errorf("read the mount table: %w", err)
	}
	return infos, nil
}

// Mount implements Mounter.
func (kernelMounter) Mount(source, target, fsType string, flags uintptr, data string) error {
	at, err := openPlace(target)
	if err != nil {
		return err
	}
	defer unix.Close(at)
	if err := unix.Mount(source, fmt.Sprintf("/proc/self/fd/%d", at), fsType, flags, data); err != nil {
		return &os.PathError{Op: "mount " + source + " on", Path: target, Err: err}
	}
	return nil
}

// Bind implements Mounter.
func (kernelMounter) Bind(source, target string, readOnly bool) error {
	at, err := openPlace(target)
	if err != nil {
		return err
	}
	defer unix.Close(at)
	tree, err := unix.OpenTree(unix.AT_FDCWD, source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		return &os.PathError{Op: "open_tree", Path: source, Err: err}
	}
	defer unix.Close(tree)
	if readOnly {
		attributes := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
		if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &attributes); err != nil {
			return &os.PathError{Op: "mount_setattr read-only", Path: source, Err: err}
		}
	}
	if err := unix.MoveMount(tree, "", at, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH); err != nil {
		return &os.PathError{Op: "bind " + source + " to", Path: target, Err: err}
	}
	return nil
}

// Unmount implements Mounter.
func (kernelMounter) Unmount(target string) error {
	if err := unix.Unmount(target, unix.UMOUNT_NOFOLLOW); err != nil {
		return &os.PathError{Op: "unmount", Path: target, Err: err}
	}
	return nil
}

// openPlace opens the place of a mount to be, which must not be a symbolic link.
func openPlace(path string) (int, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: path, Err: err}
	}
	var st unix.Stat_t
	err = unix.Fstat(fd, &st)
	if err == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK {
		err = unix.ELOOP
	}
	if err != nil {
		unix.Close(fd)
		return -1, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return fd, nil
}

// zvolPrefix begins the kernel's names of zvols: ZVOL_DEV_NAME of OpenZFS, include/sys/fs/zfs.h.
const zvolPrefix = "zd"

// mountTable is the mount table at a moment.
type mountTable []*mountinfo.Info

func (d *Driver) mountTable() (mountTable, error) {
	infos, err := d.config.Mounter.Mounts()
	return infos, err
}

// at returns the topmost mount at a path, or nil.
func (t mountTable) at(path string) *mountinfo.Info {
	covered := map[int]bool{}
	var here []*mountinfo.Info
	for _, m := range t {
		if m.Mountpoint == path {
			here = append(here, m)
			covered[m.Parent] = true
		}
	}
	for _, m := range here {
		if !covered[m.ID] {
			return m
		}
	}
	return nil
}

// place is where a mount is attached, whatever path leads there: a container may see
// one folder of the host, and the mounts in it, at two paths.
type place struct {
	major, minor int
	path         string
}

func (t mountTable) place(m *mountinfo.Info) place {
	for _, parent := range t {
		if parent.ID != m.Parent || parent == m {
			continue
		}
		if rest, err := filepath.Rel(parent.Mountpoint, m.Mountpoint); err == nil {
			return place{parent.Major, parent.Minor, filepath.Join(parent.Root, rest)}
		}
	}
	return place{path: m.Mountpoint}
}

// readOnly tells whether a mount takes no writes.
func readOnly(m *mountinfo.Info) bool { return hasOption(m.Options, "ro") }

func hasOption(options, name string) bool { return strings.Contains(","+options+",", ","+name+",") }

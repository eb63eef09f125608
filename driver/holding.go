package driver

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/zfs-csi/zfs-csi/zfs"
)

// holding knows the mounts of a volume among all others.
type holding struct {
	volume *zfs.Volume
	// node is the device node of a zvol; empty for a dataset.
	node string
	stat unix.Stat_t
}

// holdingOf finds the volume's device, where it has one, for which it waits until ctx ends.
func (d *Driver) holdingOf(ctx context.Context, v *zfs.Volume) (holding, error) {
	h := holding{volume: v}
	if v.Kind == zfs.Filesystem {
		return h, nil
	}
	var err error
	if h.node, err = d.store.Device(ctx, v.Dataset); err != nil {
		return holding{}, err
	}
	if h.node, err = filepath.EvalSymlinks(h.node); err != nil {
		return holding{}, fmt.Errorf("device of volume %q: %w", v.ID, err)
	}
	if err := unix.Lstat(h.node, &h.stat); err != nil {
		return holding{}, fmt.Errorf("device %s of volume %q: %w", h.node, v.ID, err)
	}
	if v.FSType != "" && h.stat.Mode&unix.S_IFMT != unix.S_IFBLK {
		return holding{}, fmt.Errorf("%s of volume %q is not a block device", h.node, v.ID)
	}
	return h, nil
}

// raw tells whether the volume is used as a block device.
func (h holding) raw() bool { return h.volume.Kind == zfs.Block && h.volume.FSType == "" }

// has tells whether a mount shows the whole volume: its filesystem, not merely a folder of it, or its device.
func (h holding) has(m *mountinfo.Info) bool {
	switch {
	case h.volume.Kind == zfs.Filesystem:
		return m.FSType == "zfs" && m.Source == h.volume.Dataset.String() && m.Root == "/"
	case !h.raw():
		return m.Root == "/" && unix.Mkdev(uint32(m.Major), uint32(m.Minor)) == h.stat.Rdev
	}
	// The mount of a single device node, of which only those of the right name are
	// looked at: to look at any other mount could hang.
	if m.Root == "/" || filepath.Base(m.Root) != filepath.Base(h.node) {
		return false
	}
	var st unix.Stat_t
	if unix.Lstat(m.Mountpoint, &st) != nil {
		return false
	}
	if st.Mode&unix.S_IFMT == unix.S_IFBLK {
		return st.Mode&unix.S_IFMT == h.stat.Mode&unix.S_IFMT && st.Rdev == h.stat.Rdev
	}
	return st.Dev == h.stat.Dev && st.Ino == h.stat.Ino
}

// in returns the mounts of the volume.
func (h holding) in(t mountTable) []*mountinfo.Info {
	var out []*mountinfo.Info
	for _, m := range t {
		if h.has(m) {
			out = append(out, m)
		}
	}
	return out
}

// at returns the mount of the volume at a path; nil when nothing is mounted there or
// something else.
func (h holding) at(t mountTable, path string) *mountinfo.Info {
	if m := t.at(path); m != nil && h.has(m) {
		return m
	}
	return nil
}

// writable returns a mount of the volume by which it can be written, which is that of the
// staging path as a rule; nil for none.
func (h holding) writable(t mountTable) *mountinfo.Info {
	for _, m := range h.in(t) {
		if !readOnly(m) && t.at(m.Mountpoint) == m {
			return m
		}
	}
	return nil
}

// describe tells people what a mount shows.
func describe(m *mountinfo.Info) string {
	what := m.FSType + " filesystem " + m.Source
	if m.Root != "/" {
		what = m.Root + " of " + what
	}
	return what + " (" + m.Options + ")"
}

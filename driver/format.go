package driver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// makeFilesystem makes the volume's filesystem on its zvol, if and only if it has never
// been made and nothing is there. When the driver dies between mkfs and the note that
// it was done, the next call finds the filesystem; when it dies within mkfs, the next
// finds nothing, or an XFS that says it is unfinished, and nobody's data are lost.
func (d *Driver) makeFilesystem(ctx, work context.Context, h holding) error {
	v := h.volume
	found, err := recognise(ctx, h.node)
	if err != nil {
		return fmt.Errorf("see what is on volume %q: %w", v.ID, err)
	}
	switch {
	case found == v.FSType && v.Formatted:
		return nil
	case found == v.FSType:
		return d.store.SetFormatted(work, v.ID)
	case found != nothing && found != unfinished:
		return refuse("volume %q is to hold %s, but its zvol %s holds %s: it was changed by hand, and is left alone", v.ID, v.FSType, v.Dataset, found)
	case v.Formatted:
		return refuse("%s was made on volume %q, but is not recognised on its zvol %s: its beginning is damaged or was overwritten. "+
			"It is never made again; repair it by hand or restore it from a snapshot", v.FSType, v.ID, v.Dataset)
	}
	args := mkfs[v.FSType]
	d.config.Log.InfoContext(ctx, "making filesystem", "volume", v.ID.String(), "type", v.FSType, "device", h.node)
	if v.FSType == "xfs" {
		args = append(args[:len(args):len(args)], xfsFeatures(xfsProfiles)...)
	}
	if out, err := exec.CommandContext(work, "mkfs."+v.FSType, append(args, h.node)...).CombinedOutput(); err != nil {
		return fmt.Errorf("make %s on volume %q: %w: %s", v.FSType, v.ID, err, bytes.TrimSpace(out))
	}
	return d.store.SetFormatted(work, v.ID)
}

// mkfs are the options with which the filesystems are made.
var mkfs = map[string][]string{
	// No blocks kept back for root: it has no use of them in a volume. Blocks of 4 KiB
	// also on small volumes, which would get 1 KiB, a fraction of a zvol's block. The
	// device is discarded first, which leaves it all zeros on ZFS: so inode tables need
	// not be zeroed, neither now nor by the kernel in the weeks after ("lazy"), which
	// would write to every clone.
	"ext4": {"-q", "-F", "-m0", "-b4096", "-Ediscard,assume_storage_prezeroed=1"},
	// -f: what may be there is a mkfs of our own that did not end. Sectors of 4 KiB: the
	// default would follow the zvol's block size, which XFS cannot take, down to 512.
	"xfs": {"-q", "-f", "-ssize=4096"},
}

// xfsProfiles is where xfsprogs keeps the features that each long-term kernel knows.
const xfsProfiles = "/usr/share/xfsprogs/mkfs"

// xfsFeatures returns the options for an XFS that the running kernel can mount: the tools
// may be newer than it, as in a container, and would use features it does not know.
func xfsFeatures(profiles string) []string {
	var running unix.Utsname
	if unix.Uname(&running) != nil {
		return nil
	}
	kernel := release(unix.ByteSliceToString(running.Release[:]))
	files, _ := filepath.Glob(filepath.Join(profiles, "lts_*.conf"))
	var best, newest [2]int
	var file string
	for _, f := range files {
		profile := release(strings.TrimPrefix(filepath.Base(f), "lts_"))
		newest = later(newest, profile)
		if later(profile, kernel) == kernel && later(best, profile) == profile {
			best, file = profile, f
		}
	}
	if file == "" || best == newest && later(kernel, newest) != newest {
		return nil // The tools are no newer than the kernel.
	}
	return []string{"-c", "options=" + file}
}

// release parses the first two numbers of a kernel's release.
func release(s string) [2]int {
	var r [2]int
	_, _ = fmt.Sscanf(s, "%d.%d", &r[0], &r[1]) // What is none is 0.0, older than all.
	return r
}

func later(a, b [2]int) [2]int {
	if a[0] > b[0] || a[0] == b[0] && a[1] > b[1] {
		return a
	}
	return b
}

// What recognise found when it was not a filesystem.
const (
	nothing = ""
	// unfinished: an XFS whose mkfs did not end.
	unfinished = "an unfinished XFS"
)

// recognise returns what is on a device: a filesystem's name as blkid(8) gives it, or
// another signature in words, or nothing or unfinished.
func recognise(ctx context.Context, node string) (string, error) {
	head, err := readable(node)
	if err != nil {
		return "", err
	}
	out, err := exec.CommandContext(ctx, "blkid", "-p", "-s", "TYPE", "-s", "PTTYPE", "-o", "export", node).Output()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() == 2:
		// Also the answer to a device that cannot be read: see readable.
		return nothing, nil
	case errors.As(err, &exit) && exit.ExitCode() == 8:
		return "signatures of more than one kind", nil
	case err != nil:
		return "", fmt.Errorf("blkid: %w", err)
	}
	var found string
	for line := range strings.Lines(string(out)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch key {
		case "TYPE":
			found = value
		case "PTTYPE":
			return "a partition table (" + value + ")", nil
		}
	}
	if found == "" {
		return "", fmt.Errorf("blkid gave no type: %q", out)
	}
	// sb_inprogress of the XFS superblock (xfs_dsb in the kernel's xfs_format.h).
	if found == "xfs" && head[126] != 0 {
		return unfinished, nil
	}
	return found, nil
}

// readable reads the beginning and the end of a device, where signatures are: blkid takes
// a device that it cannot read for an empty one.
func readable(node string) ([]byte, error) {
	const part = 64 << 10
	f, err := os.Open(node)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	head := make([]byte, min(part, size))
	if _, err := f.ReadAt(head, 0); err != nil {
		return nil, err
	}
	if len(head) < 512 {
		return nil, fmt.Errorf("%s has only %d bytes", node, size)
	}
	_, err = f.ReadAt(make([]byte, len(head)), size-int64(len(head)))
	return head, err
}

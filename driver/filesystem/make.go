// Package filesystem makes and tends the filesystems that are kept on block devices:
// ext4 and XFS. It knows nothing of volumes; what it may do to which is the caller's to say.
package filesystem

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Make makes a filesystem, "ext4" or "xfs", on a device, whatever is on it.
func Make(ctx context.Context, fsType, device string) error {
	args, known := mkfs[fsType]
	if !known {
		return fmt.Errorf("make %s on %s: how is not known", fsType, device)
	}
	if fsType == "xfs" {
		args = append(slices.Clone(args), xfsFeatures(xfsProfiles)...)
	}
	out, err := run(ctx, "mkfs."+fsType, append(slices.Clone(args), device))
	if err != nil && bytes.Contains(out, []byte(prezeroed)) {
		without := slices.DeleteFunc(slices.Clone(args), func(arg string) bool { return strings.Contains(arg, prezeroed) })
		out, err = run(ctx, "mkfs."+fsType, append(without, device))
	}
	if err != nil {
		return fmt.Errorf("make %s on %s: %w: %s", fsType, device, err, bytes.TrimSpace(out))
	}
	return nil
}

func run(ctx context.Context, name string, args []string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	// A signal for the driver's process group is not for it: it runs to its end.
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	out, err := cmd.CombinedOutput()
	if err != nil && ctx.Err() != nil {
		err = ctx.Err() // Not the signal that it was ended by.
	}
	return out, err
}

// prezeroed is an option of mke2fs that e2fsprogs has since 1.47; older ones name it in their refusal.
const prezeroed = "assume_storage_prezeroed"

// mkfs are the options with which the filesystems are made.
var mkfs = map[string][]string{
	// No blocks kept back for root: it has no use of them in a volume. Blocks of 4 KiB
	// also on small volumes, which would get 1 KiB, a fraction of a zvol's block. The
	// device is discarded first, which leaves it all zeros on ZFS: so inode tables need
	// not be zeroed, neither now nor by the kernel in the weeks after ("lazy"), which
	// would write to every clone.
	"ext4": {"-q", "-F", "-m0", "-b4096", "-Ediscard," + prezeroed + "=1"},
	// -f: what may be there is a mkfs of our own that did not end. Sectors of 4 KiB: the
	// default would follow the zvol's block size, which XFS cannot take, down to 512.
	"xfs": {"-q", "-f", "-ssize=4096"},
}

// xfsProfiles is where xfsprogs keeps the features that each long-term kernel knows.
const xfsProfiles = "/usr/share/xfsprogs/mkfs"

// xfsFeatures returns the options for an XFS that the running kernel can mount, and any
// later one: the tools may be newer than the kernel, as in a container, and would use
// features it does not know.
func xfsFeatures(profiles string) []string {
	var running unix.Utsname
	if unix.Uname(&running) != nil {
		return nil
	}
	return xfsProfile(profiles, unix.ByteSliceToString(running.Release[:]))
}

// xfsProfile returns the option that names the latest of the profiles (such as
// lts_6.1.conf) that a kernel fulfils. There is none where that is the latest of all: then
// the tools are as old as the kernel, and their latest profile may ask for more than they
// know, as that of xfsprogs 6.1 does.
func xfsProfile(profiles, kernel string) []string {
	files, _ := filepath.Glob(filepath.Join(profiles, "lts_*.conf"))
	var best, latest [2]int
	limit := release(kernel)
	var options []string
	for _, file := range files {
		profile := release(strings.TrimPrefix(filepath.Base(file), "lts_"))
		if slices.Compare(profile[:], latest[:]) > 0 {
			latest = profile
		}
		if slices.Compare(profile[:], best[:]) > 0 && slices.Compare(profile[:], limit[:]) <= 0 {
			best, options = profile, []string{"-c", "options=" + file}
		}
	}
	if best == latest {
		return nil
	}
	return options
}

// release parses the first two numbers of a kernel's release.
func release(s string) [2]int {
	var r [2]int
	_, _ = fmt.Sscanf(s, "%d.%d", &r[0], &r[1]) // What is none is 0.0, older than all.
	return r
}

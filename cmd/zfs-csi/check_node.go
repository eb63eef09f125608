package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/sys/mountinfo"

	"github.com/zfs-csi/zfs-csi/zfs"
)

// node is what of a machine the driver needs beside ZFS.
type node struct {
	// root is where /proc and the kubelet's folder are; "/" but for tests.
	root string
	// look finds a program as exec.LookPath does, and find one of ZFS.
	look, find func(string) (string, error)
	// user is the effective user ID.
	user int
	// kubelet is the kubelet's folder.
	kubelet string
	// hostRoot is where the root of the node is mounted, if it is.
	hostRoot string
}

// examine makes each check once.
func (n node) examine() []zfs.Finding {
	var findings []zfs.Finding
	for _, look := range []func() zfs.Finding{n.checkUser, n.checkPrograms, n.checkFormats, n.checkPropagation} {
		findings = append(findings, look())
	}
	if n.hostRoot != "" {
		findings = append(findings, n.checkHostRoot())
	}
	return findings
}

func (n node) checkUser() zfs.Finding {
	const check = "user"
	if n.user != 0 {
		return zfs.Finding{Check: check, Severity: zfs.Fault, Message: fmt.Sprintf("this runs as user %d", n.user),
			Advice: "run as root: mounts, devices and channel programs need it"}
	}
	return zfs.Finding{Check: check, Message: "this runs as root"}
}

// checkPrograms looks for the programs without which there are no volumes.
func (n node) checkPrograms() zfs.Finding {
	const check = "programs"
	if missing := missing(n.find, "zfs", "zpool"); len(missing) > 0 {
		return zfs.Finding{Check: check, Severity: zfs.Fault, Message: "missing: " + strings.Join(missing, ", "),
			Advice: "install them and see that they are in PATH, or below --host-root (Debian and Ubuntu: zfsutils-linux)"}
	}
	return zfs.Finding{Check: check, Message: "zfs and zpool are there"}
}

// checkFormats looks for the programs that fsType ext4 and xfs need.
func (n node) checkFormats() zfs.Finding {
	const check = "programs for fsType ext4 and xfs"
	if missing := missing(n.look, "blkid", "mkfs.ext4", "e2fsck", "resize2fs", "mkfs.xfs", "xfs_repair", "xfs_growfs"); len(missing) > 0 {
		return zfs.Finding{Check: check, Severity: zfs.Warning, Message: "missing: " + strings.Join(missing, ", "),
			Advice: "install them if StorageClasses use fsType (Debian and Ubuntu: util-linux, e2fsprogs, xfsprogs)"}
	}
	return zfs.Finding{Check: check, Message: "they are there"}
}

func missing(look func(string) (string, error), programs ...string) []string {
	var missing []string
	for _, program := range programs {
		if _, err := look(program); err != nil {
			missing = append(missing, program)
		}
	}
	return missing
}

// checkPropagation looks whether what is mounted in the kubelet's folder is seen by
// others: by the kubelet and the pods when the driver mounts.
func (n node) checkPropagation() zfs.Finding {
	const check = "mount propagation"
	dir := filepath.Join(n.root, n.kubelet)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return zfs.Finding{Check: check, Message: "there is no kubelet's folder at " + n.kubelet + ", so nothing to look at"}
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	inside, err := filepath.Rel(n.root, dir)
	if err != nil {
		inside = n.kubelet
	}
	mount, err := n.mountOf("/" + inside)
	switch {
	case err != nil:
		return zfs.Finding{Check: check, Severity: zfs.Warning, Message: "the mounts could not be read: " + err.Error(),
			Advice: "see /proc/self/mountinfo"}
	case !strings.Contains(mount.Optional, "shared:"):
		return zfs.Finding{Check: check, Severity: zfs.Fault,
			Message: fmt.Sprintf("%s, which holds %s, is not shared: pods would find their volumes empty", mount.Mountpoint, n.kubelet),
			Advice: "on the node: mount --make-rshared " + mount.Mountpoint +
				"; in a pod: mountPropagation: Bidirectional for the kubelet's folder"}
	}
	return zfs.Finding{Check: check, Message: fmt.Sprintf("%s, which holds %s, is shared", mount.Mountpoint, n.kubelet)}
}

// checkHostRoot looks whether what the node unmounts is unmounted below the host root too: else a
// volume that was in use when the container started stays busy as long as it runs.
func (n node) checkHostRoot() zfs.Finding {
	const check = "host root"
	mount, err := n.mountOf(n.hostRoot)
	switch {
	case err != nil:
		return zfs.Finding{Check: check, Severity: zfs.Warning, Message: "the mounts could not be read: " + err.Error(),
			Advice: "see /proc/self/mountinfo"}
	case !strings.Contains(mount.Optional, "master:") && !strings.Contains(mount.Optional, "shared:"):
		return zfs.Finding{Check: check, Severity: zfs.Fault,
			Message: fmt.Sprintf("%s, which holds %s, does not follow the node's mounts: volumes would stay busy after they are unmounted", mount.Mountpoint, n.hostRoot),
			Advice:  "in a pod: mountPropagation: HostToContainer for the node's root; elsewhere: mount --make-rslave " + mount.Mountpoint}
	}
	return zfs.Finding{Check: check, Message: fmt.Sprintf("%s, which holds %s, follows the node's mounts", mount.Mountpoint, n.hostRoot)}
}

// mountOf returns the mount that path lies on.
func (n node) mountOf(path string) (*mountinfo.Info, error) {
	file, err := os.Open(filepath.Join(n.root, "proc/self/mountinfo"))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	mounts, err := mountinfo.GetMountsFromReader(file, func(m *mountinfo.Info) (skip, stop bool) {
		return !strings.HasPrefix(path+"/", strings.TrimSuffix(m.Mountpoint, "/")+"/"), false
	})
	if err != nil {
		return nil, err
	}
	var best *mountinfo.Info
	for _, m := range mounts {
		if best == nil || len(m.Mountpoint) >= len(best.Mountpoint) { // of two on one place the later hides the other
			best = m
		}
	}
	if best == nil {
		return nil, fmt.Errorf("no mount holds %s", path)
	}
	return best, nil
}

package main

import (
	"fmt"
	"os"
	"sort"
	"strings"
)

// Release is one pairing of Debian and OpenZFS that the machine can be built with.
type Release struct {
	ZFS       string // the parameter's value, "2.3"
	Suite     string // Debian's code name
	Backports bool   // ZFS comes from the suite's backports
}

// defaultZFS is the version tests run on when none is asked for.
const defaultZFS = "2.3"

var releases = map[string]Release{
	"2.1": {ZFS: "2.1", Suite: "bookworm"},
	"2.3": {ZFS: "2.3", Suite: "trixie"},
	"2.4": {ZFS: "2.4", Suite: "trixie", Backports: true},
}

// machinePackages are in the machine when a test starts.
var machinePackages = []string{
	"linux-image-cloud-amd64", "zfsutils-linux", "systemd-sysv", "udev", "dbus", "openssh-server",
	"e2fsprogs", "xfsprogs", "util-linux", "mount", "kmod", "procps", "psmisc", "iproute2",
	"strace", "lsof", "busybox-static", "ca-certificates",
}

// moduleBuildPackages build the kernel module and leave the image afterwards.
var moduleBuildPackages = []string{"linux-headers-cloud-amd64", "zfs-dkms"}

// releaseFromEnv reads the environment variable ZFS.
func releaseFromEnv() (Release, error) {
	want := os.Getenv("ZFS")
	if want == "" {
		want = defaultZFS
	}
	release, ok := releases[want]
	if !ok {
		return Release{}, fmt.Errorf("ZFS=%s is not a version the machine can be built with; take one of %s",
			want, strings.Join(zfsVersions(), ", "))
	}
	return release, nil
}

func zfsVersions() []string {
	var all []string
	for version := range releases {
		all = append(all, version)
	}
	sort.Strings(all)
	return all
}

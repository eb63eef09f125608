package main

import (
	"slices"
	"testing"
)

func TestQEMUServes(t *testing.T) {
	for version, want := range map[string]bool{
		"": false, "7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)": false, "10.0.2 (Debian 1:10.0.2+ds-2)": true, "11.1.0": true,
	} {
		if got := qemuServes(version); got != want {
			t.Errorf("%q: %v", version, got)
		}
	}
}

func TestReleaseFromEnv(t *testing.T) {
	for value, suite := range map[string]string{"": "trixie", "2.1": "bookworm", "2.3": "trixie", "2.2": ""} {
		t.Setenv("ZFS", value)
		release, err := releaseFromEnv()
		if release.Suite != suite || (err != nil) != (suite == "") {
			t.Errorf("ZFS=%q: %+v, %v", value, release, err)
		}
	}
}

func TestMissing(t *testing.T) {
	packages, qemu, err := missing(t.Context(), []hostTool{
		{"sh", "dash"}, {"no-such-program", "one"}, {"/no/such/file", "two"}, {"/etc/os-release", "base-files"},
	})
	if err != nil || qemu || !slices.Equal(packages, []string{"one", "two"}) {
		t.Errorf("missing %v, QEMU %v, %v", packages, qemu, err)
	}
}

func TestImageRefuses(t *testing.T) {
	for _, args := range [][]string{nil, {"bin/zfs-csi", "zfs-csi/zfs-csi:v1"}, {"bin/driver", "zfs-csi/zfs-csi:v1", "image.tar"}} {
		if code, err := imageVerb(t.Context(), args); code != 2 || err == nil {
			t.Errorf("image %q: code %d, %v", args, code, err)
		}
	}
}

package main

import "testing"

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

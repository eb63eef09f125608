package driver

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParseMountFlags(t *testing.T) {
	for _, test := range []struct {
		flags []string
		want  mountFlags
		wrong string
	}{
		{flags: nil},
		{flags: []string{"defaults", ""}},
		{flags: []string{"noatime", "nodev,nosuid"}, want: mountFlags{bits: unix.MS_NOATIME | unix.MS_NODEV | unix.MS_NOSUID}},
		{flags: []string{"noatime", "atime"}},
		{flags: []string{"ro"}, want: mountFlags{readOnly: true}},
		{flags: []string{"ro", "noexec"}, want: mountFlags{readOnly: true, bits: unix.MS_NOEXEC}},
		{flags: []string{"ro", "rw"}},
		{flags: []string{"discard", "logbsize=256k"}, want: mountFlags{data: []string{"discard", "logbsize=256k"}}},
		{flags: []string{"bind"}, wrong: `"bind"`},
		{flags: []string{"noatime,remount"}, wrong: `"remount"`},
		{flags: []string{"X-mount.mkdir=0777"}, wrong: `"X-mount.mkdir=0777"`},
		{flags: []string{"mntpoint=/etc"}, wrong: `"mntpoint=/etc"`},
		{flags: []string{"a b"}, wrong: `"a b"`},
		{flags: []string{"a\nb"}, wrong: `"a\nb"`},
	} {
		have, err := parseMountFlags(test.flags)
		if test.wrong != "" {
			if err == nil || !strings.Contains(err.Error(), test.wrong) {
				t.Errorf("%q: error %v does not name %s", test.flags, err, test.wrong)
			}
			continue
		}
		if err != nil || have.bits != test.want.bits || have.readOnly != test.want.readOnly || !slices.Equal(have.data, test.want.data) {
			t.Errorf("%q: %+v (error %v), want %+v", test.flags, have, err, test.want)
		}
	}
}

package zfs

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// fakeProc makes a /proc with the mounts of one process each.
func fakeProc(t *testing.T, mounts ...string) string {
	t.Helper()
	proc := t.TempDir()
	for i, text := range mounts {
		process := filepath.Join(proc, string(rune('1'+i)))
		if err := os.Mkdir(process, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(process, "mountinfo"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return proc
}

func TestUsersMounted(t *testing.T) {
	const (
		root   = "22 1 254:0 / / rw shared:1 - ext4 /dev/vda rw\n"
		volume = "40 22 0:50 / /pods/a/my\\040volume rw - zfs my\\040tank/csi/v rw\n"
		other  = "41 22 0:51 / /pods/b rw - zfs my\\040tank/csi/v2 rw\n"
		onZvol = "42 22 230:16 / /pods/c rw - ext4 /dev/zd16 rw\n"
		hash   = "43 22 0:50 / /pods/\\043d rw - zfs my\\040tank/csi/v rw\n"
	)
	long := "44 22 0:52 / /overlay rw - overlay overlay rw,lowerdir=" + strings.Repeat("/layer:", 20_000) + "\n"
	for name, test := range map[string]struct {
		proc    []string
		number  uint64
		users   []string
		mounted bool
	}{
		"nobody":             {proc: []string{root, root + other + onZvol}},
		"a name with spaces": {proc: []string{root + volume, root + volume + hash}, users: []string{"mounted at /pods/a/my volume", "mounted at /pods/#d"}, mounted: true},
		"a device":           {proc: []string{root + onZvol}, number: unix.Mkdev(230, 16), users: []string{"mounted at /pods/c"}, mounted: true},
		"before a long line": {
			proc: []string{root + volume + long}, mounted: true,
			users: []string{"mounted at /pods/a/my volume", "perhaps mounted: the mounts of a process cannot be read: bufio.Scanner: token too long"},
		},
		"after a long line": {
			proc:  []string{root + long + volume, root + long},
			users: []string{"perhaps mounted: the mounts of a process cannot be read: bufio.Scanner: token too long"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			users, mounted := usersIn(fakeProc(t, test.proc...), "my tank/csi/v", test.number)
			if !slices.Equal(users, test.users) || mounted != test.mounted {
				t.Errorf("users %q, mounted %t; want %q, %t", users, mounted, test.users, test.mounted)
			}
		})
	}
}

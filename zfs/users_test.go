package zfs

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fakeProc makes a /proc with the mounts of the process itself, and of others that are called c1, c2 and so on.
func fakeProc(t *testing.T, mounts ...string) string {
	t.Helper()
	proc := t.TempDir()
	for i, text := range mounts {
		process := filepath.Join(proc, strconv.Itoa(i))
		if i == 0 {
			process = filepath.Join(proc, "self")
		}
		if err := os.Mkdir(process, 0o755); err != nil {
			t.Fatal(err)
		}
		for file, text := range map[string]string{"mountinfo": text, "comm": fmt.Sprintf("c%d\n", i)} {
			if err := os.WriteFile(filepath.Join(process, file), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
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
		"a name with spaces": {proc: []string{root + volume, root + volume + hash}, users: []string{"mounted at /pods/a/my volume", "mounted at /pods/#d in the mount namespace of process 1 (c1)"}, mounted: true},
		"a device":           {proc: []string{root + onZvol}, number: unix.Mkdev(230, 16), users: []string{"mounted at /pods/c"}, mounted: true},
		"another's mounts":   {proc: []string{root, root + volume, root + volume}, users: []string{"mounted at /pods/a/my volume in the mount namespace of process 1 (c1)"}, mounted: true},
		"before a long line": {
			proc: []string{root + volume + long}, mounted: true,
			users: []string{"mounted at /pods/a/my volume", "perhaps mounted (the mounts cannot be read: bufio.Scanner: token too long)"},
		},
		"after a long line": {
			proc:  []string{root + long + volume, root + long},
			users: []string{"perhaps mounted (the mounts cannot be read: bufio.Scanner: token too long)"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			users, mounted := mountedIn(fakeProc(t, test.proc...), "my tank/csi/v", test.number)
			if !slices.Equal(users, test.users) || mounted != test.mounted {
				t.Errorf("users %q, mounted %t; want %q, %t", users, mounted, test.users, test.mounted)
			}
		})
	}
}

func TestUsersOfTheKernel(t *testing.T) {
	sys := t.TempDir()
	for _, path := range []string{"230:16/holders/dm-0", "230:16/zd16p1/holders/md1", "230:32/holders/dm-1"} {
		if err := os.MkdirAll(filepath.Join(sys, path), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for number, want := range map[uint64][]string{
		0: nil, unix.Mkdev(230, 48): nil,
		unix.Mkdev(230, 16): {"held by the block device dm-0", "held by the block device md1"},
	} {
		if got := heldIn(sys, "/proc/swaps", number); !slices.Equal(got, want) {
			t.Errorf("device %d is used by %q, want %q", number, got, want)
		}
	}
}

// silent opens a file of a FUSE file system that nobody serves, as after its server has died. What asks it hangs, until the end
// of the test.
func silent(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can mount")
	}
	server, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("there is no FUSE here: %v", err)
	}
	end := func() { _ = unix.Close(server) } // What hangs then fails.
	dir := t.TempDir()
	if err := unix.Mount("silent", dir, "fuse", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", server)); err != nil {
		end()
		t.Skipf("FUSE cannot be mounted here: %v", err)
	}
	root, err := unix.Open(dir, unix.O_PATH|unix.O_CLOEXEC, 0)
	t.Cleanup(func() {
		end()
		_ = unix.Close(root)
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestUsersOpen: who has a device open is found by any node of it, also beside an open file whose server
// has died, which nothing may ask.
func TestUsersOpen(t *testing.T) {
	silent(t)
	node, number := filepath.Join(t.TempDir(), "any name"), unix.Mkdev(zvolMajor, 16)
	if err := unix.Mknod(node, unix.S_IFBLK|0o600, int(number)); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(node, unix.O_PATH|unix.O_CLOEXEC, 0) // No such device is there to be opened.
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := os.Remove(node); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	l := newUsable(t, nil)
	users := l.openedBy(ctx, "/proc", number)
	want := fmt.Sprintf("open in process %d (", os.Getpid())
	if len(users) == 0 || !slices.ContainsFunc(users, func(u string) bool { return strings.HasPrefix(u, want) }) {
		t.Errorf("the users of an open device are %q, want one that is %s…)", users, want)
	}
	if users := l.openedBy(ctx, "/proc", unix.Mkdev(zvolMajor, 32)); len(users) > 0 {
		t.Errorf("the users of a device that is not there are %q", users)
	}
}

// TestUsersInTime: a look is given up with the call.
func TestUsersInTime(t *testing.T) {
	l := newUsable(t, nil)
	for range maxLooks {
		l.looks <- struct{}{} // These hang.
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if users := l.openedBy(ctx, "/proc", unix.Mkdev(zvolMajor, 32)); users != nil {
		t.Errorf("a look that never began has found %q", users)
	}
}

package zfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// zvolMajor is of the range for local use; no device of it is ever opened here.
const zvolMajor = 240

// kernel plays the block devices of a machine, with nodes nobody opens.
type kernel struct {
	t *testing.T
	*devices

	mu    sync.Mutex
	names map[uint64]string // of zvols, by device number
	asked int
}

func newKernel(t *testing.T) *kernel {
	if os.Getuid() != 0 {
		t.Skip("only root can make device nodes")
	}
	k := &kernel{t: t, names: map[uint64]string{}, devices: newDevices(filepath.Join(t.TempDir(), "own"))}
	t.Cleanup(func() {
		// Where temporary files are on a mount without devices, the folder has one of its own.
		if err := unix.Unmount(k.dir, unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			t.Error(err)
		}
	})
	k.sys, k.dev, k.ask = t.TempDir(), t.TempDir(), k.answer
	k.addOther("vda")
	return k
}

func (k *kernel) answer(node string) (string, error) {
	number, err := blockDevice(node)
	if err != nil {
		return "", err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked++
	name, there := k.names[number]
	if !there {
		return "", unix.ENXIO
	}
	return name, nil
}

// add plugs in the device of a zvol; with udev it gets its nodes too.
func (k *kernel) add(minor uint32, name string, udev bool) {
	k.t.Helper()
	number := unix.Mkdev(zvolMajor, minor)
	k.mu.Lock()
	k.names[number] = name
	k.mu.Unlock()
	device := fmt.Sprintf("zd%d", minor)
	if udev {
		mustDevice(k.t, unix.Mknod(filepath.Join(k.dev, device), unix.S_IFBLK|0o600, int(number)))
		link := filepath.Join(k.dev, "zvol", name)
		mustDevice(k.t, os.MkdirAll(filepath.Dir(link), 0o755))
		mustDevice(k.t, os.Symlink(filepath.Join(k.dev, device), link))
	}
	mustDevice(k.t, os.Mkdir(filepath.Join(k.sys, device), 0o755))
	mustDevice(k.t, os.WriteFile(filepath.Join(k.sys, device, "dev"), fmt.Appendf(nil, "%d:%d\n", zvolMajor, minor), 0o644))
}

func (k *kernel) addOther(name string) {
	mustDevice(k.t, os.Mkdir(filepath.Join(k.sys, name), 0o755))
}

func (k *kernel) remove(minor uint32) {
	k.mu.Lock()
	delete(k.names, unix.Mkdev(zvolMajor, minor))
	k.mu.Unlock()
	mustDevice(k.t, os.RemoveAll(filepath.Join(k.sys, fmt.Sprintf("zd%d", minor))))
}

func (k *kernel) rename(minor uint32, name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.names[unix.Mkdev(zvolMajor, minor)] = name
}

// expect looks a zvol up and checks whose node was found and how many devices were asked.
func (k *kernel) expect(name string, minor uint32, most int) {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	k.asked = 0
	node, err := k.wait(ctx, name, noAgain)
	mustDevice(k.t, err)
	number, err := blockDevice(node)
	mustDevice(k.t, err)
	if number != unix.Mkdev(zvolMajor, minor) {
		k.t.Errorf("device of %s is %s, number %x, want minor %d", name, node, number, minor)
	}
	if want := fmt.Sprintf("zd%d", minor); filepath.Base(node) != want {
		k.t.Errorf("node of %s is %s, want one called %s", name, node, want)
	}
	if k.known(k.t.Context(), name) != number {
		k.t.Errorf("the device of %s is not known after it was found", name)
	}
	if k.asked > most+1 { // known asks once more.
		k.t.Errorf("%d devices were asked, want at most %d", k.asked, most)
	}
}

func TestDeviceByLink(t *testing.T) {
	k := newKernel(t)
	for i := range uint32(20) {
		k.add(16*i, fmt.Sprintf("tank/csi/v%d", i), true)
	}
	k.expect("tank/csi/v3", 48, 1)
}

func TestDeviceWithoutUdev(t *testing.T) {
	k := newKernel(t)
	for i := range uint32(20) {
		k.add(16*i, fmt.Sprintf("tank/csi/v%d", i), false)
	}
	k.expect("tank/csi/v3", 48, 20)
	k.expect("tank/csi/v3", 48, 1)
	k.add(320, "tank/csi/late", false)
	// What the first look did not reach, and the late one.
	k.expect("tank/csi/late", 320, 20)
	k.add(336, "tank/csi/later", false)
	k.expect("tank/csi/later", 336, 1)

	info, err := os.Stat(k.dir)
	mustDevice(t, err)
	if info.Mode().Perm() != 0o700 {
		t.Errorf("the folder of the nodes has mode %s", info.Mode())
	}
}

func TestDeviceNumberUsedAgain(t *testing.T) {
	k := newKernel(t)
	k.add(0, "tank/csi/a", false)
	k.add(16, "tank/csi/b", false)
	k.expect("tank/csi/a", 0, 2)
	k.expect("tank/csi/b", 16, 2)
	k.remove(0)
	k.add(0, "tank/csi/c", false)
	k.expect("tank/csi/c", 0, 2)
	if number := k.known(k.t.Context(), "tank/csi/a"); number != 0 {
		t.Errorf("a zvol without a device is known by %x", number)
	}
}

func TestDeviceAfterRename(t *testing.T) {
	k := newKernel(t)
	k.add(0, "tank/csi/a", true)
	k.expect("tank/csi/a", 0, 1)
	k.rename(0, "tank/csi/b")
	k.expect("tank/csi/b", 0, 2)
}

func TestDeviceOfOutdatedLink(t *testing.T) {
	k := newKernel(t)
	k.add(0, "tank/csi/a", true)
	k.add(16, "tank/csi/b", false)
	k.rename(0, "tank/csi/b")
	k.rename(16, "tank/csi/a")
	k.expect("tank/csi/a", 16, 4) // The link is asked twice.
}

func TestDeviceWaitsForIt(t *testing.T) {
	k := newKernel(t)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	found := make(chan error, 1)
	go func() {
		_, err := k.wait(ctx, "tank/csi/a", noAgain)
		found <- err
	}()
	k.add(0, "tank/csi/a", false)
	mustDevice(t, <-found)
}

func TestDeviceThatNeverAppears(t *testing.T) {
	k := newKernel(t)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	_, err := k.wait(ctx, "tank/csi/a", noAgain)
	if err == nil || !strings.Contains(err.Error(), "tank/csi/a did not appear") {
		t.Errorf("error %v does not tell what is missing", err)
	}
}

// A device that stays away is asked for again, and where that fails the reason is told.
func TestDeviceIsAskedForAgain(t *testing.T) {
	k := newKernel(t)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	node, err := k.wait(ctx, "tank/csi/a", func() error {
		k.add(0, "tank/csi/a", true)
		return nil
	})
	if err != nil || filepath.Base(node) != "zd0" {
		t.Errorf("the device is %s (%v)", node, err)
	}
	if _, err := k.wait(ctx, "tank/csi/b", func() error { return ErrNotFound }); !errors.Is(err, ErrNotFound) {
		t.Errorf("error %v, want %v", err, ErrNotFound)
	}
}

// A device of a pool that hangs does not hold up the lookup of another.
func TestDeviceBesideOneThatHangs(t *testing.T) {
	k := newKernel(t)
	k.add(0, "hung/csi/a", false)
	k.add(16, "tank/csi/b", false)
	hang := make(chan struct{})
	defer close(hang)
	k.ask = func(node string) (string, error) {
		if filepath.Base(node) == "zd0" {
			<-hang
		}
		return k.answer(node)
	}
	k.expect("tank/csi/b", 16, 1)
}

func TestDeviceNodeIsReplaced(t *testing.T) {
	k := newKernel(t)
	k.add(0, "tank/csi/a", false)
	mustDevice(t, os.MkdirAll(k.dir, 0o755))
	mustDevice(t, os.WriteFile(filepath.Join(k.dir, "zd0"), []byte("not a device"), 0o600))
	k.expect("tank/csi/a", 0, 1)
}

func noAgain() error { return nil }

func mustDevice(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

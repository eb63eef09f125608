package zfstest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/zfs-csi/zfs-csi/zfs"
	"github.com/zfs-csi/zfs-csi/zfs/storetest"
)

// Driver is the driver's name in the parents that NewBackend makes.
const Driver = "test.zfs-csi"

// poolSize is the size in bytes of the pools that NewBackend makes.
const poolSize = 1 << 30

// blockSize is what is written to a zvol at once, in bytes.
const blockSize = 4096

// Backend is the side of the test in storetest.Run for a Store on real ZFS.
type Backend struct {
	store zfs.Store
	pools map[string]*Pool
	// used is what space returned at first.
	used string
}

var _ storetest.Backend = (*Backend)(nil)

// NewBackend makes pools and in each a parent of Driver, and with these the Store
// under test. They go when the test ends. The test is skipped where there is no real ZFS.
func NewBackend(t testing.TB, pools int, newStore func(parents ...zfs.Dataset) zfs.Store) *Backend {
	t.Helper()
	b := &Backend{pools: map[string]*Pool{}}
	var parents []zfs.Dataset
	for range pools {
		p := NewPool(t, poolSize)
		b.pools[p.Name] = p
		parents = append(parents, p.Parent(t, "csi", Driver))
	}
	b.store = newStore(parents...)
	b.used = b.space(t)
	return b
}

// Fresh removes what a test that failed has left.
func (b *Backend) Fresh(t testing.TB) *Backend {
	t.Helper()
	parents, _ := b.names()
	for _, name := range b.Contents(t) {
		if dataset, _, snapshot := strings.Cut(name, "@"); snapshot && !slices.Contains(parents, dataset) {
			continue // It goes with its dataset.
		}
		if err := run("zfs", "destroy", "-R", name); err != nil {
			t.Log(err) // It may have gone as the clone of another.
		}
	}
	return b
}

// Store implements storetest.Backend.
func (b *Backend) Store() zfs.Store { return b.store }

// Slow implements storetest.Backend.
func (b *Backend) Slow() bool { return os.Getenv("ZFS_CSI_EXHAUSTIVE") == "" }

// names returns those of the parents and of their pools.
func (b *Backend) names() (parents, pools []string) {
	for _, p := range b.store.Parents() {
		parents, pools = append(parents, p.String()), append(pools, p.Pool())
	}
	return parents, pools
}

// Contents implements storetest.Backend.
func (b *Backend) Contents(t testing.TB) []string {
	t.Helper()
	parents, _ := b.names()
	out := Run(t, "zfs", append([]string{"list", "-Hr", "-t", "all", "-o", "name"}, parents...)...)
	names := slices.DeleteFunc(strings.Split(out, "\n"), func(name string) bool { return slices.Contains(parents, name) })
	slices.Sort(names)
	return names
}

// space returns what the parents use, and what their pools have still to free.
func (b *Backend) space(t testing.TB) string {
	t.Helper()
	parents, pools := b.names()
	Run(t, "zpool", append([]string{"sync"}, pools...)...)
	return Run(t, "zfs", append([]string{"get", "-Hp", "-o", "name,property,value", "used"}, parents...)...) + "\n" +
		Run(t, "zpool", append([]string{"get", "-Hp", "-o", "name,property,value", "freeing"}, pools...)...)
}

// Settled implements storetest.Backend.
func (b *Backend) Settled(t testing.TB) {
	t.Helper()
	err := retry(func() error {
		if now := b.space(t); now != b.used {
			return fmt.Errorf("the empty parents were at first\n%s\nand are now\n%s", b.used, now)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func (b *Backend) volume(t testing.TB, id zfs.VolumeID) *zfs.Volume {
	t.Helper()
	v, err := b.store.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// Write implements storetest.Backend.
func (b *Backend) Write(t testing.TB, id zfs.VolumeID, text string) {
	t.Helper()
	dir, volume, unmount := b.mount(t, id)
	if dir == "" {
		block := make([]byte, blockSize)
		copy(block, text)
		b.onDevice(t, volume, func(f *os.File) error {
			_, err := f.WriteAt(block, 0)
			return errors.Join(err, f.Sync())
		})
		return
	}
	if err := os.WriteFile(filepath.Join(dir, "content"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	unmount()
}

// Read implements storetest.Backend.
func (b *Backend) Read(t testing.TB, id zfs.VolumeID) string {
	t.Helper()
	dir, volume, unmount := b.mount(t, id)
	if dir == "" {
		block := make([]byte, blockSize)
		b.onDevice(t, volume, func(f *os.File) error {
			_, err := f.ReadAt(block, 0)
			return err
		})
		return strings.TrimRight(string(block), "\x00")
	}
	text, err := os.ReadFile(filepath.Join(dir, "content"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	unmount()
	return string(text)
}

// onDevice opens the device of a zvol for a while.
func (b *Backend) onDevice(t testing.TB, volume zfs.Dataset, use func(*os.File) error) {
	t.Helper()
	f := b.open(t, volume)
	if err := errors.Join(use(f), f.Close()); err != nil {
		t.Fatal(err)
	}
}

func (b *Backend) open(t testing.TB, volume zfs.Dataset) *os.File {
	t.Helper()
	path, err := b.store.Device(t.Context(), volume)
	if err != nil {
		t.Fatal(err)
	}
	f, err := Open(path, os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// Open opens a device as soon as ZFS lets it.
func Open(path string, flags int) (f *os.File, err error) {
	err = retryOn(zfs.ErrRestart, func() error {
		f, err = os.OpenFile(path, flags, 0)
		return err
	})
	return f, err
}

// mount mounts a volume, if it is a filesystem; dir is empty when it is a zvol. The
// kernel tells which it is and in which parent: a command for that would take as long
// as all the rest. A zvol is busy while udev looks at it.
func (b *Backend) mount(t testing.TB, id zfs.VolumeID) (dir string, volume zfs.Dataset, unmount func()) {
	t.Helper()
	for _, parent := range b.store.Parents() {
		volume = zfs.MustParseDataset(parent.String() + "/" + id.String())
		dir, err := os.MkdirTemp(b.pools[parent.Pool()].dir, "mount-")
		if err != nil {
			t.Fatal(err)
		}
		err = retryOn(unix.EBUSY, func() error { return unix.Mount(volume.String(), dir, "zfs", 0, "") })
		if err == nil {
			return dir, volume, once(t, func() {
				// A command that somebody starts just now holds all that is open, for a moment.
				err := retryOn(unix.EBUSY, func() error { return unix.Unmount(dir, 0) })
				if err := errors.Join(err, os.Remove(dir)); err != nil {
					t.Errorf("unmount %s from %s: %v", volume, dir, err)
				}
			})
		}
		if err := os.Remove(dir); err != nil {
			t.Fatal(err)
		}
		switch {
		case errors.Is(err, unix.EINVAL): // It is a zvol.
			return "", volume, func() {}
		case !errors.Is(err, unix.ENOENT):
			t.Fatalf("mount %s at %s: %v", volume, dir, err)
		}
	}
	t.Fatalf("volume %s is below none of the parents", id)
	panic("not reached")
}

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
	used  map[zfs.Dataset]string
}

var _ storetest.Backend = (*Backend)(nil)

// NewBackend makes two pools and in each a parent of Driver, and with these the Store
// under test. They go when the test ends. The test is skipped where there is no real ZFS.
func NewBackend(t testing.TB, newStore func(parents ...zfs.Dataset) zfs.Store) *Backend {
	t.Helper()
	b := &Backend{pools: map[string]*Pool{}, used: map[zfs.Dataset]string{}}
	var parents []zfs.Dataset
	for range 2 {
		p := NewPool(t, poolSize)
		b.pools[p.Name] = p
		parents = append(parents, p.Parent(t, "csi", Driver))
	}
	b.store = newStore(parents...)
	for _, p := range parents {
		b.used[p] = b.space(t, p)
	}
	return b
}

// Fresh removes what a test that failed has left.
func (b *Backend) Fresh(t testing.TB) *Backend {
	t.Helper()
	for _, p := range b.store.Parents() {
		children := Run(t, "zfs", "list", "-Hr", "-d", "1", "-o", "name", p.String())
		for _, child := range strings.Split(children, "\n")[1:] {
			if err := run("zfs", "destroy", "-R", child); err != nil {
				t.Log(err) // It may have gone as the clone of another.
			}
		}
	}
	return b
}

// Store implements storetest.Backend.
func (b *Backend) Store() zfs.Store { return b.store }

// Slow implements storetest.Backend.
func (b *Backend) Slow() bool { return true }

// Contents implements storetest.Backend.
func (b *Backend) Contents(t testing.TB) []string {
	t.Helper()
	var names []string
	for _, p := range b.store.Parents() {
		names = append(names, p.String())
	}
	out := Run(t, "zfs", append([]string{"list", "-Hr", "-t", "all", "-o", "name"}, names...)...)
	names = slices.DeleteFunc(strings.Split(out, "\n"), func(name string) bool { return slices.Contains(names, name) })
	slices.Sort(names)
	return names
}

// space returns what a parent uses, and what its pool has still to free.
func (b *Backend) space(t testing.TB, parent zfs.Dataset) string {
	t.Helper()
	Run(t, "zpool", "sync", parent.Pool())
	return Run(t, "zfs", "get", "-Hp", "-o", "value", "used", parent.String()) + " used, " +
		Run(t, "zpool", "get", "-Hp", "-o", "value", "freeing", parent.Pool()) + " freeing"
}

// Settled implements storetest.Backend.
func (b *Backend) Settled(t testing.TB) {
	t.Helper()
	for _, p := range b.store.Parents() {
		err := retry(func() error {
			if now := b.space(t, p); now != b.used[p] {
				return fmt.Errorf("parent %s had %s when it was empty at first, and has %s", p, b.used[p], now)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
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
	v := b.volume(t, id)
	if v.Kind == zfs.Block {
		block := make([]byte, blockSize)
		copy(block, text)
		b.onDevice(t, v, func(f *os.File) error {
			_, err := f.WriteAt(block, 0)
			return errors.Join(err, f.Sync())
		})
		return
	}
	dir, unmount := b.mount(t, v)
	if err := os.WriteFile(filepath.Join(dir, "content"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	unmount()
}

// Read implements storetest.Backend.
func (b *Backend) Read(t testing.TB, id zfs.VolumeID) string {
	t.Helper()
	v := b.volume(t, id)
	if v.Kind == zfs.Block {
		block := make([]byte, blockSize)
		b.onDevice(t, v, func(f *os.File) error {
			_, err := f.ReadAt(block, 0)
			return err
		})
		return strings.TrimRight(string(block), "\x00")
	}
	dir, unmount := b.mount(t, v)
	text, err := os.ReadFile(filepath.Join(dir, "content"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	unmount()
	return string(text)
}

// onDevice opens the device of a zvol for a while.
func (b *Backend) onDevice(t testing.TB, v *zfs.Volume, use func(*os.File) error) {
	t.Helper()
	f := b.open(t, v)
	if err := errors.Join(use(f), f.Close()); err != nil {
		t.Fatal(err)
	}
}

func (b *Backend) open(t testing.TB, v *zfs.Volume) *os.File {
	t.Helper()
	path, err := b.store.Device(t.Context(), v.Dataset)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// mount mounts a filesystem.
func (b *Backend) mount(t testing.TB, v *zfs.Volume) (dir string, unmount func()) {
	t.Helper()
	dir, err := os.MkdirTemp(b.pools[v.Dataset.Pool()].dir, "mount-")
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(v.Dataset.String(), dir, "zfs", 0, ""); err != nil {
		t.Fatalf("mount %s at %s: %v", v.Dataset, dir, err)
	}
	return dir, once(t, func() {
		if err := errors.Join(unix.Unmount(dir, 0), os.Remove(dir)); err != nil {
			t.Errorf("unmount %s from %s: %v", v.Dataset, dir, err)
		}
	})
}

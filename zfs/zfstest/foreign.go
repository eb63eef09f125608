package zfstest

import (
	"fmt"
	"os"
	"testing"

	"github.com/zfs-csi/zfs-csi/zfs"
)

// Property implements storetest.Backend.
func (b *Backend) Property(t testing.TB, id zfs.VolumeID, name string) string {
	t.Helper()
	return Run(t, "zfs", "get", "-Hp", "-o", "value", name, b.volume(t, id).Dataset.String())
}

// Use implements storetest.Backend.
func (b *Backend) Use(t testing.TB, id zfs.VolumeID) (where string, release func()) {
	t.Helper()
	dir, volume, unmount := b.mount(t, id)
	if dir != "" {
		return dir, unmount
	}
	f := b.open(t, volume)
	return fmt.Sprint(os.Getpid()), once(t, func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
}

func (b *Backend) snapshot(t testing.TB, id zfs.VolumeID, name string) string {
	t.Helper()
	return b.volume(t, id).Dataset.String() + "@" + name
}

// ForeignSnapshot implements storetest.Backend.
func (b *Backend) ForeignSnapshot(t testing.TB, id zfs.VolumeID, name string) {
	t.Helper()
	Run(t, "zfs", "snapshot", b.snapshot(t, id, name))
}

// ForeignClone implements storetest.Backend.
func (b *Backend) ForeignClone(t testing.TB, id zfs.VolumeID, snapshot string) (name string, remove func()) {
	t.Helper()
	name = b.volume(t, id).Dataset.Pool() + "/restored"
	Run(t, "zfs", "clone", b.snapshot(t, id, snapshot), name)
	return name, destroy(t, name)
}

// ForeignDataset implements storetest.Backend.
func (b *Backend) ForeignDataset(t testing.TB, name zfs.Dataset) (remove func()) {
	t.Helper()
	Run(t, "zfs", "create", "-u", name.String())
	return destroy(t, name.String())
}

// destroy returns a function that destroys a dataset, which udev may have open for a moment.
func destroy(t testing.TB, name string) func() {
	return once(t, func() {
		if err := retry(func() error { return run("zfs", "destroy", name) }); err != nil {
			t.Error(err)
		}
	})
}

// Hold implements storetest.Backend.
func (b *Backend) Hold(t testing.TB, id zfs.VolumeID, snapshot string) (release func()) {
	t.Helper()
	name := b.snapshot(t, id, snapshot)
	Run(t, "zfs", "hold", "keep", name)
	return once(t, func() { Run(t, "zfs", "release", "keep", name) })
}

// Export implements storetest.Backend.
func (b *Backend) Export(t testing.TB, pool string) (imports func()) {
	t.Helper()
	return b.pools[pool].Export(t)
}

// Degrade implements storetest.Backend.
func (b *Backend) Degrade(t testing.TB, pool string) (repair func()) {
	t.Helper()
	return b.pools[pool].Degrade(t)
}

// Unmark implements storetest.Backend.
func (b *Backend) Unmark(t testing.TB, parent zfs.Dataset) (mark func()) {
	t.Helper()
	Run(t, "zfs", "inherit", "zfs-csi:driver", parent.String())
	return once(t, func() { Run(t, "zfs", "set", "zfs-csi:driver="+Driver, parent.String()) })
}

// Die implements storetest.Backend: it leaves a snapshot that no clone was made of, and
// a copy that was not finished.
func (b *Backend) Die(t testing.TB, source, id zfs.VolumeID) {
	t.Helper()
	v := b.volume(t, source)
	for _, kind := range []string{"clone", "copy"} {
		leaf := kind + "-dead-" + id.String()
		Run(t, "zfs", "snapshot", "-o", "zfs-csi:kind="+leaf, v.Dataset.String()+"@"+leaf)
	}
	unfinished := v.Parent.String() + "/.copy-" + id.String()
	mark := "zfs-csi:kind=copy-dead-" + id.String()
	if v.Kind == zfs.Block {
		Run(t, "zfs", "create", "-s", "-V", fmt.Sprint(v.Size), "-o", mark, "-o", "volmode=dev", unfinished)
	} else {
		Run(t, "zfs", "create", "-u", "-o", mark, "-o", "mountpoint=legacy", unfinished)
	}
	Run(t, "zfs", "snapshot", unfinished+"@copy-dead-"+id.String())
}

package zfstest

import (
	"fmt"
	"os"
	"path"
	"slices"
	"testing"

	"github.com/zfs-csi/zfs-csi/zfs"
	"github.com/zfs-csi/zfs-csi/zfs/storetest"
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

// ForeignSnapshotOfAll implements storetest.Backend.
func (b *Backend) ForeignSnapshotOfAll(t testing.TB, parent zfs.Dataset, name string) (remove func()) {
	t.Helper()
	all := parent.String() + "@" + name
	Run(t, "zfs", "snapshot", "-r", all)
	return once(t, func() { Run(t, "zfs", "destroy", "-r", all) })
}

// ForeignClone implements storetest.Backend.
func (b *Backend) ForeignClone(t testing.TB, id zfs.VolumeID, snapshot string) (name string, remove func()) {
	t.Helper()
	name = b.volume(t, id).Dataset.Pool() + "/restored"
	Run(t, "zfs", "clone", b.snapshot(t, id, snapshot), name)
	return name, destroy(t, name)
}

// ForeignDataset implements storetest.Backend.
func (b *Backend) ForeignDataset(t testing.TB, name zfs.Dataset, kind zfs.Kind) (remove func()) {
	t.Helper()
	b.bare(t, &zfs.Volume{Kind: kind, Size: 1 << 20, BlockSize: zfs.DefaultVolblocksize}, name.String())
	if parents, _ := b.names(); slices.Contains(parents, path.Dir(name.String())) {
		id, err := zfs.ParseVolumeID(name.Leaf())
		if err != nil {
			t.Fatal(err)
		}
		b.Write(t, id, "foreign")
	}
	Run(t, "zpool", "sync", name.Pool())
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

// Die implements storetest.Backend.
func (b *Backend) Die(t testing.TB, source, id zfs.VolumeID, moment storetest.Moment) {
	t.Helper()
	v := b.volume(t, source)
	target := v.Parent.String() + "/" + id.String()
	switch moment {
	case storetest.BeforeClone:
		b.own(t, v.Dataset.String(), "clone", id)
	case storetest.InClone:
		Run(t, "zfs", "clone", b.own(t, v.Dataset.String(), "clone", id), target)
	case storetest.InCopy:
		b.own(t, v.Dataset.String(), "copy", id)
		unfinished := v.Parent.String() + "/.copy-" + id.String()
		b.bare(t, v, unfinished, "-o", "zfs-csi:kind=copy-dead-"+id.String())
		b.own(t, unfinished, "copy", id)
	case storetest.InRestore:
		Run(t, "zfs", "clone", v.Dataset.String()+"@s", target)
	case storetest.InCreate:
		if v.Kind == zfs.Filesystem {
			b.bare(t, v, target, "-o", "refquota=1G")
		} else {
			b.bare(t, v, target)
		}
	}
}

// own takes a snapshot as the Store does for its own use, and returns its full name.
func (b *Backend) own(t testing.TB, of, kind string, id zfs.VolumeID) string {
	t.Helper()
	leaf := kind + "-dead-" + id.String()
	Run(t, "zfs", "snapshot", "-o", "zfs-csi:kind="+leaf, "-o", "zfs-csi:for="+id.String(), of+"@"+leaf)
	return of + "@" + leaf
}

// bare makes a dataset of v's kind that is nobody's volume.
func (b *Backend) bare(t testing.TB, v *zfs.Volume, name string, options ...string) {
	t.Helper()
	args := append([]string{"create"}, options...)
	if v.Kind == zfs.Block {
		args = append(args, "-s", "-V", fmt.Sprint(v.Size), "-b", fmt.Sprint(v.BlockSize))
	} else {
		args = append(args, "-u")
	}
	Run(t, "zfs", append(args, name)...)
}

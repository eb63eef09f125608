package zfs_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zfs-csi/zfs-csi/zfs"
	"github.com/zfs-csi/zfs-csi/zfs/zfstest"
)

// TestDeviceOnZFS finds the devices of zvols as soon as they are made, also where /dev
// has neither links nor nodes of them, as in a container, and where the folder of the
// driver's own nodes is on a mount that allows no devices, as /run is.
func TestDeviceOnZFS(t *testing.T) {
	parent := zfstest.NewPool(t, 1<<30).Parent(t, "csi", zfstest.Driver)
	for _, udev := range []bool{true, false} {
		t.Run(fmt.Sprintf("udev=%t", udev), func(t *testing.T) {
			dir := t.TempDir()
			must := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			must(unix.Mount("run", dir, "tmpfs", unix.MS_NODEV, ""))
			defer func() { must(unix.Unmount(dir, unix.MNT_DETACH)) }()
			store, err := zfs.NewLocal(zfs.LocalConfig{
				Driver: zfstest.Driver, Parents: []zfs.Dataset{parent}, DeviceDir: filepath.Join(dir, "dev"),
				Runner: zfs.Exec{Log: slog.New(slog.DiscardHandler)},
			})
			must(err)
			if !udev {
				zfs.HideDev(store, filepath.Join(dir, "empty"))
			}
			for i := range 3 {
				id, err := zfs.ParseVolumeID(fmt.Sprintf("device-%t-%d", udev, i))
				must(err)
				v, err := store.Create(t.Context(), id, zfs.Spec{Parent: parent, Kind: zfs.Block, Size: 16 << 20, Attributes: zfs.Attributes{Name: id.String()}})
				must(err)
				for range 2 {
					ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
					start := time.Now()
					node, err := store.Device(ctx, v.Dataset)
					cancel()
					must(err)
					t.Logf("%s found after %s", node, time.Since(start))
					if own := filepath.Dir(node) == filepath.Join(dir, "dev"); own == udev {
						t.Errorf("the device of %s is %s", v.ID, node)
					}
					f, err := zfstest.Open(node, os.O_RDWR)
					must(err)
					size, err := f.Seek(0, 2)
					must(err)
					if size != v.Size {
						t.Errorf("%s has %d bytes, the volume %d", node, size, v.Size)
					}
					must(f.Close())
				}
			}
		})
	}
}

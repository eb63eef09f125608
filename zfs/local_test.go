package zfs_test

import (
	"log/slog"
	"testing"

	"github.com/zfs-csi/zfs-csi/zfs"
	"github.com/zfs-csi/zfs-csi/zfs/storetest"
	"github.com/zfs-csi/zfs-csi/zfs/zfstest"
)

func TestLocal(t *testing.T) {
	b := zfstest.NewBackend(t, func(parents ...zfs.Dataset) zfs.Store {
		l, err := zfs.NewLocal(zfs.LocalConfig{
			Driver: zfstest.Driver, Parents: parents, DeviceDir: t.TempDir(),
			Runner: zfs.Exec{Log: slog.New(slog.DiscardHandler)},
		})
		if err != nil {
			t.Fatal(err)
		}
		return l
	})
	storetest.Run(t, func(t *testing.T) storetest.Backend { return b.Fresh(t) })
}

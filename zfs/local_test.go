package zfs_test

import (
	"log/slog"
	"testing"

	"github.com/zfs-csi/zfs-csi/zfs"
	"github.com/zfs-csi/zfs-csi/zfs/storetest"
	"github.com/zfs-csi/zfs-csi/zfs/zfstest"
)

// run starts the commands of these tests.
var run = zfs.Exec{Log: slog.New(slog.DiscardHandler)}

// newBackend makes a Local on pools of its own.
func newBackend(t *testing.T) *zfstest.Backend {
	t.Helper()
	return zfstest.NewBackend(t, func(parents ...zfs.Dataset) zfs.Store {
		l, err := zfs.NewLocal(zfs.LocalConfig{Driver: zfstest.Driver, Parents: parents, DeviceDir: t.TempDir(), Runner: run})
		if err != nil {
			t.Fatal(err)
		}
		return l
	})
}

func TestLocal(t *testing.T) {
	backends := []*zfstest.Backend{newBackend(t), newBackend(t)}
	storetest.Run(t, len(backends), func(t *testing.T, lane int) storetest.Backend { return backends[lane].Fresh(t) })
}

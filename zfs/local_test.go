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
func newBackend(t *testing.T, pools int) *zfstest.Backend {
	t.Helper()
	return zfstest.NewBackend(t, pools, func(parents ...zfs.Dataset) zfs.Store {
		l, err := zfs.NewLocal(zfs.LocalConfig{Driver: zfstest.Driver, Parents: parents, DeviceDir: t.TempDir(), Runner: run})
		if err != nil {
			t.Fatal(err)
		}
		zfs.SetEntriesOfParent(l, 1) // So that there are entries of both kinds.
		return l
	})
}

func TestLocal(t *testing.T) {
	const lanes = 2
	backends := [lanes]map[int]*zfstest.Backend{}
	for lane := range backends {
		backends[lane] = map[int]*zfstest.Backend{1: newBackend(t, 1), 2: newBackend(t, 2)}
	}
	storetest.Run(t, lanes, func(t *testing.T, lane, pools int) storetest.Backend { return backends[lane][pools].Fresh(t) })
}

package driver

import (
	"errors"
	"os"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/zfs-csi/zfs-csi/driver/filesystem"
	"github.com/zfs-csi/zfs-csi/zfs"
)

func TestStageAfterCrash(t *testing.T) {
	eachType(t, func(n *node, u use) {
		c, staging := mountCapability("", multiWriter), n.folder("staging")
		// The driver died between mkfs and SetFormatted.
		v := n.volume("v", u, 512*mib)
		n.store.Intercept = func(op string, _ zfs.VolumeID) error {
			if op == "SetFormatted" {
				return zfs.ErrUnavailable
			}
			return nil
		}
		n.want(n.stage("v", staging, c), codes.Unavailable)
		n.wantMounted()
		n.store.Intercept = nil
		before := superblock(n, v)
		must(n.T, n.stage("v", staging, c))
		if v, err := n.store.Get(n.context(), v.ID); err != nil || !v.Formatted {
			n.Errorf("the volume is not noted as formatted (%v)", err)
		}
		must(n.T, n.unstage("v", staging))
		if superblock(n, v) != before {
			n.Error("the filesystem was made a second time")
		}

		// The driver died within mkfs: what it leaves is no filesystem yet.
		if u.fsType == "xfs" {
			w := n.volume("w", u, 512*mib)
			run(n.T, "mkfs.xfs", "-q", n.store.devices[w.Dataset.String()])
			poke(n.T, n.store.devices[w.Dataset.String()], 126, 1) // sb_inprogress
			must(n.T, n.stage("w", staging, c))
		}
	})
}

// What was never noted as made, and is not whole, is neither mounted nor made again: who
// knows whose it is.
func TestStageUnsound(t *testing.T) {
	eachType(t, func(n *node, u use) {
		v := n.volume("v", u, 512*mib)
		c, staging := mountCapability("", multiWriter), n.folder("staging")
		node := n.store.devices[v.Dataset.String()]
		must(n.T, filesystem.Make(n.Context(), u.fsType, node))
		whole := make([]byte, 512)
		f, err := os.OpenFile(node, os.O_RDWR, 0)
		must(n.T, err)
		defer f.Close()
		_, err = f.ReadAt(whole, 4096)
		must(n.T, err)
		poke(n.T, node, 4096, make([]byte, 512)...)
		for range 2 {
			n.want(n.stage("v", staging, c), codes.FailedPrecondition, "not whole", "tank/csi/v")
		}
		n.wantMounted()
		if v, err := n.store.Get(n.context(), v.ID); err != nil || v.Formatted {
			n.Errorf("the volume is noted as formatted (%v)", err)
		}
		poke(n.T, node, 4096, whole...)
		must(n.T, n.stage("v", staging, c))
		if v, err := n.store.Get(n.context(), v.ID); err != nil || !v.Formatted {
			n.Errorf("the volume is not noted as formatted (%v)", err)
		}
	})
}

func TestStageNeverFormatsAgain(t *testing.T) {
	eachType(t, func(n *node, u use) {
		v := n.volume("v", u, 512*mib)
		c, staging := mountCapability("", multiWriter), n.folder("staging")
		must(n.T, n.stage("v", staging, c))
		must(n.T, n.unstage("v", staging))
		node := n.store.devices[v.Dataset.String()]
		run(n.T, "wipefs", "-a", node)
		n.want(n.stage("v", staging, c), codes.FailedPrecondition, "never made again", "tank/csi/v")

		other := map[string]string{"ext4": "xfs", "xfs": "ext4"}[u.fsType]
		run(n.T, "mkfs."+other, node)
		n.want(n.stage("v", staging, c), codes.FailedPrecondition, u.fsType, other, "left alone")

		w := n.volume("w", u, 512*mib)
		run(n.T, "mkfs."+other, n.store.devices[w.Dataset.String()])
		n.want(n.stage("w", staging, c), codes.FailedPrecondition, other, "left alone")
		n.wantMounted()
	})
}

func TestStageLeavesAForeignDeviceAlone(t *testing.T) {
	eachType(t, func(n *node, u use) {
		v := n.volume("v", u, 512*mib)
		node := n.store.devices[v.Dataset.String()]
		poke(n.T, node, 510, 0x55, 0xaa) // A partition table with one entry.
		poke(n.T, node, 446, 0, 0, 0, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 8, 0, 0)
		n.want(n.stage("v", n.folder("staging"), mountCapability("", multiWriter)), codes.FailedPrecondition, "partition table")
	})
}

// superblock returns the UUID of a volume's filesystem, which another mkfs would change.
func superblock(n *node, v *zfs.Volume) string {
	n.Helper()
	return strings.TrimSpace(string(run(n.T, "blkid", "-p", "-s", "UUID", "-o", "value", n.store.devices[v.Dataset.String()])))
}

// poke writes bytes to a device.
func poke(t *testing.T, node string, at int64, bytes ...byte) {
	t.Helper()
	f, err := os.OpenFile(node, os.O_RDWR, 0)
	must(t, err)
	_, err = f.WriteAt(bytes, at)
	must(t, errors.Join(err, f.Sync(), f.Close()))
}

package driver

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/zfs-csi/zfs-csi/zfs"
	"github.com/zfs-csi/zfs-csi/zfs/storetest"
	"github.com/zfs-csi/zfs-csi/zfs/zfstest"
)

// newZFSNode returns a driver on real ZFS.
func newZFSNode(t *testing.T) (*node, zfs.Store) {
	t.Helper()
	parent := zfstest.NewPool(t, 4*gib).Parent(t, "csi", DefaultName)
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	dir, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	store, err := zfs.NewLocal(zfs.LocalConfig{
		Driver: DefaultName, Parents: []zfs.Dataset{parent}, DeviceDir: filepath.Join(dir, "dev"),
		Runner: zfs.Exec{Log: log},
	})
	must(t, err)
	d, err := New(Config{NodeID: "node-1", Store: store, Log: log})
	must(t, err)
	n := &node{T: t, Driver: d, dir: dir}
	t.Cleanup(n.unmountLeft)
	return n, store
}

func create(t *testing.T, store zfs.Store, name string, u use, size int64) *zfs.Volume {
	t.Helper()
	id, err := zfs.ParseVolumeID(name)
	must(t, err)
	v, err := store.Create(t.Context(), id, zfs.Spec{
		Parent: store.Parents()[0], Kind: u.kind, Size: size, Attributes: zfs.Attributes{Name: name, FSType: u.fsType},
	})
	must(t, err)
	return v
}

func TestDatasetOnZFS(t *testing.T) {
	n, store := newZFSNode(t)
	v := create(t, store, "v", dataset, 64*mib)
	c, staging, again, target := mountCapability("", multiWriter, "nodev"), n.folder("staging"), n.folder("again"), n.dir+"/target"
	must(t, n.stage("v", staging, c))
	must(t, n.stage("v", staging, c))
	n.want(n.stage("v", staging, mountCapability("", multiWriter)), codes.AlreadyExists)
	must(t, n.publish("v", staging, target, true, c))
	write(t, staging+"/file", "bytes")
	wantFile(t, target+"/file", "bytes")

	// A second staging path.
	must(t, n.stage("v", again, c))
	wantFile(t, again+"/file", "bytes")
	must(t, n.unstage("v", again))

	// Snapshots that are looked into are mounted, and do not keep the volume mounted.
	zfstest.Run(t, "zfs", "snapshot", v.Dataset.String()+"@moment")
	wantFile(t, staging+"/.zfs/snapshot/moment/file", "bytes")
	wantFile(t, target+"/.zfs/snapshot/moment/file", "bytes")
	n.wantMounted("staging", "staging/.zfs/snapshot/moment", "target", "target/.zfs/snapshot/moment")
	must(t, n.unpublish("v", target))
	must(t, n.unstage("v", staging))
	n.wantMounted()
	must(t, store.Delete(t.Context(), v.ID))
}

func TestDatasetMountedByOthersOnZFS(t *testing.T) {
	n, store := newZFSNode(t)
	v := create(t, store, "v", dataset, 64*mib)
	other := n.folder("other")
	zfstest.Run(t, "mount", "-t", "zfs", "-o", "ro", v.Dataset.String(), other)
	n.want(n.stage("v", n.folder("staging"), mountCapability("", multiWriter)), codes.FailedPrecondition, other, "other flags")
	must(t, unix.Unmount(other, 0))
	n.want(n.stage("v", n.dir+"/staging", mountCapability("", multiWriter, "nonsense")), codes.InvalidArgument, "nonsense")
	must(t, n.stage("v", n.dir+"/staging", mountCapability("", multiWriter, "noatime")))
	must(t, n.unstage("v", n.dir+"/staging"))
	must(t, store.Delete(t.Context(), v.ID))
}

// A clone of a filesystem on a zvol that is being written holds what was written before,
// is mounted beside its source, and has its larger size.
func TestFilesystemOnZvolOnZFS(t *testing.T) {
	for _, fsType := range []string{"ext4", "xfs"} {
		t.Run(fsType, func(t *testing.T) {
			n, store := newZFSNode(t)
			u := use{kind: zfs.Block, fsType: fsType}
			source := create(t, store, "source", u, 400*mib)
			c, staging := mountCapability(fsType, multiWriter), n.folder("source")
			must(t, n.stage("source", staging, c))
			write(t, staging+"/file", "bytes")

			var written atomic.Int64
			ctx, stop := context.WithCancel(n.context())
			stopped := make(chan error, 1)
			go func() { stopped <- writeOn(ctx, staging, &written) }()
			wait := sync.OnceValue(func() error { stop(); return <-stopped })
			t.Cleanup(func() { _ = wait() }) // With the filesystem in use its pool could not be destroyed.
			id, err := zfs.ParseVolumeID("clone")
			must(t, err)
			tooLong := time.After(callTime)
			for written.Load() < 5 {
				select {
				case <-tooLong:
					t.Fatal("nothing is written")
				case <-time.After(time.Millisecond):
				}
			}
			before := written.Load()
			clone, err := store.Clone(n.context(), id, source.ID, storetest.Plan(zfs.CloneSpec{
				Spec:    zfs.Spec{Parent: source.Parent, Kind: zfs.Block, Size: 800 * mib, Attributes: zfs.Attributes{Name: "clone", FSType: fsType}},
				Quiesce: n.quiesce(n.context(), source),
			}))
			must(t, err)
			must(t, wait())
			if frozen(t, staging) {
				t.Error("the source is still at rest")
			}

			must(t, n.stage("clone", n.folder("clone"), c))
			wantFile(t, n.dir+"/clone/file", "bytes")
			for i := range before {
				wantFile(t, fmt.Sprintf("%s/clone/%d", n.dir, i), "text")
			}
			if size := total(n, n.dir+"/clone"); size < 700*mib {
				t.Errorf("the clone's filesystem has %d bytes", size)
			}
			_, err = store.Resize(t.Context(), clone.ID, gib)
			must(t, err)
			must(t, n.growMounted(t.Context(), clone))
			if size := total(n, n.dir+"/clone"); size < 900*mib {
				t.Errorf("the clone's filesystem has %d bytes after it was expanded", size)
			}
			must(t, n.unstage("clone", n.dir+"/clone"))
			must(t, n.unstage("source", staging))
			must(t, store.Delete(t.Context(), source.ID))
			must(t, store.Delete(t.Context(), clone.ID))
		})
	}
}

// While the pool is suspended a volume can be unpublished, and no call hangs beyond its
// deadline. When the pool is back, what was left undone can be done.
func TestSuspendedPoolOnZFS(t *testing.T) {
	zfstest.Need(t)
	n, _ := newZFSNode(t)
	// The pool's file is on a filesystem that is then filled: writes to the pool fail.
	disk := n.folder("disk")
	must(t, unix.Mount("disk", disk, "tmpfs", 0, "size=96m"))
	defer func() { must(t, unix.Unmount(disk, unix.MNT_DETACH)) }()
	write(t, disk+"/file", "")
	must(t, os.Truncate(disk+"/file", gib))
	pool := n.onPool(t, disk+"/file")
	v := create(t, n.Driver.store, "v", dataset, 64*mib)
	c, staging, target := mountCapability("", multiWriter), n.folder("staging"), n.dir+"/target"
	must(t, n.stage("v", staging, c))
	must(t, n.publish("v", staging, target, false, c))

	suspend(t, pool, disk, staging)
	within := func(d time.Duration) context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), d)
		t.Cleanup(cancel)
		return ctx
	}
	health, err := n.NodeGetVolumeHealth(within(callTime), &csi.NodeGetVolumeHealthRequest{VolumeId: "v", StagingTargetPath: staging})
	must(t, err)
	if h := health.GetVolumeHealth().GetHealthStatuses(); len(h) == 0 || h[0].GetStatus() != csi.VolumeHealthErrorType_INACCESSIBLE {
		t.Errorf("the volume is %v", h)
	}
	_, err = n.NodeGetVolumeStats(within(callTime), &csi.NodeGetVolumeStatsRequest{VolumeId: "v", VolumePath: target})
	n.want(err, codes.Unavailable)
	must(t, n.unpublish("v", target))
	_, err = n.NodeUnstageVolume(within(8*time.Second), &csi.NodeUnstageVolumeRequest{VolumeId: "v", StagingTargetPath: staging})
	// It hangs, or who writes to the volume still has it open.
	if code := status.Code(err); code != codes.DeadlineExceeded && code != codes.FailedPrecondition {
		t.Errorf("unstage while the pool is suspended: %v", err)
	}

	must(t, os.Remove(disk+"/filler"))
	zfstest.Run(t, "zpool", "clear", pool)
	deadline := time.After(callTime)
	for n.unstage("v", staging) != nil {
		select {
		case <-deadline:
			t.Fatal("the volume cannot be unstaged after the pool is back")
		case <-time.After(100 * time.Millisecond):
		}
	}
	n.wantMounted("disk")
	must(t, n.Driver.store.Delete(t.Context(), v.ID))
}

// onPool gives the node another store, on a new pool on a file, and returns the pool's name.
func (n *node) onPool(t *testing.T, file string) string {
	t.Helper()
	first := n.Driver.store.Parents()[0]
	pool := first.Pool() + "-suspended"
	zfstest.Run(t, "zpool", "create", "-o", "cachefile=none", "-O", "mountpoint=none", pool, file)
	t.Cleanup(func() { zfstest.Run(t, "zpool", "destroy", pool) })
	parent := zfs.MustParseDataset(pool + "/csi")
	zfstest.Run(t, "zfs", "create", "-o", "canmount=off", "-o", "zfs-csi:driver="+DefaultName, parent.String())
	store, err := zfs.NewLocal(zfs.LocalConfig{Driver: DefaultName, Parents: []zfs.Dataset{parent}, Runner: zfs.Exec{Log: n.config.Log}})
	must(t, err)
	n.Driver, err = New(Config{NodeID: "node-1", Store: store, Log: n.config.Log})
	must(t, err)
	return pool
}

// suspend fills the disk of a pool, and writes until the pool notices.
func suspend(t *testing.T, pool, disk, mounted string) {
	t.Helper()
	filler, err := os.Create(disk + "/filler")
	must(t, err)
	for err == nil {
		_, err = filler.Write(make([]byte, mib))
	}
	must(t, filler.Close())
	go func() {
		noise := make([]byte, 8*mib)
		for i := range noise {
			noise[i] = byte(i * i >> 3)
		}
		f, err := os.Create(mounted + "/noise")
		if err != nil {
			return
		}
		if _, err := f.Write(noise); err == nil {
			_ = f.Sync() // It fails or hangs.
		}
		_ = f.Close()
	}()
	deadline := time.After(2 * callTime)
	for {
		state, err := os.ReadFile("/proc/spl/kstat/zfs/" + pool + "/state")
		must(t, err)
		if strings.TrimSpace(string(state)) == "SUSPENDED" {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("the pool is still %s", state)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// writeOn makes one file after another, each safe on the device before it counts, until ctx ends.
func writeOn(ctx context.Context, dir string, written *atomic.Int64) error {
	for i := 0; ctx.Err() == nil; i++ {
		f, err := os.Create(fmt.Sprintf("%s/%d", dir, i))
		if err != nil {
			return err
		}
		if _, err := f.WriteString("text"); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
		written.Add(1)
	}
	return nil
}

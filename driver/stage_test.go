package driver

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"

	"github.com/zfs-csi/zfs-csi/zfs"
	"github.com/zfs-csi/zfs-csi/zfs/fake"
	"github.com/zfs-csi/zfs-csi/zfs/storetest"
)

// eachType runs a test for each filesystem on a zvol, in a mount namespace of its own.
func eachType(t *testing.T, test func(n *node, u use)) {
	for _, fsType := range []string{"ext4", "xfs"} {
		t.Run(fsType, func(t *testing.T) {
			for _, tool := range []string{"mkfs.ext4", "mkfs.xfs", "losetup", "blkid", "wipefs"} {
				if _, err := exec.LookPath(tool); err != nil {
					t.Skipf("%s is not installed", tool)
				}
			}
			if private(t) {
				test(newNode(t), use{kind: zfs.Block, fsType: fsType})
			}
		})
	}
}

// canGrow skips the test where the kernel would not let it grow a filesystem.
func canGrow(t *testing.T, u use) {
	t.Helper()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	must(t, unix.Capget(&header, &data[0]))
	if u.fsType == "ext4" && data[0].Effective&(1<<unix.CAP_SYS_RESOURCE) == 0 {
		t.Skip("ext4 grows only for CAP_SYS_RESOURCE")
	}
}

func TestStageFilesystemOnZvol(t *testing.T) {
	eachType(t, func(n *node, u use) {
		v := n.volume("v", u, 512*mib)
		c, staging, target := mountCapability(u.fsType, multiWriter, "noatime"), n.folder("staging"), n.dir+"/target"
		for range 2 {
			must(n.T, n.stage("v", staging, c))
			must(n.T, n.publish("v", staging, target, true, c))
		}
		if v, err := n.store.Get(n.context(), v.ID); err != nil || !v.Formatted {
			n.Errorf("the volume is not noted as formatted (%v)", err)
		}
		n.want(n.stage("v", staging, mountCapability(u.fsType, multiWriter)), codes.AlreadyExists, "other mount flags")
		write(n.T, staging+"/file", "bytes")
		wantFile(n.T, target+"/file", "bytes")
		must(n.T, n.unpublish("v", target))
		must(n.T, n.unstage("v", staging))
		must(n.T, n.stage("v", staging, mountCapability("", multiWriter)))
		wantFile(n.T, staging+"/file", "bytes")
		n.wantMounted("staging")
	})
}

// A clone carries its source's UUID, may be larger, and is mounted beside it.
func TestStageLargerClone(t *testing.T) {
	eachType(t, func(n *node, u use) {
		canGrow(n.T, u)
		source := n.volume("source", u, 400*mib)
		c := mountCapability("", multiWriter)
		must(n.T, n.stage("source", n.folder("source"), c))
		write(n.T, n.dir+"/source/file", "bytes")
		release, err := n.quiesce(n.context(), source)()
		must(n.T, err)
		file := filepath.Join(n.TempDir(), "clone")
		run(n.T, "cp", "--sparse=always", n.store.files[source.Dataset.String()], file)
		must(n.T, release())

		id, err := zfs.ParseVolumeID("clone")
		must(n.T, err)
		clone, err := n.store.Clone(n.context(), id, source.ID, storetest.Plan(zfs.CloneSpec{Spec: zfs.Spec{
			Parent: source.Parent, Kind: zfs.Block, Size: 1200 * mib, Attributes: zfs.Attributes{FSType: u.fsType},
		}}))
		must(n.T, err)
		must(n.T, os.Truncate(file, clone.Size))
		n.store.attachFile(clone, file)
		must(n.T, n.stage("clone", n.folder("clone"), c))
		wantFile(n.T, n.dir+"/clone/file", "bytes")
		write(n.T, n.dir+"/clone/file", "other")
		wantFile(n.T, n.dir+"/source/file", "bytes")
		if size := total(n, n.dir+"/clone"); size < 1000*mib {
			n.Errorf("the clone's filesystem has %d bytes", size)
		}
		if size := total(n, n.dir+"/source"); size > 400*mib {
			n.Errorf("the source's filesystem has %d bytes", size)
		}
	})
}

func TestNodeExpand(t *testing.T) {
	eachType(t, func(n *node, u use) {
		canGrow(n.T, u)
		n.volume("v", u, 400*mib)
		c, staging, target := mountCapability("", multiWriter), n.folder("staging"), n.dir+"/target"
		expand := func(size int64) (*csi.NodeExpandVolumeResponse, error) {
			return n.NodeExpandVolume(n.context(), &csi.NodeExpandVolumeRequest{
				VolumeId: "v", VolumePath: target, CapacityRange: &csi.CapacityRange{RequiredBytes: size},
			})
		}
		_, err := expand(800 * mib)
		n.want(err, codes.FailedPrecondition, "stage it first")
		must(n.T, n.stage("v", staging, c))
		must(n.T, n.publish("v", staging, target, true, c))
		for range 2 {
			resp, err := expand(1200 * mib)
			must(n.T, err)
			if resp.GetCapacityBytes() != 1200*mib {
				n.Errorf("the volume has %d bytes", resp.GetCapacityBytes())
			}
		}
		if size := total(n, target); size < 1000*mib {
			n.Errorf("the filesystem has %d bytes", size)
		}
		// A range of its own is optional, and a smaller size is no wish to shrink.
		if _, err := n.NodeExpandVolume(n.context(), &csi.NodeExpandVolumeRequest{VolumeId: "v", VolumePath: target}); err != nil {
			n.Error(err)
		}
		resp, err := expand(100 * mib)
		if err != nil || resp.GetCapacityBytes() != 1200*mib {
			n.Errorf("expand to less: %v, %v", resp, err)
		}
	})
}

func TestNodeExpandArguments(t *testing.T) {
	n := newArguments(t)
	for _, test := range []struct {
		req  *csi.NodeExpandVolumeRequest
		code codes.Code
	}{
		{&csi.NodeExpandVolumeRequest{VolumePath: "/t"}, codes.InvalidArgument},
		{&csi.NodeExpandVolumeRequest{VolumeId: "v"}, codes.InvalidArgument},
		{&csi.NodeExpandVolumeRequest{VolumeId: "absent", VolumePath: "some/path"}, codes.NotFound},
		{&csi.NodeExpandVolumeRequest{VolumeId: "v", VolumePath: "/t", VolumeCapability: blockCapability(multiWriter)}, codes.InvalidArgument},
		{&csi.NodeExpandVolumeRequest{VolumeId: "v", VolumePath: "/t", CapacityRange: &csi.CapacityRange{LimitBytes: mib}}, codes.OutOfRange},
		{&csi.NodeExpandVolumeRequest{VolumeId: "v", VolumePath: "/t", CapacityRange: &csi.CapacityRange{RequiredBytes: 2 * gib}}, codes.OK},
	} {
		_, err := n.NodeExpandVolume(n.context(), test.req)
		n.want(err, test.code)
	}
}

// What is left of a filesystem that has shut down answers EIO to all.
func TestFilesystemGoneBad(t *testing.T) {
	eachType(t, func(n *node, u use) {
		v := n.volume("v", u, 512*mib)
		c, staging, target := mountCapability("", multiWriter), n.folder("staging"), n.dir+"/target"
		must(n.T, n.stage("v", staging, c))
		must(n.T, n.publish("v", staging, target, false, c))
		health := func() []*csi.VolumeHealth_VolumeHealthEntry {
			resp, err := n.NodeGetVolumeHealth(n.context(), &csi.NodeGetVolumeHealthRequest{
				VolumeId: "v", StagingTargetPath: staging, VolumePublishPath: target,
			})
			must(n.T, err)
			return resp.GetVolumeHealth().GetHealthStatuses()
		}
		if h := health(); len(h) != 0 {
			n.Errorf("the volume is unwell at first: %v", h)
		}
		shutDown(n.T, staging)
		if err := os.WriteFile(target+"/file", nil, 0o600); !errors.Is(err, unix.EIO) {
			n.Fatalf("the filesystem still works (%v)", err)
		}
		table, err := n.mountTable()
		must(n.T, err)
		// Kernels before 6.14 do not tell of an ext4 that was shut down.
		told := u.fsType != "ext4" || hasOption(table.at(staging).VFSOptions, "shutdown")
		if h := health(); told && (len(h) != 1 || h[0].GetStatus() != csi.VolumeHealthErrorType_INACCESSIBLE || h[0].GetReason() != "FilesystemError") {
			n.Errorf("the volume is %v", h)
		}
		release, err := n.quiesce(n.context(), v)()
		must(n.T, err)
		must(n.T, release())
		for range 2 {
			must(n.T, n.unpublish("v", target))
			must(n.T, n.unstage("v", staging))
		}
		n.wantMounted()
		if _, err := os.Lstat(target); !errors.Is(err, os.ErrNotExist) {
			n.Errorf("the target is still there (%v)", err)
		}
		must(n.T, n.stage("v", staging, c))
	})
}

func TestNodeStats(t *testing.T) {
	if !private(t) {
		return
	}
	n := newNode(t)
	n.volume("v", dataset, gib)
	n.volume("w", dataset, gib)
	c := mountCapability("", multiWriter)
	must(t, n.stage("v", n.folder("staging"), c))
	must(t, n.stage("w", n.folder("other"), c))
	must(t, n.publish("v", n.dir+"/staging", n.dir+"/target", false, c))
	stats := func(id, path string) (*csi.NodeGetVolumeStatsResponse, error) {
		return n.NodeGetVolumeStats(n.context(), &csi.NodeGetVolumeStatsRequest{VolumeId: id, VolumePath: path})
	}
	for _, path := range []string{"staging", "target"} {
		resp, err := stats("v", filepath.Join(n.dir, path))
		must(t, err)
		u := resp.GetUsage()
		if len(u) != 2 || u[0].GetUnit() != csi.VolumeUsage_BYTES || u[1].GetUnit() != csi.VolumeUsage_INODES {
			t.Fatalf("usage is %v", u)
		}
		for _, u := range u {
			if u.GetTotal() <= 0 || u.GetAvailable() <= 0 || u.GetAvailable() > u.GetTotal() || u.GetUsed() < 0 {
				t.Errorf("usage is %v", u)
			}
		}
	}
	for _, test := range []struct {
		id, path string
		code     codes.Code
	}{
		{"", "/p", codes.InvalidArgument},
		{"v", "", codes.InvalidArgument},
		{"v", "some/path", codes.NotFound},
		{"v", n.dir, codes.NotFound},
		{"v", n.dir + "/none/at/all", codes.NotFound},
		{"v", n.dir + "/other", codes.NotFound},
		{"absent", n.dir + "/target", codes.NotFound},
	} {
		_, err := stats(test.id, test.path)
		n.want(err, test.code)
	}
}

func TestNodeStorageHealth(t *testing.T) {
	n := newArguments(t)
	for state, want := range map[fake.PoolState]csi.StorageHealthErrorType{
		fake.Degraded:  csi.StorageHealthErrorType_STORAGE_DEGRADED,
		fake.Suspended: csi.StorageHealthErrorType_STORAGE_UNREACHABLE,
		fake.Exported:  csi.StorageHealthErrorType_STORAGE_UNREACHABLE,
		fake.Replaced:  csi.StorageHealthErrorType_STORAGE_UNREACHABLE,
	} {
		n.store.SetPool("tank", state)
		resp, err := n.NodeGetStorageHealth(n.context(), &csi.NodeGetStorageHealthRequest{})
		must(t, err)
		if h := resp.GetBackendHealth(); len(h) != 1 || h[0].GetStatus() != want || h[0].GetReason() == "" {
			t.Errorf("storage in state %d is %v, want %v", state, h, want)
		}
		health, err := n.NodeGetVolumeHealth(n.context(), &csi.NodeGetVolumeHealthRequest{VolumeId: "v"})
		must(t, err)
		if len(health.GetVolumeHealth().GetHealthStatuses()) != 1 {
			t.Errorf("a volume in state %d is %v", state, health)
		}
	}
	n.store.SetPool("tank", fake.Healthy)
	resp, err := n.NodeGetStorageHealth(n.context(), &csi.NodeGetStorageHealthRequest{})
	if err != nil || len(resp.GetBackendHealth()) != 0 {
		t.Errorf("healthy storage is %v (%v)", resp, err)
	}
	_, err = n.NodeGetVolumeHealth(n.context(), &csi.NodeGetVolumeHealthRequest{VolumeId: "absent"})
	n.want(err, codes.NotFound)
}

// total returns the size of a filesystem in bytes.
func total(n *node, path string) int64 {
	n.Helper()
	var st unix.Statfs_t
	must(n.T, unix.Statfs(path, &st))
	return int64(st.Blocks) * st.Bsize
}

package driver

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/zfs-csi/zfs-csi/zfs"
	"github.com/zfs-csi/zfs-csi/zfs/fake"
)

// callTime is what a call of these tests may take.
const callTime = 30 * time.Second

// private tells whether the test runs in a mount namespace of its own. Where it does not
// it runs the test again in one, and the caller returns.
func private(t *testing.T) bool {
	t.Helper()
	const key = "DRIVER_TEST_PRIVATE"
	if os.Getuid() != 0 {
		t.Skip("only root can mount")
	}
	if os.Getenv(key) == t.Name() {
		leaveOthers(t)
		return true
	}
	self, err := os.Executable()
	must(t, err)
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^"+regexp.QuoteMeta(t.Name())+"$", "-test.v", "-test.count=1")
	cmd.Env = append(os.Environ(), key+"="+t.Name())
	// The runtime makes the mounts of the new namespace private too.
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	switch {
	case err != nil:
		t.Errorf("%v\n%s", err, out)
	case bytes.Contains(out, []byte("--- SKIP")):
		t.Skipf("%s", out)
	case !bytes.Contains(out, []byte("--- PASS: "+t.Name())):
		t.Errorf("the test was not run in a mount namespace of its own:\n%s", out)
	}
	return false
}

// leaveOthers takes away the copies of what other tests have mounted, which would keep it in use there,
// and would be looked at here.
func leaveOthers(t *testing.T) {
	infos, err := mountinfo.GetMounts(mountinfo.PrefixFilter(os.TempDir()))
	must(t, err)
	for _, m := range slices.Backward(infos) {
		if m.Mountpoint == os.TempDir() {
			continue
		}
		if err := unix.Unmount(m.Mountpoint, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) { // It has gone with another.
			t.Fatal(err)
		}
	}
}

// node is a driver on a store in memory, whose datasets are played by tmpfs and whose
// zvols by loop devices.
type node struct {
	*testing.T
	*Driver
	store *devicesStore
	// dir holds the staging paths and targets.
	dir string
}

func newNode(t *testing.T) *node {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	nodes := filepath.Join(dir, "dev")
	must(t, os.Mkdir(nodes, 0o700))
	// The folder of temporary files may be mounted nodev.
	must(t, unix.Mount("nodes", nodes, "tmpfs", 0, ""))
	s := &devicesStore{Store: fake.New(zfs.MustParseDataset("tank/csi")), t: t, dir: nodes, devices: map[string]string{}}
	d, err := New(Config{NodeID: "node-1", Store: s, Mounter: &testMounter{}, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	must(t, err)
	n := &node{t, d, s, dir}
	t.Cleanup(n.unmountLeft)
	return n
}

// unmountLeft takes away what a test has left mounted.
func (n *node) unmountLeft() {
	infos, err := mountinfo.GetMounts(mountinfo.PrefixFilter(n.dir))
	must(n.T, err)
	for _, m := range slices.Backward(infos) {
		_ = unix.Unmount(m.Mountpoint, unix.MNT_DETACH) // One may have gone with another.
	}
}

// newArguments returns a node, with a dataset "v", for calls that come to no mount.
func newArguments(t *testing.T) *node {
	t.Helper()
	s := &devicesStore{Store: fake.New(zfs.MustParseDataset("tank/csi")), t: t}
	d, err := New(Config{NodeID: "node-1", Store: s, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	must(t, err)
	n := &node{t, d, s, t.TempDir()}
	n.volume("v", dataset, gib)
	return n
}

// volume makes a volume, on a device where it is a zvol with a filesystem or raw.
func (n *node) volume(id string, u use, size int64) *zfs.Volume {
	n.Helper()
	parsed, err := zfs.ParseVolumeID(id)
	must(n.T, err)
	v, err := n.store.Create(n.Context(), parsed, zfs.Spec{
		Parent: n.store.Parents()[0], Kind: u.kind, Size: size, Attributes: zfs.Attributes{Name: id, FSType: u.fsType},
	})
	must(n.T, err)
	if u.kind == zfs.Block {
		n.store.attach(v)
	}
	return v
}

// folder makes a folder for a staging path.
func (n *node) folder(name string) string {
	n.Helper()
	path := filepath.Join(n.dir, name)
	must(n.T, os.MkdirAll(path, 0o750))
	return path
}

func (n *node) context() context.Context {
	ctx, cancel := context.WithTimeout(n.Context(), callTime)
	n.Cleanup(cancel)
	return ctx
}

func (n *node) stage(id, path string, c *csi.VolumeCapability) error {
	_, err := n.NodeStageVolume(n.context(), &csi.NodeStageVolumeRequest{VolumeId: id, StagingTargetPath: path, VolumeCapability: c})
	return err
}

func (n *node) publish(id, staging, target string, readOnly bool, c *csi.VolumeCapability) error {
	_, err := n.NodePublishVolume(n.context(), &csi.NodePublishVolumeRequest{
		VolumeId: id, StagingTargetPath: staging, TargetPath: target, Readonly: readOnly, VolumeCapability: c,
	})
	return err
}

func (n *node) unpublish(id, target string) error {
	_, err := n.NodeUnpublishVolume(n.context(), &csi.NodeUnpublishVolumeRequest{VolumeId: id, TargetPath: target})
	return err
}

func (n *node) unstage(id, path string) error {
	_, err := n.NodeUnstageVolume(n.context(), &csi.NodeUnstageVolumeRequest{VolumeId: id, StagingTargetPath: path})
	return err
}

// want checks that an error has a code and says all the parts.
func (n *node) want(err error, code codes.Code, parts ...string) {
	n.Helper()
	if status.Code(err) != code {
		n.Errorf("error %v; want code %s", err, code)
	}
	for _, part := range parts {
		if !strings.Contains(status.Convert(err).Message(), part) {
			n.Errorf("error %v; want it to say %s", err, part)
		}
	}
}

// mounted returns the mount points below the test's folder, without that of the nodes.
func (n *node) mounted() []string {
	n.Helper()
	table, err := n.mountTable()
	must(n.T, err)
	var out []string
	for _, m := range table {
		if name, inside := strings.CutPrefix(m.Mountpoint, n.dir+"/"); inside && name != "dev" {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

func (n *node) wantMounted(want ...string) {
	n.Helper()
	if have := n.mounted(); !slices.Equal(have, want) {
		n.Errorf("mounted are %q, want %q", have, want)
	}
}

// testMounter plays datasets by tmpfs.
type testMounter struct{ kernelMounter }

func (m *testMounter) Mounts() ([]*mountinfo.Info, error) {
	infos, err := m.kernelMounter.Mounts()
	for _, i := range infos {
		if i.FSType == "tmpfs" && strings.HasPrefix(i.Source, "tank/csi/") {
			i.FSType = "zfs"
		}
	}
	return infos, err
}

func (m *testMounter) Mount(source, target, fsType string, flags uintptr, data string) error {
	if fsType != "zfs" {
		return m.kernelMounter.Mount(source, target, fsType, flags, data)
	}
	infos, err := m.Mounts()
	if err != nil {
		return err
	}
	for _, i := range infos {
		if i.FSType == "zfs" && i.Source == source {
			return m.Bind(i.Mountpoint, target, false)
		}
	}
	return m.kernelMounter.Mount(source, target, "tmpfs", flags, "")
}

func mountCapability(fsType string, mode csi.VolumeCapability_AccessMode_Mode, flags ...string) *csi.VolumeCapability {
	return &csi.VolumeCapability{
		AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{FsType: fsType, MountFlags: flags}},
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: mode},
	}
}

func blockCapability(mode csi.VolumeCapability_AccessMode_Mode) *csi.VolumeCapability {
	return &csi.VolumeCapability{
		AccessType: &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}},
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: mode},
	}
}

const (
	multiWriter  = csi.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER
	singleWriter = csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER
)

var (
	dataset = use{kind: zfs.Filesystem}
	rawZvol = use{kind: zfs.Block}
)

func run(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	// Also at the end of the test, when its context has ended.
	out, err := exec.CommandContext(context.WithoutCancel(t.Context()), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v: %s", name, args, err, out)
	}
	return out
}

func write(t *testing.T, path, text string) {
	t.Helper()
	must(t, os.WriteFile(path, []byte(text), 0o600))
}

func wantFile(t *testing.T, path, want string) {
	t.Helper()
	have, err := os.ReadFile(path)
	if err != nil || string(have) != want {
		t.Errorf("%s holds %q (error %v), want %q", path, have, err, want)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

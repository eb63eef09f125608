package driver

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"

	"github.com/zfs-csi/zfs-csi/zfs/fake"
)

func TestPublishDataset(t *testing.T) {
	if !private(t) {
		return
	}
	n := newNode(t)
	n.volume("v", dataset, gib)
	c, staging, rw, ro := mountCapability("", multiWriter), n.folder("staging"), n.dir+"/rw", n.dir+"/ro"

	n.want(n.publish("v", staging, rw, false, c), codes.FailedPrecondition, "not staged")
	for range 2 {
		must(t, n.stage("v", staging, c))
		must(t, n.publish("v", staging, rw, false, c))
		must(t, n.publish("v", staging, ro, true, c))
	}
	n.wantMounted("ro", "rw", "staging")

	write(t, rw+"/file", "bytes")
	wantFile(t, ro+"/file", "bytes")
	if err := os.WriteFile(ro+"/file", nil, 0o600); !errors.Is(err, unix.EROFS) {
		t.Errorf("write to the read-only target: %v", err)
	}
	if info, err := os.Stat(filepath.Dir(rw)); err != nil || !info.IsDir() {
		t.Errorf("the target is %v (%v)", info, err)
	}

	n.want(n.publish("v", staging, rw, true, c), codes.AlreadyExists, rw, "readonly=false")
	n.want(n.publish("v", staging, ro, false, c), codes.AlreadyExists, ro, "readonly=true")
	n.want(n.stage("v", staging, mountCapability("", multiWriter, "noatime")), codes.AlreadyExists, "other mount flags")

	for range 2 {
		must(t, n.unpublish("v", rw))
		must(t, n.unpublish("v", ro))
		must(t, n.unstage("v", staging))
	}
	n.wantMounted()
	for _, target := range []string{rw, ro} {
		if _, err := os.Lstat(target); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("target %s is still there (%v)", target, err)
		}
	}
	if _, err := os.Lstat(staging); err != nil {
		t.Errorf("the staging path, which the orchestrator made, is gone: %v", err)
	}
}

func TestPublishReadOnlyByModeAndFlag(t *testing.T) {
	if !private(t) {
		return
	}
	n := newNode(t)
	n.volume("v", dataset, gib)
	staging := n.folder("staging")
	for _, c := range []*csi.VolumeCapability{
		mountCapability("", csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY),
		mountCapability("", csi.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY),
		mountCapability("", multiWriter, "ro"),
	} {
		must(t, n.stage("v", staging, c))
		must(t, n.publish("v", staging, n.dir+"/target", false, c))
		if err := os.WriteFile(n.dir+"/target/file", nil, 0o600); !errors.Is(err, unix.EROFS) {
			t.Errorf("%v: write: %v", c, err)
		}
		must(t, n.unpublish("v", n.dir+"/target"))
		write(t, staging+"/file", "the volume itself can be written")
	}
}

func TestPublishSingleWriter(t *testing.T) {
	if !private(t) {
		return
	}
	n := newNode(t)
	n.volume("fs", dataset, gib)
	n.volume("raw", rawZvol, 16*mib)
	for id, c := range map[string]*csi.VolumeCapability{
		"fs": mountCapability("", singleWriter), "raw": blockCapability(singleWriter),
	} {
		staging, one, two := n.folder(id), n.dir+"/"+id+"-one", n.dir+"/"+id+"-two"
		must(t, n.stage(id, staging, c))
		must(t, n.publish(id, staging, one, false, c))
		must(t, n.publish(id, staging, one, false, c))
		n.want(n.publish(id, staging, two, false, c), codes.FailedPrecondition, one)
		must(t, n.unpublish(id, one))
		must(t, n.publish(id, staging, two, false, c))
	}
}

// A container that sees the kubelet's folder at two paths sees each mount twice.
func TestPublishSingleWriterSeenTwice(t *testing.T) {
	if !private(t) {
		return
	}
	n := newNode(t)
	n.volume("v", dataset, gib)
	staging := n.folder("kubelet/staging")
	must(t, unix.Mount(n.dir+"/kubelet", n.dir+"/kubelet", "", unix.MS_BIND, ""))
	must(t, unix.Mount("", n.dir+"/kubelet", "", unix.MS_SHARED, ""))
	must(t, unix.Mount(n.dir+"/kubelet", n.folder("host"), "", unix.MS_BIND, ""))
	c := mountCapability("", singleWriter)
	must(t, n.stage("v", staging, c))
	n.wantMounted("host", "host/staging", "kubelet", "kubelet/staging")
	must(t, n.publish("v", staging, n.dir+"/kubelet/one", false, c))
	n.want(n.publish("v", staging, n.dir+"/kubelet/two", false, c), codes.FailedPrecondition, "one")
	must(t, n.unpublish("v", n.dir+"/kubelet/one"))
	must(t, n.unstage("v", staging))
	n.wantMounted("host", "kubelet")
}

func TestPublishRawBlock(t *testing.T) {
	if !private(t) {
		return
	}
	n := newNode(t)
	v := n.volume("v", rawZvol, 16*mib)
	c, staging, rw, ro := blockCapability(multiWriter), n.folder("staging"), n.dir+"/rw", n.dir+"/ro"
	for range 2 {
		must(t, n.stage("v", staging, c))
		must(t, n.publish("v", staging, rw, false, c))
		must(t, n.publish("v", staging, ro, true, c))
	}
	n.wantMounted("ro", "rw")
	n.want(n.publish("v", staging, rw, true, c), codes.AlreadyExists)
	n.want(n.publish("v", staging, n.dir+"/fs", false, mountCapability("ext4", multiWriter)), codes.FailedPrecondition, "raw block")

	var st, device unix.Stat_t
	must(t, unix.Stat(rw, &st))
	must(t, unix.Stat(n.store.devices[v.Dataset.String()], &device))
	if st.Rdev != device.Rdev || st.Mode&unix.S_IFMT != unix.S_IFBLK {
		t.Errorf("the target is %o, number %x, want a block device with %x", st.Mode, st.Rdev, device.Rdev)
	}
	stats, err := n.NodeGetVolumeStats(n.context(), &csi.NodeGetVolumeStatsRequest{VolumeId: "v", VolumePath: rw})
	must(t, err)
	if u := stats.GetUsage(); len(u) != 1 || u[0].GetTotal() != v.Size || u[0].GetUnit() != csi.VolumeUsage_BYTES {
		t.Errorf("usage is %v", u)
	}
	for range 2 {
		must(t, n.unpublish("v", rw))
		must(t, n.unpublish("v", ro))
		must(t, n.unstage("v", staging))
	}
	n.wantMounted()
	if _, err := os.Lstat(rw); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the target is still there (%v)", err)
	}
}

func TestPublishWhereSomethingIs(t *testing.T) {
	if !private(t) {
		return
	}
	n := newNode(t)
	n.volume("v", dataset, gib)
	n.volume("w", dataset, gib)
	c, staging := mountCapability("", multiWriter), n.folder("staging")
	must(t, n.stage("v", staging, c))
	n.want(n.stage("w", staging, c), codes.AlreadyExists, "tank/csi/v")

	write(t, n.folder("full")+"/file", "kept")
	n.want(n.publish("v", staging, n.dir+"/full", false, c), codes.FailedPrecondition, n.dir+"/full", "not empty")
	n.want(n.unpublish("v", n.dir+"/full"), codes.FailedPrecondition, n.dir+"/full", "not empty")
	wantFile(t, n.dir+"/full/file", "kept")

	write(t, n.dir+"/plain", "kept")
	n.want(n.publish("v", staging, n.dir+"/plain", false, c), codes.FailedPrecondition, n.dir+"/plain")
	n.want(n.unpublish("v", n.dir+"/plain"), codes.FailedPrecondition, n.dir+"/plain")
	wantFile(t, n.dir+"/plain", "kept")

	must(t, os.Symlink(n.folder("elsewhere"), n.dir+"/link"))
	n.want(n.publish("v", staging, n.dir+"/link", false, c), codes.FailedPrecondition, n.dir+"/link")
	n.want(n.unpublish("v", n.dir+"/link"), codes.FailedPrecondition, n.dir+"/link")

	must(t, unix.Mount("other", n.folder("other"), "tmpfs", 0, ""))
	n.want(n.publish("v", staging, n.dir+"/other", false, c), codes.AlreadyExists, "other")
	n.wantMounted("other", "staging")
}

// Volumes' folders reached by a symbolic link, as when /var/lib/kubelet is one.
func TestPublishBelowSymbolicLink(t *testing.T) {
	if !private(t) {
		return
	}
	n := newNode(t)
	n.volume("v", dataset, gib)
	n.folder("real/staging")
	must(t, os.Symlink("real", n.dir+"/kubelet"))
	c, staging, target := mountCapability("", multiWriter), n.dir+"/kubelet/staging", n.dir+"/kubelet/target"
	for range 2 {
		must(t, n.stage("v", staging, c))
		must(t, n.publish("v", staging, target, false, c))
	}
	n.wantMounted("real/staging", "real/target")
	must(t, n.unpublish("v", target))
	must(t, n.unstage("v", staging))
	n.wantMounted()
}

func TestUnpublishStack(t *testing.T) {
	if !private(t) {
		return
	}
	n := newNode(t)
	target := n.folder("target")
	for range 3 {
		must(t, unix.Mount("any", target, "tmpfs", 0, ""))
	}
	must(t, n.unpublish("v", target))
	n.wantMounted()
}

func TestUnpublishInUse(t *testing.T) {
	if !private(t) {
		return
	}
	n := newNode(t)
	n.volume("v", dataset, gib)
	c, staging, target := mountCapability("", multiWriter), n.folder("staging"), n.dir+"/target"
	must(t, n.stage("v", staging, c))
	must(t, n.publish("v", staging, target, false, c))
	f, err := os.Create(target + "/file")
	must(t, err)
	n.want(n.unpublish("v", target), codes.FailedPrecondition, target, "in use")
	must(t, f.Close())
	must(t, n.unpublish("v", target))
}

// With the pool gone, what needs no pool works.
func TestUnpublishWithoutPool(t *testing.T) {
	if !private(t) {
		return
	}
	n := newNode(t)
	n.volume("v", dataset, gib)
	c, staging, target := mountCapability("", multiWriter), n.folder("staging"), n.dir+"/target"
	must(t, n.stage("v", staging, c))
	must(t, n.publish("v", staging, target, false, c))
	n.store.SetPool("tank", fake.Suspended)
	n.want(n.publish("v", staging, target, false, c), codes.Unavailable)
	must(t, n.unpublish("v", target))
	must(t, n.unstage("v", staging))
	must(t, n.unpublish("never/seen", n.dir+"/no/such/target"))
	must(t, n.unstage("never/seen", n.dir+"/no/such/path"))
	n.wantMounted()
}

func TestNodeArguments(t *testing.T) {
	n := newArguments(t)
	c := mountCapability("", multiWriter)
	for _, path := range []string{"", "relative", "/", "/a/../b", "/a//b", "/a/\nb"} {
		n.want(n.stage("v", path, c), codes.InvalidArgument, "staging_target_path")
		n.want(n.unstage("v", path), codes.InvalidArgument, "staging_target_path")
		n.want(n.publish("v", "/s", path, false, c), codes.InvalidArgument, "target_path")
		n.want(n.unpublish("v", path), codes.InvalidArgument, "target_path")
	}
	n.want(n.stage("", "/s", c), codes.InvalidArgument, "volume_id")
	n.want(n.unstage("", "/s"), codes.InvalidArgument, "volume_id")
	n.want(n.publish("", "/s", "/t", false, c), codes.InvalidArgument, "volume_id")
	n.want(n.unpublish("", "/t"), codes.InvalidArgument, "volume_id")
	n.want(n.stage("v", "/s", nil), codes.InvalidArgument, "volume_capability")
	n.want(n.publish("v", "/s", "/t", false, nil), codes.InvalidArgument, "volume_capability")
	n.want(n.publish("v", "", "/t", false, c), codes.FailedPrecondition, "staging_target_path")
	n.want(n.stage("v", "/s", mountCapability("", multiWriter, "loop")), codes.InvalidArgument, "loop")
	n.want(n.stage("absent", "/s", c), codes.NotFound)
	n.want(n.publish("absent", "/s", "/t", false, c), codes.NotFound)
	n.want(n.stage("no volume@s", "/s", c), codes.NotFound)
	n.want(n.stage("v", "/s", mountCapability("ext4", multiWriter)), codes.FailedPrecondition, "ext4")
	n.want(n.stage("v", "/s", blockCapability(multiWriter)), codes.FailedPrecondition, "block")
}

func TestNodeAborted(t *testing.T) {
	n := newArguments(t)
	release, _ := n.locks.try(onNode("v"))
	defer release()
	c := mountCapability("", multiWriter)
	n.want(n.stage("v", "/s", c), codes.Aborted, "v")
	n.want(n.publish("v", "/s", "/t", false, c), codes.Aborted, "v")
	n.want(n.unpublish("v", "/t"), codes.Aborted, "v")
	n.want(n.unstage("v", "/s"), codes.Aborted, "v")
	n.want(n.stage("absent", "/s", c), codes.NotFound)
}

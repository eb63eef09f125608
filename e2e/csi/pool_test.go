package csi_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"

	"github.com/zfs-csi/zfs-csi/zfs"
)

// unavailable checks that every call that needs the pools answers UNAVAILABLE, also
// about volumes that were never there, and in time.
func (s *stack) unavailable(existing string) {
	s.Helper()
	for _, id := range []string{existing, "absent"} {
		_, err := s.CreateVolume(s.soon(), dataset.request(id))
		s.code(err, codes.Unavailable)
		_, err = s.CreateVolume(s.soon(), dataset.cloneRequest("x", id))
		s.code(err, codes.Unavailable)
		_, err = s.DeleteVolume(s.soon(), &csi.DeleteVolumeRequest{VolumeId: id})
		s.code(err, codes.Unavailable)
		_, err = s.ControllerExpandVolume(s.soon(), &csi.ControllerExpandVolumeRequest{
			VolumeId: id, CapacityRange: &csi.CapacityRange{RequiredBytes: 64 * mib},
		})
		s.code(err, codes.Unavailable)
		_, err = s.ControllerGetVolume(s.soon(), &csi.ControllerGetVolumeRequest{VolumeId: id})
		s.code(err, codes.Unavailable)
		_, err = s.ValidateVolumeCapabilities(s.soon(), &csi.ValidateVolumeCapabilitiesRequest{
			VolumeId: id, VolumeCapabilities: []*csi.VolumeCapability{dataset.capability},
		})
		s.code(err, codes.Unavailable)
		_, err = s.NodeStageVolume(s.soon(), &csi.NodeStageVolumeRequest{
			VolumeId: id, StagingTargetPath: s.dir, VolumeCapability: dataset.capability,
		})
		s.code(err, codes.Unavailable)
		_, err = s.NodePublishVolume(s.soon(), &csi.NodePublishVolumeRequest{
			VolumeId: id, StagingTargetPath: s.dir, TargetPath: s.target(id), VolumeCapability: dataset.capability,
		})
		s.code(err, codes.Unavailable)
		_, err = s.NodeExpandVolume(s.soon(), &csi.NodeExpandVolumeRequest{VolumeId: id, VolumePath: s.target(id)})
		s.code(err, codes.Unavailable)
		_, err = s.NodeGetVolumeStats(s.soon(), &csi.NodeGetVolumeStatsRequest{VolumeId: id, VolumePath: s.target(id)})
		s.code(err, codes.Unavailable)
		health, err := s.NodeGetVolumeHealth(s.soon(), &csi.NodeGetVolumeHealthRequest{VolumeId: id})
		s.must(err)
		s.unwell(health.GetVolumeHealth(), csi.VolumeHealthErrorType_INACCESSIBLE)
	}
	_, err := s.ListVolumes(s.soon(), &csi.ListVolumesRequest{})
	s.code(err, codes.Unavailable)
	_, err = s.ControllerListVolumeHealth(s.soon(), &csi.ControllerListVolumeHealthRequest{})
	s.code(err, codes.Unavailable)
	_, err = s.GetCapacity(s.soon(), &csi.GetCapacityRequest{})
	s.code(err, codes.Unavailable)
	health, err := s.ControllerGetVolumeHealth(s.soon(), &csi.ControllerGetVolumeHealthRequest{VolumeId: existing})
	s.must(err)
	s.unwell(health.GetVolumeHealth(), csi.VolumeHealthErrorType_INACCESSIBLE)
	storage, err := s.NodeGetStorageHealth(s.soon(), &csi.NodeGetStorageHealthRequest{})
	s.must(err)
	if len(storage.GetBackendHealth()) == 0 || storage.GetBackendHealth()[0].GetStatus() != csi.StorageHealthErrorType_STORAGE_UNREACHABLE {
		s.Errorf("the storage's health is %v, want unreachable", storage)
	}
	probe, err := s.Probe(s.soon(), &csi.ProbeRequest{})
	if err == nil && probe.GetReady().GetValue() {
		s.Error("the driver says it is ready")
	}
}

// soon returns a context for one call that is not to wait for a pool.
func (s *stack) soon() context.Context {
	ctx, cancel := context.WithTimeout(s.ctx(), 20*time.Second)
	s.Cleanup(cancel)
	return ctx
}

// unwell checks the one entry of a volume's health.
func (s *stack) unwell(h *csi.VolumeHealth, want csi.VolumeHealthErrorType) {
	s.Helper()
	entries := h.GetHealthStatuses()
	if len(entries) != 1 || entries[0].GetStatus() != want || entries[0].GetReason() == "" || entries[0].GetMessage() == "" {
		s.Errorf("health of %s is %v, want one entry, %s", h.GetVolumeId(), entries, want)
	}
}

// TestPoolExported: a pool that is away is not a pool without volumes.
func TestPoolExported(t *testing.T) {
	s := newStack(t)
	a := s.create(dataset.request("a"))
	var imports []func()
	for _, p := range s.pools {
		imports = append(imports, p.Export(t))
	}
	s.unavailable(a)
	for _, f := range imports {
		f()
	}
	s.delete(a)
}

// TestPoolReplaced: another pool of the same name, with datasets of the same names, is not
// taken for the driver's.
func TestPoolReplaced(t *testing.T) {
	s := newStack(t)
	a := s.create(dataset.request("a"))
	var imports []func()
	for i, p := range s.pools {
		imports = append(imports, p.Export(t))
		file := filepath.Join(s.dir, p.Name)
		s.must(os.WriteFile(file, nil, 0o600))
		s.must(os.Truncate(file, poolSize))
		s.shell("zpool", "create", "-O", "mountpoint=none", p.Name, file)
		s.shell("zfs", "create", s.parents[i].String())
		s.shell("zfs", "create", s.parents[i].String()+"/"+a)
	}
	s.unavailable(a)
	for i, p := range s.pools {
		s.shell("zpool", "destroy", p.Name)
		imports[i]()
	}
	s.delete(a)
}

// TestPoolSuspended: a pool whose device fails suspends its I/O, and calls answer in
// time all the same; when the device is back, so is everything.
func TestPoolSuspended(t *testing.T) {
	s := newStack(t)
	// The pool's file lies on a file system of its own, which is then filled to the
	// brim: writes to the pool fail.
	dir := t.TempDir()
	s.must(unix.Mount("tmpfs", dir, "tmpfs", 0, "size=96m"))
	defer func() { s.must(unix.Unmount(dir, unix.MNT_DETACH)) }()
	pool := s.parents[0].Pool() + "-suspended"
	file := filepath.Join(dir, "file")
	s.must(os.WriteFile(file, nil, 0o600))
	s.must(os.Truncate(file, 1<<30))
	s.shell("zpool", "create", "-O", "mountpoint=none", pool, file)
	defer func() { s.shell("zpool", "destroy", pool) }()
	before := s.parents
	s.onlyParent(pool + "/csi")
	defer func() {
		s.parents = before
		s.restart()
	}()

	a := s.create(dataset.request("a"))
	path := s.publish(a, dataset)
	filler, err := os.Create(filepath.Join(dir, "filler"))
	s.must(err)
	for _, err = filler.Write(make([]byte, mib)); err == nil; _, err = filler.Write(make([]byte, mib)) {
	}
	s.must(filler.Close())
	// Something must be written for the pool to notice, and whoever waits for it waits long.
	go func() {
		f, err := os.Create(filepath.Join(path, "noise"))
		if err != nil {
			return
		}
		noise := make([]byte, 4*mib)
		for i := range noise {
			noise[i] = byte(i * i >> 3)
		}
		if _, err := f.Write(noise); err == nil {
			_ = f.Sync() // it fails or hangs: that is the point
		}
		_ = f.Close()
	}()
	s.eventually("the pool is suspended", func() error { return s.stateIs(pool, "SUSPENDED") })
	s.unavailable(a)

	s.must(os.Remove(filler.Name()))
	s.shell("zpool", "clear", pool)
	s.eventually("the pool is back", func() error { return s.stateIs(pool, "ONLINE") })
	s.eventually("the volume can be unpublished", func() error {
		_, err := s.NodeUnpublishVolume(s.ctx(), &csi.NodeUnpublishVolumeRequest{VolumeId: a, TargetPath: s.target(a)})
		if err != nil {
			return err
		}
		_, err = s.NodeUnstageVolume(s.ctx(), &csi.NodeUnstageVolumeRequest{VolumeId: a, StagingTargetPath: s.staging(a)})
		return err
	})
	s.delete(a)
	s.empty()
}

// stateIs returns nil when the pool is in the state.
func (s *stack) stateIs(pool, want string) error {
	state, err := os.ReadFile(filepath.Join("/proc/spl/kstat/zfs", pool, "state"))
	if err != nil {
		return err
	}
	if got := strings.TrimSpace(string(state)); got != want {
		return fmt.Errorf("it is %s", got)
	}
	return nil
}

// onlyParent restarts the driver with one parent, which is made for it.
func (s *stack) onlyParent(name string) {
	s.Helper()
	parent, err := zfs.ParseDataset(name)
	s.must(err)
	_, err = zfs.InitParent(s.ctx(), s.runner, driverName, parent)
	s.must(err)
	s.parents = []zfs.Dataset{parent}
	s.restart()
}

// TestPoolDegraded: a volume on a pool without its redundancy says so.
func TestPoolDegraded(t *testing.T) {
	s := newStack(t)
	a := s.create(dataset.request("a"))
	health := func() *csi.VolumeHealth {
		t.Helper()
		resp, err := s.ControllerGetVolumeHealth(s.ctx(), &csi.ControllerGetVolumeHealthRequest{VolumeId: a})
		s.must(err)
		return resp.GetVolumeHealth()
	}
	if h := health(); len(h.GetHealthStatuses()) != 0 {
		t.Errorf("a volume on a healthy pool has the health %v", h)
	}
	repair := s.pools[0].Degrade(t)
	s.unwell(health(), csi.VolumeHealthErrorType_DEGRADED)
	list, err := s.ControllerListVolumeHealth(s.ctx(), &csi.ControllerListVolumeHealthRequest{})
	s.must(err)
	if len(list.GetEntries()) != 1 || list.GetEntries()[0].GetVolumeId() != a {
		t.Errorf("the unwell volumes are %v, want %s", list.GetEntries(), a)
	}
	repair()
	s.eventually("the volume is well", func() error {
		if h := health(); len(h.GetHealthStatuses()) != 0 {
			return fmt.Errorf("its health is %v", h)
		}
		return nil
	})
	s.delete(a)
}

package csi_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"

	"github.com/zfs-csi/zfs-csi/e2e/service"
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
		_, err = s.ControllerModifyVolume(s.soon(), &csi.ControllerModifyVolumeRequest{
			VolumeId: id, MutableParameters: map[string]string{"zfs.compression": "zstd"},
		})
		s.code(err, codes.Unavailable)
		health, err := s.NodeGetVolumeHealth(s.soon(), &csi.NodeGetVolumeHealthRequest{VolumeId: id})
		s.must(err)
		s.unwell(health.GetVolumeHealth(), csi.VolumeHealthErrorType_INACCESSIBLE)
	}
	s.snapshotsUnavailable(existing)
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

// snapshotsUnavailable is the same for calls about snapshots: that of a volume which is called "s", the group "g", and
// others that were never there.
func (s *stack) snapshotsUnavailable(existing string) {
	s.Helper()
	for _, name := range []string{"s", "absent"} {
		for _, of := range []string{existing, "absent"} {
			id := of + "@" + name
			_, err := s.CreateSnapshot(s.soon(), &csi.CreateSnapshotRequest{Name: name, SourceVolumeId: of})
			s.code(err, codes.Unavailable)
			_, err = s.GetSnapshot(s.soon(), &csi.GetSnapshotRequest{SnapshotId: id})
			s.code(err, codes.Unavailable)
			_, err = s.ListSnapshots(s.soon(), &csi.ListSnapshotsRequest{SnapshotId: id})
			s.code(err, codes.Unavailable)
			_, err = s.CreateVolume(s.soon(), dataset.restoreRequest("x", id))
			s.code(err, codes.Unavailable)
			_, err = s.DeleteSnapshot(s.soon(), &csi.DeleteSnapshotRequest{SnapshotId: id})
			s.code(err, codes.Unavailable)
		}
	}
	for _, name := range []string{"g", "absent"} {
		_, err := s.CreateVolumeGroupSnapshot(s.soon(), &csi.CreateVolumeGroupSnapshotRequest{Name: name, SourceVolumeIds: []string{existing}})
		s.code(err, codes.Unavailable)
		_, err = s.GetVolumeGroupSnapshot(s.soon(), &csi.GetVolumeGroupSnapshotRequest{GroupSnapshotId: name})
		s.code(err, codes.Unavailable)
		_, err = s.DeleteVolumeGroupSnapshot(s.soon(), &csi.DeleteVolumeGroupSnapshotRequest{GroupSnapshotId: name})
		s.code(err, codes.Unavailable)
	}
	_, err := s.ListSnapshots(s.soon(), &csi.ListSnapshotsRequest{})
	s.code(err, codes.Unavailable)
	_, err = s.ListSnapshots(s.soon(), &csi.ListSnapshotsRequest{SourceVolumeId: existing})
	s.code(err, codes.Unavailable)
}

// withSnapshots makes a volume that has the snapshot "s" and is the group "g".
func (s *stack) withSnapshots(name string) string {
	s.Helper()
	id := s.create(dataset.request(name))
	s.take("s", id)
	_, err := s.CreateVolumeGroupSnapshot(s.ctx(), &csi.CreateVolumeGroupSnapshotRequest{Name: "g", SourceVolumeIds: []string{id}})
	s.must(err)
	return id
}

// withoutSnapshots checks that all of it is there still, and removes it.
func (s *stack) withoutSnapshots(id string) {
	s.Helper()
	snapshots, err := s.ListSnapshots(s.ctx(), &csi.ListSnapshotsRequest{SourceVolumeId: id})
	s.must(err)
	if n := len(snapshots.GetEntries()); n != 2 {
		s.Errorf("volume %s has %d snapshots, not 2", id, n)
	}
	for _, what := range []string{id + "@s", id + "@g", id} {
		s.remove(what)
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
	s := newStackOn(t, 2)
	a := s.withSnapshots("a")
	var imports []func()
	for _, p := range s.pools {
		imports = append(imports, p.Export(t))
	}
	s.unavailable(a)
	for _, f := range imports {
		f()
	}
	s.withoutSnapshots(a)
}

// TestPoolReplaced: another pool of the same name, with datasets of the same names, is not
// taken for the driver's.
func TestPoolReplaced(t *testing.T) {
	s := newStackOn(t, 2)
	a := s.withSnapshots("a")
	var imports []func()
	for i, p := range s.pools {
		imports = append(imports, p.Export(t))
		file := filepath.Join(s.dir, p.Name)
		s.must(os.WriteFile(file, nil, 0o600))
		s.must(os.Truncate(file, poolSize))
		s.shell("zpool", "create", "-o", "cachefile=none", "-O", "mountpoint=none", p.Name, file)
		s.shell("zfs", "create", s.parents[i].String())
		s.shell("zfs", "create", s.parents[i].String()+"/"+a)
	}
	s.unavailable(a)
	for i, p := range s.pools {
		s.shell("zpool", "destroy", p.Name)
		imports[i]()
	}
	s.withoutSnapshots(a)
}

// TestPoolReadOnly: a pool that is imported to be read only answers what is asked of it, and refuses in time, and
// wholly, what would change something.
func TestPoolReadOnly(t *testing.T) {
	s := newStack(t)
	s.family(dataset)
	before := s.whole() // With the marks that no later process could make.
	writable := s.pools[0].ReadOnly(t)
	for _, op := range operations() {
		s.code(op.call(s.soon(), s, dataset), codes.Unavailable, "read-only")
	}
	_, err := s.DeleteVolume(s.soon(), &csi.DeleteVolumeRequest{VolumeId: "absent"})
	s.code(err, codes.Unavailable)
	// What is there already is answered as ever.
	s.create(dataset.request("a"))
	s.take("s", "a")
	volumes, err := s.ListVolumes(s.soon(), &csi.ListVolumesRequest{})
	s.must(err)
	snapshots, err := s.ListSnapshots(s.soon(), &csi.ListSnapshotsRequest{})
	s.must(err)
	if len(volumes.GetEntries()) != 3 || len(snapshots.GetEntries()) != 1 {
		t.Errorf("the lists are %v and %v", volumes, snapshots)
	}
	_, err = s.ControllerGetVolume(s.soon(), &csi.ControllerGetVolumeRequest{VolumeId: "absent"})
	s.code(err, codes.NotFound)
	// It can be read.
	s.code(s.Publish(s.soon(), "a", dataset.capability, service.PlaceIn(s.dir, "a")), codes.Unavailable, "read-only")
	_, err = s.NodePublishVolume(s.soon(), &csi.NodePublishVolumeRequest{
		VolumeId: "a", StagingTargetPath: s.staging("a"), TargetPath: s.target("a"), VolumeCapability: dataset.capability, Readonly: true,
	})
	s.must(err)
	s.holds(s.target("a"), "text")
	s.unpublish("a")
	s.restart() // It has nothing to sweep, and could not.
	s.swept()
	if after := s.whole(); after != before {
		t.Errorf("a pool that is read-only was changed from\n%sto\n%s", before, after)
	}
	writable()
	for _, op := range unlessAll(operations(), "copy", "group snapshot", "delete a source with a snapshot", "delete a source with a clone", "delete a snapshot") {
		s.must(op.call(s.ctx(), s, dataset))
		for id := range op.made {
			s.remove(id)
		}
	}
	s.remove("c")
}

// TestPoolDegraded: a volume on a pool without its redundancy says so.
func TestPoolDegraded(t *testing.T) {
	s := newStackOn(t, 2)
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

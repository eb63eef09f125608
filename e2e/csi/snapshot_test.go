package csi_test

import (
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
)

// take takes a snapshot and returns its ID.
func (s *stack) take(name, source string) string {
	s.Helper()
	resp, err := s.CreateSnapshot(s.ctx(), &csi.CreateSnapshotRequest{Name: name, SourceVolumeId: source})
	s.must(err)
	if !resp.GetSnapshot().GetReadyToUse() {
		s.Errorf("snapshot %s is not ready to use", name)
	}
	return resp.GetSnapshot().GetSnapshotId()
}

func (s *stack) forget(ids ...string) {
	s.Helper()
	for _, id := range ids {
		_, err := s.DeleteSnapshot(s.ctx(), &csi.DeleteSnapshotRequest{SnapshotId: id})
		s.must(err)
	}
}

// restoreRequest asks for a volume made of a snapshot.
func (k kind) restoreRequest(name, snapshot string) *csi.CreateVolumeRequest {
	req := k.request(name)
	req.VolumeContentSource = &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Snapshot{
		Snapshot: &csi.VolumeContentSource_SnapshotSource{SnapshotId: snapshot},
	}}
	return req
}

// TestSnapshot: a snapshot holds what its volume held while it was in use, outlives it, and is
// restored as it was, also larger, in another class and by a copy.
func TestSnapshot(t *testing.T) {
	s := newStackOn(t, 2)
	for _, k := range apart {
		t.Run(k.name, func(t *testing.T) {
			s := s.sub(t)
			a := s.create(k.request(k.name))
			inA := s.publish(a, k)
			s.write(inA, "first")
			first := s.take(k.name+"-first", a)
			s.write(inA, "second")
			second := s.take(k.name+"-second", a)
			s.write(inA, "third")
			s.unpublish(a)

			larger, copied := k.restoreRequest("larger", first), k.restoreRequest("copied", second)
			larger.CapacityRange.RequiredBytes *= 2
			copied.Parameters = map[string]string{"parent": s.parents[1].String(), "zfs.compression": "zstd"}
			r, c := s.create(larger), s.create(copied)
			s.delete(a)
			s.holds(s.publish(r, k), "first")
			s.holds(s.publish(c, k), "second")
			s.unpublish(c)

			again := s.create(k.restoreRequest("again", second)) // of a volume that is gone
			s.holds(s.publish(again, k), "second")
			s.forget(first, second)
			s.holds(s.publish(r, k), "first")
			_, err := s.CreateVolume(s.ctx(), k.restoreRequest("late", first))
			s.code(err, codes.NotFound, first)
			s.unpublish(r, again)
			s.delete(c, r)
			s.holds(s.publish(again, k), "second")
			s.unpublish(again)
			s.delete(again)
			s.empty()
		})
	}
}

// TestSnapshotOfAll: a backup tool's snapshot of the parent and all below is no snapshot to callers, nor is it in the way of
// anything but its name.
func TestSnapshotOfAll(t *testing.T) {
	s := newStack(t)
	a := s.create(dataset.request("a"))
	first := s.take("s", a)
	s.shell("zfs", "snapshot", "-r", s.parents[0].String()+"@daily")
	before := s.pool()
	const foreign = "a@daily"
	list, err := s.ListSnapshots(s.ctx(), &csi.ListSnapshotsRequest{SnapshotId: foreign})
	s.must(err)
	if len(list.GetEntries()) > 0 {
		t.Errorf("listed by its name is %v", list.GetEntries())
	}
	_, err = s.GetSnapshot(s.ctx(), &csi.GetSnapshotRequest{SnapshotId: foreign})
	s.code(err, codes.NotFound)
	_, err = s.CreateVolume(s.ctx(), dataset.restoreRequest("n", foreign))
	s.code(err, codes.NotFound)
	_, err = s.GetVolumeGroupSnapshot(s.ctx(), &csi.GetVolumeGroupSnapshotRequest{GroupSnapshotId: "daily"})
	s.code(err, codes.NotFound)
	s.forget(foreign)
	_, err = s.DeleteVolumeGroupSnapshot(s.ctx(), &csi.DeleteVolumeGroupSnapshotRequest{GroupSnapshotId: "daily"})
	s.must(err)
	_, err = s.CreateSnapshot(s.ctx(), &csi.CreateSnapshotRequest{Name: "daily", SourceVolumeId: a})
	s.code(err, codes.AlreadyExists, "daily")
	if after := s.pool(); after != before {
		t.Errorf("there was\n%s\nand is now\n%s", before, after)
	}
	s.shell("zfs", "destroy", "-r", s.parents[0].String()+"@daily")
	s.forget(first, s.take("daily", a))
	s.delete(a)
}

// TestGroupSnapshot takes one of volumes of all kinds while they are in use, and restores each after all of them are gone.
func TestGroupSnapshot(t *testing.T) {
	s := newStack(t)
	var ids []string
	paths := map[string]string{}
	for _, k := range kinds {
		id := s.create(k.request(k.name))
		ids = append(ids, id)
		paths[id] = s.publish(id, k)
		s.write(paths[id], "of "+id)
	}
	resp, err := s.CreateVolumeGroupSnapshot(s.ctx(), &csi.CreateVolumeGroupSnapshotRequest{Name: "g", SourceVolumeIds: ids})
	s.must(err)
	var members []string
	for _, m := range resp.GetGroupSnapshot().GetSnapshots() {
		members = append(members, m.GetSnapshotId())
	}
	if len(members) != len(ids) {
		t.Fatalf("the group has the snapshots %v", members)
	}
	for _, id := range ids {
		s.write(paths[id], "later")
	}
	s.unpublish(ids...)
	s.delete(ids...)
	for _, k := range kinds {
		r := s.create(k.restoreRequest("r-"+k.name, k.name+"@g"))
		s.holds(s.publish(r, k), "of "+k.name)
		s.unpublish(r)
		s.delete(r)
	}
	_, err = s.DeleteVolumeGroupSnapshot(s.ctx(), &csi.DeleteVolumeGroupSnapshotRequest{
		GroupSnapshotId: resp.GetGroupSnapshot().GetGroupSnapshotId(), SnapshotIds: members,
	})
	s.must(err)
	s.empty()
}

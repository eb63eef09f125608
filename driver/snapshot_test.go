package driver_test

import (
	"fmt"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
)

func (s *service) snapshot(name, source string) *csi.Snapshot {
	s.Helper()
	resp, err := s.CreateSnapshot(s.context(), &csi.CreateSnapshotRequest{Name: name, SourceVolumeId: source})
	if err != nil {
		s.Fatal(err)
	}
	return resp.GetSnapshot()
}

func restoreRequest(name, snapshot string, c *csi.VolumeCapability) *csi.CreateVolumeRequest {
	req := request(name, 0, c)
	req.VolumeContentSource = &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Snapshot{
		Snapshot: &csi.VolumeContentSource_SnapshotSource{SnapshotId: snapshot},
	}}
	return req
}

func TestSnapshot(t *testing.T) {
	s := serve(t)
	for kind, c := range map[string]*csi.VolumeCapability{"dataset": mount(""), "raw": block()} {
		source := s.create(request(kind, 8*mib, c)).GetVolumeId()
		if err := s.store.Write(s.get(source).ID, []byte("precious")); err != nil {
			t.Fatal(err)
		}
		snap := s.snapshot("snap-"+kind, source)
		if snap.GetSnapshotId() != source+"@snap-"+kind || snap.GetSourceVolumeId() != source || snap.GetSizeBytes() != 8*mib ||
			!snap.GetReadyToUse() || snap.GetCreationTime() == nil || snap.GetGroupSnapshotId() != "" {
			t.Errorf("the snapshot is %v", snap)
		}
		if again := s.snapshot("snap-"+kind, source); !proto.Equal(again, snap) {
			t.Errorf("asked again: %v; the first time: %v", again, snap)
		}
		got, err := s.GetSnapshot(s.context(), &csi.GetSnapshotRequest{SnapshotId: snap.GetSnapshotId()})
		if err != nil || !proto.Equal(got.GetSnapshot(), snap) {
			t.Errorf("GetSnapshot: %v, %v", got, err)
		}

		req := restoreRequest("restored-"+kind, snap.GetSnapshotId(), c)
		restored := s.create(req)
		if restored.GetContentSource().GetSnapshot().GetSnapshotId() != snap.GetSnapshotId() || restored.GetCapacityBytes() != 8*mib {
			t.Errorf("restored: %v", restored)
		}
		if again := s.create(req); !proto.Equal(again, restored) {
			t.Errorf("asked again: %v; the first time: %v", again, restored)
		}
		v := s.get(restored.GetVolumeId())
		if data, err := s.store.Read(v.ID); err != nil || string(data) != "precious" {
			t.Errorf("restored %+v holds %q, %v", v, data, err)
		}
	}
	_, err := s.CreateSnapshot(s.context(), &csi.CreateSnapshotRequest{Name: "snap-raw", SourceVolumeId: "dataset"})
	s.want(err, codes.AlreadyExists, "raw")
	_, err = s.CreateVolume(s.context(), restoreRequest("other", "raw@snap-raw", mount("")))
	s.want(err, codes.InvalidArgument, "block")
	smaller := restoreRequest("smaller", "raw@snap-raw", block())
	smaller.CapacityRange = &csi.CapacityRange{LimitBytes: mib}
	_, err = s.CreateVolume(s.context(), smaller)
	s.want(err, codes.OutOfRange)
}

// TestRestoreInPlace makes a volume of a snapshot by the name of the volume the snapshot is of.
func TestRestoreInPlace(t *testing.T) {
	s := serve(t)
	s.create(request("a", mib, mount("")))
	snap := s.snapshot("s", "a").GetSnapshotId()
	if _, err := s.DeleteVolume(s.context(), &csi.DeleteVolumeRequest{VolumeId: "a"}); err != nil {
		t.Fatal(err)
	}
	if v := s.create(restoreRequest("a", snap, mount(""))); v.GetVolumeId() != "a" {
		t.Errorf("restored as %v", v)
	}
}

func TestSnapshotRefuses(t *testing.T) {
	s := serve(t)
	s.create(request("a", mib, mount("")))
	for _, test := range []struct {
		req  *csi.CreateSnapshotRequest
		code codes.Code
		says string
	}{
		{&csi.CreateSnapshotRequest{SourceVolumeId: "a"}, codes.InvalidArgument, "name"},
		{&csi.CreateSnapshotRequest{Name: "s"}, codes.InvalidArgument, "source_volume_id"},
		{&csi.CreateSnapshotRequest{Name: "s\x01", SourceVolumeId: "a"}, codes.InvalidArgument, "control"},
		{&csi.CreateSnapshotRequest{Name: "s", SourceVolumeId: "absent"}, codes.NotFound, "absent"},
		{&csi.CreateSnapshotRequest{Name: "s", SourceVolumeId: "a@b"}, codes.NotFound, ""},
		{&csi.CreateSnapshotRequest{Name: "s", SourceVolumeId: "a", Parameters: map[string]string{"policy": "x"}}, codes.InvalidArgument, "policy"},
	} {
		_, err := s.CreateSnapshot(s.context(), test.req)
		s.want(err, test.code, test.says)
	}
	for id, code := range map[string]codes.Code{"": codes.InvalidArgument, "a": codes.NotFound, "a@s": codes.NotFound, "a@s,t": codes.NotFound} {
		_, err := s.GetSnapshot(s.context(), &csi.GetSnapshotRequest{SnapshotId: id})
		s.want(err, code)
		_, err = s.DeleteSnapshot(s.context(), &csi.DeleteSnapshotRequest{SnapshotId: id})
		if code == codes.NotFound {
			code = codes.OK
		}
		s.want(err, code)
	}
}

func TestListSnapshots(t *testing.T) {
	s := serve(t)
	for _, v := range []string{"a", "b"} {
		s.create(request(v, mib, mount("")))
		for i := range 3 {
			s.snapshot(fmt.Sprintf("%s%d", v, i), v)
		}
	}
	list := func(req *csi.ListSnapshotsRequest) (ids []string) {
		t.Helper()
		for {
			resp, err := s.ListSnapshots(s.context(), req)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range resp.GetEntries() {
				ids = append(ids, e.GetSnapshot().GetSnapshotId())
			}
			if req.StartingToken = resp.GetNextToken(); req.StartingToken == "" {
				return ids
			}
		}
	}
	for _, test := range []struct {
		req  *csi.ListSnapshotsRequest
		want string
	}{
		{&csi.ListSnapshotsRequest{}, "[a@a0 a@a1 a@a2 b@b0 b@b1 b@b2]"},
		{&csi.ListSnapshotsRequest{MaxEntries: 2}, "[a@a0 a@a1 a@a2 b@b0 b@b1 b@b2]"},
		{&csi.ListSnapshotsRequest{SourceVolumeId: "b", MaxEntries: 1}, "[b@b0 b@b1 b@b2]"},
		{&csi.ListSnapshotsRequest{SnapshotId: "a@a1"}, "[a@a1]"},
		{&csi.ListSnapshotsRequest{SnapshotId: "a@a1", SourceVolumeId: "b"}, "[]"},
		{&csi.ListSnapshotsRequest{SnapshotId: "no such"}, "[]"},
		{&csi.ListSnapshotsRequest{SourceVolumeId: "absent"}, "[]"},
	} {
		if got := fmt.Sprint(list(test.req)); got != test.want {
			t.Errorf("%v lists %s, want %s", test.req, got, test.want)
		}
	}
	_, err := s.ListSnapshots(s.context(), &csi.ListSnapshotsRequest{StartingToken: "after:a"})
	s.want(err, codes.Aborted)
	if _, err := s.DeleteSnapshot(s.context(), &csi.DeleteSnapshotRequest{SnapshotId: "a@a0"}); err != nil {
		t.Fatal(err)
	}
	if got := len(list(&csi.ListSnapshotsRequest{MaxEntries: 2})); got != 5 {
		t.Errorf("after a deletion there are %d", got)
	}
}

func TestGroupSnapshot(t *testing.T) {
	s := serve(t)
	for _, v := range []string{"a", "b", "c"} {
		s.create(request(v, mib, mount("")))
	}
	far := request("far", mib, mount(""))
	far.Parameters = map[string]string{"parent": "fast/csi"}
	s.create(far)
	take := func(name string, sources ...string) (*csi.VolumeGroupSnapshot, error) {
		resp, err := s.CreateVolumeGroupSnapshot(s.context(), &csi.CreateVolumeGroupSnapshotRequest{Name: name, SourceVolumeIds: sources})
		return resp.GetGroupSnapshot(), err
	}
	g, err := take("g", "a", "b")
	if err != nil || g.GetGroupSnapshotId() != "g" || len(g.GetSnapshots()) != 2 || !g.GetReadyToUse() || g.GetSnapshots()[1].GetGroupSnapshotId() != "g" {
		t.Fatalf("the group is %v, %v", g, err)
	}
	if again, err := take("g", "b", "a"); err != nil || !proto.Equal(again, g) {
		t.Errorf("asked again: %v, %v; the first time: %v", again, err, g)
	}
	_, err = take("g", "a", "c")
	s.want(err, codes.AlreadyExists)
	_, err = take("h", "a", "far")
	s.want(err, codes.FailedPrecondition, "pool")
	_, err = take("h", "a", "a")
	s.want(err, codes.InvalidArgument, "twice")
	_, err = take("h")
	s.want(err, codes.InvalidArgument, "source_volume_ids")
	for parameters, code := range map[[2]string]codes.Code{
		{"deletionPolicy", "Delete"}: codes.OK, {"deletionPolicy", "Keep"}: codes.InvalidArgument, {"retain", "Delete"}: codes.InvalidArgument,
	} {
		_, err = s.CreateVolumeGroupSnapshot(s.context(), &csi.CreateVolumeGroupSnapshotRequest{
			Name: "g", SourceVolumeIds: []string{"a", "b"}, Parameters: map[string]string{parameters[0]: parameters[1]},
		})
		s.want(err, code, map[bool]string{true: parameters[0]}[code != codes.OK])
	}
	_, err = s.DeleteSnapshot(s.context(), &csi.DeleteSnapshotRequest{SnapshotId: "a@g"})
	s.want(err, codes.InvalidArgument, "group")

	for ids, code := range map[[2]string]codes.Code{
		{"a@g", "b@g"}: codes.OK, {"a@g", "a@g"}: codes.InvalidArgument, {"a@g", "b@x"}: codes.InvalidArgument,
	} {
		_, err := s.GetVolumeGroupSnapshot(s.context(), &csi.GetVolumeGroupSnapshotRequest{GroupSnapshotId: "g", SnapshotIds: ids[:]})
		s.want(err, code)
	}
	remove := &csi.DeleteVolumeGroupSnapshotRequest{GroupSnapshotId: "g", SnapshotIds: []string{"a@g"}}
	_, err = s.DeleteVolumeGroupSnapshot(s.context(), remove)
	s.want(err, codes.InvalidArgument, "b@g")
	remove.SnapshotIds = []string{"b@g", "a@g"}
	for range 2 {
		_, err = s.DeleteVolumeGroupSnapshot(s.context(), remove)
		s.want(err, codes.OK)
	}
	_, err = s.GetVolumeGroupSnapshot(s.context(), &csi.GetVolumeGroupSnapshotRequest{GroupSnapshotId: "g"})
	s.want(err, codes.NotFound)
}

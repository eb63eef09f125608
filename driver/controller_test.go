package driver_test

import (
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/zfs-csi/zfs-csi/driver"
	"github.com/zfs-csi/zfs-csi/zfs/fake"
)

func expansion(id string, required, limit int64) *csi.ControllerExpandVolumeRequest {
	return &csi.ControllerExpandVolumeRequest{VolumeId: id, CapacityRange: &csi.CapacityRange{RequiredBytes: required, LimitBytes: limit}}
}

func TestExpand(t *testing.T) {
	s := serve(t)
	s.create(request("dataset", 8*mib, mount("")))
	s.create(request("raw", 8*mib, block()))
	s.create(request("ext4", 32*mib, mount("ext4")))
	for _, test := range []struct {
		id              string
		required, limit int64
		code            codes.Code
		size            int64
		onNode          bool
	}{
		{"dataset", 8*mib + 1, 8*mib + 1, codes.OK, 8*mib + 1, false},
		{"dataset", mib, 0, codes.OK, 8*mib + 1, false},
		{"dataset", 0, 9 * mib, codes.OK, 8*mib + 1, false},
		{"raw", 8*mib + 1, 0, codes.OK, 8*mib + 16<<10, false},
		{"raw", 8*mib + 16<<10 + 1, 8*mib + 16<<10 + 1, codes.OutOfRange, 0, false},
		{"ext4", 64 * mib, 0, codes.OK, 64 * mib, true},
		{"ext4", 64 * mib, 0, codes.OK, 64 * mib, true},
		{"ext4", 0, 63 * mib, codes.OutOfRange, 0, false},
		{"ext4", 2 * mib, mib, codes.OutOfRange, 0, false},
		{"ext4", 1<<60 + 1, 0, codes.OutOfRange, 0, false},
		{"ext4", 0, 0, codes.InvalidArgument, 0, false},
		{"ext4", -1, 0, codes.InvalidArgument, 0, false},
		{"missing", mib, 0, codes.NotFound, 0, false},
		{"mis/sing", mib, 0, codes.NotFound, 0, false},
		{"", mib, 0, codes.InvalidArgument, 0, false},
	} {
		resp, err := s.ControllerExpandVolume(s.context(), expansion(test.id, test.required, test.limit))
		s.want(err, test.code)
		if resp.GetCapacityBytes() != test.size || resp.GetNodeExpansionRequired() != test.onNode {
			t.Errorf("%+v gave %v", test, resp)
		}
	}
	// A volume that has grown still is what its creation asked for.
	s.create(request("dataset", 8*mib, mount("")))

	wrong := expansion("ext4", mib, 0)
	wrong.VolumeCapability = block()
	_, err := s.ControllerExpandVolume(s.context(), wrong)
	s.want(err, codes.InvalidArgument, "raw block volume")
}

// TestExpandAgain: the store is asked to make sure of a reservation, and of nothing else that is as wanted.
func TestExpandAgain(t *testing.T) {
	s := serve(t)
	s.create(request("thin", 8*mib, mount("")))
	thick := request("thick", 8*mib, mount(""))
	thick.Parameters = map[string]string{"provisioning": "thick"}
	s.create(thick)
	for _, test := range []struct {
		id       string
		required int64
		onNode   bool
		asked    string
	}{
		{"thin", 8 * mib, false, "Get"},
		{"thick", 8 * mib, false, "Get Resize"},
		{"thick", 8 * mib, true, "Get Resize"},
		{"thick", 0, true, "Get"}, // No size is asked for.
	} {
		s.asked()
		var err error
		if test.onNode {
			_, err = s.NodeExpandVolume(s.context(), &csi.NodeExpandVolumeRequest{
				VolumeId: test.id, VolumePath: "/some/path", CapacityRange: &csi.CapacityRange{RequiredBytes: test.required},
			})
		} else {
			_, err = s.ControllerExpandVolume(s.context(), expansion(test.id, test.required, 0))
		}
		if asked := s.asked(); err != nil || asked != test.asked {
			t.Errorf("%+v: the store was asked %q (%v)", test, asked, err)
		}
		if v := s.get(test.id); v.Size != 8*mib {
			t.Errorf("%+v: the volume has %d bytes", test, v.Size)
		}
	}
}

func TestDelete(t *testing.T) {
	s := serve(t)
	s.create(request("source", mib, mount("")))
	s.create(cloneRequest("clone", "source", 0, mount("")))
	if err := s.store.SetBusy(mustID(t, "source"), "/mnt"); err != nil {
		t.Fatal(err)
	}
	_, err := s.DeleteVolume(s.context(), &csi.DeleteVolumeRequest{VolumeId: "source"})
	s.want(err, codes.FailedPrecondition, "/mnt")
	if err := s.store.SetBusy(mustID(t, "source"), ""); err != nil {
		t.Fatal(err)
	}
	s.delete("source")
	s.delete("source")
	s.delete("clone")
	s.asked()
	for _, id := range []string{"a/b", "-r", "a@b,c", "a%b", "..", "tank/csi/clone"} {
		s.delete(id)
	}
	if asked := s.asked(); asked != "" {
		t.Errorf("IDs that no volume can have came as far as the store: %s", asked)
	}
	_, err = s.DeleteVolume(s.context(), &csi.DeleteVolumeRequest{})
	s.want(err, codes.InvalidArgument, "volume_id")
}

func TestValidate(t *testing.T) {
	s := serve(t)
	s.create(request("ext4", 32*mib, mount("ext4")))
	s.create(request("raw", 32*mib, block()))
	for _, test := range []struct {
		id           string
		capabilities []*csi.VolumeCapability
		parameters   map[string]string
		confirmed    bool
	}{
		{"ext4", []*csi.VolumeCapability{mount("ext4"), mount("")}, nil, true},
		{"ext4", []*csi.VolumeCapability{mount("ext4")}, map[string]string{"parent": "tank/csi", "cloneMode": "cow"}, true},
		{"ext4", []*csi.VolumeCapability{mount("ext4")}, map[string]string{"parent": "fast/csi"}, false},
		{"ext4", []*csi.VolumeCapability{mount("ext4")}, map[string]string{"colour": "red"}, false},
		{"ext4", []*csi.VolumeCapability{mount("ext4"), mount("xfs")}, nil, false},
		{"ext4", []*csi.VolumeCapability{block()}, nil, false},
		{"raw", []*csi.VolumeCapability{block()}, nil, true},
		{"raw", []*csi.VolumeCapability{mount("")}, nil, false},
		{"raw", []*csi.VolumeCapability{mount("btrfs")}, nil, false},
	} {
		req := &csi.ValidateVolumeCapabilitiesRequest{VolumeId: test.id, VolumeCapabilities: test.capabilities, Parameters: test.parameters}
		resp, err := s.ValidateVolumeCapabilities(s.context(), req)
		if err != nil {
			t.Fatal(err)
		}
		if (resp.GetConfirmed() != nil) != test.confirmed || (resp.GetMessage() == "") != test.confirmed {
			t.Errorf("%v gave %v", req, resp)
		}
	}
	resp, err := s.ValidateVolumeCapabilities(s.context(), &csi.ValidateVolumeCapabilitiesRequest{
		VolumeId: "raw", VolumeCapabilities: []*csi.VolumeCapability{block()}, VolumeContext: map[string]string{"colour": "red"},
	})
	if err != nil || resp.GetConfirmed() != nil || !strings.Contains(resp.GetMessage(), "colour") {
		t.Errorf("with a volume_context that no volume has: %v, %v", resp, err)
	}
	_, err = s.ValidateVolumeCapabilities(s.context(), &csi.ValidateVolumeCapabilitiesRequest{VolumeId: "raw"})
	s.want(err, codes.InvalidArgument, "volume_capabilities")
	_, err = s.ValidateVolumeCapabilities(s.context(), &csi.ValidateVolumeCapabilitiesRequest{VolumeId: "no", VolumeCapabilities: []*csi.VolumeCapability{block()}})
	s.want(err, codes.NotFound, "no")
}

func TestGetVolume(t *testing.T) {
	s := serve(t)
	s.create(request("source", mib, mount("")))
	made := s.create(cloneRequest("clone", "source", 0, mount("")))
	resp, err := s.ControllerGetVolume(s.context(), &csi.ControllerGetVolumeRequest{VolumeId: "clone"})
	if err != nil || !proto.Equal(resp.GetVolume(), made) || resp.GetStatus() == nil {
		t.Errorf("told %v, %v; when made %v", resp, err, made)
	}
	_, err = s.ControllerGetVolume(s.context(), &csi.ControllerGetVolumeRequest{VolumeId: "missing"})
	s.want(err, codes.NotFound, "missing")
}

func TestGetCapacity(t *testing.T) {
	s := serve(t)
	s.store.SetPoolSize("fast", 5*gib)
	here := &csi.Topology{Segments: map[string]string{driver.TopologyKey: "node-1"}}
	there := &csi.Topology{Segments: map[string]string{driver.TopologyKey: "node-2"}}
	thick := map[string]string{"parent": "fast/csi", "provisioning": "thick"}
	for _, test := range []struct {
		req                    *csi.GetCapacityRequest
		available, least, most int64
	}{
		{&csi.GetCapacityRequest{}, fake.DefaultPoolSize, mib, 1 << 62},
		{&csi.GetCapacityRequest{AccessibleTopology: here}, fake.DefaultPoolSize, mib, 1 << 62},
		{&csi.GetCapacityRequest{AccessibleTopology: there}, 0, mib, 0},
		{&csi.GetCapacityRequest{Parameters: map[string]string{"zfs.volblocksize": "8K"}}, fake.DefaultPoolSize, mib, 1 << 62},
		{&csi.GetCapacityRequest{Parameters: thick}, 5 * gib, mib, 5 * gib},
		{&csi.GetCapacityRequest{VolumeCapabilities: []*csi.VolumeCapability{mount("xfs")}}, fake.DefaultPoolSize, 300 * mib, 1 << 62},
		{&csi.GetCapacityRequest{VolumeCapabilities: []*csi.VolumeCapability{mount("ext4")}, Parameters: thick}, 5 * gib, 16 * mib, 5 * gib},
	} {
		resp, err := s.GetCapacity(s.context(), test.req)
		if err != nil || resp.GetAvailableCapacity() != test.available ||
			resp.GetMinimumVolumeSize().GetValue() != test.least || resp.GetMaximumVolumeSize().GetValue() != test.most {
			t.Errorf("%v gave %v, %v", test.req, resp, err)
		}
	}
	s.store.SetPoolSize("fast", mib-1)
	resp, err := s.GetCapacity(s.context(), &csi.GetCapacityRequest{Parameters: map[string]string{"parent": "fast/csi"}})
	if err != nil || resp.GetMaximumVolumeSize().GetValue() != 0 {
		t.Errorf("a full pool gave %v, %v", resp, err)
	}
	_, err = s.GetCapacity(s.context(), &csi.GetCapacityRequest{VolumeCapabilities: []*csi.VolumeCapability{mount("btrfs")}})
	s.want(err, codes.InvalidArgument, "btrfs")
	_, err = s.GetCapacity(s.context(), &csi.GetCapacityRequest{Parameters: map[string]string{"colour": "red"}})
	s.want(err, codes.InvalidArgument, "colour")
}

package driver_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/zfs-csi/zfs-csi/driver"
	"github.com/zfs-csi/zfs-csi/zfs"
)

func TestCreateVolume(t *testing.T) {
	s := serve(t)
	for i, test := range []struct {
		capability      *csi.VolumeCapability
		required, limit int64
		parameters      map[string]string
		kind            zfs.Kind
		fsType          string
		size            int64
	}{
		{mount(""), 0, 0, nil, zfs.Filesystem, "", gib},
		{mount("zfs"), 5*mib + 1, 5*mib + 1, nil, zfs.Filesystem, "", 5*mib + 1},
		{mount(""), 1, 0, nil, zfs.Filesystem, "", mib},
		{mount(""), 0, 100 * mib, nil, zfs.Filesystem, "", 100 * mib},
		{block(), 0, 0, nil, zfs.Block, "", gib},
		{block(), 64*mib + 1, 0, nil, zfs.Block, "", 64*mib + 16<<10},
		{block(), 64*mib + 1, 0, map[string]string{"zfs.volblocksize": "64K"}, zfs.Block, "", 64*mib + 64<<10},
		{block(), 0, 64*mib + 1, nil, zfs.Block, "", 64 * mib},
		{mount("ext4"), 1, 0, nil, zfs.Block, "ext4", 16 * mib},
		{mount("xfs"), 16 * mib, 0, nil, zfs.Block, "xfs", 300 * mib},
	} {
		name := fmt.Sprintf("volume-%d", i)
		req := request(name, 0, test.capability)
		req.CapacityRange = &csi.CapacityRange{RequiredBytes: test.required, LimitBytes: test.limit}
		req.Parameters = test.parameters
		v := s.create(req)
		if v.GetVolumeId() != name || v.GetCapacityBytes() != test.size || v.GetContentSource() != nil ||
			v.GetAccessibleTopology()[0].GetSegments()[driver.TopologyKey] != "node-1" {
			t.Errorf("%+v gave %v", test, v)
		}
		if made := s.get(name); made.Kind != test.kind || made.FSType != test.fsType || made.Size != test.size || made.Name != name {
			t.Errorf("%+v made %+v", test, made)
		}
		if again := s.create(req); !proto.Equal(v, again) {
			t.Errorf("asked again: %v; the first time: %v", again, v)
		}
	}
}

func inMode(c *csi.VolumeCapability, mode csi.VolumeCapability_AccessMode_Mode) *csi.VolumeCapability {
	c.AccessMode.Mode = mode
	return c
}

// TestCreateVolumeAccessModes: every mode there is can be served, also those of several nodes.
func TestCreateVolumeAccessModes(t *testing.T) {
	s := serve(t)
	for number, name := range csi.VolumeCapability_AccessMode_Mode_name {
		mode := csi.VolumeCapability_AccessMode_Mode(number)
		if mode == csi.VolumeCapability_AccessMode_UNKNOWN {
			continue
		}
		for kind, c := range map[string]*csi.VolumeCapability{"mounted": inMode(mount(""), mode), "ext4": inMode(mount("ext4"), mode), "raw": inMode(block(), mode)} {
			if _, err := s.CreateVolume(s.context(), request("pvc-"+name+"-"+kind, 0, c)); err != nil {
				t.Errorf("%s, %s: %v", name, kind, err)
			}
		}
	}
}

func TestCreateVolumeParameters(t *testing.T) {
	s := serve(t)
	req := request("pvc-1", mib, mount(""))
	req.Parameters = map[string]string{
		"parent": "fast/csi", "provisioning": "thick", "zfs.compression": "lz4", "csi.storage.k8s.io/pvc/name": "data",
	}
	s.create(req)
	v := s.get("pvc-1")
	if v.Parent != fast || !v.Thick || !maps.Equal(v.Labels, map[string]string{"pvc.name": "data"}) {
		t.Errorf("made %+v", v)
	}
	if value, err := s.store.Property(v.ID, "compression"); err != nil || value != "lz4" {
		t.Errorf("compression %q, %v", value, err)
	}
	// Spelt otherwise, and by another claim: the same volume.
	req.Parameters["zfs.compression"], req.Parameters["csi.storage.k8s.io/pvc/name"] = "LZ4", "other"
	req.Parameters["cloneMode"] = "cow"
	s.create(req)
}

func TestCreateVolumeHashesOddNames(t *testing.T) {
	s := serve(t)
	for _, name := range []string{"a b/c@d,e%f", "naïve", "-r", strings.Repeat("x", 300)} {
		v := s.create(request(name, mib, mount("")))
		if made := s.get(v.GetVolumeId()); made.Name != name {
			t.Errorf("name %q was kept as %q", name, made.Name)
		}
		if again := s.create(request(name, mib, mount(""))); again.GetVolumeId() != v.GetVolumeId() {
			t.Errorf("name %q gave %s, then %s", name, v.GetVolumeId(), again.GetVolumeId())
		}
	}
	// A name that is another name's hash is another volume's name.
	v := s.create(request("/", mib, mount("")))
	_, err := s.CreateVolume(s.context(), request(v.GetVolumeId(), mib, mount("")))
	s.want(err, codes.AlreadyExists, `its name is "/"`)
}

func TestCreateVolumeRefuses(t *testing.T) {
	s := serve(t)
	with := func(change func(*csi.CreateVolumeRequest)) *csi.CreateVolumeRequest {
		req := request("pvc-1", mib, mount(""))
		change(req)
		return req
	}
	sized := func(required, limit int64, c *csi.VolumeCapability) *csi.CreateVolumeRequest {
		req := request("pvc-1", 0, c)
		req.CapacityRange = &csi.CapacityRange{RequiredBytes: required, LimitBytes: limit}
		return req
	}
	for _, test := range []struct {
		req  *csi.CreateVolumeRequest
		code codes.Code
		says []string
	}{
		{request("", mib, mount("")), codes.InvalidArgument, []string{"name"}},
		{request("a\x00b", mib, mount("")), codes.InvalidArgument, []string{"control"}},
		{request("pvc-1", mib), codes.InvalidArgument, []string{"volume_capabilities"}},
		{request("pvc-1", mib, mount("btrfs")), codes.InvalidArgument, []string{`"btrfs"`, `"zfs"`, `"ext4"`, `"xfs"`}},
		{request("pvc-1", mib, mount(""), block()), codes.InvalidArgument, []string{"contradict"}},
		{request("pvc-1", mib, mount("ext4"), mount("xfs")), codes.InvalidArgument, []string{"contradict"}},
		{request("pvc-1", mib, &csi.VolumeCapability{AccessMode: mount("").GetAccessMode()}), codes.InvalidArgument, []string{"access_type"}},
		{request("pvc-1", mib, &csi.VolumeCapability{AccessType: mount("").GetAccessType()}), codes.InvalidArgument, []string{"access_mode"}},
		{request("pvc-1", mib, inMode(mount(""), csi.VolumeCapability_AccessMode_UNKNOWN)), codes.InvalidArgument, []string{"access_mode"}},
		{request("pvc-1", mib, inMode(mount(""), 99)), codes.InvalidArgument, []string{"access_mode", "99"}},
		{with(func(r *csi.CreateVolumeRequest) { r.Parameters = map[string]string{"colour": "red"} }), codes.InvalidArgument, []string{`"colour"`, "cloneMode"}},
		{with(func(r *csi.CreateVolumeRequest) { r.MutableParameters = map[string]string{"a": "b"} }), codes.InvalidArgument, []string{`"a"`, "mutable", "provisioning"}},
		{with(func(r *csi.CreateVolumeRequest) { r.VolumeContentSource = &csi.VolumeContentSource{} }), codes.InvalidArgument, []string{"volume_content_source"}},
		{cloneRequest("pvc-1", "pvc-1", 0, mount("")), codes.InvalidArgument, []string{"itself"}},
		{sized(-1, 0, mount("")), codes.InvalidArgument, []string{"negative"}},
		{sized(2*mib, mib, mount("")), codes.OutOfRange, []string{"limit_bytes"}},
		{sized(0, mib-1, mount("")), codes.OutOfRange, []string{"1048576"}},
		{sized(0, 299*mib, mount("xfs")), codes.OutOfRange, []string{"xfs"}},
		{sized(mib+1, mib+1, block()), codes.OutOfRange, []string{"16384"}},
		{sized(1<<62+1, 0, block()), codes.OutOfRange, nil},
		{sized(1<<60+1, 0, mount("ext4")), codes.OutOfRange, nil},
		{with(func(r *csi.CreateVolumeRequest) {
			r.CapacityRange.RequiredBytes, r.Parameters = 2<<40, map[string]string{"provisioning": "thick"}
		}), codes.ResourceExhausted, nil},
	} {
		_, err := s.CreateVolume(s.context(), test.req)
		s.want(err, test.code, test.says...)
	}
	if asked := s.asked(); asked != "Create Get" { // By the one that needs the pool to answer.
		t.Errorf("the store was asked: %s", asked)
	}
}

func TestCreateVolumeDiffers(t *testing.T) {
	s := serve(t)
	s.create(request("source", mib, mount("")))
	s.create(request("pvc-1", 2*mib, mount("")))
	for _, test := range []struct {
		change func(*csi.CreateVolumeRequest)
		says   string
	}{
		{func(r *csi.CreateVolumeRequest) { r.VolumeCapabilities[0] = block() }, "not a raw block volume"},
		{func(r *csi.CreateVolumeRequest) { r.VolumeCapabilities[0] = mount("xfs") }, "not a xfs filesystem"},
		{func(r *csi.CreateVolumeRequest) { r.CapacityRange.RequiredBytes = 3 * mib }, "2097152 bytes, not at least 3145728"},
		{func(r *csi.CreateVolumeRequest) { r.CapacityRange = &csi.CapacityRange{LimitBytes: mib} }, "0 to 1048576"},
		{func(r *csi.CreateVolumeRequest) { r.Parameters = map[string]string{"parent": "fast/csi"} }, "tank/csi, not fast/csi"},
		{func(r *csi.CreateVolumeRequest) { r.Parameters = map[string]string{"zfs.atime": "off"} }, "zfs.atime=off"},
		{func(r *csi.CreateVolumeRequest) {
			r.VolumeContentSource = cloneRequest("", "source", 0).GetVolumeContentSource()
		}, `source is "", not "source"`},
	} {
		req := request("pvc-1", 2*mib, mount(""))
		test.change(req)
		_, err := s.CreateVolume(s.context(), req)
		s.want(err, codes.AlreadyExists, `"pvc-1"`, test.says)
	}

	s.create(cloneRequest("clone", "source", 0, mount("")))
	_, err := s.CreateVolume(s.context(), request("clone", mib, mount("")))
	s.want(err, codes.AlreadyExists, `source is "source", not ""`)
}

func TestCreateVolumeElsewhere(t *testing.T) {
	s := serve(t)
	node := func(id string) *csi.Topology {
		return &csi.Topology{Segments: map[string]string{driver.TopologyKey: id}}
	}
	for _, test := range []struct {
		requirement *csi.TopologyRequirement
		code        codes.Code
	}{
		{&csi.TopologyRequirement{Requisite: []*csi.Topology{node("node-2"), node("node-1")}, Preferred: []*csi.Topology{node("node-2")}}, codes.OK},
		{&csi.TopologyRequirement{Preferred: []*csi.Topology{node("node-1")}}, codes.OK},
		{&csi.TopologyRequirement{}, codes.OK},
		{&csi.TopologyRequirement{Requisite: []*csi.Topology{node("node-2")}}, codes.ResourceExhausted},
		{&csi.TopologyRequirement{Requisite: []*csi.Topology{{Segments: map[string]string{"zone": "node-1"}}}}, codes.ResourceExhausted},
		{&csi.TopologyRequirement{Preferred: []*csi.Topology{node("node-2")}}, codes.ResourceExhausted},
	} {
		req := request("pvc-1", mib, mount(""))
		req.AccessibilityRequirements = test.requirement
		_, err := s.CreateVolume(s.context(), req)
		s.want(err, test.code)
	}
}

// TestCreateVolumeCost holds the number of questions to the store down: each is a command.
func TestCreateVolumeCost(t *testing.T) {
	s := serve(t)
	for _, test := range []struct {
		req  *csi.CreateVolumeRequest
		want string
	}{
		{request("pvc-1", mib, mount("")), "Create"},
		{request("pvc-1", mib, mount("")), "Create Get"},
		{cloneRequest("pvc-2", "pvc-1", 0, mount("")), "Clone"},
		{cloneRequest("pvc-2", "pvc-1", 0, mount("")), "Clone Get"},
	} {
		s.create(test.req)
		if got := s.asked(); got != test.want {
			t.Errorf("%v asked: %s; want %s", test.req, got, test.want)
		}
	}
}

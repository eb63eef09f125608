package driver_test

import (
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/zfs-csi/zfs-csi/driver"
	"github.com/zfs-csi/zfs-csi/zfs"
)

func modification(id string, mutable map[string]string) *csi.ControllerModifyVolumeRequest {
	return &csi.ControllerModifyVolumeRequest{VolumeId: id, MutableParameters: mutable}
}

// has checks a native property of a volume.
func (s *service) has(id string, name zfs.Property, want string) {
	s.Helper()
	if value, err := s.store.Property(mustID(s.T, id), name); err != nil || value != want {
		s.Errorf("%s of %s is %q, %v; want %q", name, id, value, err, want)
	}
}

func TestModify(t *testing.T) {
	s := serve(t)
	s.create(request("dataset", mib, mount("")))
	s.create(request("ext4", 16*mib, mount("ext4")))
	s.asked()
	for _, test := range []struct {
		id      string
		mutable map[string]string
		thick   bool
		want    zfs.Properties
	}{
		{"dataset", map[string]string{"zfs.compression": "ZSTD", "zfs.recordsize": "16K"}, false, zfs.Properties{"compression": "zstd", "recordsize": "16384"}},
		{"dataset", map[string]string{"provisioning": "thick"}, true, zfs.Properties{"compression": "zstd"}},
		{"dataset", map[string]string{"provisioning": "thick"}, true, nil},
		{"dataset", map[string]string{"zfs.compression": "lz4"}, true, zfs.Properties{"compression": "lz4", "recordsize": "16384"}},
		{"dataset", map[string]string{"provisioning": "thin", "zfs.sync": "always"}, false, zfs.Properties{"sync": "always"}},
		{"ext4", map[string]string{"provisioning": "thick", "zfs.logbias": "throughput"}, true, zfs.Properties{"logbias": "throughput"}},
		{"ext4", map[string]string{"csi.storage.k8s.io/pvc/name": "other", "zfs.copies": "2"}, true, zfs.Properties{"copies": "2"}},
	} {
		if _, err := s.ControllerModifyVolume(s.context(), modification(test.id, test.mutable)); err != nil {
			t.Errorf("%s to %v: %v", test.id, test.mutable, err)
		}
		if asked := s.asked(); asked != "Get Modify" {
			t.Errorf("%s to %v asked the store: %s", test.id, test.mutable, asked)
		}
		if v := s.get(test.id); v.Thick != test.thick || len(v.Labels) != 0 {
			t.Errorf("%s to %v is %+v", test.id, test.mutable, v)
		}
		for name, want := range test.want {
			s.has(test.id, name, want)
		}
		s.asked()
	}
	// Who asks for nothing of the driver's changes nothing.
	if _, err := s.ControllerModifyVolume(s.context(), modification("ext4", map[string]string{"csi.storage.k8s.io/pv/name": "x"})); err != nil {
		t.Error(err)
	}
	if asked := s.asked(); asked != "Get" {
		t.Errorf("the store was asked: %s", asked)
	}
}

func TestModifyRefuses(t *testing.T) {
	s := serve(t)
	s.create(request("dataset", 2*gib, mount("")))
	s.create(request("raw", mib, block()))
	s.store.SetPoolSize("tank", gib)
	for _, test := range []struct {
		id      string
		mutable map[string]string
		code    codes.Code
		says    []string
	}{
		{"", map[string]string{"provisioning": "thin"}, codes.InvalidArgument, []string{"volume_id"}},
		{"missing", map[string]string{"provisioning": "thin"}, codes.NotFound, []string{"missing"}},
		{"mis/sing", map[string]string{"provisioning": "thin"}, codes.NotFound, nil},
		{"dataset", nil, codes.InvalidArgument, []string{"mutable_parameters"}},
		{"dataset", map[string]string{"colour": "red"}, codes.InvalidArgument, []string{`"colour"`, "provisioning", "zfs.<property>", "atime"}},
		{"dataset", map[string]string{"parent": "fast/csi"}, codes.InvalidArgument, []string{`"parent"`, "provisioning"}},
		{"dataset", map[string]string{"cloneMode": "copy"}, codes.InvalidArgument, []string{`"cloneMode"`}},
		{"dataset", map[string]string{"zfs.casesensitivity": "mixed"}, codes.InvalidArgument, []string{`"zfs.casesensitivity"`, "recordsize"}},
		{"dataset", map[string]string{"zfs.mountpoint": "/"}, codes.InvalidArgument, []string{`"zfs.mountpoint"`}},
		{"dataset", map[string]string{"zfs.compression": "lz5"}, codes.InvalidArgument, []string{`"zfs.compression"`, "lz4"}},
		{"dataset", map[string]string{"provisioning": "fat"}, codes.InvalidArgument, []string{`"provisioning"`, "thick"}},
		{"dataset", map[string]string{"provisioning": "thick"}, codes.ResourceExhausted, []string{"dataset"}},
		{"raw", map[string]string{"zfs.volblocksize": "8K"}, codes.InvalidArgument, []string{`"zfs.volblocksize"`, "provisioning"}},
		{"raw", map[string]string{"zfs.recordsize": "8K"}, codes.InvalidArgument, []string{`"zfs.recordsize"`, "sync"}},
	} {
		if test.mutable != nil {
			test.mutable["zfs.sync"] = "always" // Which alone would be well.
		}
		_, err := s.ControllerModifyVolume(s.context(), modification(test.id, test.mutable))
		s.want(err, test.code, test.says...)
	}
	for _, id := range []string{"dataset", "raw"} {
		s.has(id, "sync", "")
		if s.get(id).Thick {
			t.Errorf("%s has become thick", id)
		}
	}
}

func TestModifyPending(t *testing.T) {
	s, g := gated(t, "Modify", driver.Config{StopTimeout: deadline})
	s.create(request("pvc-1", mib, mount("")))
	first := make(chan error)
	go func() {
		_, err := s.ControllerModifyVolume(s.context(), modification("pvc-1", map[string]string{"provisioning": "thick"}))
		first <- err
	}()
	select {
	case <-g.entered:
	case err := <-first:
		t.Fatal(err)
	}
	_, err := s.ControllerModifyVolume(s.context(), modification("pvc-1", map[string]string{"provisioning": "thin"}))
	s.want(err, codes.Aborted, "pvc-1")
	_, err = s.ControllerExpandVolume(s.context(), expansion("pvc-1", gib, 0))
	s.want(err, codes.Aborted, "pvc-1")
	close(g.open)
	s.want(<-first, codes.OK)
}

// TestCreateVolumeMutable makes volumes with mutable parameters, and asks for them again.
func TestCreateVolumeMutable(t *testing.T) {
	s := serve(t)
	class := map[string]string{"provisioning": "thick", "zfs.compression": "lz4", "zfs.atime": "off", "csi.storage.k8s.io/pvc/name": "data"}
	empty := request("pvc-1", mib, mount(""))
	clone := cloneRequest("pvc-2", "pvc-1", 0, mount(""))
	for _, req := range []*csi.CreateVolumeRequest{empty, clone} {
		req.Parameters = class
		req.MutableParameters = map[string]string{"provisioning": "thin", "zfs.compression": "zstd", "zfs.sync": "always", "csi.storage.k8s.io/x": "y"}
		made := s.create(req)
		id := made.GetVolumeId()
		check := func(thick bool, compression string) {
			t.Helper()
			s.has(id, "compression", compression)
			s.has(id, "atime", "off")
			s.has(id, "sync", "always")
			if v := s.get(id); v.Thick != thick || v.Parameters != "provisioning=thick zfs.atime=off zfs.compression=lz4" {
				t.Errorf("made %+v", v)
			}
		}
		check(false, "zstd")

		// Asked for again, with the same mutable parameters, others or none, it is the same volume, and has them.
		s.create(req)
		check(false, "zstd")
		req.MutableParameters = map[string]string{"provisioning": "thick"}
		if again := s.create(req); !proto.Equal(again, made) {
			t.Errorf("asked again: %v; the first time: %v", again, made)
		}
		check(true, "zstd")
		if _, err := s.ControllerModifyVolume(s.context(), modification(id, map[string]string{"zfs.compression": "gzip"})); err != nil {
			t.Error(err)
		}
		req.MutableParameters = nil
		s.create(req)
		check(true, "gzip")

		req.MutableParameters = map[string]string{"zfs.casesensitivity": "mixed"}
		_, err := s.CreateVolume(s.context(), req)
		s.want(err, codes.InvalidArgument, `"zfs.casesensitivity"`)
	}

	// Another StorageClass stays another, whatever the mutable parameters are.
	empty.Parameters, empty.MutableParameters = map[string]string{"zfs.compression": "gzip"}, class
	delete(class, "csi.storage.k8s.io/pvc/name")
	_, err := s.CreateVolume(s.context(), empty)
	s.want(err, codes.AlreadyExists, "zfs.compression=lz4")
}

// TestValidateModified: a volume that was modified still is one of its StorageClass.
func TestValidateModified(t *testing.T) {
	s := serve(t)
	class := map[string]string{"provisioning": "thick", "zfs.compression": "lz4"}
	req := request("pvc-1", mib, mount(""))
	req.Parameters = class
	s.create(req)
	if _, err := s.ControllerModifyVolume(s.context(), modification("pvc-1", map[string]string{"provisioning": "thin", "zfs.compression": "zstd"})); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		mutable   map[string]string
		confirmed bool
	}{
		{nil, true},
		{map[string]string{"provisioning": "thin", "zfs.sync": "always"}, true},
		{map[string]string{"zfs.volblocksize": "8K"}, false},
		{map[string]string{"parent": "tank/csi"}, false},
	} {
		resp, err := s.ValidateVolumeCapabilities(s.context(), &csi.ValidateVolumeCapabilitiesRequest{
			VolumeId: "pvc-1", VolumeCapabilities: req.GetVolumeCapabilities(), Parameters: class, MutableParameters: test.mutable,
		})
		if err != nil || (resp.GetConfirmed() != nil) != test.confirmed || len(resp.GetConfirmed().GetMutableParameters()) != len(test.mutable) && test.confirmed {
			t.Errorf("with %v: %v, %v", test.mutable, resp, err)
		}
	}
}

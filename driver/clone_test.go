package driver_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/zfs-csi/zfs-csi/zfs"
)

func TestClone(t *testing.T) {
	s := serve(t)
	for kind, c := range map[string]*csi.VolumeCapability{"dataset": mount(""), "raw": block()} {
		source := s.create(request("source-"+kind, 8*mib, c)).GetVolumeId()
		if err := s.store.Write(s.get(source).ID, []byte("precious")); err != nil {
			t.Fatal(err)
		}
		for i, size := range []int64{0, 8 * mib, 20 * mib} {
			req := cloneRequest(fmt.Sprintf("clone-%s-%d", kind, i), source, size, c)
			clone := s.create(req)
			if clone.GetCapacityBytes() != max(size, 8*mib) || clone.GetContentSource().GetVolume().GetVolumeId() != source {
				t.Errorf("%v gave %v", req, clone)
			}
			data, err := s.store.Read(s.get(clone.GetVolumeId()).ID)
			if err != nil || string(data) != "precious" {
				t.Errorf("clone holds %q, %v", data, err)
			}
			if again := s.create(req); !proto.Equal(clone, again) {
				t.Errorf("asked again: %v; the first time: %v", again, clone)
			}
		}
	}
}

func TestCloneIntoAnotherClass(t *testing.T) {
	s := serve(t)
	s.create(request("source", 8*mib, block()))
	req := cloneRequest("clone", "source", 0, block())
	req.Parameters = map[string]string{"parent": "fast/csi", "provisioning": "thick", "zfs.compression": "zstd", "zfs.volblocksize": "16k"}
	s.create(req)
	if v := s.get("clone"); v.Parent != fast || !v.Thick || v.Source != "source" || v.Parameters != "provisioning=thick zfs.compression=zstd zfs.volblocksize=16384" {
		t.Errorf("clone is %+v", v)
	}
	req = cloneRequest("copy", "source", 0, block())
	req.Parameters = map[string]string{"cloneMode": "copy"}
	s.create(req)
	if v := s.get("copy"); v.Origin != "" {
		t.Errorf("a copy has origin %q", v.Origin)
	}
}

func TestCloneRefuses(t *testing.T) {
	s := serve(t)
	s.create(request("dataset", 8*mib, mount("")))
	s.create(request("raw", 8*mib, block()))
	s.create(request("ext4", 32*mib, mount("ext4")))
	limited := cloneRequest("clone", "raw", 0, block())
	limited.CapacityRange = &csi.CapacityRange{LimitBytes: 4 * mib}
	blocks := cloneRequest("clone", "raw", 0, block())
	blocks.Parameters = map[string]string{"zfs.volblocksize": "64K"}
	for _, test := range []struct {
		req  *csi.CreateVolumeRequest
		code codes.Code
		says string
	}{
		{cloneRequest("clone", "missing", 0, mount("")), codes.NotFound, "missing"},
		{cloneRequest("clone", "not an ID", 0, mount("")), codes.NotFound, "not an ID"},
		{cloneRequest("clone", "-r", 0, mount("")), codes.NotFound, "-r"},
		{cloneRequest("clone", "", 0, mount("")), codes.InvalidArgument, "volume_id"},
		{cloneRequest("clone", "dataset", 7*mib, mount("")), codes.OutOfRange, "8388608"},
		{cloneRequest("clone", "raw", 8*mib-1<<14, block()), codes.OutOfRange, "8388608"},
		{limited, codes.OutOfRange, "8388608"},
		{cloneRequest("clone", "dataset", 0, block()), codes.InvalidArgument, "cannot be a raw block volume"},
		{cloneRequest("clone", "raw", 0, mount("")), codes.InvalidArgument, "cannot be a ZFS filesystem"},
		{cloneRequest("clone", "raw", 0, mount("ext4")), codes.InvalidArgument, "cannot be a ext4"},
		{cloneRequest("clone", "ext4", 0, mount("xfs")), codes.InvalidArgument, "cannot be a xfs"},
		{blocks, codes.InvalidArgument, "volblocksize"},
	} {
		_, err := s.CreateVolume(s.context(), test.req)
		s.want(err, test.code, test.says)
	}
	if _, err := s.store.Get(s.context(), mustID(t, "clone")); !errors.Is(err, zfs.ErrNotFound) {
		t.Errorf("a refused clone left something: %v", err)
	}
}

// TestCloneRetried asks again for a clone that was made, after its source has changed.
func TestCloneRetried(t *testing.T) {
	s := serve(t)
	s.create(request("source", 8*mib, mount("")))
	req := cloneRequest("clone", "source", 8*mib, mount(""))
	first := s.create(req)
	if _, err := s.ControllerExpandVolume(s.context(), expansion("source", 16*mib, 0)); err != nil {
		t.Fatal(err)
	}
	if again := s.create(req); !proto.Equal(first, again) {
		t.Errorf("source grown, asked again: %v; the first time: %v", again, first)
	}
	s.delete("source")
	if again := s.create(req); !proto.Equal(first, again) {
		t.Errorf("source gone, asked again: %v; the first time: %v", again, first)
	}
	_, err := s.CreateVolume(s.context(), cloneRequest("other", "source", 0, mount("")))
	s.want(err, codes.NotFound, "source of the clone")
	s.delete("clone")
}

func mustID(t *testing.T, id string) zfs.VolumeID {
	t.Helper()
	parsed, err := zfs.ParseVolumeID(id)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

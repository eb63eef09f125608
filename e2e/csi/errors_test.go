package csi_test

import (
	"os"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/zfs-csi/zfs-csi/e2e/service"
	"github.com/zfs-csi/zfs-csi/zfs"
)

// unchanged checks that f changes nothing in the pools.
func (s *stack) unchanged(f func()) {
	s.Helper()
	s.settle()
	before := s.pool()
	f()
	if after := s.pool(); after != before {
		s.Errorf("a refused call changed the pools from\n%sto\n%s", before, after)
	}
}

// TestCreateRefused: what cannot be made is refused with the right code and says why.
func TestCreateRefused(t *testing.T) {
	s := newStack(t)
	a := s.create(dataset.request("a"))
	z := s.create(zvol.request("z"))
	for _, c := range []struct {
		name  string
		req   *csi.CreateVolumeRequest
		edit  func(*csi.CreateVolumeRequest)
		code  codes.Code
		words []string
	}{
		{"unknown parameter", dataset.request("x"), parameter("compresion", "lz4"), codes.InvalidArgument, []string{"compresion", "cloneMode", "parent", "provisioning", "recordsize"}},
		{"unknown property", dataset.request("x"), parameter("zfs.mountpoint", "/"), codes.InvalidArgument, []string{"mountpoint", "recordsize"}},
		{"property of the other kind", zvol.request("x"), parameter("zfs.recordsize", "128k"), codes.InvalidArgument, []string{"recordsize"}},
		{"value of a property", dataset.request("x"), parameter("zfs.compression", "zip"), codes.InvalidArgument, []string{"compression", "zip", "lz4"}},
		{"value that is an option", dataset.request("x"), parameter("zfs.compression", "on -o quota=1"), codes.InvalidArgument, []string{"compression"}},
		{"unknown parent", dataset.request("x"), parameter("parent", "tank/other"), codes.InvalidArgument, []string{"parent", "tank/other", s.parents[0].String()}},
		{"provisioning", dataset.request("x"), parameter("provisioning", "medium"), codes.InvalidArgument, []string{"provisioning", "medium", "thick"}},
		{"clone mode", dataset.request("x"), parameter("cloneMode", "dd"), codes.InvalidArgument, []string{"cloneMode", "dd", "copy"}},
		{"filesystem type", kind{"btrfs", service.Mount("btrfs"), mib}.request("x"), nil, codes.InvalidArgument, []string{"btrfs", "ext4", "xfs"}},
		{"no name", dataset.request(""), nil, codes.InvalidArgument, nil},
		{"no capability", dataset.request("x"), func(r *csi.CreateVolumeRequest) { r.VolumeCapabilities = nil }, codes.InvalidArgument, nil},
		{"limit below the required size", dataset.request("x"), func(r *csi.CreateVolumeRequest) { r.CapacityRange.LimitBytes = 1 }, codes.OutOfRange, nil},
		{"another node", dataset.request("x"), func(r *csi.CreateVolumeRequest) {
			r.AccessibilityRequirements = &csi.TopologyRequirement{Requisite: []*csi.Topology{{Segments: map[string]string{"zfs-csi.github.io/node": "other"}}}}
		}, codes.ResourceExhausted, nil},
		{"thick and larger than the pool", dataset.request("x"), func(r *csi.CreateVolumeRequest) {
			r.Parameters = map[string]string{"provisioning": "thick"}
			r.CapacityRange.RequiredBytes = 2 * poolSize
		}, codes.ResourceExhausted, []string{"out of space"}},
		{"same name, larger", dataset.request("a"), func(r *csi.CreateVolumeRequest) { r.CapacityRange.RequiredBytes *= 2 }, codes.AlreadyExists, []string{"a"}},
		{"same name, another kind", zvol.request("a"), nil, codes.AlreadyExists, []string{"a"}},
		{"same name, other parameters", dataset.request("a"), parameter("zfs.atime", "off"), codes.AlreadyExists, []string{"atime"}},
		{"same name, now a clone", dataset.cloneRequest("a", z), nil, codes.AlreadyExists, []string{"a"}},
		{"clone of nothing", dataset.cloneRequest("x", "absent"), nil, codes.NotFound, []string{"absent"}},
		{"clone of what is no ID", dataset.cloneRequest("x", "../a@b"), nil, codes.NotFound, nil},
		{"clone that is smaller", dataset.cloneRequest("x", a), func(r *csi.CreateVolumeRequest) {
			r.CapacityRange = &csi.CapacityRange{RequiredBytes: 2 * mib, LimitBytes: 4 * mib}
		}, codes.OutOfRange, []string{a}},
		{"clone of another kind", dataset.cloneRequest("x", z), nil, codes.InvalidArgument, []string{z, "block"}},
		{"clone of another kind", ext4.cloneRequest("x", z), nil, codes.InvalidArgument, []string{z, "ext4"}},
		{"clone with another block size", zvol.cloneRequest("x", z), parameter("zfs.volblocksize", "64k"), codes.InvalidArgument, []string{"volblocksize"}},
		{"clone with another normalization", dataset.cloneRequest("x", a), parameter("zfs.normalization", "formC"), codes.InvalidArgument, []string{"normalization"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.sub(t)
			req := proto.Clone(c.req).(*csi.CreateVolumeRequest)
			if c.edit != nil {
				c.edit(req)
			}
			s.unchanged(func() {
				_, err := s.CreateVolume(s.ctx(), req)
				s.code(err, c.code, c.words...)
			})
		})
	}
	s.delete(a, z)
}

func parameter(key, value string) func(*csi.CreateVolumeRequest) {
	return func(r *csi.CreateVolumeRequest) { r.Parameters = map[string]string{key: value} }
}

// TestDeleteInUse: a volume in use is not deleted, the error says where it is in use,
// and nothing has changed; also where it has clones, and snapshots of others.
func TestDeleteInUse(t *testing.T) {
	s := newStack(t)
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			s := s.sub(t)
			a := s.create(k.request("a"))
			path := s.publish(a, k)
			s.write(path, "text")
			b := s.create(k.cloneRequest("b", a))
			s.shell("zfs", "snapshot", s.dataset(a)+"@autosnap")
			where, raw := s.staging(a), k.capability.GetBlock() != nil
			if raw {
				where = s.target(a)
			}
			refused := func(where string) {
				s.Helper()
				s.unchanged(func() {
					_, err := s.DeleteVolume(s.ctx(), &csi.DeleteVolumeRequest{VolumeId: a})
					s.code(err, codes.FailedPrecondition, a, where)
				})
			}
			refused(where)
			s.holds(path, "text")
			s.unpublish(a)
			if raw {
				device, err := s.store.Device(s.ctx(), zfs.MustParseDataset(s.dataset(a)))
				s.must(err)
				f := s.open(device, os.O_RDONLY)
				refused("open in process")
				s.must(f.Close())
			}
			s.holds(s.publish(b, k), "text")
			s.unpublish(b)
			s.delete(a, b)
		})
	}
}

// TestDeleteForeign: what others have made of a volume is never destroyed, nor is what
// the driver did not make.
func TestDeleteForeign(t *testing.T) {
	s := newStack(t)
	a := s.create(dataset.request("a"))
	name := s.dataset(a)
	s.shell("zfs", "snapshot", name+"@theirs")
	refused := func(words ...string) {
		t.Helper()
		s.unchanged(func() {
			_, err := s.DeleteVolume(s.ctx(), &csi.DeleteVolumeRequest{VolumeId: a})
			s.code(err, codes.FailedPrecondition, words...)
		})
	}
	clone := s.parents[0].Pool() + "/theirs"
	s.shell("zfs", "clone", "-o", "mountpoint=none", name+"@theirs", clone)
	refused(clone)
	s.shell("zfs", "destroy", clone)

	s.shell("zfs", "hold", "keep", name+"@theirs")
	refused(name+"@theirs", "zfs holds")
	s.shell("zfs", "release", "keep", name+"@theirs")

	s.shell("zfs", "create", "-o", "mountpoint=none", name+"/child")
	refused(name + "/child")
	s.shell("zfs", "destroy", name+"/child")

	// Snapshots of the same name on source and clone would be in the way of promotion.
	b := s.create(dataset.cloneRequest("b", a))
	s.shell("zfs", "snapshot", s.dataset(b)+"@theirs")
	s.delete(a, b)

	foreign := s.parents[0].String() + "/foreign"
	s.shell("zfs", "create", "-o", "mountpoint=none", foreign)
	s.unchanged(func() {
		_, err := s.DeleteVolume(s.ctx(), &csi.DeleteVolumeRequest{VolumeId: "foreign"})
		s.code(err, codes.FailedPrecondition, foreign)
		_, err = s.CreateVolume(s.ctx(), dataset.request("foreign"))
		s.code(err, codes.AlreadyExists, foreign)
		_, err = s.CreateVolume(s.ctx(), dataset.cloneRequest("x", "foreign"))
		s.code(err, codes.InvalidArgument, foreign)
	})
	s.shell("zfs", "destroy", foreign)
}

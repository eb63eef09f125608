package csi_test

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
)

// TestClone is the promise of the project: a clone holds what its source held, is
// made while the source is in use, and from then on nothing done to one shows in the other.
func TestClone(t *testing.T) {
	s := newStack(t)
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			s := s.sub(t)
			a := s.create(k.request("a"))
			inA := s.publish(a, k)
			s.write(inA, "first")
			b := s.create(k.cloneRequest("b", a))
			s.write(inA, "second")
			c := s.create(k.cloneRequest("c", b))

			inB, inC := s.publish(b, k), s.publish(c, k)
			s.holds(inB, "first")
			s.holds(inC, "first")
			s.write(inB, "of b")
			s.holds(inA, "second")
			s.holds(inC, "first")

			s.unpublish(a)
			s.delete(a)
			s.holds(inB, "of b")
			s.holds(inC, "first")
			s.write(inC, "of c")
			s.unpublish(b, c)
			s.holds(s.publish(b, k), "of b")
			s.holds(s.publish(c, k), "of c")
			s.unpublish(b, c)
			s.delete(b, c)
			s.empty()
		})
	}
}

// TestCloneLarger: the filesystem has grown when the clone is first used.
func TestCloneLarger(t *testing.T) {
	s := newStack(t)
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			s := s.sub(t)
			a := s.create(k.request("a"))
			inA := s.publish(a, k)
			s.write(inA, "text")
			before := s.room(inA)
			larger := k
			larger.size *= 2
			b := s.create(larger.cloneRequest("b", a))
			inB := s.publish(b, k)
			s.holds(inB, "text")
			if after := s.room(inB); after < before+k.size*3/4 {
				t.Errorf("a clone of twice %d bytes has room for %d, its source for %d", k.size, after, before)
			}
			s.unpublish(a, b)
			s.delete(a, b)
		})
	}
}

// TestCopy: a copy is as independent, and shares nothing, in the same pool and in another.
func TestCopy(t *testing.T) {
	s := newStackOn(t, 2)
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			s := s.sub(t)
			a := s.create(k.request("a"))
			inA := s.publish(a, k)
			s.write(inA, "text")
			same, other := k.cloneRequest("same", a), k.cloneRequest("other", a)
			same.Parameters = map[string]string{"cloneMode": "copy"}
			other.Parameters = map[string]string{"parent": s.parents[1].String(), "zfs.compression": "zstd"}
			other.CapacityRange.RequiredBytes *= 2
			ids := []string{s.create(same), s.create(other)}
			for _, id := range ids {
				if got := s.property(id, "origin"); got != "-" {
					t.Errorf("the copy %s has the origin %s", id, got)
				}
			}
			if got := s.property(ids[1], "compression"); got != "zstd" {
				t.Errorf("the copy's compression is %s, want its own class's, zstd", got)
			}
			s.write(inA, "later")
			for _, id := range ids {
				s.holds(s.publish(id, k), "text")
			}
			s.unpublish(append(ids, a)...)
			s.delete(append(ids, a)...)
			s.empty()
		})
	}
}

// TestCloneProperties: a clone has the properties of its own StorageClass.
func TestCloneProperties(t *testing.T) {
	s := newStack(t)
	for _, k := range []kind{dataset, zvol} {
		t.Run(k.name, func(t *testing.T) {
			s := s.sub(t)
			req := k.request("a")
			req.Parameters = map[string]string{"zfs.compression": "gzip-9", "provisioning": "thick"}
			a := s.create(req)
			req = k.cloneRequest("b", a)
			req.Parameters = map[string]string{"zfs.sync": "always"}
			b := s.create(req)
			s.are(a, map[string]string{"compression": "gzip-9", "sync": "standard"})
			s.are(b, map[string]string{"sync": "always", "refreservation": "none"})
			if got := s.property(b, "compression"); got == "gzip-9" {
				t.Errorf("the clone has its source's compression")
			}
			s.delete(a, b)
		})
	}
}

// sub is the stack in a subtest.
func (s *stack) sub(t *testing.T) *stack {
	sub := *s
	sub.T = t
	return &sub
}

// property returns a ZFS property of a volume.
func (s *stack) property(id, name string) string {
	s.Helper()
	value := s.shell("zfs", "get", "-Ho", "value", name, s.dataset(id))
	return value[:len(value)-1]
}

// dataset returns where a volume is at present, which with a single parent takes no look.
func (s *stack) dataset(id string) string {
	s.Helper()
	if len(s.parents) == 1 {
		return s.parents[0].String() + "/" + id
	}
	pool := "\n" + s.pool()
	for _, p := range s.parents {
		if name := p.String() + "/" + id; strings.Contains(pool, "\n"+name+"\t") {
			return name
		}
	}
	s.Fatalf("volume %s is below no parent", id)
	return ""
}

// room returns how many bytes a published volume can hold.
func (s *stack) room(path string) int64 {
	s.Helper()
	info, err := os.Stat(path)
	s.must(err)
	if !info.IsDir() {
		f := s.open(path, os.O_RDONLY)
		defer f.Close()
		end, err := f.Seek(0, 2)
		s.must(err)
		return end
	}
	var st syscall.Statfs_t
	s.must(syscall.Statfs(path, &st))
	return int64(st.Blocks) * st.Bsize
}

// TestExpand grows volumes in use.
func TestExpand(t *testing.T) {
	s := newStack(t)
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			s := s.sub(t)
			a := s.create(k.request("a"))
			inA := s.publish(a, k)
			s.write(inA, "text")
			before := s.room(inA)
			grow := &csi.CapacityRange{RequiredBytes: 2 * k.size}
			resp, err := s.ControllerExpandVolume(s.ctx(), &csi.ControllerExpandVolumeRequest{
				VolumeId: a, CapacityRange: grow, VolumeCapability: k.capability,
			})
			s.must(err)
			if resp.GetCapacityBytes() != 2*k.size {
				t.Errorf("expanded to %d, want %d", resp.GetCapacityBytes(), 2*k.size)
			}
			if resp.GetNodeExpansionRequired() {
				_, err = s.NodeExpandVolume(s.ctx(), &csi.NodeExpandVolumeRequest{
					VolumeId: a, VolumePath: inA, StagingTargetPath: s.staging(a), CapacityRange: grow, VolumeCapability: k.capability,
				})
				s.must(err)
			}
			if after := s.room(inA); after < before+k.size*3/4 {
				t.Errorf("grown to twice %d bytes it has room for %d, before for %d", k.size, after, before)
			}
			s.holds(inA, "text")
			s.unpublish(a)
			s.delete(a)
		})
	}
}

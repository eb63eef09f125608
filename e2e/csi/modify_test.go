package csi_test

import (
	"maps"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/zfs-csi/zfs-csi/zfs"
)

// modify asks for a volume to be changed.
func (s *stack) modify(id string, mutable map[string]string) error {
	_, err := s.ControllerModifyVolume(s.ctx(), &csi.ControllerModifyVolumeRequest{VolumeId: id, MutableParameters: mutable})
	return err
}

// are checks ZFS properties of a volume.
func (s *stack) are(id string, want map[string]string) {
	s.Helper()
	names := slices.Sorted(maps.Keys(want))
	got := strings.Fields(s.shell("zfs", "get", "-Ho", "property,value", strings.Join(names, ","), s.dataset(id)))
	if len(got) != 2*len(names) {
		s.Fatalf("of %s ZFS tells %q, and not %v", id, got, names)
	}
	for n := 0; n < len(got); n += 2 {
		if name, value := got[n], got[n+1]; value != want[name] {
			s.Errorf("%s of %s is %s, want %s", name, id, value, want[name])
		}
	}
}

// sources returns the properties of a volume that change in these tests, and where each value comes from.
func (s *stack) sources(id string) string {
	s.Helper()
	return s.shell("zfs", "get", "-Hp", "-o", "property,value,source", "compression,sync,logbias,copies,refreservation", s.dataset(id))
}

// writing has somebody write to a published volume until the function it returns is called, which
// fails unless every write has worked.
func (s *stack) writing(path string) (stop func()) {
	s.Helper()
	f := s.open(path, os.O_RDWR|os.O_CREATE)
	var ended atomic.Bool
	writes, fault := 0, make(chan error, 1)
	go func() {
		block := content("somebody who writes")
		for writes = 0; ; writes++ {
			_, err := f.WriteAt(block, int64(writes%8)*textSize)
			if err == nil {
				err = f.Sync()
			}
			if err != nil || ended.Load() && writes > 0 {
				fault <- err
				return
			}
		}
	}()
	return func() {
		s.Helper()
		ended.Store(true)
		s.must(<-fault)
		s.must(f.Close())
	}
}

// TestModify changes volumes that are published and written to, and their clones.
func TestModify(t *testing.T) {
	s := newStack(t)
	for _, k := range apart {
		t.Run(k.name, func(t *testing.T) {
			s := s.sub(t)
			req := k.request("a")
			req.Parameters = map[string]string{"zfs.compression": "lz4"}
			req.MutableParameters = map[string]string{"zfs.compression": "gzip", "zfs.logbias": "throughput"}
			a := s.create(req)
			s.are(a, map[string]string{"compression": "gzip", "logbias": "throughput"})
			b := s.create(k.cloneRequest("b", a))
			inA := s.publish(a, k)
			stop := s.writing(inA)
			thick := map[string]string{"provisioning": "thick", "zfs.compression": "zstd", "zfs.sync": "always"}
			for range 2 {
				s.must(s.modify(a, thick))
				s.are(a, map[string]string{"compression": "zstd", "sync": "always", "logbias": "throughput"})
				if s.property(a, "refreservation") == "none" {
					t.Errorf("nothing is reserved for a volume that was made thick")
				}
			}
			s.must(s.modify(a, map[string]string{"provisioning": "thin"}))
			s.are(a, map[string]string{"compression": "zstd", "refreservation": "none"})
			stop()
			s.write(inA, "text")
			s.holds(inA, "text")

			// It is the volume of its StorageClass as before, and its clone is as it was.
			s.create(req)
			s.are(b, map[string]string{"sync": "standard", "logbias": "latency"})
			s.must(s.modify(b, thick))
			s.unpublish(a)
			s.delete(a)
			s.are(b, map[string]string{"sync": "always"})
			s.delete(b)
		})
	}
}

// TestModifyMounted: properties of a mounted filesystem hold from then on, and one that a mount
// option hides is put back as it was.
func TestModifyMounted(t *testing.T) {
	s := newStack(t)
	a := s.create(dataset.request("a"))
	path := s.publish(a, dataset)
	accessed := func() time.Time {
		t.Helper()
		var st unix.Stat_t
		s.must(unix.Stat(s.textFile(path), &st))
		return time.Unix(st.Atim.Unix())
	}
	for _, atime := range []string{"off", "on"} {
		s.must(s.modify(a, map[string]string{"zfs.atime": atime, "zfs.relatime": "off"}))
		s.write(path, atime)
		before := accessed()
		s.holds(path, atime)
		if after := accessed(); after.Equal(before) != (atime == "off") {
			t.Errorf("with atime=%s a file was accessed at %v, and after reading it at %v", atime, before, after)
		}
	}
	s.unpublish(a)

	hidden := dataset
	hidden.capability = proto.Clone(dataset.capability).(*csi.VolumeCapability)
	hidden.capability.GetMount().MountFlags = []string{"noatime"}
	s.publish(a, hidden)
	s.are(a, map[string]string{"atime": "off"}) // So says zfs get, though it is on.
	s.shell("zfs", "set", "atime=off", s.parents[0].String())
	s.failing("refreservation=", func() {
		err := s.modify(a, map[string]string{"provisioning": "thick", "zfs.relatime": "on", "zfs.atime": "off"})
		s.code(err, codes.Internal)
	})
	s.unpublish(a)
	s.are(a, map[string]string{"atime": "on", "relatime": "off", "refreservation": "none"})
	s.delete(a)
}

// failing has commands fail, in f, one of whose arguments begins so.
func (s *stack) failing(argument string, f func()) {
	s.Helper()
	s.runner.at(func(c zfs.Command) error {
		for _, a := range c.Args {
			if strings.HasPrefix(a, argument) {
				return errDied
			}
		}
		return nil
	})
	f()
	s.runner.at(nil)
}

// TestModifyRefused: what cannot be changed as a whole is not changed at all, and the error says why.
func TestModifyRefused(t *testing.T) {
	s := newStack(t)
	for _, k := range []kind{dataset, zvol} {
		t.Run(k.name, func(t *testing.T) {
			s := s.sub(t)
			req := k.request("a")
			req.CapacityRange.RequiredBytes = 2 * poolSize
			req.Parameters = map[string]string{"zfs.compression": "lz4"}
			a := s.create(req)
			path := s.publish(a, k)
			stop := s.writing(path)
			for _, c := range []struct {
				key, value string
				code       codes.Code
				words      []string
			}{
				{"provisioning", "thick", codes.ResourceExhausted, []string{a, "refreservation"}},
				{"zfs.volblocksize", "64K", codes.InvalidArgument, []string{"zfs.volblocksize", "compression"}},
				{"zfs.casesensitivity", "mixed", codes.InvalidArgument, []string{"zfs.casesensitivity", "compression"}},
				{"zfs.compression", "zip", codes.InvalidArgument, []string{"zfs.compression", "zip", "lz4"}},
				{"parent", s.parents[0].String(), codes.InvalidArgument, []string{"parent", "provisioning"}},
				{"cloneMode", "copy", codes.InvalidArgument, []string{"cloneMode", "provisioning"}},
			} {
				mutable := map[string]string{"zfs.compression": "zstd", "zfs.sync": "always", "zfs.copies": "2"}
				mutable[c.key] = c.value
				before := s.sources(a)
				s.code(s.modify(a, mutable), c.code, c.words...)
				if after := s.sources(a); after != before {
					t.Errorf("%s=%s was refused, and has left\n%s before it was\n%s", c.key, c.value, after, before)
				}
			}
			stop()
			s.unpublish(a)
			s.delete(a)
		})
	}
	s.code(s.modify("absent", map[string]string{"provisioning": "thin"}), codes.NotFound, "absent")
}

// TestModifyInterrupted: a process that dies between two commands leaves what the repeated call mends.
func TestModifyInterrupted(t *testing.T) {
	s := newStack(t)
	a := s.create(zvol.request("a"))
	var sets atomic.Int64
	s.runner.at(func(c zfs.Command) error {
		if sets.Load() > 1 || c.Args[0] == "set" && sets.Add(1) > 1 {
			return errDied
		}
		return nil
	})
	thick := map[string]string{"provisioning": "thick", "zfs.compression": "zstd"}
	s.code(s.modify(a, thick), codes.Internal, "put back")
	s.runner.at(nil)
	s.are(a, map[string]string{"compression": "zstd", "refreservation": "none"})
	s.restart()
	s.insist("the call succeeds, though the next driver is just taking the change back", func() error { return s.modify(a, thick) }, codes.Aborted)
	s.are(a, map[string]string{"compression": "zstd"})
	if s.property(a, "refreservation") == "none" {
		t.Error("the repeated call reserves nothing")
	}
	s.delete(a)
}

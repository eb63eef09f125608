package csi_test

import (
	"errors"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
)

// TestFullVolume: a volume that its pod has filled is cloned while it is in use, with exactly its size, and so are
// the clone and a snapshot; each holds what it held, and has no room for more.
func TestFullVolume(t *testing.T) {
	s := newStack(t)
	exactly := func(req *csi.CreateVolumeRequest) *csi.CreateVolumeRequest {
		req.CapacityRange.LimitBytes = req.GetCapacityRange().GetRequiredBytes()
		return req
	}
	a := s.create(exactly(dataset.request("a")))
	path := s.publish(a, dataset)
	s.write(path, "text")
	s.fillUp(path + "/rest")
	s.shell("zpool", "sync", s.parents[0].Pool())
	if held := s.number(s.dataset(a), "referenced"); held <= dataset.size {
		t.Fatalf("the volume of %d bytes holds %d: this proves nothing", dataset.size, held)
	}
	b := s.create(exactly(dataset.cloneRequest("b", a)))
	c := s.create(exactly(dataset.cloneRequest("c", b)))
	snapshot := s.take("s", a)
	d := s.create(exactly(dataset.restoreRequest("d", snapshot)))
	e := s.create(exactly(dataset.copyRequest("e", a)))
	again := s.create(exactly(dataset.cloneRequest("b", a)))
	if again != b {
		t.Errorf("asked for again it is %s, not %s", again, b)
	}
	for _, id := range []string{b, c, d, e} {
		got := s.publish(id, dataset)
		s.holds(got, "text")
		if err := os.WriteFile(got+"/more", make([]byte, mib), 0o600); !errors.Is(err, unix.EDQUOT) && !errors.Is(err, unix.ENOSPC) {
			t.Errorf("%s takes more than its size: %v", id, err)
		}
		s.unpublish(id)
	}
	s.unpublish(a)
	s.delete(a, c, b, e)
	s.forget(snapshot)
	s.delete(d)
	s.empty()
}

// fillUp writes to a file until there is no room for more.
func (s *stack) fillUp(path string) {
	s.Helper()
	f, err := os.Create(path)
	s.must(err)
	defer f.Close()
	for block := make([]byte, mib); ; {
		for i := range block {
			block[i] = byte(rand.Uint32()) //nolint:gosec // not for secrets
		}
		if _, err := f.Write(block); err != nil {
			if !errors.Is(err, unix.EDQUOT) && !errors.Is(err, unix.ENOSPC) {
				s.Fatalf("fill the volume: %v", err)
			}
			return
		}
		s.must(f.Sync())
	}
}

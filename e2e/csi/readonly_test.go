package csi_test

import (
	"errors"
	"os"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
)

// TestReadOnly: a volume that is published read-only cannot be written there, while it can be
// at another target. That of a device is marked so, which does not stop root.
func TestReadOnly(t *testing.T) {
	s := newStack(t)
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			s := s.sub(t)
			a := s.create(k.request("a"))
			inA := s.publish(a, k)
			s.write(inA, "text")
			ro := inA + "-ro"
			_, err := s.NodePublishVolume(s.ctx(), &csi.NodePublishVolumeRequest{
				VolumeId: a, StagingTargetPath: s.staging(a), TargetPath: ro, VolumeCapability: k.capability, Readonly: true,
			})
			s.must(err)
			for path, want := range map[string]bool{ro: true, inA: false} {
				var st unix.Statfs_t
				s.must(unix.Statfs(path, &st))
				if got := st.Flags&unix.ST_RDONLY != 0; got != want {
					t.Errorf("%s is read-only: %t, want %t", path, got, want)
				}
			}
			if k.capability.GetBlock() == nil {
				s.refusesWrites(ro)
			}
			s.holds(ro, "text")
			s.write(inA, "later")
			s.holds(ro, "later")
			_, err = s.NodeUnpublishVolume(s.ctx(), &csi.NodeUnpublishVolumeRequest{VolumeId: a, TargetPath: ro})
			s.must(err)
			s.unpublish(a)
			s.delete(a)
		})
	}
}

// refusesWrites checks that a folder takes no change of any kind.
func (s *stack) refusesWrites(dir string) {
	s.Helper()
	text := s.textFile(dir)
	for name, change := range map[string]func() error{
		"write":  func() error { return os.WriteFile(text, []byte("other"), 0o644) },
		"create": func() error { return os.WriteFile(text+"2", nil, 0o644) },
		"remove": func() error { return os.Remove(text) },
		"rename": func() error { return os.Rename(text, text+"2") },
		"chmod":  func() error { return os.Chmod(text, 0o600) },
		"mkdir":  func() error { return os.Mkdir(text+"2", 0o755) },
	} {
		if err := change(); !errors.Is(err, unix.EROFS) {
			s.Errorf("%s in %s: error %v, want %v", name, dir, err, unix.EROFS)
		}
	}
}

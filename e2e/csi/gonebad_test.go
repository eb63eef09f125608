package csi_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"k8s.io/mount-utils"
)

// TestFilesystemGoneBad: the device of a filesystem in use answers with I/O errors, which the filesystem does not get over. Its
// volume can be unpublished and unstaged all the same, and nothing is removed but the target, which is empty. When the
// device is well, so is the volume.
func TestFilesystemGoneBad(t *testing.T) {
	for _, k := range []kind{ext4, xfs} {
		t.Run(k.name, func(t *testing.T) {
			s := newStack(t)
			req := k.request("a")
			// So that a block that is read, or written in part, is read from the pool.
			req.Parameters = map[string]string{"zfs.primarycache": "none"}
			a := s.create(req)
			target, staging := s.publish(a, k), s.staging(a)
			s.write(target, "text")
			beside := filepath.Join(filepath.Dir(target), "beside")
			s.must(os.WriteFile(beside, nil, 0o600))

			snapshot := s.take("s", a)
			heal := s.spoil(s.dataset(a) + "@s")
			s.eventually("the filesystem has gone bad", func() error { return goneBad(target) })
			if _, err := os.Stat(target); k.name == xfs.name && !errors.Is(err, unix.EIO) {
				t.Errorf("the target can be looked at still: %v", err)
			}
			for range 2 {
				_, err := s.NodeUnpublishVolume(s.ctx(), &csi.NodeUnpublishVolumeRequest{VolumeId: a, TargetPath: target})
				s.must(err)
				_, err = s.NodeUnstageVolume(s.ctx(), &csi.NodeUnstageVolumeRequest{VolumeId: a, StagingTargetPath: staging})
				s.must(err)
			}
			s.nothingAt(target, staging)
			if _, err := os.Lstat(target); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the target is still there: %v", err)
			}
			for _, path := range []string{beside, staging} {
				if _, err := os.Lstat(path); err != nil {
					t.Errorf("removed, beside the target: %v", err)
				}
			}

			heal()
			s.holds(s.publish(a, k), "text")
			s.unpublish(a)
			s.forget(snapshot)
			s.delete(a)
		})
	}
}

// goneBad returns nil when nothing can be written to a mounted filesystem for I/O errors.
func goneBad(path string) error {
	f, err := os.Create(filepath.Join(path, "noise"))
	if err == nil {
		_, err = f.Write(content("noise"))
		err = errors.Join(err, f.Sync(), f.Close())
	}
	if errors.Is(err, unix.EIO) {
		return nil
	}
	return errors.Join(errors.New("it works, or fails in another way"), err)
}

// blockInPool matches what zdb tells of a block of data: the number of the pool's device, and the offset there.
var blockInPool = regexp.MustCompile(`(?m)^ *[0-9a-f]+ +L0 0:([0-9a-f]+):`)

// spoil damages each block of a zvol's snapshot in the pool's file, so that they cannot be read, there
// nor in the zvol, until heal is called. What a snapshot has is used for nothing else meanwhile.
func (s *stack) spoil(snapshot string) (heal func()) {
	s.Helper()
	// Where the file has the offset 0: behind two labels and the boot block (VDEV_LABEL_START_SIZE of OpenZFS).
	const start = 4 * mib
	pool := s.parents[0].Pool()
	s.shell("zpool", "sync", pool)
	_, devices, found := strings.Cut(s.shell("zpool", "list", "-HvPo", "name", pool), "\n")
	if !found {
		s.Fatalf("pool %s has no file", pool)
	}
	path := strings.Fields(devices)[0]
	var offsets []int64
	s.eventually("the blocks are found", func() error { // What zdb reads may change meanwhile.
		offsets = nil
		out, err := exec.CommandContext(s.ctx(), "zdb", "-e", "-p", filepath.Dir(path), "-ddddd", snapshot, "1").CombinedOutput()
		for _, match := range blockInPool.FindAllStringSubmatch(string(out), -1) {
			offset, err := strconv.ParseInt(match[1], 16, 64)
			s.must(err)
			offsets = append(offsets, start+offset)
		}
		if err != nil || len(offsets) == 0 {
			return errors.Join(err, fmt.Errorf("zdb says: %s", out))
		}
		return nil
	})
	flip := func() {
		s.Helper()
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		s.must(err)
		for _, offset := range offsets {
			b := []byte{0}
			_, err := f.ReadAt(b, offset)
			s.must(err)
			b[0] = ^b[0]
			_, err = f.WriteAt(b, offset)
			s.must(err)
		}
		s.must(f.Close())
	}
	flip()
	return flip
}

// nothingAt checks that nothing is mounted at the paths.
func (s *stack) nothingAt(paths ...string) {
	s.Helper()
	mounts, err := mount.ListProcMounts("/proc/mounts")
	s.must(err)
	for _, m := range mounts {
		for _, path := range paths {
			if m.Path == path {
				s.Errorf("%s is mounted at %s", m.Device, path)
			}
		}
	}
}

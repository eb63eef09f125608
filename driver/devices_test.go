package driver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/zfs-csi/zfs-csi/zfs"
	"github.com/zfs-csi/zfs-csi/zfs/fake"
)

// devicesStore gives zvols a loop device each.
type devicesStore struct {
	*fake.Store
	t       *testing.T
	dir     string
	devices map[string]string // nodes by dataset
	files   map[string]string
	// atRest, when not nil, is called where a snapshot is taken, be it for a clone. The call fails with its error.
	atRest func() error
}

// attach gives a zvol a device with nothing on it.
func (s *devicesStore) attach(v *zfs.Volume) {
	s.t.Helper()
	file := filepath.Join(s.t.TempDir(), "disk")
	must(s.t, os.WriteFile(file, nil, 0o600))
	must(s.t, os.Truncate(file, v.Size))
	s.attachFile(v, file)
}

// attachFile gives a zvol a device with the bytes of a file.
func (s *devicesStore) attachFile(v *zfs.Volume, file string) {
	s.t.Helper()
	loop := strings.TrimSpace(string(run(s.t, "losetup", "-f", "--show", file)))
	s.t.Cleanup(func() { run(s.t, "losetup", "-d", loop) })
	var st unix.Stat_t
	must(s.t, unix.Stat(loop, &st))
	path := filepath.Join(s.dir, fmt.Sprintf("zd%d", 16*len(s.devices)))
	must(s.t, unix.Mknod(path, unix.S_IFBLK|0o600, int(st.Rdev)))
	s.devices[v.Dataset.String()] = path
	if s.files == nil {
		s.files = map[string]string{}
	}
	s.files[v.Dataset.String()] = file
}

// Device implements zfs.Store.
func (s *devicesStore) Device(ctx context.Context, volume zfs.Dataset) (string, error) {
	if path, has := s.devices[volume.String()]; has {
		return path, nil
	}
	return s.Store.Device(ctx, volume)
}

// Resize implements zfs.Store.
func (s *devicesStore) Resize(ctx context.Context, id zfs.VolumeID, size int64) (*zfs.Volume, error) {
	v, err := s.Store.Resize(ctx, id, size)
	if err == nil && s.files[v.Dataset.String()] != "" {
		must(s.t, os.Truncate(s.files[v.Dataset.String()], v.Size))
		must(s.t, exec.CommandContext(ctx, "losetup", "-c", s.devices[v.Dataset.String()]).Run())
	}
	return v, err
}

// Owner implements zfs.Store.
func (s *devicesStore) Owner(ctx context.Context, device uint64) (zfs.VolumeID, error) {
	if _, err := s.Store.Owner(ctx, device); !errors.Is(err, zfs.ErrNotFound) {
		return zfs.VolumeID{}, err
	}
	for name, node := range s.devices {
		var st unix.Stat_t
		if err := unix.Lstat(node, &st); err != nil {
			return zfs.VolumeID{}, err
		}
		if st.Rdev == device {
			return zfs.ParseVolumeID(zfs.MustParseDataset(name).Leaf())
		}
	}
	return zfs.VolumeID{}, zfs.ErrNotFound
}

// Clone implements zfs.Store.
func (s *devicesStore) Clone(ctx context.Context, id, source zfs.VolumeID, plan zfs.Plan) (*zfs.Volume, error) {
	return s.Store.Clone(ctx, id, source, func(v *zfs.Volume) (zfs.CloneSpec, error) {
		spec, err := plan(v)
		spec.Quiesce = s.watch(spec.Quiesce)
		return spec, err
	})
}

// Take implements zfs.Store.
func (s *devicesStore) Take(ctx context.Context, spec zfs.SnapshotSpec) ([]*zfs.Snapshot, error) {
	quiesce := spec.Quiesce
	spec.Quiesce = func(volumes []*zfs.Volume) (func() error, error) {
		if quiesce == nil {
			return s.watch(nil)()
		}
		return s.watch(func() (func() error, error) { return quiesce(volumes) })()
	}
	return s.Store.Take(ctx, spec)
}

// watch returns a function that calls quiesce, unless that is nil, and then atRest.
func (s *devicesStore) watch(quiesce func() (func() error, error)) func() (func() error, error) {
	return func() (release func() error, err error) {
		release = func() error { return nil }
		if quiesce != nil {
			if release, err = quiesce(); err != nil {
				return nil, err
			}
		}
		if s.atRest != nil {
			if err := s.atRest(); err != nil {
				return nil, errors.Join(err, release())
			}
		}
		return release, nil
	}
}

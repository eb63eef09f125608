package driver

import (
	"context"
	"path/filepath"
	"strings"
	"sync"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/zfs-csi/zfs-csi/zfs"
)

// DeleteVolume implements csi.ControllerServer. It answers OK only for a volume that is
// proven absent, which one is too whose ID no volume can have.
func (d *Driver) DeleteVolume(ctx context.Context, req *csi.DeleteVolumeRequest) (*csi.DeleteVolumeResponse, error) {
	id, err := parseID(req.GetVolumeId())
	if status.Code(err) == codes.NotFound {
		return &csi.DeleteVolumeResponse{}, nil
	}
	if err != nil {
		return nil, err
	}
	return hold(ctx, d, id.String(), nil, func(ctx context.Context) (*csi.DeleteVolumeResponse, error) {
		// The store refuses what is mounted or open, which a device that is published need not be.
		switch path, err := d.devicePublished(ctx, id); {
		case err != nil:
			return nil, err
		case path != "":
			return nil, refuse("volume %q is published at %s; unpublish it first", id, path)
		}
		defer d.listing.forget()
		return &csi.DeleteVolumeResponse{}, d.store.Delete(ctx, id)
	})
}

// devicePublished returns where the device of a raw block volume is shown; "" for nowhere. It asks the devices alone and
// no pool, all at once, since one on a pool that hangs answers late or not at all: that one is another volume's, or busy.
func (d *Driver) devicePublished(ctx context.Context, id zfs.VolumeID) (path string, err error) {
	table, err := d.mountTable()
	if err != nil {
		return "", err
	}
	var mu sync.Mutex
	var asking sync.WaitGroup
	for _, m := range table {
		var st unix.Stat_t
		// Only nodes of that name are looked at: to look at any other mount could hang.
		if m.Root == "/" || !strings.HasPrefix(filepath.Base(m.Root), zvolPrefix) || unix.Lstat(m.Mountpoint, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFBLK {
			continue
		}
		asking.Go(func() {
			if owner, err := d.store.Owner(ctx, st.Rdev); err == nil && owner == id {
				mu.Lock()
				defer mu.Unlock()
				path = m.Mountpoint
			}
		})
	}
	asking.Wait()
	return path, nil
}

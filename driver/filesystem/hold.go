package filesystem

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/zfs-csi/zfs-csi/zfs"
)

// Hold opens a device, which stays open until the file is closed. It tries until ctx ends where that is zfs.ErrRestart, of
// which blkid, mkfs and mount know nothing: blkid takes the device for an empty one. A zvol that is open can be opened by others.
func Hold(ctx context.Context, device string) (*os.File, error) {
	return hold(ctx, func() (*os.File, error) { return os.Open(device) })
}

func hold(ctx context.Context, open func() (*os.File, error)) (*os.File, error) {
	for {
		f, err := open()
		if !errors.Is(err, zfs.ErrRestart) {
			return f, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", err, ctx.Err())
		case <-time.After(zfs.RestartPause):
		}
	}
}

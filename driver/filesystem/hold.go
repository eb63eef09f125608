package filesystem

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// restart is ERESTARTSYS (include/linux/errno.h of the kernel), which no program is to see.
const restart = unix.Errno(512)

// Hold opens a device, which stays open until the file is closed. To open a zvol that nothing has open takes a lock that an
// import of a pool, say, holds for long; where it is not to be had within a second, OpenZFS 2.1 fails with
// ERESTARTSYS (zvol_first_open in module/os/linux/zfs/zvol_os.c), of which blkid, mkfs and mount know nothing:
// blkid takes the device for empty. Hold tries until ctx ends, and then whoever else opens the device needs that lock no more.
func Hold(ctx context.Context, device string) (*os.File, error) {
	return hold(ctx, func() (*os.File, error) { return os.Open(device) })
}

func hold(ctx context.Context, open func() (*os.File, error)) (*os.File, error) {
	for {
		f, err := open()
		if !errors.Is(err, restart) {
			return f, err
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("%w: %w", err, ctx.Err())
		}
	}
}

package driver

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/zfs-csi/zfs-csi/driver/filesystem"
	"github.com/zfs-csi/zfs-csi/zfs"
)

const (
	// thawTimeout is how long the start waits for filesystems to go on.
	thawTimeout = time.Minute
	// thawRetry is how long after a try that failed the next one is made.
	thawRetry = time.Minute
)

// advice tells people what they can do that this process could not.
const advice = "fsfreeze --unfreeze lets one go on"

// thawAtStart lets filesystems on zvols of ours go on that an earlier process left at rest: it
// died between freeze and thaw, and their users hang until somebody does. It is for the start alone:
// what is frozen later is so by a call of ours, or by somebody else, a backup for one, who is in the midst of it.
//
// Each filesystem is let go on by itself, since one on a pool that hangs may hang too. What fails is
// tried again, beside the calls, until it has succeeded once.
func (d *Driver) thawAtStart(ctx context.Context) {
	log := d.config.Log
	table, err := d.mountTable()
	if err != nil {
		log.ErrorContext(ctx, "cannot see which filesystems an earlier process brought to rest; "+advice, "error", err)
		return
	}
	var tried sync.WaitGroup
	for device := range table.onZvols().devices() {
		tried.Add(1)
		once := sync.OnceFunc(tried.Done)
		d.running.Go(func() { d.thawUntilDone(ctx, device, once) })
	}
	all := make(chan struct{})
	go func() {
		defer close(all)
		tried.Wait()
	}()
	timeout := time.NewTimer(thawTimeout)
	defer timeout.Stop()
	select {
	case <-all:
	case <-ctx.Done():
	case <-timeout.C:
		log.ErrorContext(ctx, "filesystems on zvols that an earlier process brought to rest may still be; "+advice, "waited", thawTimeout)
	}
}

// thawUntilDone calls thaw until it has succeeded or ctx ends. It calls tried after each try.
func (d *Driver) thawUntilDone(ctx context.Context, device uint64, tried func()) {
	for {
		err := d.guard(ctx, func() error { return d.thaw(ctx, device) })
		tried()
		if err == nil || ctx.Err() != nil {
			return
		}
		d.config.Log.ErrorContext(ctx, "a filesystem that an earlier process brought to rest may still be; "+advice, "retry", d.thawRetry, "error", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(d.thawRetry):
		}
	}
}

// thaw lets the filesystem on a device go on, if it is that of a volume and nobody wants it at rest. Which zvol the device
// is it asks the device alone, and no pool: another one may be away, or hang.
func (d *Driver) thaw(ctx context.Context, device uint64) error {
	id, err := d.store.Owner(ctx, device)
	if errors.Is(err, zfs.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("see whether a filesystem is ours to thaw: %w", err)
	}
	return d.freezes.unused(device, func() error {
		table, err := d.mountTable()
		if err != nil {
			return err
		}
		if m := table.ofDevice(device); m != nil {
			return d.thawMount(ctx, id, m)
		}
		return nil
	})
}

// thawMount thaws the volume's filesystem if it is frozen. One that has failed is not.
func (d *Driver) thawMount(ctx context.Context, id zfs.VolumeID, m *mountinfo.Info) error {
	dir, err := openRoot(m)
	if err == nil {
		defer unix.Close(dir)
		err = filesystem.Thaw(dir)
	}
	switch {
	case err == nil:
		d.config.Log.WarnContext(ctx, "let a filesystem go on that an earlier process had brought to rest", "volume", id.String(), "mount", m.Mountpoint)
	case !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EIO):
		return fmt.Errorf("thaw the filesystem of volume %q at %s: %w", id, m.Mountpoint, err)
	}
	return nil
}

// onZvols returns the mounts of filesystems on zvols, whoever's they are.
func (t mountTable) onZvols() mountTable {
	var out mountTable
	for _, m := range t {
		isZvol := strings.HasPrefix(m.Source, "/dev/zvol/") || strings.HasPrefix(filepath.Base(m.Source), zvolPrefix)
		if isZvol && (m.FSType == "ext4" || m.FSType == "xfs") {
			out = append(out, m)
		}
	}
	return out
}

// devices returns the device numbers of what is mounted.
func (t mountTable) devices() map[uint64]struct{} {
	out := map[uint64]struct{}{}
	for _, m := range t {
		out[deviceOf(m)] = struct{}{}
	}
	return out
}

// deviceOf returns the number of the device that a mount is of.
func deviceOf(m *mountinfo.Info) uint64 { return unix.Mkdev(uint32(m.Major), uint32(m.Minor)) }

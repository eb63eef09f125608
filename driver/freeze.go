package driver

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/zfs-csi/zfs-csi/driver/filesystem"
	"github.com/zfs-csi/zfs-csi/zfs"
)

// restShared is for how long after a filesystem came to rest a clone may still join in. ZFS takes one snapshot of a
// dataset per transaction group, so that those of many clones queue, and with ever new ones the rest would never end.
const restShared = time.Second

// freezes are the filesystems on zvols that are at rest, by device number. The zero
// value is none.
type freezes struct {
	mu sync.Mutex
	// held keeps an entry for each device ever frozen: they are few, and one that came and
	// went could be frozen anew while it is still being thawed.
	held map[uint64]*freeze
}

// freeze is one filesystem, which is at rest as long as it has users.
type freeze struct {
	mu    sync.Mutex
	users int
	// dir is the open root of the filesystem; -1 when it is not ours to thaw.
	dir int
	// since is when it had come to rest, and ended is closed when it goes on.
	since time.Time
	ended chan struct{}
}

// quiesce returns the function that brings the filesystem on a zvol to rest while its
// snapshot is taken, and which returns the function that lets it go on. It is nil
// where there is nothing to bring to rest: ZFS takes the snapshot of a dataset at one
// moment, and what is on a raw zvol only its user knows.
//
// Clones that are made of one source at the same time share one rest; those that come late wait for the next, at most
// until ctx ends.
func (d *Driver) quiesce(ctx context.Context, source *zfs.Volume) func() (func() error, error) {
	if source.Kind != zfs.Block || source.FSType == "" {
		return nil
	}
	return func() (func() error, error) {
		h, err := d.holdingOf(ctx, source)
		if err != nil {
			return nil, err
		}
		return d.freezes.take(ctx, h.stat.Rdev, d.restShared, func() (int, error) { return d.freeze(ctx, h) })
	}
}

// take counts one more user of a device's rest, which is shared for so long, and for the first of whom it calls freezeIt.
// The function that it returns counts one less, and thaws after the last.
func (f *freezes) take(ctx context.Context, device uint64, shared time.Duration, freezeIt func() (int, error)) (func() error, error) {
	entry := f.entry(device)
	entry.mu.Lock()
	defer entry.mu.Unlock()
	for entry.late(shared) {
		if err := entry.wait(ctx); err != nil {
			return nil, err
		}
	}
	if entry.users == 0 {
		dir, err := freezeIt()
		if err != nil {
			return nil, err
		}
		entry.dir, entry.since, entry.ended = dir, time.Now(), make(chan struct{})
	}
	entry.users++
	return sync.OnceValue(entry.release), nil
}

// unused calls thaw for a device that no one wants at rest.
func (f *freezes) unused(device uint64, thaw func() error) error {
	entry := f.entry(device)
	entry.mu.Lock()
	defer entry.mu.Unlock()
	if entry.users > 0 {
		return nil
	}
	return thaw()
}

func (f *freezes) entry(device uint64) *freeze {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.held == nil {
		f.held = map[uint64]*freeze{}
	}
	if f.held[device] == nil {
		f.held[device] = &freeze{}
	}
	return f.held[device]
}

// late tells whether it is too late to share the rest. Where nothing is to be thawed, nobody waits for that.
func (f *freeze) late(shared time.Duration) bool {
	return f.users > 0 && f.dir >= 0 && time.Since(f.since) > shared
}

// wait waits until the rest has ended, without mu, which it has again when it returns.
func (f *freeze) wait(ctx context.Context) error {
	ended := f.ended
	f.mu.Unlock()
	defer f.mu.Lock()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the filesystem to go on: %w", ctx.Err())
	}
}

// release counts one user less, and thaws after the last.
func (f *freeze) release() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.users--
	if f.users > 0 {
		return nil
	}
	defer close(f.ended)
	if f.dir < 0 {
		return nil
	}
	defer unix.Close(f.dir)
	if err := filesystem.Thaw(f.dir); err != nil && !errors.Is(err, unix.EINVAL) { // EINVAL: somebody thawed it.
		return fmt.Errorf("let the filesystem go on: %w", err)
	}
	return nil
}

// freeze brings the volume's filesystem to rest, wherever it is mounted, and returns its
// open root. It returns -1 where there is nothing to thaw afterwards: it is not mounted; or
// somebody else has it frozen; or it has failed (EIO) and writes nothing any more,
// and a clone of what it left is all there is to save.
func (d *Driver) freeze(ctx context.Context, h holding) (int, error) {
	table, err := d.mountTable()
	if err != nil {
		return -1, err
	}
	m := table.ofDevice(h.stat.Rdev)
	if m == nil {
		return -1, nil
	}
	dir, err := openRoot(m)
	if err == nil {
		if err = filesystem.Freeze(dir); err == nil {
			return dir, nil
		}
		unix.Close(dir)
	}
	if errors.Is(err, unix.EBUSY) {
		return -1, nil
	}
	if errors.Is(err, unix.EIO) {
		d.config.Log.WarnContext(ctx, "the filesystem has failed and is cloned as it is", "volume", h.volume.ID.String(), "mount", m.Mountpoint)
		return -1, nil
	}
	return -1, fmt.Errorf("freeze the filesystem of volume %q at %s: %w", h.volume.ID, m.Mountpoint, err)
}

// ofDevice returns a mount of the filesystem on a device that can be reached by its path; nil for none.
func (t mountTable) ofDevice(device uint64) *mountinfo.Info {
	for _, m := range t {
		if deviceOf(m) == device && m.Root == "/" && t.at(m.Mountpoint) == m {
			return m
		}
	}
	return nil
}

// openRoot opens the root of a mounted filesystem, and makes sure that it is the one meant.
func openRoot(m *mountinfo.Info) (int, error) {
	dir, err := unix.Open(m.Mountpoint, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	var st unix.Stat_t
	err = unix.Fstat(dir, &st)
	if err == nil && st.Dev != deviceOf(m) {
		err = fmt.Errorf("another filesystem is mounted there")
	}
	if err != nil {
		unix.Close(dir)
		return -1, err
	}
	return dir, nil
}

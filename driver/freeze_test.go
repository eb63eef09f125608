package driver

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/zfs-csi/zfs-csi/driver/filesystem"
	"github.com/zfs-csi/zfs-csi/zfs"
)

// frozen tells whether a filesystem is at rest, by trying to bring it there.
func frozen(t *testing.T, path string) bool {
	t.Helper()
	dir, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	must(t, err)
	defer unix.Close(dir)
	err = filesystem.Freeze(dir)
	if errors.Is(err, unix.EBUSY) {
		return true
	}
	must(t, err)
	must(t, filesystem.Thaw(dir))
	return false
}

// shutDown has a filesystem fail, as after an error of its device.
func shutDown(t *testing.T, path string) {
	t.Helper()
	dir, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	must(t, err)
	defer unix.Close(dir)
	var noLogFlush uint32 = 2
	// _IOR('X', 125, __u32) of both filesystems.
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(dir), 0x8004587d, uintptr(unsafe.Pointer(&noLogFlush))); errno != 0 {
		t.Fatal(errno)
	}
}

func TestQuiesce(t *testing.T) {
	eachType(t, func(n *node, u use) {
		n.restShared = callTime
		v := n.volume("v", u, 512*mib)
		staging := n.folder("staging")
		quiesce := n.quiesce(n.context(), v)

		release, err := quiesce()
		must(n.T, err)
		must(n.T, release()) // It is not mounted.

		must(n.T, n.stage("v", staging, mountCapability("", multiWriter)))
		first, err := quiesce()
		must(n.T, err)
		second, err := quiesce()
		must(n.T, err)
		if !frozen(n.T, staging) {
			n.Error("the filesystem is not at rest")
		}
		must(n.T, first())
		must(n.T, first()) // Counts once.
		if !frozen(n.T, staging) {
			n.Error("the filesystem goes on while one clone is still being made")
		}
		n.thawAtStart(n.context())
		if !frozen(n.T, staging) {
			n.Error("the filesystem was let go on at the start of the driver, while a clone is being made")
		}
		must(n.T, second())
		if frozen(n.T, staging) {
			n.Error("the filesystem is still at rest")
		}

		// Frozen by somebody else: that serves, and is not ours to end.
		dir, err := unix.Open(staging, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		must(n.T, err)
		defer unix.Close(dir)
		must(n.T, filesystem.Freeze(dir))
		release, err = quiesce()
		must(n.T, err)
		must(n.T, release())
		if !frozen(n.T, staging) {
			n.Error("what somebody else froze was thawed")
		}
		// Unless we start: then it may have been ours.
		n.thawAtStart(n.context())
		if frozen(n.T, staging) {
			n.Error("a filesystem was left at rest at the start")
		}
	})
}

// age has what is at rest have come to it too long ago to be shared.
func (n *node) age() {
	n.freezes.mu.Lock()
	defer n.freezes.mu.Unlock()
	for _, entry := range n.freezes.held {
		entry.mu.Lock()
		entry.since = entry.since.Add(-2 * n.restShared)
		entry.mu.Unlock()
	}
}

// A filesystem goes on although ever new clones of it are made: who comes late waits until it has, and shares the next rest.
func TestQuiesceLate(t *testing.T) {
	eachType(t, func(n *node, u use) {
		n.restShared = callTime
		v, path := n.volume("v", u, 512*mib), n.folder("staging")
		must(n.T, n.stage("v", path, mountCapability("", multiWriter)))
		file, err := os.Create(filepath.Join(path, "file"))
		must(n.T, err)
		defer file.Close()
		first, err := n.quiesce(n.context(), v)()
		must(n.T, err)
		n.age()
		written := make(chan error, 1)
		go func() {
			_, err := file.WriteString("text")
			written <- err
		}()
		late := make(chan func() error, 2)
		for range cap(late) {
			go func() {
				release, err := n.quiesce(n.context(), v)()
				if err != nil {
					n.Error(err)
					release = func() error { return nil }
				}
				late <- release
			}()
		}
		ctx, cancel := context.WithTimeout(n.context(), 250*time.Millisecond)
		defer cancel()
		release, err := n.quiesce(ctx, v)()
		if err == nil {
			must(n.T, release())
		}
		if !errors.Is(err, context.DeadlineExceeded) || len(late) > 0 || len(written) > 0 {
			n.Errorf("with a rest that is over: %v when its time is, %d others share it, and %d writes are done", err, len(late), len(written))
		}
		must(n.T, first())
		select {
		case err := <-written:
			must(n.T, err)
		case <-time.After(callTime):
			n.Error("the filesystem does not go on")
		}
		for range cap(late) {
			release := <-late
			if !frozen(n.T, path) {
				n.Error("those who waited do not share a rest")
			}
			defer func() { must(n.T, release()) }()
		}
	})
}

// A group that has to wait for the rest of one volume has none at rest meanwhile that another one could wait for.
func TestQuiesceGroupLate(t *testing.T) {
	eachType(t, func(n *node, u use) {
		a, b := n.volume("a", u, 320*mib), n.volume("b", u, 320*mib)
		for _, v := range []*zfs.Volume{a, b} {
			must(n.T, n.stage(v.ID.String(), n.folder(v.ID.String()), mountCapability("", multiWriter)))
		}
		first, err := n.quiesce(n.context(), a)()
		must(n.T, err)
		n.age()
		ctx, cancel := context.WithTimeout(n.context(), 500*time.Millisecond)
		defer cancel()
		done := make(chan error, 1)
		go func() {
			release, err := n.quiesceAll(ctx, []*zfs.Volume{b, a})
			if err == nil {
				err = release()
			}
			done <- err
		}()
		for waits := true; waits; {
			select {
			case err := <-done:
				if waits = false; !errors.Is(err, context.DeadlineExceeded) {
					n.Error(err)
				}
			case <-time.After(time.Millisecond): // between two looks
				if frozen(n.T, filepath.Join(n.dir, "b")) {
					n.Error("the second volume is at rest while the first is waited for")
				}
			}
		}
		must(n.T, first())
	})
}

func TestQuiesceNothing(t *testing.T) {
	n := newArguments(t)
	v := n.volume("w", dataset, gib)
	if n.quiesce(n.context(), v) != nil {
		t.Error("a dataset needs no rest")
	}
	n.thawAtStart(n.context())
}

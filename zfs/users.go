package zfs

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

const (
	// lookWait is how long the open files of processes are looked through.
	lookWait = 30 * time.Second
	// maxLooks is how many looks there are at the same time. None hangs as far as is known, and
	// if one did it could not be ended.
	maxLooks = 4
)

// users returns where a dataset or zvol is in use, for people: each mount in any
// mount namespace this process can see, what the kernel itself has on the device, and each process that has it open, as far
// as there is time to look; and whether there is one among them that is not left by itself: a mount, or the kernel's.
func (l *Local) users(ctx context.Context, dataset string) (out []string, stays bool) {
	number := l.devices.known(ctx, dataset)
	ctx, cancel := context.WithTimeout(ctx, lookWait)
	defer cancel()
	out, mounted := mountedIn("/proc", dataset, number)
	kernels := heldIn("/sys/dev/block", "/proc/swaps", number)
	out = append(out, kernels...)
	return append(out, l.openedBy(ctx, "/proc", number)...), mounted || len(kernels) > 0
}

// heldIn returns what is made of the block device of that number, unless it is 0, such as a volume of LVM, and whether the
// kernel swaps to it; no process need have it open for that.
func heldIn(sys, swaps string, number uint64) (out []string) {
	if number == 0 {
		return nil
	}
	device := filepath.Join(sys, fmt.Sprintf("%d:%d", unix.Major(number), unix.Minor(number)))
	for _, at := range []string{"holders", "*/holders"} { // of a partition too
		holders, _ := filepath.Glob(filepath.Join(device, at, "*"))
		for _, holder := range holders {
			out = append(out, "held by the block device "+filepath.Base(holder))
		}
	}
	text, _ := os.ReadFile(swaps)
	for line := range strings.Lines(string(text)) {
		path, _, _ := strings.Cut(line, " ")
		if isNode(path, number) {
			out = append(out, "swapped to")
		}
	}
	return out
}

// mountedIn returns the mounts of a dataset, and of a filesystem on the block device of that number unless
// it is 0, that a /proc shows; one that this process does not have with another that has it. Mounts that cannot be read
// count as a user: perhaps there is one among them.
func mountedIn(proc, dataset string, number uint64) (out []string, mounted bool) {
	seen := map[string]bool{}
	self := filepath.Join(proc, "self")
	for _, process := range append([]string{self}, processes(proc)...) {
		found, err := mounts(process, dataset, number)
		mounted = mounted || len(found) > 0
		if err != nil {
			found = append(found, fmt.Sprintf("perhaps mounted (the mounts cannot be read: %v)", err))
		}
		for _, where := range found {
			if seen[where] {
				continue // Most processes share their mounts.
			}
			seen[where] = true
			if process != self {
				where += " in the mount namespace of " + nameOf(process)
			}
			out = append(out, where)
		}
	}
	return out, mounted
}

func processes(proc string) []string {
	found, _ := filepath.Glob(filepath.Join(proc, "[0-9]*"))
	return found
}

// nameOf returns a process's number and name, for people.
func nameOf(process string) string {
	name, _ := os.ReadFile(filepath.Join(process, "comm"))
	return fmt.Sprintf("process %s (%s)", filepath.Base(process), strings.TrimSpace(string(name)))
}

// mounts returns the mount points of a dataset, or of a filesystem on the device of
// that number, in a process's mount namespace; with an error those before the fault.
func mounts(process, dataset string, number uint64) (out []string, err error) {
	f, err := os.Open(filepath.Join(process, "mountinfo"))
	if err != nil {
		return nil, nil //nolint:nilerr // The process has ended, or is none of ours to see.
	}
	defer f.Close()
	_, err = mountinfo.GetMountsFromReader(f, func(m *mountinfo.Info) (skip, stop bool) {
		device := unix.Mkdev(uint32(m.Major), uint32(m.Minor))
		if m.FSType == "zfs" && m.Source == dataset || number != 0 && device == number {
			out = append(out, "mounted at "+m.Mountpoint)
		}
		return true, false
	})
	return out, err
}

// openedBy returns the processes that have the block device of that number open, unless it is 0, that a
// /proc shows. When ctx ends first it returns none, which proves nothing.
func (l *Local) openedBy(ctx context.Context, proc string, number uint64) []string {
	if number == 0 {
		return nil
	}
	select {
	case l.looks <- struct{}{}:
	case <-ctx.Done():
		return nil
	}
	found := make(chan []string, 1)
	go func() {
		defer func() { <-l.looks }()
		var out []string
		for _, process := range processes(proc) {
			out = append(out, opens(ctx, process, number)...)
		}
		found <- out
	}()
	select {
	case out := <-found:
		return out
	case <-ctx.Done():
		return nil
	}
}

// opens tells whether a process has the block device of that number open.
func opens(ctx context.Context, process string, number uint64) []string {
	descriptors, _ := filepath.Glob(filepath.Join(process, "fd", "*"))
	for _, d := range descriptors {
		if ctx.Err() != nil {
			return nil
		}
		if isDevice(d, number) {
			return []string{"open in " + nameOf(process)}
		}
	}
	return nil
}

// isDevice tells whether an open file of a process is the block device of that number. A node
// of it may be anywhere, under any name, so each file that has a path is asked for its type, and for no more, by what
// its kernel knows already: a file server that is gone would never answer, and FUSE neither.
func isDevice(descriptor string, number uint64) bool {
	if path, err := os.Readlink(descriptor); err != nil || !strings.HasPrefix(path, "/") {
		return false // It is a socket, a pipe or the like.
	}
	return isNode(descriptor, number)
}

// isNode tells whether a path leads to a node of the block device of that number.
func isNode(path string, number uint64) bool {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_STATX_DONT_SYNC, unix.STATX_TYPE, &st)
	return err == nil && st.Mode&unix.S_IFMT == unix.S_IFBLK && unix.Mkdev(st.Rdev_major, st.Rdev_minor) == number
}

package zfs

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// users returns where a dataset or zvol is in use, for people: each mount in any
// mount namespace this process can see, and each process that has the device open;
// and whether there is a mount among them.
func (l *Local) users(ctx context.Context, dataset string) (out []string, mounted bool) {
	return usersIn("/proc", dataset, l.devices.known(ctx, dataset))
}

// usersIn returns the users of a dataset, and of the block device of that number unless
// it is 0, that a /proc shows. Mounts that cannot be read count as a user: perhaps
// there is one among them.
func usersIn(proc, dataset string, number uint64) (out []string, mounted bool) {
	seen := map[string]bool{}
	processes, _ := filepath.Glob(filepath.Join(proc, "[0-9]*"))
	for _, process := range processes {
		found, err := mounts(process, dataset, number)
		mounted = mounted || len(found) > 0
		if err != nil {
			// Without the process: all that share its mounts say the same.
			found = append(found, fmt.Sprintf("perhaps mounted: the mounts of a process cannot be read: %v", err))
		}
		for _, where := range append(found, opens(process, number)...) {
			if !seen[where] {
				seen[where] = true
				out = append(out, where)
			}
		}
	}
	return out, mounted
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

// opens tells whether a process has the block device of that number open.
func opens(process string, number uint64) []string {
	if number == 0 {
		return nil
	}
	descriptors, _ := filepath.Glob(filepath.Join(process, "fd", "*"))
	for _, d := range descriptors {
		var st unix.Stat_t
		if unix.Stat(d, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFBLK && st.Rdev == number {
			name, _ := os.ReadFile(filepath.Join(process, "comm"))
			return []string{fmt.Sprintf("open in process %s (%s)", filepath.Base(process), strings.TrimSpace(string(name)))}
		}
	}
	return nil
}

package zfs

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// users returns where a dataset or zvol is in use, for people: each mount in any
// mount namespace this process can see, and each process that has the device open;
// and whether there is a mount among them.
func (l *Local) users(dataset string) (out []string, mounted bool) {
	number := l.devices.known(dataset)
	seen := map[string]bool{}
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, process := range processes {
		mountedAt := mounts(process, dataset, number)
		mounted = mounted || len(mountedAt) > 0
		for _, where := range append(mountedAt, opens(process, number)...) {
			if !seen[where] {
				seen[where] = true
				out = append(out, where)
			}
		}
	}
	return out, mounted
}

// mounts returns the mount points of a dataset, or of a filesystem on the device of
// that number, in a process's mount namespace; see proc_pid_mountinfo(5).
func mounts(process, dataset string, number uint64) []string {
	f, err := os.Open(filepath.Join(process, "mountinfo"))
	if err != nil {
		return nil // The process has ended, or is none of ours to see.
	}
	defer f.Close()
	device := fmt.Sprintf("%d:%d", unix.Major(number), unix.Minor(number))
	var out []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		_, after, found := strings.Cut(lines.Text(), " - ")
		if !found || len(fields) < 5 {
			continue
		}
		source := strings.Fields(after)
		if len(source) >= 2 && source[0] == "zfs" && source[1] == dataset || number != 0 && fields[2] == device {
			out = append(out, "mounted at "+fields[4])
		}
	}
	return out
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

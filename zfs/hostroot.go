package zfs

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// toolFolders are where another system than this one may keep its tools; NixOS has them in the last.
var toolFolders = []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin", "/run/current-system/sw/bin"}

// Find returns the path of a tool, as seen from Root where that is set.
func (e Exec) Find(name string) (string, error) {
	if e.Root == "" {
		return exec.LookPath(name)
	}
	root, err := unix.Open(e.Root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("find %s in the root %q: %w", name, e.Root, err)
	}
	defer func() { _ = unix.Close(root) }() // It was opened only to look below it.
	for _, folder := range toolFolders {
		path := folder + "/" + name
		found, err := isProgram(root, path)
		if err != nil {
			return "", fmt.Errorf("find %s in the root %q: look at %s: %w", name, e.Root, path, err)
		}
		if found {
			return path, nil
		}
	}
	return "", fmt.Errorf("find %s in the root %q: it is in none of %s there", name, e.Root, strings.Join(toolFolders, ", "))
}

// isProgram tells whether a path is an executable file. Its links mean what they mean
// to a process with that root.
func isProgram(root int, path string) (bool, error) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT}
	file, err := unix.Openat2(root, path, &how)
	for errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) { // Something on the way was just renamed.
		file, err = unix.Openat2(root, path, &how)
	}
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { _ = unix.Close(file) }()
	var st unix.Stat_t
	if err := unix.Fstat(file, &st); err != nil {
		return false, err
	}
	return st.Mode&unix.S_IFMT == unix.S_IFREG && st.Mode&0o111 != 0, nil
}

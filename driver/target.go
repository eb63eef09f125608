package driver

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// parsePath checks a path from the caller: absolute, in its shortest form, and not the root.
func parsePath(field, path string) (string, error) {
	switch {
	case path == "":
		return "", fmt.Errorf("%s is missing", field)
	case !filepath.IsAbs(path):
		return "", fmt.Errorf("%s %q is not an absolute path", field, path)
	case filepath.Clean(path) != path || path == "/" || strings.ContainsAny(path, "\x00\n"):
		return "", fmt.Errorf("%s %q is not a path in its plain form", field, path)
	}
	return path, nil
}

// locate returns the path as the mount table has it: with no symbolic link on the way.
// The last component is not looked at, for what is mounted there may have gone bad.
func locate(path string) (string, error) {
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, filepath.Base(path)), nil
}

// onNode is the lock of what the node does with a volume, beside the volume's own: a
// volume that is copied to a clone for hours can still be published and unpublished.
func onNode(volumeID string) string { return volumeID + " on this node" }

// makeTarget makes the place for a mount: a folder, or an empty file for a device. It
// tells whether there was none before. A folder that holds something is refused, since
// a mount would hide it.
func makeTarget(path string, folder bool) (made bool, err error) {
	if folder {
		err = os.Mkdir(path, 0o750)
	} else {
		var f *os.File
		if f, err = os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o640); err == nil {
			err = f.Close()
		}
	}
	if !errors.Is(err, fs.ErrExist) {
		return err == nil, err
	}
	info, err := os.Lstat(path)
	if err != nil {
		return false, err
	}
	if folder && info.IsDir() {
		entries, err := os.ReadDir(path)
		if err == nil && len(entries) > 0 {
			err = refuse("folder %s is not empty (%s): a mount would hide what is in it; move it away first", path, entries[0].Name())
		}
		return false, err
	}
	if !folder && info.Mode().IsRegular() && info.Size() == 0 {
		return false, nil
	}
	return false, refuse("there is something else at %s already (%s); move it away first", path, info.Mode())
}

// removeTarget removes the folder or file that a mount was on; one that is not there is no error.
// It removes this one node and nothing in it, and only a folder or file that is empty.
func removeTarget(path string) error {
	err := unix.Rmdir(path)
	if errors.Is(err, unix.ENOTDIR) {
		var info fs.FileInfo
		if info, err = os.Lstat(path); err == nil && (!info.Mode().IsRegular() || info.Size() > 0) {
			return refuse("there is something at %s that no publish made (%s, %d bytes); nothing was removed", path, info.Mode(), info.Size())
		}
		if err == nil {
			err = unix.Unlink(path)
		}
	}
	switch {
	case err == nil, errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, unix.ENOTEMPTY), errors.Is(err, unix.EEXIST):
		return refuse("folder %s is not empty, though nothing is mounted there; nothing was removed: see what it holds and move it away", path)
	}
	return fmt.Errorf("remove %s: %w", path, err)
}

// unmountAll takes every mount off a path, the topmost first, and looks through none of them.
func (d *Driver) unmountAll(path string) error {
	for range maxStack {
		table, err := d.mountTable()
		if err != nil {
			return err
		}
		if table.at(path) == nil {
			return nil
		}
		// Snapshots that someone looked into below .zfs are mounts of their own.
		for _, m := range table {
			if m.FSType == "zfs" && strings.HasPrefix(m.Mountpoint, path+"/.zfs/snapshot/") {
				_ = d.config.Mounter.Unmount(m.Mountpoint) // Where it stays, the next fails and tells.
			}
		}
		err = d.config.Mounter.Unmount(path)
		if errors.Is(err, unix.EBUSY) {
			return refuse("the mount at %s is in use: a process has files open in it, or something is mounted below it (%v)", path, err)
		}
		if err != nil {
			return err
		}
	}
	return fmt.Errorf("%s has a mount still after %d were taken off", path, maxStack)
}

// maxStack is how many mounts are taken off one path.
const maxStack = 100

// refuse returns a FAILED_PRECONDITION.
func refuse(format string, args ...any) error {
	return status.Errorf(codes.FailedPrecondition, format, args...)
}

// contradicts returns an ALREADY_EXISTS.
func contradicts(format string, args ...any) error {
	return status.Errorf(codes.AlreadyExists, format, args...)
}

package zfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// PoolFile is a pool in one file of this machine, for where there is no other pool.
//
// What is at Path is always a whole pool: it is made in a file beside it, which gets its name when it is done. So
// nothing that is at Path is ever written to but by ZFS, and what a power failure leaves beside it holds nothing.
//
// It is made once. A file that is gone, since what it lies on is not mounted, say, is not made again: another pool of
// the name, and a parent in it, would prove that no volume has ever been.
type PoolFile struct {
	Runner Runner
	// Path of the file. The kernel opens it by this path, from the root of the machine: in a container its folder has
	// to be at the same path as on the machine.
	Path string
	// Size of the file in bytes, when it is made. It is sparse.
	Size int64
	// Pool is the name of the pool.
	Pool string
	// NoteDir is a folder that lasts, in which it is noted which pool was made. It is there also when what Path lies on is not.
	NoteDir string
}

// PoolChange tells what Ensure did.
type PoolChange int

// What Ensure did.
const (
	// PoolUnchanged: the pool was imported before.
	PoolUnchanged PoolChange = iota + 1
	// PoolImported: the file was there, and its pool is imported now.
	PoolImported
	// PoolCreated: the file and its pool are new.
	PoolCreated
)

// listPatience is how long a list of the pools may take, one of which may hang.
const listPatience = 30 * time.Second

// unfinished ends the name of the file in which a pool is being made.
const unfinished = ".zfs-csi-unfinished"

// Ensure imports the pool in the file, or makes both where there has never been one. Done again it changes nothing, and
// where it was cut off, it begins anew or goes on.
//
// A pool of that name in the file is taken, whoever made it, where nothing is noted: the note may be lost, or the disk be another machine's.
//
// Errors: ErrNotOurs when a pool of that name is imported from elsewhere, or when the file is there and does not hold a pool
// of that name, or not the one that was made; ErrInvalid when the file, or the note, cannot be where it is to be; ErrNoSpace when the file could
// outgrow what it lies on; ErrBusy when another process is at it; ErrUnavailable, also when the file is gone.
func (p PoolFile) Ensure(ctx context.Context) (PoolChange, error) {
	change, err := p.ensure(ctx)
	if err != nil {
		return 0, fmt.Errorf("pool %s in the file %s: %w", p.Pool, p.Path, err)
	}
	return change, nil
}

// CheckPlaces returns ErrInvalid where the file, or the note, cannot be where it is to be, on whatever machine.
func (p PoolFile) CheckPlaces() error {
	if !filepath.IsAbs(p.Path) || filepath.Clean(p.Path) != p.Path {
		return fmt.Errorf("%w: the pool's file %q is not named by an absolute and plain path", ErrInvalid, p.Path)
	}
	folder := filepath.Dir(p.Path)
	if p.NoteDir == "" || folder != "/" && strings.HasPrefix(filepath.Clean(p.NoteDir)+"/", folder+"/") {
		return fmt.Errorf("%w: which pool was made is noted in %q, which would be away together with the file's own folder %s; choose another folder for that",
			ErrInvalid, p.NoteDir, folder)
	}
	return nil
}

func (p PoolFile) ensure(ctx context.Context) (PoolChange, error) {
	if err := p.CheckPlaces(); err != nil {
		return 0, err
	}
	unlock, err := p.lock()
	if err != nil {
		return 0, err
	}
	defer unlock()
	noted, err := p.noted()
	if err != nil {
		return 0, err
	}
	imported, err := p.imported(ctx)
	if err != nil {
		return 0, err
	}
	if imported != "" && imported == noted {
		return PoolUnchanged, nil // However it is: that is for the calls to say.
	}
	if err := p.checkFolder(); err != nil {
		return 0, err
	}
	label, err := readLabel(ctx, p.Runner, p.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if label, err = p.make(ctx, imported, noted); err != nil {
			return 0, err
		}
		return PoolCreated, p.load(ctx, label)
	case err != nil:
		return 0, err
	case noted != "" && noted != label.guid:
		return 0, fmt.Errorf("%w: the file holds another pool (GUID %s) than the one that was made here (GUID %s); "+
			"if it is to be used from now on, remove %s", ErrNotOurs, label.guid, noted, p.note())
	case imported != "" && imported != label.guid:
		return 0, p.elsewhere(imported)
	}
	change := PoolUnchanged
	if imported == "" {
		change = PoolImported
		if err := p.load(ctx, label); err != nil {
			return 0, err
		}
	}
	return change, p.remember(label)
}

// lock makes this process the only one that is at the files of the folder. A process that ends gives the lock back.
func (p PoolFile) lock() (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(p.Path), 0o700); err != nil {
		return nil, err
	}
	folder, err := os.Open(filepath.Dir(p.Path))
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(folder.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = folder.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: another process is making or importing a pool in this folder; try again when it has ended", ErrBusy)
		}
		return nil, fmt.Errorf("lock its folder: %w", err)
	}
	return func() {
		// To close it would not do: a command that another goroutine starts just now holds it too, for a moment.
		_ = unix.Flock(int(folder.Fd()), unix.LOCK_UN)
		_ = folder.Close()
	}, nil
}

// imported returns the GUID of the imported pool of that name; "" when there is none.
func (p PoolFile) imported(ctx context.Context) (string, error) {
	// Without a name, so that "there is none" is an answer and not an error.
	command := Command{Name: "zpool", Args: []string{"list", "-Hp", "-o", "name,guid"}}
	ctx, cancel := context.WithTimeout(ctx, listPatience)
	defer cancel()
	result, err := p.Runner.Run(ctx, command)
	if err != nil {
		return "", err
	}
	if err := result.fault(command); err != nil {
		return "", err
	}
	for line := range strings.Lines(string(result.Stdout)) {
		name, guid, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if !ok {
			return "", fmt.Errorf("%s: cannot understand %q", command, line)
		}
		if name == p.Pool {
			return guid, nil
		}
	}
	return "", nil
}

// make makes the file with a pool in it, which then is not imported. What is imported under the pool's name is the
// unfinished pool of an earlier call, or nothing. What is noted is one that has only its file's name still to get, or
// one whose file is gone.
func (p PoolFile) make(ctx context.Context, imported, noted string) (poolLabel, error) {
	draft := p.Path + unfinished
	label, err := readLabel(ctx, p.Runner, draft)
	switch {
	case noted != "" && (err != nil || label.guid != noted):
		return label, fmt.Errorf("%w: the file is gone, in which this pool was made (GUID %s); is what it lies on mounted? (Was it mounted after a pod of "+
			"this driver was started, restart that.) No other is made in its place, which would pass for it without its volumes; if they are lost for good, remove %s", ErrUnavailable, noted, p.note())
	case imported != "" && (err != nil || label.guid != imported):
		return label, p.elsewhere(imported)
	case noted == "" && imported == "":
		if err := p.makeFile(draft); err != nil {
			return label, err
		}
		if err := p.zpool(ctx, "create", createArgs(p.Pool, draft)...); err != nil {
			return label, err
		}
		if label, err = readLabel(ctx, p.Runner, draft); err != nil {
			return label, err
		}
		imported = label.guid
	}
	if imported != "" {
		if err := p.zpool(ctx, "export", p.Pool); err != nil {
			return label, err
		}
	}
	if err := p.remember(label); err != nil {
		return label, err
	}
	if err := os.Rename(draft, p.Path); err != nil {
		return label, err
	}
	return label, syncFolder(p.Path)
}

// createArgs are those of zpool create. The pool remembers nothing outside of itself (cachefile), its file shrinks again as
// volumes are deleted (autotrim), and it mounts nothing by itself. The rest is what volumes of containers are best made with.
func createArgs(pool, file string) []string {
	args := []string{"-o", "cachefile=none", "-o", "ashift=12", "-o", "autotrim=on"}
	for _, property := range []string{"mountpoint=none", "canmount=off", "compression=lz4", "atime=off", "xattr=sa", "acltype=posix"} {
		args = append(args, "-O", property)
	}
	return append(args, pool, file)
}

// load imports the pool in the file, which has the label.
func (p PoolFile) load(ctx context.Context, label poolLabel) error {
	if err := label.check(p.Pool); err != nil {
		return err
	}
	// By its GUID, which no other pool has. The host ID in the label is not looked at (-f): the file is this machine's
	// own, but a container may tell another ID than the kernel that wrote the label.
	return p.zpool(ctx, "import", "-N", "-f", "-d", p.Path, "-o", "cachefile=none", label.guid)
}

// zpool runs a zpool command that changes something.
func (p PoolFile) zpool(ctx context.Context, verb string, args ...string) error {
	command := Command{Name: "zpool", Args: append([]string{verb}, args...)}
	result, err := p.Runner.Run(ctx, command)
	if err != nil {
		return err
	}
	if err := result.fault(command, p.Pool); err != nil {
		return fmt.Errorf("%w (the kernel opens the file by its path on the machine itself: in a container, its folder has to be at the same path)", err)
	}
	return nil
}

func (p PoolFile) elsewhere(guid string) error {
	return fmt.Errorf("%w: a pool of that name is imported and is not the one in the file (its GUID is %s; zpool status %s shows its devices); "+
		"choose another name for the pool in the file, or use that pool: zfs-csi init %s/csi", ErrNotOurs, guid, p.Pool, p.Pool)
}

// syncFolder makes the names in the folder of path last.
func syncFolder(path string) error {
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

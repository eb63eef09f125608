package zfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// ZFS makes a dataset in one transaction group and gives it its properties in later
// ones (zfs_ioc_create and zfs_ioc_clone in OpenZFS's module/zfs/zfs_ioctl.c). Power
// that goes in between leaves an unfinished volume: a dataset of the volume's name
// without propVolume. Nobody was told of it, so that it can be destroyed; but a
// dataset of somebody else's in that place must not be, and so it takes proof:
//
//   - a clone's origin is a snapshot that carries, since the moment it was taken, the ID of
//     the volume it was taken for (propFor);
//   - a new dataset is empty, and one that is restored has nothing that its snapshot, a caller's,
//     has not; and it has no property of its own but those that ZFS sets one by one, before
//     all others in one go.

// setFirst are the properties that ZFS sets before all others, each in a
// transaction group of its own; see zfs_prop_set_special in zfs_ioctl.c.
var setFirst = []string{"refquota", "refreservation", "volsize", "volmode", "snapdev"}

// make makes the dataset d, which nobody else makes meanwhile. Where
// ZFS cannot set the properties it takes back what it made, but not a zvol that
// the kernel or udev has just opened. What is wrong with a call that is refused the command says in words.
func (l *Local) make(ctx context.Context, d Dataset, c Command) error {
	var refused, left error
	err := patiently(ctx, func() error {
		for {
			err := l.carryOut(ctx, c, d.name)
			if err == nil || errors.Is(err, ErrExists) {
				return err
			}
			if left = l.takeBack(context.WithoutCancel(ctx), d); left != nil {
				refused = err
				return nil // Not to be tried again.
			}
			if c.Call == nil || !refusedByKernel(err) {
				return err
			}
			c.Call = nil
		}
	})
	if left != nil {
		return fmt.Errorf("%w; and what was made of it is left: %w", refused, left)
	}
	return err
}

// takeBack destroys what make has made so far of d, if anything.
func (l *Local) takeBack(ctx context.Context, d Dataset) error {
	r, err := l.properties(ctx, d)
	if err == nil && r.local(propVolume) == "" {
		err = l.unfinished(ctx, d, r)
	}
	if err == nil {
		err = l.change(ctx, d, "destroy", d.name)
	}
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// reclaim destroys an unfinished volume. Errors: ErrNotOurs when it is none.
func (l *Local) reclaim(ctx context.Context, d Dataset) error {
	r, err := l.properties(ctx, d)
	if err == nil {
		err = l.unfinished(ctx, d, r)
	}
	if err == nil {
		// The proof took a while, in which whoever makes it may have gone on.
		r, err = l.properties(ctx, d)
	}
	if err == nil && r.local(propVolume) != "" {
		err = fmt.Errorf("%s is a volume now: %w", d, ErrNotOurs)
	}
	if err == nil {
		l.log.InfoContext(ctx, "remove a volume that was not finished", "dataset", d.name)
		err = l.change(ctx, d, "destroy", d.name)
	}
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// properties reads what there is to know of a dataset that may be unfinished.
func (l *Local) properties(ctx context.Context, d Dataset) (row, error) {
	return readRow(ctx, l.runner, d, strings.Join(append(slices.Clone(asked), propChanging, "written", "logicalreferenced"), ","))
}

// setBySomebody returns the names of the properties that were set on a dataset itself, or came with it
// to this pool. It asks for no values: those of somebody's own can be any text, also one that looks like another line.
func (l *Local) setBySomebody(ctx context.Context, d Dataset) ([]string, error) {
	out, err := l.run(ctx, Command{Name: "zfs", Args: []string{"get", "-H", "-o", "property", "-s", "local,received", "all", d.name}}, d.name)
	return strings.Fields(string(out)), err
}

// unfinished returns nil when d, whose properties are r, is proven to be an unfinished
// volume, else ErrNotOurs.
func (l *Local) unfinished(ctx context.Context, d Dataset, r row) error {
	not := func(why string, args ...any) error {
		return fmt.Errorf("%s has no %s property of its own, and %s: %w", d, propVolume, fmt.Sprintf(why, args...), ErrNotOurs)
	}
	if !slices.Contains(l.parents, d.parent()) || r.local(propVolume) != "" {
		return not("it is not in the place of a volume")
	}
	grown := false
	if origin := r.origin(); origin != "" {
		from, err := l.run(ctx, getCommand("volsize,"+propFor+","+propSnapshot, origin), origin)
		if err != nil {
			return err
		}
		rows, _, err := parseGet(from)
		if err != nil {
			return err
		}
		if rows[origin].local(propFor) == d.Leaf() {
			return nil
		}
		if rows[origin].local(propSnapshot) == "" {
			return not("it is a clone of %s, which was not taken for it", origin)
		}
		grown = rows[origin]["volsize"].value != r["volsize"].value
	}
	set, err := l.setBySomebody(ctx, d)
	if err != nil {
		return err
	}
	for _, name := range set {
		if !slices.Contains(setFirst, name) {
			return not("its property %s was set by somebody", name)
		}
	}
	empty, err := l.emptyDataset(ctx, d, r, grown)
	if err == nil && !empty {
		err = not("it is not empty")
	}
	return err
}

// emptyDataset tells whether nothing was ever written to a dataset or zvol that nobody uses,
// since it was cloned if it is a clone; grown when it is larger than its origin.
func (l *Local) emptyDataset(ctx context.Context, d Dataset, r row, grown bool) (bool, error) {
	origin := r.origin()
	if origin == "" && r["type"].value == Filesystem.String() {
		return emptyFilesystem(d)
	}
	// What one takes that nothing was written to depends on the pool and on the origin, so one is
	// made to compare with.
	leaf := l.snapshotName(kindEmpty)
	reference := Dataset{d.parent().name + "/" + emptyPrefix + leaf}
	set := []string{propKind + "=" + leaf}
	property, args := "logicalreferenced", []string{"create", "-s", "-V", "1M", "-b", r[propVolblocksize].value}
	if origin != "" {
		property, args = "written", []string{"clone"}
		if r["type"].value == Filesystem.String() {
			set = append(set, "mountpoint=none")
		} else if grown {
			set = append(set, "volsize="+r["volsize"].value)
		}
	}
	if args = append(args, options(set)...); origin != "" {
		args = append(args, origin)
	}
	made, err := l.tryOut(ctx, reference, append(args, reference.name))
	if err != nil || r[property].value == "" || r[property].value == "-" {
		return false, err
	}
	most, err := made.size(property)
	if err != nil {
		return false, err
	}
	have, err := r.size(property)
	return err == nil && have <= most, err
}

// tryOut makes a dataset, reads its properties, and destroys it.
func (l *Local) tryOut(ctx context.Context, d Dataset, args []string) (row, error) {
	var r row
	err := l.zfs(ctx, d.name, args...)
	if err == nil {
		r, err = l.properties(ctx, d)
	}
	undo := l.change(context.WithoutCancel(ctx), d, "destroy", d.name)
	if errors.Is(undo, ErrNotFound) {
		undo = nil
	}
	return r, errors.Join(err, undo)
}

// emptyFilesystem tells whether a filesystem holds no file. It is mounted for that, and
// writable, since what was written just before the power went may only then appear; but nowhere: the
// mount goes with the descriptor, and so with this process.
func emptyFilesystem(d Dataset) (empty bool, err error) {
	failed := func(what string, err error) (bool, error) {
		return false, fmt.Errorf("look into %s: %s: %w", d, what, err)
	}
	fs, err := unix.Fsopen("zfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return failed("fsopen", err)
	}
	defer func() { err = errors.Join(err, unix.Close(fs)) }()
	if err := unix.FsconfigSetString(fs, "source", d.name); err != nil {
		return failed("fsconfig", err)
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return failed("mount", err)
	}
	const attributes = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC | unix.MOUNT_ATTR_NOATIME
	mount, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, attributes)
	if err != nil {
		return failed("fsmount", err)
	}
	defer func() { err = errors.Join(err, unix.Close(mount)) }()
	root, err := unix.Openat(mount, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return failed("open", err)
	}
	dir := os.NewFile(uintptr(root), d.name)
	defer func() { err = errors.Join(err, dir.Close()) }()
	if _, err := dir.ReadDir(1); !errors.Is(err, io.EOF) {
		return false, err
	}
	return true, nil
}

package zfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

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

// make runs a command that makes the dataset d, which nobody else makes meanwhile. Where
// ZFS cannot set the properties it takes back what it made, but not a zvol that
// the kernel or udev has just opened.
func (l *Local) make(ctx context.Context, d Dataset, args ...string) error {
	var left error
	err := patiently(ctx, func() error {
		err := l.zfs(ctx, d.name, args...)
		if err == nil || errors.Is(err, ErrExists) {
			return err
		}
		if left = l.takeBack(context.WithoutCancel(ctx), d); left != nil {
			return errors.New(err.Error() + "; and what was made of it is left") // Not to be tried again.
		}
		return err
	})
	return errors.Join(err, left)
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

// properties reads all properties of a dataset.
func (l *Local) properties(ctx context.Context, d Dataset) (row, error) {
	command := getCommand("all", d.name)
	result, err := l.runner.Run(ctx, command)
	if err != nil {
		return nil, err
	}
	return result.row(command, d.name)
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
	for name, c := range r {
		if c.source == "local" && !slices.Contains(setFirst, name) {
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
// writable, since what was written just before the power went may only then appear.
func emptyFilesystem(d Dataset) (empty bool, err error) {
	dir, err := os.MkdirTemp("", "zfs-csi-")
	if err != nil {
		return false, fmt.Errorf("look into %s: %w", d, err)
	}
	defer func() { err = errors.Join(err, os.Remove(dir)) }()
	if err := unix.Mount(d.name, dir, "zfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC|unix.MS_NOATIME, ""); err != nil {
		return false, fmt.Errorf("look into %s: mount: %w", d, err)
	}
	defer func() { err = errors.Join(err, unix.Unmount(dir, 0)) }()
	entries, err := os.ReadDir(dir)
	return err == nil && len(entries) == 0, err
}

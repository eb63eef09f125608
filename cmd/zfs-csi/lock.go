package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zfs-csi/zfs-csi/zfs"
)

// lockRetry is how often a lock that another process holds is tried again.
const lockRetry = 250 * time.Millisecond

// commandsWait is how long the commands of a process that was killed are waited for. They end in seconds, but one
// on a pool that hangs only when that is back; till then the other pools are to be served.
const commandsWait = 30 * time.Second

// parentLocks are what keeps other processes off the parents.
type parentLocks struct {
	// held are locked by this process alone.
	held []*os.File
	// commands are locked by this process and by each command that inherits them.
	commands []*os.File
}

// lockParents makes this process the only one of the machine that serves the parents, as
// far as they share the folder dir: it waits until no other does, or ctx ends, and then for the commands of one that
// was killed, for commandsWait. A process that ends, however it does, gives its locks back; what a lock file holds, or
// that one is there, means nothing. A second process would take the first one's unfinished work for
// that of a dead one.
func lockParents(ctx context.Context, dir string, parents []zfs.Dataset, log *slog.Logger) (locks *parentLocks, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of locks: %w", err)
	}
	locks = &parentLocks{}
	var commandsUntil time.Time // All of them have the same commands.
	// In one order everywhere, lest two processes wait for each other.
	sorted := slices.SortedFunc(slices.Values(parents), func(a, b zfs.Dataset) int { return strings.Compare(a.String(), b.String()) })
	for _, parent := range sorted {
		file, err := lockParent(ctx, dir, parent, log)
		if err == nil {
			locks.held = append(locks.held, file)
			if commandsUntil.IsZero() {
				commandsUntil = time.Now().Add(commandsWait)
			}
			file, err = lockCommands(ctx, dir, parent, commandsUntil, log)
		}
		if err != nil {
			locks.release()
			return nil, fmt.Errorf("lock parent %s: %w", parent, err)
		}
		locks.commands = append(locks.commands, file)
	}
	return locks, nil
}

// release gives the locks back, but for those that commands still hold.
func (l *parentLocks) release() {
	for _, file := range append(l.held, l.commands...) {
		_ = file.Close() // The lock goes with it.
	}
}

// openLock opens the lock file of one parent.
func openLock(dir string, parent zfs.Dataset, suffix string) (*os.File, error) {
	// No name of a dataset holds a plus sign.
	path := filepath.Join(dir, strings.ReplaceAll(parent.String(), "/", "+")+suffix)
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
}

// lockCommands returns the file by which commands on one parent are known to run.
func lockCommands(ctx context.Context, dir string, parent zfs.Dataset, until time.Time, log *slog.Logger) (*os.File, error) {
	file, err := openLock(dir, parent, ".commands")
	if err != nil {
		return nil, err
	}
	waiting, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	err = flock(waiting, file, unix.LOCK_EX, func() {
		log.WarnContext(ctx, "commands of a process that was killed still run on this parent; waiting until they end", "parent", parent.String())
	})
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		log.WarnContext(ctx, "they do not end, as where a pool hangs; going on beside them", "parent", parent.String())
		err = nil
	}
	if err == nil {
		// Shared, so that what hangs now hinders none but those that come later.
		err = flock(ctx, file, unix.LOCK_SH, func() {})
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// lockParent returns the locked file of one parent.
func lockParent(ctx context.Context, dir string, parent zfs.Dataset, log *slog.Logger) (*os.File, error) {
	file, err := openLock(dir, parent, ".lock")
	if err != nil {
		return nil, err
	}
	err = flock(ctx, file, unix.LOCK_EX, func() {
		log.WarnContext(ctx, "another process serves this parent; waiting until it ends", "parent", parent.String(), "lock", file.Name())
	})
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// flock locks a file. While others hold it, which it tells by a call of taken, it tries again until ctx ends.
func flock(ctx context.Context, file *os.File, how int, taken func()) error {
	for waited := false; ; waited = true {
		err := unix.Flock(int(file.Fd()), how|unix.LOCK_NB)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return &os.PathError{Op: "flock", Path: file.Name(), Err: err}
		}
		if !waited {
			taken()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lockRetry):
		}
	}
}

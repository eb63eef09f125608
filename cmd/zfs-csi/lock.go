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

// lockParents makes this process the only one of the machine that serves the parents, as
// far as they share the folder dir: it waits until no other does, or ctx ends. A process
// that ends, however it does, gives its locks back; what a lock file holds, or that one is
// there, means nothing. A second process would take the first one's unfinished work for
// that of a dead one.
func lockParents(ctx context.Context, dir string, parents []zfs.Dataset, log *slog.Logger) (release func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of locks: %w", err)
	}
	var held []*os.File
	release = func() {
		for _, file := range held {
			_ = file.Close() // The lock goes with it.
		}
	}
	// In one order everywhere, lest two processes wait for each other.
	sorted := slices.SortedFunc(slices.Values(parents), func(a, b zfs.Dataset) int { return strings.Compare(a.String(), b.String()) })
	for _, parent := range sorted {
		file, err := lockParent(ctx, dir, parent, log)
		if err != nil {
			release()
			return nil, fmt.Errorf("lock parent %s: %w", parent, err)
		}
		held = append(held, file)
	}
	return release, nil
}

// lockParent returns the locked file of one parent.
func lockParent(ctx context.Context, dir string, parent zfs.Dataset, log *slog.Logger) (*os.File, error) {
	// No name of a dataset holds a plus sign.
	path := filepath.Join(dir, strings.ReplaceAll(parent.String(), "/", "+")+".lock")
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	for waited := false; ; waited = true {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return file, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.Join(&os.PathError{Op: "flock", Path: path, Err: err}, file.Close())
		}
		if !waited {
			log.WarnContext(ctx, "another process serves this parent; waiting until it ends", "parent", parent.String(), "lock", path)
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), file.Close())
		case <-time.After(lockRetry):
		}
	}
}

package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Cache is the folder that holds images, saved machines and running instances.
type Cache struct{ root string }

// openCache makes the cache in the user's cache folder.
func openCache() (Cache, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return Cache{}, fmt.Errorf("find the user's cache folder (set HOME or XDG_CACHE_HOME): %w", err)
	}
	cache := Cache{root: filepath.Join(base, "zfs-csi")}
	for _, dir := range []string{cache.root, cache.instances()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return Cache{}, fmt.Errorf("make the cache folder: %w", err)
		}
	}
	return cache, nil
}

// instances is the folder of the running machines.
func (c Cache) instances() string { return filepath.Join(c.root, "run") }

// key shortens what an entry is made from into a name for it.
func key(inputs ...any) string {
	sum := sha256.New()
	for _, input := range inputs {
		fmt.Fprintf(sum, "%#v\x00", input)
	}
	return fmt.Sprintf("%x", sum.Sum(nil)[:6])
}

// entry returns the folder called name, built by build when it is not there yet.
// Of several that ask at once one builds and the others wait. A folder under
// that name is always complete: it is filled under another name and renamed.
func (c Cache) entry(ctx context.Context, name string, build func(ctx context.Context, dir string) error) (string, error) {
	final := filepath.Join(c.root, name)
	if exists, err := isThere(final); err != nil || exists {
		return final, err
	}
	lock, err := lockFile(ctx, final+".lock", "another run is building "+name)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if exists, err := isThere(final); err != nil || exists {
		return final, err
	}
	partial := final + ".partial"
	if err := os.RemoveAll(partial); err != nil { // left by a run that was killed
		return "", fmt.Errorf("remove an unfinished build: %w", err)
	}
	if err := os.Mkdir(partial, 0o700); err != nil {
		return "", fmt.Errorf("make a folder to build %s in: %w", name, err)
	}
	if err := build(ctx, partial); err != nil {
		return "", errors.Join(fmt.Errorf("build %s: %w", name, err), os.RemoveAll(partial))
	}
	if err := os.Rename(partial, final); err != nil {
		return "", errors.Join(fmt.Errorf("publish %s: %w", name, err), os.RemoveAll(partial))
	}
	return final, nil
}

// isThere tells absence from an error.
func isThere(path string) (bool, error) {
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// lockFile takes the lock at path, waiting for its holder if need be and saying why.
// Closing the file gives it back; so does the end of the process.
func lockFile(ctx context.Context, path, why string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open a lock: %w", err)
	}
	said := false
	for start := time.Now(); ; {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return file, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), file.Close())
		}
		if !said && time.Since(start) > 2*time.Second {
			say("%s; waiting for it", why)
			said = true
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), file.Close())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

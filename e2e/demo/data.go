package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	random "math/rand/v2"
	"os"
	"strconv"
	"strings"
	"time"
)

// settleTime is how long ZFS may take to free what was deleted.
const settleTime = time.Minute

// fill writes size random bytes to a file or device, syncs them and returns them.
func fill(path string, size int64) (content []byte, err error) {
	var seed [32]byte
	if _, err := rand.Read(seed[:]); err != nil {
		return nil, err
	}
	content = make([]byte, size)
	if _, err := io.ReadFull(random.NewChaCha8(seed), content); err != nil {
		return nil, err
	}
	return content, overwrite(path, content)
}

// holds tells whether a file or device begins with content.
func holds(path string, content []byte) (bool, error) {
	file, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer file.Close()
	part := make([]byte, mib)
	for len(content) > 0 {
		n, err := io.ReadFull(file, part[:min(len(part), len(content))])
		if err != nil {
			return false, fmt.Errorf("read %s: %w", path, err)
		}
		if !bytes.Equal(part[:n], content[:n]) {
			return false, nil
		}
		content = content[n:]
	}
	return true, nil
}

// overwrite writes content over the beginning of a file or device and syncs it.
func overwrite(path string, content []byte) (err error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if _, err := file.Write(content); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return file.Sync()
}

// number returns a numeric property of a dataset.
func number(ctx context.Context, property, dataset string) (int64, error) {
	out, err := command(ctx, "zfs", "get", "-Hp", "-o", "value", property, dataset)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(out, 10, 64)
}

// list returns the names of all that is below the parent, snapshots included.
func (s *stage) list(ctx context.Context) ([]string, error) {
	out, err := command(ctx, "zfs", "list", "-H", "-r", "-t", "all", "-o", "name", s.parent)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, name := range strings.Split(out, "\n") {
		if name != s.parent {
			names = append(names, name)
		}
	}
	return names, nil
}

// settled waits until the parent uses no more than most bytes: ZFS frees in the background.
func (s *stage) settled(ctx context.Context, most int64) (used int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		if used, err = number(ctx, "used", s.parent); err != nil || used <= most {
			return used, err
		}
		select {
		case <-ctx.Done():
			return used, nil
		case <-tick.C:
		}
	}
}

// size writes bytes for people.
func size(bytes int64) string {
	switch {
	case bytes >= gib:
		return fmt.Sprintf("%.1f GiB", float64(bytes)/float64(gib))
	case bytes >= mib:
		return fmt.Sprintf("%.1f MiB", float64(bytes)/float64(mib))
	}
	return fmt.Sprintf("%.1f KiB", float64(bytes)/1024)
}

// short writes a duration for people.
func short(d time.Duration) string { return d.Round(time.Millisecond).String() }

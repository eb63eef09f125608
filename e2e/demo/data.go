package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

// settleTime is how long ZFS may take to free what was deleted.
const settleTime = time.Minute

// fill writes size random bytes to a file or device, syncs them and returns their sum.
func fill(path string, size int64) (sum string, err error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	hash := sha256.New()
	if _, err := io.CopyN(io.MultiWriter(file, hash), rand.Reader, size); err != nil {
		return "", fmt.Errorf("write %s: %w", path, err)
	}
	return fmt.Sprintf("%x", hash.Sum(nil)), file.Sync()
}

// sumOf returns the sum of the first size bytes of a file or device.
func sumOf(path string, size int64) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close() //nolint:errcheck // it was only read
	hash := sha256.New()
	if _, err := io.CopyN(hash, file, size); err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	return fmt.Sprintf("%x", hash.Sum(nil)), nil
}

// writeText writes text over the beginning of a file or device and syncs it.
func writeText(path, text string) (err error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if _, err := file.WriteString(text); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return file.Sync()
}

// startsWith tells whether a file or device begins with text.
func startsWith(path, text string) (bool, error) {
	file, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer file.Close() //nolint:errcheck // it was only read
	begin := make([]byte, len(text))
	if _, err := io.ReadFull(file, begin); err != nil {
		return false, fmt.Errorf("read %s: %w", path, err)
	}
	return bytes.Equal(begin, []byte(text)), nil
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

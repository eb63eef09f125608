package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// copyFiles copies the files directly in from whose name is wanted, with their modes, into
// to, which it makes. What a symbolic link there points to is copied under the link's name.
func copyFiles(from, to string, wanted func(entry fs.DirEntry) bool) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	for _, entry := range entries {
		path := filepath.Join(from, entry.Name())
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a link into another package
		}
		if err != nil {
			return fmt.Errorf("copy: %w", err)
		}
		if !info.Mode().IsRegular() || !wanted(entry) {
			continue
		}
		if err := copyFile(path, filepath.Join(to, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

// copyFile copies a file with its mode.
func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	info, err := os.Stat(from)
	if err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	if err := os.WriteFile(to, data, info.Mode().Perm()); err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	return os.Chmod(to, info.Mode().Perm())
}

package zfstest

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// NoPool returns the name of a pool that is not there, and a folder for its files. If a test makes it, it goes when the
// test ends. The test is skipped where there is no real ZFS.
func NoPool(t testing.TB) (name, dir string) {
	t.Helper()
	Need(t)
	dir, err := os.MkdirTemp(os.Getenv(dirVariable), "file-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	name = newName()
	t.Cleanup(func() {
		if !Imported(t, name) {
			return
		}
		if err := retry(func() error { return run("zpool", "destroy", name) }); err != nil {
			t.Errorf("destroy pool %s: %v", name, err)
		}
	})
	return name, dir
}

// Imported tells whether a pool of that name is imported.
func Imported(t testing.TB, name string) bool {
	t.Helper()
	return slices.Contains(strings.Fields(Run(t, "zpool", "list", "-H", "-o", "name")), name)
}

package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
)

func testCache(t *testing.T) Cache {
	t.Helper()
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	cache, err := openCache()
	if err != nil {
		t.Fatal(err)
	}
	return cache
}

func TestEntryIsBuiltOnce(t *testing.T) {
	cache := testCache(t)
	var built atomic.Int32
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			dir, err := cache.entry(t.Context(), "image", func(_ context.Context, dir string) error {
				built.Add(1)
				return os.WriteFile(filepath.Join(dir, "disk"), nil, 0o600)
			})
			if err != nil {
				t.Error(err)
			} else if _, err := os.Stat(filepath.Join(dir, "disk")); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if built.Load() != 1 {
		t.Errorf("built %d times", built.Load())
	}
}

func TestFailedEntryLeavesNothing(t *testing.T) {
	cache := testCache(t)
	asked := errors.New("as asked")
	_, err := cache.entry(t.Context(), "image", func(_ context.Context, dir string) error {
		return errors.Join(os.WriteFile(filepath.Join(dir, "half"), nil, 0o600), asked)
	})
	if !errors.Is(err, asked) {
		t.Fatalf("got %v", err)
	}
	left, err := filepath.Glob(filepath.Join(cache.root, "image*"))
	if err != nil || len(left) != 1 || filepath.Ext(left[0]) != ".lock" {
		t.Errorf("left %v, %v", left, err)
	}
}

func TestKeyTellsInputsApart(t *testing.T) {
	if key("a", "bc") == key("ab", "c") || key([]string{"a"}) == key("a") {
		t.Error("different inputs share a key")
	}
	first, second := Release{ZFS: "2.1"}, Release{ZFS: "2.1"}
	if key(first, []string{"x"}) != key(second, []string{"x"}) {
		t.Error("equal inputs differ in their key")
	}
}

func TestSweepSparesWhatIsInUse(t *testing.T) {
	cache := testCache(t)
	for _, name := range []string{"m1", "m2"} {
		if err := os.Mkdir(filepath.Join(cache.instances(), name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	used, err := lockFile(t.Context(), filepath.Join(cache.instances(), "m1", "lock"), "")
	if err != nil {
		t.Fatal(err)
	}
	defer used.Close()
	if err := sweep(t.Context(), cache); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(cache.instances(), "m*"))
	if err != nil || len(left) != 1 || filepath.Base(left[0]) != "m1" {
		t.Errorf("left %v, %v", left, err)
	}
}

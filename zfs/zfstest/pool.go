// Package zfstest gives tests pools of real ZFS, kept in files.
package zfstest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	gozfs "github.com/mistifyio/go-zfs/v3"

	"github.com/zfs-csi/zfs-csi/zfs"
)

const (
	// dirVariable names a folder for the files that back pools. Without it there is no
	// real ZFS to test on.
	dirVariable = "ZFS_CSI_TEST_DIR"
	// tokenVariable is part of the pools' names, so that who started the test can
	// destroy what it leaves when it is killed.
	tokenVariable = "ZFS_CSI_TEST_TOKEN"
)

// patience is how long a state is waited for that comes by itself.
const patience = 30 * time.Second

// serial numbers the pools of this process.
var serial atomic.Int64

// Available tells whether there is real ZFS.
func Available() bool { return os.Getenv(dirVariable) != "" }

// Need skips a test where there is no real ZFS.
func Need(t testing.TB) {
	t.Helper()
	if !Available() {
		t.Skipf("%s is not set: real ZFS is needed, see `make help`", dirVariable)
	}
}

// Pool is a pool for one test, on a sparse file.
type Pool struct {
	// Name is that of the pool and of its root dataset.
	Name string
	// dir holds the file, and another that is as large.
	dir   string
	files []string
}

// NewPool makes a pool of so many bytes, without the features named (zpool-features(7)),
// which goes when the test ends. The test is skipped where there is no real ZFS.
func NewPool(t testing.TB, size int64, without ...string) *Pool {
	t.Helper()
	Need(t)
	dir, err := os.MkdirTemp(os.Getenv(dirVariable), "pool-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	p := &Pool{Name: newName(), dir: dir}
	for _, name := range []string{"disk0", "disk1"} {
		file := filepath.Join(dir, name)
		f, err := os.Create(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Truncate(size); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		p.files = append(p.files, file)
	}
	// With an altroot nothing is mounted outside of the folder, nor kept in the cache file. The files
	// shrink again: some tests make and delete volumes for an hour, in a machine that keeps files in its memory.
	properties := map[string]string{"altroot": filepath.Join(dir, "root"), "autotrim": "on"}
	for _, feature := range without {
		properties["feature@"+feature] = "disabled"
	}
	pool, err := gozfs.CreateZpool(p.Name, properties, p.files[0])
	if err != nil {
		t.Fatalf("make pool %s: %v", p.Name, err)
	}
	t.Cleanup(func() {
		if err := retry(pool.Destroy); err != nil {
			t.Errorf("destroy pool %s: %v", p.Name, err)
		}
	})
	// Before OpenZFS 2.2 the default of compression is off.
	Run(t, "zfs", "set", "mountpoint=none", "compression=on", p.Name)
	return p
}

// newName returns a name that no other pool has.
func newName() string {
	return fmt.Sprintf("zfscsitest-%s-%d", os.Getenv(tokenVariable), serial.Add(1))
}

// Parent makes a dataset in the pool that can hold the volumes of a driver.
func (p *Pool) Parent(t testing.TB, leaf, driver string) zfs.Dataset {
	t.Helper()
	parent := zfs.MustParseDataset(p.Name + "/" + leaf)
	if _, err := zfs.InitParent(t.Context(), zfs.Exec{Log: slog.New(slog.DiscardHandler)}, driver, parent); err != nil {
		t.Fatal(err)
	}
	return parent
}

// Export exports the pool, until the function it returns imports it again.
func (p *Pool) Export(t testing.TB) (imports func()) {
	t.Helper()
	p.export(t)
	return once(t, func() { p.imports(t) })
}

func (p *Pool) export(t testing.TB) {
	t.Helper()
	// Whoever looks at a new zvol has it open for a moment.
	if err := retry(func() error { return run("zpool", "export", p.Name) }); err != nil {
		t.Fatal(err)
	}
}

func (p *Pool) imports(t testing.TB, options ...string) {
	t.Helper()
	args := append([]string{"import", "-N", "-d", p.dir, "-o", "altroot=" + filepath.Join(p.dir, "root")}, options...)
	Run(t, "zpool", append(args, p.Name)...)
}

// ReadOnly imports the pool so that nothing can be written, until the function it returns
// imports it as before.
func (p *Pool) ReadOnly(t testing.TB) (writable func()) {
	t.Helper()
	p.export(t)
	p.imports(t, "-o", "readonly=on")
	return once(t, func() {
		p.export(t)
		p.imports(t)
	})
}

// Checkpoint keeps the pool as it is now. The function it returns takes the pool back to
// that, any number of times, by an export and an import.
func (p *Pool) Checkpoint(t testing.TB) (rewind func(testing.TB)) {
	t.Helper()
	Run(t, "zpool", "checkpoint", p.Name)
	return func(t testing.TB) {
		t.Helper()
		p.export(t)
		p.imports(t, "--rewind-to-checkpoint")
		Run(t, "zpool", "checkpoint", p.Name)
	}
}

// Degrade makes a mirror of the pool and takes one half of it away, until the function it
// returns makes one file of it again.
func (p *Pool) Degrade(t testing.TB) (repair func()) {
	t.Helper()
	Run(t, "zpool", "attach", "-w", p.Name, p.files[0], p.files[1])
	Run(t, "zpool", "offline", p.Name, p.files[1])
	return once(t, func() { Run(t, "zpool", "detach", p.Name, p.files[1]) })
}

// once returns a function that undoes something when it is called, or when the test ends.
func once(t testing.TB, undo func()) func() {
	done := false
	call := func() {
		if !done {
			done = true
			undo()
		}
	}
	t.Cleanup(call)
	return call
}

// Run runs a command and returns what it writes, without the last line end. A command
// that fails is fatal to the test.
func Run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := output(name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func run(name string, args ...string) error {
	_, err := output(name, args...)
	return err
}

func output(name string, args ...string) (string, error) {
	// Also at the end of a test, when its context has ended.
	cmd := exec.CommandContext(context.Background(), name, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", cmd, err, stderr.String())
	}
	return strings.TrimSuffix(string(out), "\n"), nil
}

// retry calls f until it succeeds, as long as there is patience.
func retry(f func() error) error { return retryOn(nil, f) }

// retryOn is retry for errors that are transient; nil for all.
func retryOn(transient error, f func() error) error {
	for deadline := time.Now().Add(patience); ; {
		err := f()
		if err == nil || transient != nil && !errors.Is(err, transient) || time.Now().After(deadline) {
			return err
		}
		time.Sleep(patience / 300)
	}
}

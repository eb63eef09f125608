package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/zfs-csi/zfs-csi/zfs"
)

// lines takes a log, a line an item.
type lines chan string

func (l lines) Write(b []byte) (int, error) {
	l <- string(b)
	return len(b), nil
}

// await waits for the line that says something, and returns it.
func (l lines) await(t *testing.T, says string) string {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		select {
		case line := <-l:
			if strings.Contains(line, says) {
				return line
			}
		case <-deadline:
			t.Fatalf("the log does not say %q", says)
		}
	}
}

const waiting = "another process serves this parent"

func TestLockParents(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "when needed")
	lock := func(ctx context.Context, log lines, names ...string) (*parentLocks, error) {
		var parents []zfs.Dataset
		for _, name := range names {
			parents = append(parents, zfs.MustParseDataset(name))
		}
		return lockParents(ctx, dir, parents, slog.New(slog.NewTextHandler(log, nil)))
	}
	log := make(lines, 100)
	first, err := lock(t.Context(), log, "tank/csi", "tank/a/b")
	if err != nil {
		t.Fatal(err)
	}
	// Names that differ, however alike, are no matter.
	other, err := lock(t.Context(), log, "tank/csi2", "tank/a-b", "tank-a/b", "tank_csi")
	if err != nil {
		t.Fatal(err)
	}
	other.release()

	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan error)
	go func() {
		_, err := lock(ctx, log, "tank/0", "tank/csi")
		stopped <- err
	}()
	log.await(t, waiting)
	cancel()
	if err := <-stopped; !errors.Is(err, context.Canceled) {
		t.Errorf("who is stopped while it waits: error %v", err)
	}

	second := make(chan *parentLocks)
	go func() {
		locks, err := lock(t.Context(), log, "tank/csi", "tank/0") // What the stopped one had is free.
		if err != nil {
			t.Error(err)
		}
		second <- locks
	}()
	log.await(t, waiting)
	select {
	case <-second:
		t.Fatal("two hold one lock")
	case <-time.After(2 * lockRetry):
	}
	first.release()
	(<-second).release()
	if _, err := os.Stat(filepath.Join(dir, "tank+csi.lock")); err != nil {
		t.Error(err)
	}

	dir = filepath.Join(dir, "tank+csi.lock")
	if _, err := lock(t.Context(), log, "tank/csi"); err == nil {
		t.Error("a lock without its folder")
	}
}

// TestLockCommands: a parent is free only when the last command of a process that is gone has ended.
func TestLockCommands(t *testing.T) {
	dir, parents := t.TempDir(), []zfs.Dataset{zfs.MustParseDataset("tank/csi")}
	log := make(lines, 100)
	lock := func() (*parentLocks, error) {
		return lockParents(t.Context(), dir, parents, slog.New(slog.NewTextHandler(log, nil)))
	}
	first, err := lock()
	if err != nil {
		t.Fatal(err)
	}
	// A command that ends with its input, as of a process that was killed.
	input, output, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	started, ended := make(lines, 1), make(chan error)
	tools := zfs.Exec{Log: slog.New(slog.DiscardHandler), Inherited: first.commands}
	go func() {
		_, err := tools.Run(t.Context(), zfs.Command{Name: "cat", Stdin: input, Stdout: started})
		ended <- err
	}()
	if _, err := output.WriteString("it runs"); err != nil {
		t.Fatal(err)
	}
	started.await(t, "it runs")
	first.release()
	second := make(chan *parentLocks)
	go func() {
		locks, err := lock()
		if err != nil {
			t.Error(err)
		}
		second <- locks
	}()
	log.await(t, "commands of a process that was killed still run")
	select {
	case <-second:
		t.Fatal("a parent is free while a command runs on it")
	case <-time.After(2 * lockRetry):
	}
	if err := output.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	(<-second).release()
}

package zfs

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// newReady returns an Exec whose zfs is this test (see TestMain), and processes started ahead.
func newReady(t *testing.T) (Exec, *Ready) {
	t.Helper()
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(dir, "zfs")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	t.Setenv(asTool, "yes")
	ready := &Ready{}
	t.Cleanup(ready.Close)
	return Exec{Log: slog.New(slog.DiscardHandler), Ready: ready}, ready
}

// waiting returns the process that waits for a command, within a deadline.
func (r *Ready) waitingFor(t *testing.T, c Command) *process {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		r.mu.Lock()
		p := r.waiting[c.key()]
		r.mu.Unlock()
		if p != nil {
			return p
		}
		select {
		case <-t.Context().Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
	t.Fatalf("no process waits for %s", c)
	return nil
}

func TestReady(t *testing.T) {
	run, ready := newReady(t)
	command := func(input string) Command {
		return Command{Name: "zfs", Args: []string{"program", "-"}, Stdin: strings.NewReader(input), Ahead: true}
	}
	says := func(input string) {
		t.Helper()
		r, err := run.Run(t.Context(), command(input))
		if err != nil || r.ExitCode != 3 || !strings.Contains(string(r.Stdout), `input "`+input+`"`) {
			t.Fatalf("the tool said %q, %d: %v", r.Stdout, r.ExitCode, err)
		}
	}
	says("one")
	first := ready.waitingFor(t, command(""))
	says("two")
	if first.cmd.ProcessState == nil || first.stdout.Len() == 0 {
		t.Error("the process that waited was not used")
	}
	if second := ready.waitingFor(t, command("")); second == first {
		t.Error("a process waits that has ended")
	}

	// One that ends before it is told anything does not count.
	deaf := ready.waitingFor(t, command(""))
	if err := deaf.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := deaf.cmd.Process.Wait(); err != nil {
		t.Fatal(err)
	}
	says("three")

	last := ready.waitingFor(t, command(""))
	ready.Close()
	if last.cmd.ProcessState == nil {
		t.Error("a process waits for something to do after Close")
	}
	says("four")
}

// TestNotAhead: what does not say that it can be started ahead is not.
func TestNotAhead(t *testing.T) {
	run, ready := newReady(t)
	for range 2 {
		if _, err := run.Run(t.Context(), Command{Name: "zfs", Args: []string{"list"}, Stdin: io.LimitReader(nil, 0)}); err != nil {
			t.Fatal(err)
		}
	}
	ready.mu.Lock()
	defer ready.mu.Unlock()
	if len(ready.waiting) > 0 || len(ready.wanted) > 0 {
		t.Error("a process was started ahead of a command that does not allow it")
	}
}

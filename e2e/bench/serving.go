package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/zfs-csi/zfs-csi/e2e/service"
)

// serving is a driver that runs as a process of its own, as on a node.
type serving struct {
	*service.Service
	parent string
	dir    string
	cmd    *exec.Cmd
	log    string
	// known is what was read of the log, so far.
	known []ran
	read  int64
}

// serve starts the driver's binary on a parent, which it makes.
func (b *bench) serve(ctx context.Context, parent string) (*serving, error) {
	if _, err := command(ctx, b.binary, "init", parent); err != nil {
		return nil, err
	}
	s := &serving{parent: parent, dir: filepath.Join(b.dir, filepath.Base(parent))}
	s.log = filepath.Join(s.dir, "driver.log")
	if err := os.MkdirAll(s.dir, 0o750); err != nil {
		return nil, err
	}
	return s, s.start(ctx, b.binary)
}

// start starts the driver and connects to it.
func (s *serving) start(ctx context.Context, binary string) error {
	socket := filepath.Join(s.dir, "csi.sock")
	s.cmd = exec.CommandContext(context.WithoutCancel(ctx), binary, "serve", "--endpoint", "unix://"+socket, "--parent", s.parent,
		"--node-id", "bench", "--lock-dir", filepath.Join(s.dir, "locks"), "--log-level", "debug", "--log-format", "json")
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // A signal reaches it through stop.
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("start the driver: %w", err)
	}
	end := sync.OnceValue(func() error {
		if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return err
		}
		return s.cmd.Wait()
	})
	s.Service, err = service.Connect(ctx, socket, end)
	if err != nil {
		return fmt.Errorf("%w; see %s", err, s.log)
	}
	return nil
}

// ran is a command that the driver ran, or had the kernel carry out.
type ran struct {
	Message  string        `json:"msg"`
	Command  string        `json:"command"`
	Duration time.Duration `json:"duration"`
}

// String tells what was run, without its options.
func (r ran) String() string {
	words := strings.Fields(r.Command)
	text := strings.Join(words[:min(2, len(words))], " ")
	if len(words) > 2 && words[1] == "program" && strings.Contains(words[2], "n") {
		text += " -n"
	}
	return fmt.Sprintf("%s: %d ms", text, r.Duration.Milliseconds())
}

// process tells whether a process was started for it.
func (r ran) process() bool { return r.Message == "command" }

// commands returns what the driver has run to its end, in order. It reads what has come to the log since the last time.
func (s *serving) commands() ([]ran, error) {
	f, err := os.Open(s.log)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if _, err := f.Seek(s.read, io.SeekStart); err != nil {
		return nil, err
	}
	for lines := bufio.NewReader(f); ; {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) { // The rest of a line is still to come.
			return s.known, nil
		}
		if err != nil {
			return nil, err
		}
		s.read += int64(len(line))
		var r ran
		if err := json.Unmarshal(line, &r); err == nil && (r.process() || r.Message == "call") {
			s.known = append(s.known, r)
		}
	}
}

// last returns the arguments of the last command that began like that.
func (s *serving) last(begin string) ([]string, error) {
	all, err := s.commands()
	if err != nil {
		return nil, err
	}
	for i := len(all) - 1; i >= 0; i-- {
		if strings.HasPrefix(all[i].Command, begin+" ") {
			return strings.Fields(all[i].Command), nil
		}
	}
	return nil, fmt.Errorf("the driver ran no %q", begin)
}

// quiet waits until the driver has logged nothing for a while, so that nothing of it is at work.
func (s *serving) quiet(ctx context.Context, while time.Duration) error {
	size, since := int64(-1), time.Now()
	for time.Since(since) < while {
		info, err := os.Stat(s.log)
		if err != nil {
			return err
		}
		if info.Size() != size {
			size, since = info.Size(), time.Now()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(while / 10):
		}
	}
	return nil
}

// memory returns the resident memory of the driver, in KiB.
func (s *serving) memory() (float64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "VmRSS:" {
			return strconv.ParseFloat(fields[1], 64)
		}
	}
	return 0, errors.New("the kernel does not tell the driver's memory")
}

// command runs a command and returns what it printed.
func command(ctx context.Context, name string, args ...string) (string, error) {
	c := exec.CommandContext(ctx, name, args...)
	c.Env = append(os.Environ(), "LC_ALL=C")
	out, err := c.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return strings.TrimSpace(string(out)), nil
}

package csi_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"github.com/zfs-csi/zfs-csi/zfs"
	"github.com/zfs-csi/zfs-csi/zfs/zfstest"
)

// runner is the real one, with a gate in front of it that tests can close, and a view of what is sent.
type runner struct {
	zfs.Runner
	mu      sync.Mutex
	gate    func(zfs.Command) error
	around  func(c zfs.Command, run func() (zfs.Result, error)) (zfs.Result, error)
	sent    func(int64)
	running map[string]context.CancelFunc // by sub-command
}

// Run implements zfs.Runner.
func (r *runner) Run(ctx context.Context, c zfs.Command) (zfs.Result, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r.mu.Lock()
	gate, sent, around := r.gate, r.sent, r.around
	if r.running == nil {
		r.running = map[string]context.CancelFunc{}
	}
	r.running[c.Args[0]] = cancel
	r.mu.Unlock()
	if gate != nil {
		if err := gate(c); err != nil {
			return zfs.Result{}, err
		}
	}
	if c.Stdout != nil && sent != nil {
		c.Stdout = &counter{c.Stdout, 0, sent}
	}
	if around != nil {
		return around(c, func() (zfs.Result, error) { return r.Runner.Run(ctx, c) })
	}
	return r.Runner.Run(ctx, c)
}

// wrap has f called in place of each command, which it can run; nil for nothing.
func (r *runner) wrap(f func(c zfs.Command, run func() (zfs.Result, error)) (zfs.Result, error)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.around = f
}

// onSent has f called with the number of bytes that each sender has written; nil for nothing.
func (r *runner) onSent(f func(sent int64)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sent = f
}

// kill kills the last command started of that sub-command.
func (r *runner) kill(subcommand string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running[subcommand]()
}

// counter tells how many bytes are written through it.
type counter struct {
	io.Writer
	bytes int64
	told  func(int64)
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.Writer.Write(b)
	c.bytes += int64(n)
	c.told(c.bytes)
	return n, err
}

// at has f called before each command; nil for nothing.
func (r *runner) at(f func(zfs.Command) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gate = f
}

// errDied is what a command answers that was never started.
var errDied = errors.New("the test lets this command fail")

// logs keeps the last of what a driver writes, and whether it has swept.
type logs struct {
	zfstest.Log
	swept atomic.Bool
}

func (l *logs) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte(`"swept what was left`)) {
		l.swept.Store(true)
	}
	return l.Log.Write(b)
}

package zfs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os/exec"
	"strings"
	"sync"
	"time"
)

const (
	// quiet is how long no command may run before one is started ahead, so that this takes no time
	// from calls.
	quiet = 10 * time.Millisecond
	// readyLife is how long a process waits for something to do: on a node where nothing
	// happens none is left, and none keeps the ZFS module from being unloaded.
	readyLife = time.Minute
)

// Ready are processes that were started before there was anything for them to do: each waits for
// its standard input. There is at most one for each command line, it serves one command, and another takes its
// place when no command runs. The zero value is none; Close ends those that wait.
type Ready struct {
	mu sync.Mutex
	// waiting are the processes by their command line.
	waiting map[string]*process
	// wanted are the command lines that were run and have no process; start starts one.
	wanted  map[string]func() (*process, error)
	running int
	timer   *time.Timer
	closed  bool
}

// process is a process that was started.
type process struct {
	cmd            *exec.Cmd
	stdin          io.WriteCloser // nil where it was given one
	stdout, stderr bytes.Buffer
	kill           context.CancelFunc
	expires        *time.Timer
}

// take returns the process that waits for a command line; nil for none. Each call is followed by
// one of release.
func (r *Ready) take(key string) *process {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running++
	p := r.waiting[key]
	delete(r.waiting, key)
	if p != nil && !p.expires.Stop() {
		return nil // It is being ended.
	}
	return p
}

// release tells that a command has ended. start, unless it is nil, starts a process for the next one
// of that command line.
func (r *Ready) release(key string, start func() (*process, error)) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running--
	if start != nil {
		if r.wanted == nil {
			r.wanted = map[string]func() (*process, error){}
		}
		r.wanted[key] = start
	}
	if r.running > 0 || len(r.wanted) == 0 || r.closed {
		return
	}
	if r.timer == nil {
		r.timer = time.AfterFunc(quiet, r.refill)
	} else {
		r.timer.Reset(quiet)
	}
}

// refill starts the processes that are wanted, unless a command runs.
func (r *Ready) refill() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.running > 0 || r.closed {
		return
	}
	for key, start := range r.wanted {
		delete(r.wanted, key)
		if r.waiting[key] != nil {
			continue
		}
		p, err := start()
		if err != nil {
			continue // The next command tells what is wrong.
		}
		if r.waiting == nil {
			r.waiting = map[string]*process{}
		}
		r.waiting[key] = p
		p.expires = time.AfterFunc(readyLife, func() { r.expire(key, p) })
	}
}

// expire ends a process for which there was nothing to do.
func (r *Ready) expire(key string, p *process) {
	r.mu.Lock()
	if r.waiting[key] == p {
		delete(r.waiting, key)
	}
	r.mu.Unlock()
	p.end()
}

// Close ends the processes that wait; no other is started.
func (r *Ready) Close() {
	r.mu.Lock()
	r.closed = true
	waiting := r.waiting
	r.waiting = nil
	r.mu.Unlock()
	for _, p := range waiting {
		if p.expires.Stop() {
			p.end()
		}
	}
}

// errDeaf is what tell returns when the process has not read what it was told.
var errDeaf = errors.New("the process did not read what it was to do")

// tell gives a process that waits its standard input, and waits for its end.
func (p *process) tell(ctx context.Context, c Command) error {
	stop := context.AfterFunc(ctx, p.kill)
	defer stop()
	_, err := io.Copy(p.stdin, c.Stdin)
	// Wait closes it too, but the process waits for this.
	err = errors.Join(err, p.stdin.Close())
	if err != nil {
		p.kill()
		return errors.Join(errDeaf, err, p.cmd.Wait())
	}
	return p.cmd.Wait()
}

// end kills a process that was given nothing to do.
func (p *process) end() {
	p.kill()
	_ = p.stdin.Close() // It is killed.
	_ = p.cmd.Wait()    // So it says.
}

// key is what processes are the same by.
func (c Command) key() string { return c.Name + "\x00" + strings.Join(c.Args, "\x00") }

package zfs

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Channel programs do in the kernel what would take several commands; see zfs-program(8). Their
// arguments are in their texts.

// The functions that requests to the two kinds of programs call.
var (
	//go:embed look.lua
	lookFunctions string
	//go:embed take.lua
	takeFunctions string
)

// programCommand returns the command that runs a program; one that only looks may change nothing
// and waits for no transaction group.
func programCommand(pool string, only bool, text string) Command {
	how := "-j"
	if only {
		how = "-jn"
	}
	return Command{Name: "zfs", Args: []string{"program", how, pool, "-"}, Program: &Program{Pool: pool, Only: only, Text: text}}
}

// execute runs a program and decodes what it returns into result.
func (l *Local) execute(ctx context.Context, pool string, only bool, text string, result any) error {
	out, err := l.run(ctx, programCommand(pool, only, text), pool)
	if err != nil {
		return err
	}
	answer := struct {
		Return any `json:"return"`
	}{result}
	if err := json.Unmarshal(out, &answer); err != nil || answer.Return == nil {
		return fmt.Errorf("channel program answered %q: %w", out, errors.Join(err, errors.New("not a result")))
	}
	return nil
}

// reply is what a request to a program is answered.
type reply struct {
	// Text are the lines of look.
	Text string `json:"text"`
	// Errno is 0, or says why What could not be done.
	Errno int    `json:"errno"`
	What  string `json:"what"`
	// Taken is the snapshot that lookAndTake took, the last of them; empty for none.
	Taken string `json:"taken"`
	// Created is when each snapshot was taken, in seconds since 1970, by its number in the request from 1 on.
	Created map[int]int64 `json:"created"`
}

// err returns why the request was not met; nil if it was.
func (r reply) err() error {
	if r.Errno == 0 {
		return nil
	}
	if known, ok := errnos[r.Errno]; ok {
		return fmt.Errorf("%s: error number %d: %w", r.What, r.Errno, known)
	}
	return fmt.Errorf("%s: error number %d", r.What, r.Errno)
}

// programs runs one kind of program in one pool, one at a time. Requests that come meanwhile
// are put together into the next one: calls that run side by side wait for one transaction group
// together.
type programs struct {
	// run runs the program with these requests, each a call of one of its functions, and returns a
	// reply for each.
	run func(ctx context.Context, calls []string) ([]reply, error)

	mu      sync.Mutex
	waiting []*request
	running bool
}

// request is one call of a program's function.
type request struct {
	call string
	done chan struct{}
	// reply and err are set when done is closed.
	reply reply
	err   error
}

// again is the error number of a snapshot of a dataset that got one in the same transaction group; the
// next program runs in another.
const again = 11

// do has the program make a call, and returns its reply. When ctx ends it returns at once. A program that is
// under way goes on; a call that still waits for one is not made.
func (p *programs) do(ctx context.Context, call string) (reply, error) {
	for deadline := time.Now().Add(againFor); ; {
		r, err := p.once(ctx, call)
		if err != nil || r.Errno != again || time.Now().After(deadline) {
			return r, err
		}
	}
}

// againFor is how long a call is made again. That many snapshots of one dataset are asked for at once that
// it takes longer is not to be expected: a transaction group takes a part of a second.
const againFor = time.Minute

// once is do without coming again.
func (p *programs) once(ctx context.Context, call string) (reply, error) {
	r := &request{call: call, done: make(chan struct{})}
	p.mu.Lock()
	p.waiting = append(p.waiting, r)
	if !p.running {
		p.running = true
		go p.serve() //nolint:contextcheck // It serves other calls too.
	}
	p.mu.Unlock()
	select {
	case <-r.done:
		return r.reply, r.err
	case <-ctx.Done():
		p.mu.Lock()
		defer p.mu.Unlock()
		p.waiting = slices.DeleteFunc(p.waiting, func(w *request) bool { return w == r })
		return reply{}, ctx.Err()
	}
}

// most is how many requests one program takes at most, so that none holds up the pool for long.
const most = 32

// serve runs programs as long as there are requests.
func (p *programs) serve() {
	for {
		p.mu.Lock()
		n := min(most, len(p.waiting))
		batch := slices.Clone(p.waiting[:n])
		p.waiting = slices.Delete(p.waiting, 0, n)
		p.running = n > 0
		p.mu.Unlock()
		if n == 0 {
			return
		}
		p.answer(batch)
	}
}

// answer runs one program for a batch of requests.
func (p *programs) answer(batch []*request) {
	calls := make([]string, len(batch))
	for i, r := range batch {
		calls[i] = r.call
	}
	replies, err := p.run(context.Background(), calls)
	for i, r := range batch {
		if r.err = err; err == nil {
			r.reply = replies[i]
		}
		close(r.done)
	}
}

// batch runs one program that makes the calls.
func (l *Local) batch(ctx context.Context, pool string, only bool, functions string, calls []string) ([]reply, error) {
	var answers map[string]reply
	if err := l.execute(ctx, pool, only, functions+"return {"+strings.Join(calls, ",\n")+"}", &answers); err != nil {
		return nil, err
	}
	replies := make([]reply, len(calls))
	for i := range calls {
		r, there := answers[strconv.Itoa(i+1)]
		if !there {
			return nil, fmt.Errorf("channel program answered %d of %d requests", len(answers), len(calls))
		}
		replies[i] = r
	}
	return replies, nil
}

// poolPrograms are the programs of one pool.
type poolPrograms struct{ look, take *programs }

// newPrograms returns the programs of each pool.
func (l *Local) newPrograms() map[string]poolPrograms {
	out := map[string]poolPrograms{}
	for _, pool := range l.pools() {
		out[pool] = poolPrograms{
			look: &programs{run: func(ctx context.Context, calls []string) ([]reply, error) {
				return l.batch(ctx, pool, true, lookFunctions, calls)
			}},
			take: &programs{run: func(ctx context.Context, calls []string) ([]reply, error) {
				return l.batch(ctx, pool, false, lookFunctions+takeFunctions, calls)
			}},
		}
	}
	return out
}

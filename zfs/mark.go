package zfs

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// markAfter is how long after a clone its snapshot is marked for removal: those of clones that are
// made in that time are marked together, in one transaction group that no call waits for.
const markAfter = 500 * time.Millisecond

// marks are the snapshots that still are to be marked, so that they go with their last clone. A
// deletion treats them as if they were, so that nothing hangs on when it is done; what a
// process that dies leaves unmarked the Sweep of the next one marks.
type marks struct {
	mu    sync.Mutex
	calls map[string][]string // by pool
}

// mark has a snapshot that was taken for a clone marked soon.
func (l *Local) mark(snapshot string, clone Dataset) {
	dataset, leaf, _ := strings.Cut(snapshot, "@")
	l.marks.mu.Lock()
	defer l.marks.mu.Unlock()
	if l.marks.calls == nil {
		l.marks.calls = map[string][]string{}
	}
	pool := clone.Pool()
	if len(l.marks.calls[pool]) == 0 {
		time.AfterFunc(markAfter, func() { l.markAll(pool) })
	}
	l.marks.calls[pool] = append(l.marks.calls[pool], fmt.Sprintf("mark(%s,%s,%s)", luaString(dataset), luaString(leaf), luaString(clone.name)))
}

// Flush marks what is to be marked, as far as it can before ctx ends.
func (l *Local) Flush(ctx context.Context) {
	l.marks.mu.Lock()
	pools := slices.Collect(maps.Keys(l.marks.calls))
	l.marks.mu.Unlock()
	done := make(chan struct{})
	go func() { //nolint:contextcheck // A program that is under way is not given up.
		defer close(done)
		for _, pool := range pools {
			l.markAll(pool)
		}
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// markAll marks all snapshots in a pool that are to be marked.
func (l *Local) markAll(pool string) {
	l.marks.mu.Lock()
	calls := l.marks.calls[pool]
	delete(l.marks.calls, pool)
	l.marks.mu.Unlock()
	if len(calls) == 0 {
		return // Flush was first.
	}
	ctx := context.Background()
	err := l.poolUsable(pool)
	for some := range slices.Chunk(calls, mostMarks) {
		if err == nil {
			err = l.markSome(ctx, pool, some)
		}
	}
	if err != nil {
		l.log.WarnContext(ctx, "snapshots of clones cannot be marked for removal; the next start does it", "snapshots", len(calls), "error", err)
		return
	}
	l.log.DebugContext(ctx, "snapshots of clones marked for removal", "pool", pool, "snapshots", len(calls))
}

// mostMarks is how many marks one program makes at most, so that none holds up the pool for long.
const mostMarks = 32

//go:embed mark.lua
var markProgram string

// markSome has one program make the marks.
func (l *Local) markSome(ctx context.Context, pool string, calls []string) error {
	var answers map[string]struct {
		// Errno is 0, or says why What could not be marked.
		Errno int    `json:"errno"`
		What  string `json:"what"`
	}
	if err := l.execute(ctx, pool, false, markProgram+"return {"+strings.Join(calls, ",\n")+"}", &answers); err != nil {
		return err
	}
	var faults []error
	for _, a := range answers {
		if a.Errno != 0 {
			faults = append(faults, fmt.Errorf("%s: error number %d", a.What, a.Errno))
		}
	}
	return errors.Join(faults...)
}

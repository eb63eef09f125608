package driver

import (
	"slices"
	"sync"
)

// locks are try-locks on the IDs of volumes and the names of snapshots ("@name"), in one key
// space for all calls. What a call changes is held alone; the sources of clones and
// snapshots are shared.
type locks struct {
	mu   sync.Mutex
	held map[string]int // number of sharers, or -1 when held alone
}

func newLocks() *locks { return &locks{held: map[string]int{}} }

// try takes alone, and all of shared, all or nothing and without waiting. It returns the
// function that gives them back, or the key that is taken.
func (l *locks) try(alone string, shared ...string) (release func(), taken string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held[alone] != 0 || slices.Contains(shared, alone) {
		return nil, alone
	}
	for _, key := range shared {
		if l.held[key] < 0 {
			return nil, key
		}
	}
	l.held[alone] = -1
	for _, key := range shared {
		l.held[key]++
	}
	return func() { l.release(alone, shared) }, ""
}

func (l *locks) release(alone string, shared []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.held, alone)
	for _, key := range shared {
		if l.held[key]--; l.held[key] == 0 {
			delete(l.held, key)
		}
	}
}

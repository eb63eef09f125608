package driver

import "sync"

// locks are try-locks on volume IDs, in one key space for all calls. A volume
// that a call changes is held alone; the source of a clone is shared by clones.
type locks struct {
	mu   sync.Mutex
	held map[string]int // number of sharers, or -1 when held alone
}

func newLocks() *locks { return &locks{held: map[string]int{}} }

// try takes alone, and shared unless it is empty, all or nothing and without
// waiting. It returns the function that gives them back, or the key that is taken.
func (l *locks) try(alone, shared string) (release func(), taken string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held[alone] != 0 || alone == shared {
		return nil, alone
	}
	if shared != "" && l.held[shared] < 0 {
		return nil, shared
	}
	l.held[alone] = -1
	if shared != "" {
		l.held[shared]++
	}
	return func() { l.release(alone, shared) }, ""
}

func (l *locks) release(alone, shared string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.held, alone)
	if shared == "" {
		return
	}
	if l.held[shared]--; l.held[shared] == 0 {
		delete(l.held, shared)
	}
}

package csi_test

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/zfs-csi/zfs-csi/zfs"
)

// TestCrashes lets the driver die before and after each command of an operation. Then another one is
// started, and the call is repeated, or never repeated: what was there is there and whole, what the call
// made is there, or can be deleted, and in the end the pool holds nothing.
func TestCrashes(t *testing.T) {
	var mu sync.Mutex
	points := 0
	t.Run("points", func(t *testing.T) {
		for _, k := range mortalKinds() {
			t.Run(k.name, func(t *testing.T) {
				s := newMortal(t, k)
				for _, m := range mortalities(k.kind) {
					if m.abroad != (k.pools > 1) {
						continue
					}
					// Of all that a volume is made by, and of all deletions, the ones with most to lose.
					if !exhaustive() && !slices.Contains([]string{"restore", "delete a source with a snapshot", "delete a source with a clone"}, m.name) {
						continue
					}
				command:
					for n := 1; ; n++ {
						for _, after := range []bool{false, true} {
							for _, repeated := range repetitions(n, after) {
								died := false // Also where -run leaves the point out.
								t.Run(fmt.Sprintf("%s/%d/after=%t/repeated=%t", m.name, n, after, repeated), func(pt *testing.T) {
									s.T = pt
									defer func() { s.T = t }()
									died = s.crash(m, n, after, repeated)
								})
								if t.Failed() {
									return // What is left is in the way of the next.
								}
								if !died {
									break command // It has no n-th.
								}
								mu.Lock()
								points++
								mu.Unlock()
							}
						}
					}
				}
				s.clear()
			})
		}
	})
	t.Logf("the driver died at %d points", points)
}

// repetitions tells whether the call of a point is repeated, or never: both where nothing is left out, else by turns.
func repetitions(n int, after bool) []bool {
	if exhaustive() {
		return []bool{true, false}
	}
	return []bool{(n%2 == 0) == after}
}

// mortalKind is a kind of volumes in whose operations the driver dies, on so many pools.
type mortalKind struct {
	kind
	name  string
	pools int
}

// mortalKinds returns all of them. Of a filesystem on a zvol that is only what others have not: see mortalities.
func mortalKinds() []mortalKind {
	if exhaustive() {
		return []mortalKind{
			{dataset, "dataset", 1}, {zvol, "zvol", 1}, {ext4, "ext4", 1}, {dataset, "dataset to another pool", 2}, {zvol, "zvol to another pool", 2},
		}
	}
	return []mortalKind{{dataset, "dataset", 1}}
}

// mortal is a stack whose driver dies time and again.
type mortal struct {
	*stack
	kind kind
	// empty is what s.pool says when nothing is there.
	empty string
	// family holds what is there between two points; nil for nothing.
	family map[string]string
}

func newMortal(t *testing.T, k mortalKind) *mortal {
	t.Helper()
	s := newStackOn(t, k.pools)
	return &mortal{stack: s, kind: k.kind, empty: s.pool()}
}

// crash runs one point. It returns false when the operation has no n-th command.
func (s *mortal) crash(m mortality, n int, after, repeated bool) bool {
	s.Helper()
	k := s.kind
	if s.family == nil {
		s.family = s.stack.family(k)
	}
	held := maps.Clone(s.family)
	if m.prepare != nil {
		m.prepare(s.stack, k, held)
	}
	s.swept()
	// What was cloned before is no command of the call.
	s.settle()
	before := s.pool()
	died := s.dieAt(n, after)
	err := m.call(s.ctx(), s.stack, k)
	s.runner.wrap(nil)
	s.restart()
	s.swept() // Until then a call can be told ABORTED.
	if !died() {
		s.must(err)
	}
	if repeated {
		s.must(m.call(s.ctx(), s.stack, k))
	}
	done := err == nil || repeated
	if done {
		for id, text := range m.made {
			held[id] = text
		}
	}
	for _, id := range m.removed {
		delete(held, id)
	}
	if m.end != nil {
		m.end(s.stack)
	}
	s.looks(k, m, held, done)
	for id, text := range held {
		s.holdsEither(k, id, text)
	}
	// What the call made goes, also when it was never repeated; and all else, unless it is as it was.
	for id := range m.made {
		s.remove(id)
		delete(held, id)
	}
	if m.spares() {
		s.becomes(before)
		return died()
	}
	for _, id := range m.removed {
		held[id] = ""
	}
	s.family = held
	s.clear()
	return died()
}

// clear removes what is there.
func (s *mortal) clear() {
	s.Helper()
	for id := range s.family {
		s.remove(id)
	}
	s.family = nil
	s.becomes(s.empty)
}

// becomes waits until the pools hold nothing but what they held when s.pool said so.
func (s *mortal) becomes(want string) {
	s.Helper()
	s.eventually("nothing is left", func() error {
		if pool := s.pool(); pool != want {
			return fmt.Errorf("there is\n%s, and before there was\n%s", pool, want)
		}
		return nil
	})
}

// dieAt lets no command be started any more from the n-th on, or after the n-th has run, of which nobody
// then learns what it did. The function it returns tells whether it came to that.
func (s *stack) dieAt(n int, after bool) (died func() bool) {
	var mu sync.Mutex
	count := 0
	s.runner.wrap(func(_ zfs.Command, run func() (zfs.Result, error)) (zfs.Result, error) {
		mu.Lock()
		count++
		now := count
		mu.Unlock()
		switch {
		case now < n:
			return run()
		case now == n && after:
			if _, err := run(); err != nil {
				return zfs.Result{}, err
			}
		}
		return zfs.Result{}, errDied
	})
	return func() bool {
		mu.Lock()
		defer mu.Unlock()
		return count >= n
	}
}

package csi_test

import (
	"fmt"
	"slices"
	"strings"
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
				s := newStack(t)
				for _, m := range mortalities(k) {
					// Of all that a volume is made by, and of all deletions, the ones with most to lose.
					if !exhaustive() && !slices.Contains([]string{"restore", "delete a source with a snapshot"}, m.name) {
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
									died = s.crash(k, m, n, after, repeated)
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

// mortalKinds are the kinds of volumes in whose operations the driver dies. Of a filesystem on a zvol that is only what
// others have not.
func mortalKinds() []kind {
	if exhaustive() {
		return []kind{dataset, zvol, ext4}
	}
	return []kind{dataset}
}

// crash runs one point. It returns false when the operation has no n-th command.
func (s *stack) crash(k kind, m mortality, n int, after, repeated bool) bool {
	s.Helper()
	held := s.family(k)
	if m.prepare != nil {
		m.prepare(s, k, held)
	}
	s.swept()
	// What was cloned before is no command of the call.
	s.settle()
	died := s.dieAt(n, after)
	err := m.call(s.ctx(), s, k)
	s.runner.wrap(nil)
	s.restart()
	s.swept() // Until then a call can be told ABORTED.
	if !died() {
		s.must(err)
	}
	done := err == nil || repeated
	if done {
		s.eventually("the call succeeds", func() error { return m.call(s.ctx(), s, k) })
		for id, text := range m.made {
			held[id] = text
		}
	}
	for _, id := range m.removed {
		delete(held, id)
	}
	if m.end != nil {
		m.end(s)
	}
	s.looks(k, m, held, done)
	for id, text := range held {
		s.holdsEither(k, id, text)
	}
	// Everything goes, also what a call made that was never repeated.
	for id := range m.made {
		held[id] = ""
	}
	for _, id := range m.removed {
		held[id] = ""
	}
	for id := range held {
		s.remove(id)
	}
	s.eventually("nothing is left", func() error {
		if pool := s.pool(); strings.Count(pool, "\n") != len(s.parents) {
			return fmt.Errorf("left:\n%s", pool)
		}
		return nil
	})
	return died()
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

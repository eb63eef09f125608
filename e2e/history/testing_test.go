package history_test

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// borrowed is the testing.TB of a history, for what asks for one: it is the test's own, but a
// failure is the history's, so that rapid sees it and makes the history shorter.
type borrowed struct {
	testing.TB
	t rapid.TB
}

// testing returns the history's testing.TB.
func (h *history) testing() testing.TB { return borrowed{h.storage.test(), h.test()} }

// Error implements testing.TB, as do the others.
func (b borrowed) Error(args ...any)                 { b.Errorf("%s", fmt.Sprintln(args...)) }
func (b borrowed) Errorf(format string, args ...any) { b.Fatalf(format, args...) }
func (b borrowed) Fatal(args ...any)                 { b.Fatalf("%s", fmt.Sprintln(args...)) }
func (b borrowed) FailNow()                          { b.Fatalf("failed") }
func (b borrowed) Fail()                             { b.Fatalf("failed") }

// Fatalf says the same whatever has failed, see history.call; what it was is in the log.
func (b borrowed) Fatalf(format string, args ...any) {
	b.t.Logf(format, args...)
	b.t.Fatalf("the storage is not as it should, or did not do what the test asked of it")
}

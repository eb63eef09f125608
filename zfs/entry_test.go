package zfs

import "testing"

// TestEntriesSeen: a look tells that there are no parts unless something has changed since it began.
func TestEntriesSeen(t *testing.T) {
	var e entries
	seen := e.look()
	if seen(1, false); !e.noParts() || e.count.Load() != 1 {
		t.Error("what was seen is not known")
	}
	seen = e.look()
	if e.changed(); e.noParts() {
		t.Error("what was seen is known after a change")
	}
	if seen(1, false); e.noParts() {
		t.Error("a look is believed that began before a change")
	}
	seen = e.look()
	if seen(1, true); e.noParts() {
		t.Error("parts were seen, and there are none")
	}
}

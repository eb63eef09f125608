package driver

import "testing"

func TestLocks(t *testing.T) {
	l := newLocks()
	take := func(alone, shared string) func() {
		t.Helper()
		release, taken := l.try(alone, shared)
		if release == nil {
			t.Fatalf("try(%q, %q): %q is taken", alone, shared, taken)
		}
		return release
	}
	refuse := func(alone, shared, want string) {
		t.Helper()
		if release, taken := l.try(alone, shared); release != nil || taken != want {
			t.Fatalf("try(%q, %q) took it or blames %q; want %q taken", alone, shared, taken, want)
		}
	}

	one := take("clone1", "source")
	two := take("clone2", "source") // Clones share their source.
	other := take("other", "")
	refuse("clone1", "", "clone1")
	refuse("source", "", "source")
	refuse("clone3", "clone1", "clone1")
	refuse("clone3", "clone3", "clone3")
	refuse("clone1", "source", "clone1")
	one()
	refuse("source", "", "source")
	two()
	take("source", "")()
	other()
	if len(l.held) != 0 {
		t.Errorf("given back, yet held: %v", l.held)
	}
}

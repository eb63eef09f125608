package zfs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestLookBesideOneThatHangs: a pool that does not answer keeps no call from another, and is not asked
// again until it does.
func TestLookBesideOneThatHangs(t *testing.T) {
	back := make(chan struct{})
	var asked atomic.Int32
	l := newUsable(t, func(c Command) Result {
		answers := map[string]map[string]any{}
		for _, name := range c.Args[4:] {
			if name == "slow/csi" {
				asked.Add(1)
				<-back
			}
			if strings.HasSuffix(name, "/b") {
				continue // It is not there.
			}
			answers[name] = map[string]any{}
			for property, value := range map[string]string{propDriver: "ours", propVolume: "a"} {
				answers[name][property] = map[string]any{"value": value, "source": name}
			}
		}
		return Result{Answers: answers}
	})
	l.parents = append(l.parents, Dataset{"slow/csi"})
	l.entries = newEntries(l.parents)
	l.statsOf["slow"] = &poolLooks{running: make(chan struct{}, maxStats)}
	l.answerTime = 50 * time.Millisecond
	if err := os.CopyFS(filepath.Join(l.kstat, "slow"), os.DirFS(filepath.Join(l.kstat, "tank"))); err != nil {
		t.Fatal(err)
	}

	for range 3 {
		if v, err := l.Get(t.Context(), VolumeID{"a"}); err != nil || v.Parent.name != "tank/csi" {
			t.Errorf("beside a pool that hangs: %+v, %v", v, err)
		}
		if _, err := l.Get(t.Context(), VolumeID{"b"}); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "slow") {
			t.Errorf("what may be in the pool that hangs: %v, want %v", err, ErrUnavailable)
		}
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("the pool that hangs was asked %d times", n)
	}
	close(back)
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) { // between two looks
		_, err := l.Get(t.Context(), VolumeID{"b"})
		if errors.Is(err, ErrNotFound) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("when it answers again: %v, want %v", err, ErrNotFound)
		}
	}
}

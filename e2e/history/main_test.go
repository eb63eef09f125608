package history_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/zfs-csi/zfs-csi/zfs/zfstest"
)

// By the time that so many are taken, histories are under way, which are ended.
var stepsFlag = flag.Int("steps", 150, "how many steps there are at least on real ZFS")

const (
	// stepsOfHistory is how many steps a history has on the average, before all is deleted.
	stepsOfHistory = 30
	// stepsInMemory is how many steps there are in memory.
	stepsInMemory = 5000
	// workers is how many histories run side by side on real ZFS, each on pools of its own:
	// a part of the time they wait for transaction groups.
	workers = 2
	// progress is how often it is told how far it is.
	progress = 5 * time.Second
)

// defaults are those of rapid's flags that are not rapid's own. A failed history on real ZFS takes
// minutes, and so does each attempt to make it shorter.
var defaults = map[string]string{"rapid.steps": strconv.Itoa(stepsOfHistory), "rapid.shrinktime": "5m", "rapid.nofailfile": "true"}

// TestMain chooses the seed, unless it is given, so that a test that hangs has it told too.
func TestMain(m *testing.M) {
	flag.Parse()
	defaults["rapid.seed"] = strconv.FormatUint(uint64(rand.Uint32())+1, 10)
	flag.Visit(func(f *flag.Flag) { delete(defaults, f.Name) })
	for name, value := range defaults {
		set(name, value)
	}
	fmt.Fprintln(os.Stderr, "seed", flag.Lookup("rapid.seed").Value)
	os.Exit(m.Run())
}

func set(name, value string) {
	if err := flag.Set(name, value); err != nil {
		panic(err) // Rapid has no such flag any more.
	}
}

// TestInMemory tries histories where they cost next to nothing.
func TestInMemory(t *testing.T) {
	elsewhere(t)
	r := newRuns(t, stepsInMemory)
	r.check(t, newMemory(t))
	r.enough(t)
}

// elsewhere skips a test that needs no ZFS where there is some, which may be in emulation: `make test` runs it outside of that.
func elsewhere(t *testing.T) {
	t.Helper()
	if zfstest.Available() {
		t.Skip("it needs no ZFS, and is run where there is none")
	}
}

// TestOnPools tries histories on real ZFS.
func TestOnPools(t *testing.T) {
	zfstest.Need(t)
	r := newRuns(t, *stepsFlag)
	stop := r.report(t)
	defer stop()
	t.Run("worker", func(t *testing.T) {
		for i := range workers {
			t.Run(strconv.Itoa(i), func(t *testing.T) {
				t.Parallel()
				r := *r
				r.worker = i
				r.check(t, newPools(t))
			})
		}
	})
	r.enough(t)
}

// runs are the histories of a test.
type runs struct {
	steps  int
	taken  *atomic.Int64
	worker int
}

// newRuns prints the seed, and sees to it that rapid tries histories enough for that many steps.
func newRuns(t *testing.T, steps int) *runs {
	t.Helper()
	t.Logf("%d steps from seed %s", steps, flag.Lookup("rapid.seed").Value)
	// A history has a step at least, and once there were enough the others are empty.
	set("rapid.checks", strconv.Itoa(steps))
	return &runs{steps: steps, taken: &atomic.Int64{}}
}

// check tries histories until there were enough steps.
func (r runs) check(t *testing.T, s storage) {
	// What failed is tried again to make it shorter, however many steps there were.
	n, failed, dir := 0, false, t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		// Each worker has the same seed, but begins further on in what follows from it.
		for range r.worker {
			rapid.Uint64().Draw(rt, "worker")
		}
		if !failed && r.taken.Load() >= int64(r.steps) {
			return
		}
		ended := false
		defer func() { failed = failed || !ended }()
		n++
		run(rt, s, filepath.Join(dir, strconv.Itoa(n)), failed, func() { r.taken.Add(1) })
		ended = true
	})
}

// enough fails the test where there were fewer steps than asked for: near the test's deadline rapid tries no more histories, and is content.
func (r runs) enough(t *testing.T) {
	if taken := r.taken.Load(); !t.Failed() && taken < int64(r.steps) {
		t.Errorf("there was time for %d steps only, not for %d", taken, r.steps)
	}
}

// report tells every now and then how far it is, until the function it returns is called.
func (r runs) report(t *testing.T) (stop func()) {
	start, done, ended := time.Now(), make(chan struct{}), make(chan struct{})
	tell := func() {
		taken := r.taken.Load()
		t.Logf("%d of %d steps, %.2f a second, seed %s", taken, r.steps, float64(taken)/time.Since(start).Seconds(), flag.Lookup("rapid.seed").Value)
	}
	go func() {
		defer close(ended)
		for tick := time.NewTicker(progress); ; {
			select {
			case <-tick.C:
				tell()
			case <-done:
				return
			}
		}
	}()
	return func() {
		close(done)
		<-ended
		tell()
	}
}

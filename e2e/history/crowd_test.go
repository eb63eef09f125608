package history_test

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/zfs-csi/zfs-csi/e2e/service"
	"github.com/zfs-csi/zfs-csi/zfs"
	"github.com/zfs-csi/zfs-csi/zfs/zfstest"
)

var clientsFlag = flag.Duration("clients", 0, "how long the clients that work side by side go on; 0 for some seconds")

const (
	// clients is how many there are.
	clients = 16
	// longestCall is how long a call may take. One that takes longer hangs.
	longestCall = 3 * time.Minute
)

// shared is a storage that several clients can use at once.
type shared interface {
	storage
	// put replaces what a published volume holds at one moment, and returns what it held before.
	put(id zfs.VolumeID, at service.Place, text string) (before string, err error)
	// volumes returns what the store has.
	volumes(testing.TB) []*zfs.Volume
	// guards tells whether the storage refuses by itself to delete a published volume of the kind. Where it
	// does not, that is the orchestrator's duty.
	guards(kind) bool
}

// TestClientsInMemory lets many clients work on the same few volumes at the same time.
func TestClientsInMemory(t *testing.T) {
	elsewhere(t)
	newCrowd(t, newMemory(t)).work(cmp.Or(*clientsFlag, 5*time.Second), 20, time.Hour)
}

// TestClientsOnPools does the same on real ZFS.
func TestClientsOnPools(t *testing.T) {
	zfstest.Need(t)
	newCrowd(t, newPools(t)).work(cmp.Or(*clientsFlag, 15*time.Second), 50, 30*time.Second)
}

// TestOrders holds the judge to histories of which it is known whether there is an order.
func TestOrders(t *testing.T) {
	volumes := func(a, b string) state {
		return state{volumes: map[string]held{"a": {text: a}, "b": {source: "a", mode: copied, text: b}}}
	}
	copying := event{0, call{op: toCreate, volume: "b", source: "a", mode: copied, touches: 3}, answer{}, 1, 6}
	absent := event{2, call{op: toGet, volume: "b", touches: 2}, answer{code: codes.NotFound}, 4, 5}
	for name, c := range map[string]struct {
		written time.Duration // from then on for a moment
		copy    string
		want    bool
	}{
		"a copy that is of before the write and is there after it": {2, "", true},
		"a copy that is of after the write":                        {2, "new", true},
		"a copy of what was overwritten before it was asked for":   {-1, "", false},
		"a copy of what was not written yet":                       {7, "new", false},
	} {
		t.Run(name, func(t *testing.T) {
			write := event{1, call{op: toUse, volume: "a", text: "new", touches: 1}, answer{}, c.written, c.written + 1}
			o := newOrders([]event{copying, write, absent}, volumes("new", c.copy))
			if got := o.find(state{volumes: map[string]held{"a": {}}}, made{}); got != c.want {
				t.Errorf("an order is found: %t, want %t", got, c.want)
			}
		})
	}
}

// crowd is clients that work side by side. They do it in rounds: after each, when nobody works,
// all that is there is looked at, and then there must be an order of the calls in which, made one
// after the other, each has its answer and the last leaves what is there. Each call's
// place in it lies between its start and its end. So no update is lost, and a
// clone holds what its source did at some moment during the call.
type crowd struct {
	*testing.T
	*service.Service
	storage shared
	dir     string
	start   time.Time
	// pods has a lock for each volume: one pod at a time uses it.
	pods map[string]*sync.Mutex

	mu     sync.Mutex
	events []event
	counts map[string]int // calls by what was asked and the answer
	calls  int
	tried  int // orders
}

func newCrowd(t *testing.T, s shared) *crowd {
	t.Helper()
	s.fresh(t)
	c := &crowd{T: t, storage: s, dir: t.TempDir(), start: time.Now(), pods: map[string]*sync.Mutex{}, counts: map[string]int{}}
	for _, name := range sharedVolumes {
		c.pods[name] = &sync.Mutex{}
	}
	var err error
	if c.Service, err = s.serve(t, filepath.Join(c.dir, "csi.sock")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Errorf("the driver stopped: %v", err)
		}
	})
	return c
}

// work lets the clients work in rounds, each of so many calls of a client or so long, and then takes all away.
func (c *crowd) work(long time.Duration, calls int, round time.Duration) {
	seed := rand.Uint64()
	c.Logf("%d clients for %s, seed %d", clients, long, seed)
	began := state{volumes: map[string]held{}, entries: map[string]entry{}}
	end, rounds := time.Now().Add(long), 0
	for ; time.Now().Before(end) && !c.Failed(); rounds++ {
		stop := time.Now().Add(min(round, time.Until(end)))
		c.each(clients, func(i int) {
			draw := rand.New(rand.NewPCG(seed, uint64(rounds*clients+i))) //nolint:gosec // not for secrets
			for n := 0; n < calls && time.Now().Before(stop) && !c.Failed(); n++ {
				c.next(i, draw, stop)
			}
		})
		if c.Failed() {
			break
		}
		began = c.judge(began, c.observe())
	}
	took := time.Since(c.start)
	c.Logf("%d calls in %d rounds, %.1f a second; %d orders were tried", c.calls, rounds, float64(c.calls)/took.Seconds(), c.tried)
	for _, key := range slices.Sorted(maps.Keys(c.counts)) {
		c.Logf("%6d  %s", c.counts[key], key)
	}
	if !c.Failed() {
		c.clear(began)
	}
}

// each calls f for the numbers below n, side by side.
func (c *crowd) each(n int, f func(i int)) {
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() { f(i) })
	}
	group.Wait()
}

// made makes a call of a client and notes it with its answer.
func (c *crowd) made(client int, asked call) answer {
	ctx, cancel := context.WithTimeout(context.Background(), longestCall)
	defer cancel()
	start := time.Since(c.start)
	got := c.ask(ctx, asked)
	end := time.Since(c.start)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls++
	c.counts[fmt.Sprintf("%s: %s", asked.op, got.code)]++
	if asked.op == toList { // It has no moment: each volume is seen at another.
		if got.code != codes.OK {
			c.Errorf("a list was refused: %s %s", got.code, got.words)
		}
		return got
	}
	c.events = append(c.events, event{client, asked, got, start, end})
	return got
}

// judge fails the test unless there is such an order of the round's calls. It returns what is there now.
func (c *crowd) judge(before, now state) state {
	c.Helper()
	events := c.excuse()
	c.events = nil
	o := newOrders(events, now)
	if o.find(before, made{}) {
		c.tried += o.steps
		return now
	}
	if o.steps > mostOrders {
		c.Errorf("%d orders of %d calls were tried and none was right; there may be one", mostOrders, len(events))
	}
	var lines []string
	place := made{}
	for _, e := range events {
		mark := "  "
		if place[e.client] += len(e.moments()); place[e.client] > o.longest[e.client] {
			mark = "! "
		}
		lines = append(lines, mark+e.String())
	}
	c.Errorf("there is no order of these calls in which each has its answer; in the longest that there is those with a ! have no place:\n%s\n"+
		"from %+v\n  to %+v", strings.Join(lines, "\n"), before, now)
	return now
}

// excuse returns the round's calls without those that changed nothing since others were in their way,
// and fails the test where nobody was.
func (c *crowd) excuse() []event {
	c.Helper()
	var rest []event
	for _, e := range c.events {
		var inWay func(call) bool
		switch {
		case e.got.code == codes.Aborted:
			inWay = func(other call) bool { return other.op != toGet && other.meets(e.asked) }
		case e.got.code == codes.FailedPrecondition && e.asked.op == toDelete:
			inWay = func(other call) bool { return other.op == toUse && other.volume == e.asked.volume }
		default:
			rest = append(rest, e)
			continue
		}
		if !slices.ContainsFunc(c.events, func(o event) bool {
			return o.client != e.client && o.start <= e.end && e.start <= o.end && inWay(o.asked)
		}) {
			c.Errorf("refused, though nobody else was at it: %s", e)
		}
	}
	return rest
}

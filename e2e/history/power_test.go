package history_test

import (
	"flag"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var roundsFlag = flag.Int("rounds", 1, "how many histories there are in which the power is cut")

const (
	// stepsOfRound is how many steps such a history has on the average, before all is deleted, or more
	// until the power was cut so many times.
	stepsOfRound = 10
	cutsOfRound  = 3
)

// TestPower cuts the power of a machine at random moments of random histories, and boots it again. What was
// acknowledged is there then, and whole, as is each write that has come to its fsync; what was under way is done
// or not, and can be asked for again, or be deleted; and in the end the pools are empty.
func TestPower(t *testing.T) {
	m := newMachine(t)
	seed, err := strconv.ParseUint(flag.Lookup("rapid.seed").Value.String(), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	set("rapid.checks", "1")
	set("rapid.steps", strconv.Itoa(stepsOfRound))
	start, dir, steps := time.Now(), t.TempDir(), 0
	for n := range uint64(*roundsFlag) {
		began := time.Now()
		m.ofRound = m.cuts
		t.Logf("round %d of %d, seed %d", n+1, *roundsFlag, seed+n)
		m.chance = rand.New(rand.NewPCG(seed+n, 0))
		set("rapid.seed", strconv.FormatUint(seed+n, 10))
		rapid.Check(t, func(rt *rapid.T) {
			run(rt, m, filepath.Join(dir, strconv.FormatUint(n, 10)), false, func() { steps++ })
		})
		t.Logf("round %d: %d cuts, %.0f s", n+1, m.cuts-m.ofRound, time.Since(began).Seconds())
	}
	took := time.Since(start)
	t.Logf("%d rounds, %d steps, %d cuts: %d while a call was under way, %d right after; %.0f s, %.0f s a round, %.0f s a cut",
		*roundsFlag, steps, m.cuts, m.underWay, m.cuts-m.underWay, took.Seconds(),
		took.Seconds()/float64(*roundsFlag), took.Seconds()/float64(max(1, m.cuts)))
}

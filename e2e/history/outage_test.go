package history_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// errCut is what becomes of a call when the power is cut meanwhile.
var errCut = errors.New("the power was cut")

// outage is a cut of the power in an operation: while its first call is under way, or
// when that has just been acknowledged.
type outage struct {
	machine *machine
	// kind is that of the operation.
	kind string
	// late tells that the power is cut when the call has been acknowledged.
	late bool
	// moment is else when it is cut, as a part of the time that such a call last took.
	moment float64
	// final tells that the caller never repeats the call, if he can do without.
	final bool

	call  string        // empty until it is made
	after time.Duration // since the call was made
	cut   bool
	err   error
}

// firstCall is how long a call is taken to last of whose kind there was none yet.
const firstCall = time.Second

// drawOutage returns what becomes of an operation: every third has its outage. How long a
// call takes differs from run to run, so that is not drawn from what rapid keeps.
func (m *machine) drawOutage(kind string, chance *rand.Rand) *outage {
	o := &outage{machine: m, kind: kind, late: chance.IntN(3) == 0, moment: 1.1 * chance.Float64(), final: chance.IntN(2) == 0}
	if chance.IntN(3) > 0 {
		return nil
	}
	return o
}

// during is called when a call begins. The function it returns is called when it has returned, and
// tells whether the power was cut meanwhile; then abandon was called.
func (o *outage) during(call string, abandon func()) (returned func() bool) {
	if o == nil || o.call != "" {
		return func() bool { return false }
	}
	o.call = call
	usual := o.machine.usual[o.kind]
	if usual == 0 {
		usual = firstCall
	}
	moment := time.Duration(o.moment * float64(usual))
	if o.late {
		moment = math.MaxInt64
	}
	start, done := time.Now(), make(chan struct{})
	clock := time.AfterFunc(moment, func() {
		defer close(done)
		o.after, o.cut = time.Since(start), true
		o.err = o.machine.cut()
		abandon() // A further call would wait for the driver.
	})
	return func() bool {
		if clock.Stop() {
			o.after = time.Since(start)
			o.machine.usual[o.kind] = o.after
			return false
		}
		<-done
		return true
	}
}

// step does an operation and compares what is there then with the model. Where the power can be cut it does the
// latter only when that has happened: what else there is to be seen, the other tests see.
func (h *history) step(kind string, operation func()) {
	if h.machine == nil {
		operation()
		h.check()
		return
	}
	o := h.machine.drawOutage(kind, h.machine.chance)
	if o == nil {
		operation()
		return
	}
	if len(h.volumes) > 0 {
		h.write() // It may still be in the intent log alone when the power is cut.
	}
	h.outage = o
	defer func() { h.outage = nil }() // Also when the operation is skipped.
	operation()
	if !o.cut {
		o.err = h.machine.cut()
		h.powerOn()
	}
	h.check()
}

// String tells what the power was cut in.
func (o *outage) String() string {
	how := "under way for"
	if !o.cut {
		how = "acknowledged after"
	}
	return fmt.Sprintf("%s, %s %.2f s", cmp.Or(o.call, o.kind), how, o.after.Seconds())
}

// powerOn goes on after the power was cut.
func (h *history) powerOn() {
	o := h.outage
	if o.err != nil {
		h.Fatalf("cut the power: %v", o.err)
	}
	h.note("the power is cut: %s", o)
	start := time.Now()
	if err := h.Stop(); err != nil {
		h.Fatalf("the driver stopped: %v", err)
	}
	h.machine.boot(h.testing())
	booted := time.Since(start)
	h.serve()
	h.machine.told(o, booted, time.Since(start))
	for _, v := range h.volumes {
		v.release = nil
	}
	h.touched = append(h.touched, h.snapshots...)
}

// tried makes a call that the model allows, and again when the power was cut meanwhile, unless
// the caller then gives up. In that case it returns false.
func (h *history) tried(what string, f func(context.Context) error) bool {
	if h.attempted(what, f) {
		return true
	}
	if h.outage.final {
		h.note("nobody asks for that again")
		return false
	}
	return h.attempted(what, f)
}

// unsure is what a call may have made that was cut off and not repeated. It may be in no list, or in
// each, and in any state; but it can be deleted, and is in the way of nothing else.
type unsure struct {
	name   string
	ids    []string
	delete func()
}

func (h *history) mayBe(name string, ids []string, remove func()) {
	h.unsure = append(h.unsure, &unsure{name, ids, remove})
}

// rid deletes what may be there.
func (h *history) rid(u *unsure) {
	u.delete()
	h.unsure = remove(h.unsure, u)
}

func (h *history) isUnsure(id string) bool {
	return slices.ContainsFunc(h.unsure, func(u *unsure) bool { return slices.Contains(u.ids, id) })
}

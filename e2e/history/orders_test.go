package history_test

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
)

// event is a call that was made, and its answer.
type event struct {
	client     int
	asked      call
	got        answer
	start, end time.Duration
}

// String describes the event to people.
func (e event) String() string {
	return fmt.Sprintf("%8.3f to %8.3f s, client %2d: %+v → %s", e.start.Seconds(), e.end.Seconds(), e.client, e.asked, e.got)
}

// mostOrders is how many orders are tried before it is given up to find one.
const mostOrders = 1 << 20

// orders looks for an order of events, as Wing and Gong do in "Testing and verifying concurrent objects", but leaves
// out what only differs in calls that have nothing to do with each other.
type orders struct {
	events []event
	now    state
	// tried are the states that were come to, by the events that were made until then.
	tried map[string][]state
	steps int
	// longest are the events of the longest order that could be made.
	longest []int
}

// find tells whether after the events made, which have led to the state s, there is an order of all others in
// which each has its answer, that ends in the state now.
func (o *orders) find(s state, made []int) bool {
	if o.steps++; o.steps > mostOrders {
		return false
	}
	if len(made) > len(o.longest) {
		o.longest = slices.Clone(made)
	}
	if len(made) == len(o.events) {
		return s.equal(o.now)
	}
	done := make([]byte, len(o.events))
	for _, i := range made {
		done[i] = 1
	}
	key := string(done)
	if slices.ContainsFunc(o.tried[key], s.equal) {
		return false
	}
	o.tried[key] = append(o.tried[key], s)

	var next []int
	var after []state
	for _, i := range o.candidates(done) {
		e := o.events[i]
		want, then := s.step(e.asked)
		if want.code != e.got.code || want.code == codes.OK && (want.size != e.got.size || want.text != e.got.text) {
			continue
		}
		if e.asked.op == toGet || e.got.code != codes.OK {
			return o.find(s, append(made, i)) // It changes nothing wherever it comes, so it can come now.
		}
		next, after = append(next, i), append(after, then)
	}
	for n, i := range next {
		if o.find(after[n], append(slices.Clip(made), i)) {
			return true
		}
	}
	return false
}

// candidates returns the events that can come next: the one that ended first, and those that began before that
// and have to do with it, or with one that has. All others can as well come later.
func (o *orders) candidates(done []byte) (out []int) {
	var rest []int
	for i := range o.events {
		if done[i] == 0 {
			rest = append(rest, i)
		}
	}
	slices.SortFunc(rest, func(i, j int) int { return cmp.Compare(o.events[i].end, o.events[j].end) })
	out, rest = rest[:1:1], rest[1:]
	limit := o.events[out[0]].end
	for n := 0; n < len(out); n++ {
		rest = slices.DeleteFunc(rest, func(i int) bool {
			near := o.events[i].start <= limit && o.events[i].asked.meets(o.events[out[n]].asked)
			if near {
				out = append(out, i)
			}
			return near
		})
	}
	return out
}

package history_test

import (
	"fmt"
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
	return fmt.Sprintf("%8.3f to %8.3f s, client %2d: %s → %s", e.start.Seconds(), e.end.Seconds(), e.client, e.asked, e.got)
}

// mostOrders is how many orders are tried before it is given up to find one.
const mostOrders = 1 << 20

// orders looks for an order of events, as Wing and Gong do in "Testing and verifying concurrent objects", but leaves
// out what only differs in calls that have nothing to do with each other.
type orders struct {
	// events are those of each client in their order.
	events [clients][]event
	now    state
	// tried are the states that were come to, by what was made until then.
	tried map[made][]state
	steps int
	// longest is the longest order that could be made.
	longest made
}

// made is how many of each client's events have come.
type made [clients]int

func (m made) and(client int) made {
	m[client]++
	return m
}

func (m made) sum() (n int) {
	for _, of := range m {
		n += of
	}
	return n
}

func newOrders(events []event, now state) *orders {
	o := &orders{now: now, tried: map[made][]state{}}
	for _, e := range events {
		o.events[e.client] = append(o.events[e.client], e.moments()...)
	}
	return o
}

// moments returns the event, or what happens at two moments: a source is read at one, and what is made of it
// is there from another one on. In between is, of copies, all the time that they take.
func (e event) moments() []event {
	e.asked.client = e.client
	if e.asked.op != toCreate || e.asked.source == "" || e.got.code != codes.OK {
		return []event{e}
	}
	read := e
	read.asked.op, read.got = toRead, answer{}
	return []event{read, e}
}

// find tells whether after the events m, which have led to the state s, there is an order of all others in
// which each has its answer, that ends in the state now.
func (o *orders) find(s state, m made) bool {
	if o.steps++; o.steps > mostOrders {
		return false
	}
	if m.sum() > o.longest.sum() {
		o.longest = m
	}
	for _, tried := range o.tried[m] {
		if tried.equal(s) {
			return false
		}
	}
	o.tried[m] = append(o.tried[m], s)

	next := o.candidates(m)
	if len(next) == 0 {
		return s.equal(o.now)
	}
	var after []state
	var possible []int
	for _, client := range next {
		e := o.events[client][m[client]]
		want, then := s.step(e.asked)
		if want.code != e.got.code || want.code == codes.OK && (want.size != e.got.size || want.text != e.got.text) {
			continue
		}
		if e.asked.op == toGet || e.got.code != codes.OK {
			return o.find(s, m.and(client)) // It changes nothing wherever it comes, so it can come now.
		}
		possible, after = append(possible, client), append(after, then)
	}
	for i, client := range possible {
		if o.find(after[i], m.and(client)) {
			return true
		}
	}
	return false
}

// candidates returns whose event can come next: the one that ended first of the rest, and those that began before
// that and have to do with it, or with one that has. All others can as well come later.
func (o *orders) candidates(m made) (out []int) {
	var rest []int
	var first event
	for client, events := range o.events {
		if m[client] == len(events) {
			continue
		}
		rest = append(rest, client)
		if e := events[m[client]]; len(rest) == 1 || e.end < first.end {
			first = e
		}
	}
	if len(rest) == 0 {
		return nil
	}
	out = []int{first.client}
	for n := 0; n < len(out); n++ {
		near := o.events[out[n]][m[out[n]]].asked
		var far []int
		for _, client := range rest {
			switch e := o.events[client][m[client]]; {
			case client == first.client || e.start > first.end:
			case e.asked.meets(near):
				out = append(out, client)
			default:
				far = append(far, client)
			}
		}
		rest = far
	}
	return out
}

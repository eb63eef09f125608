package history_test

import (
	"fmt"
	"maps"
	"slices"

	"google.golang.org/grpc/codes"
)

// What clients ask for, and what an order sees of that besides (see moments). That all is looked at stands at the end of a round.
const (
	toCreate        = "create"
	toRead          = "read the source of"
	toDelete        = "delete"
	toExpand        = "expand"
	toModify        = "modify"
	toUse           = "publish, write, unpublish"
	toSnapshot      = "snapshot"
	toSnapshotGroup = "group snapshot"
	toForget        = "delete snapshot"
	toForgetGroup   = "delete group snapshot"
	toGet           = "get"
	toList          = "list"
)

// call is what a client asked for.
type call struct {
	op     string
	volume string
	// source is the ID of the volume or snapshot that a volume is made from, empty for nothing.
	source string
	mode   mode
	// name is that of snapshots, and other the second volume of a group.
	name, other string
	// text is what is written, or the value of the property that is changed.
	text string
	size int64
	// client is who asked, where calls are put in order.
	client int
	// touches are the volumes and names it is about, see about.
	touches uint64
}

// String describes the call to people.
func (c call) String() string {
	words := c.op + " " + c.volume
	for _, more := range []struct{ word, value string }{{"and", c.other}, {"as", c.name}, {"of", c.source}, {"by way of", string(c.mode)}, {"with", c.text}} {
		if more.value != "" {
			words += " " + more.word + " " + more.value
		}
	}
	if c.size > 0 {
		words += fmt.Sprintf(" at %d MiB", c.size/mib)
	}
	return words
}

// answer is what a client was told.
type answer struct {
	code  codes.Code
	size  int64
	text  string
	words string
}

// String describes the answer to people.
func (a answer) String() string {
	return fmt.Sprintf("%s %d MiB %.30q %s", a.code, a.size/mib, a.text, a.words)
}

// state is all that the model remembers. It is never changed, but copied.
type state struct {
	volumes map[string]held
	entries map[string]entry
	// read is what clients, by their numbers, have in hand of a source for a volume that is not there yet.
	read map[int]held
}

// held is a volume.
type held struct {
	source string
	mode   mode
	size   int64
	text   string
	value  string // of the property that clients change; empty for the default
}

// entry is what the name of a snapshot or group stands for.
type entry struct {
	group   bool
	members [2]moment // a snapshot has the first only
}

// moment is what a snapshot holds of a volume.
type moment struct {
	of, text string
	size     int64
}

func (s state) with(volume string, h held) state {
	s.volumes = maps.Clone(s.volumes)
	s.volumes[volume] = h
	return s
}

func (s state) without(volume string) state {
	s.volumes = maps.Clone(s.volumes)
	delete(s.volumes, volume)
	return s
}

func (s state) named(name string, e entry) state {
	s.entries = maps.Clone(s.entries)
	s.entries[name] = e
	return s
}

func (s state) unnamed(name string) state {
	s.entries = maps.Clone(s.entries)
	delete(s.entries, name)
	return s
}

// reads returns the state after a client has read a source, or has made a volume of what it read.
func (s state) reads(client int, h *held) state {
	s.read = maps.Clone(s.read)
	delete(s.read, client)
	if h != nil {
		if s.read == nil {
			s.read = map[int]held{}
		}
		s.read[client] = *h
	}
	return s
}

func (s state) equal(t state) bool {
	return maps.Equal(s.volumes, t.volumes) && maps.Equal(s.entries, t.entries) && maps.Equal(s.read, t.read)
}

// mode is how a volume is made.
type mode string

const (
	plain  mode = ""
	copied mode = "copy"
	abroad mode = "in the other pool"
)

// step returns the answer to a call, and what is there after it.
func (s state) step(c call) (answer, state) {
	ok, notFound := answer{}, answer{code: codes.NotFound}
	v, there := s.volumes[c.volume]
	switch c.op {
	case toCreate:
		return s.create(c)
	case toRead:
		if source, there := s.source(c.source); there {
			return ok, s.reads(c.client, &source)
		}
		return ok, s // A volume that is there answers without it.
	case toDelete:
		return ok, s.without(c.volume)
	case toSnapshot, toSnapshotGroup:
		return s.cut(c)
	case toForget:
		return s.forget(c)
	case toForgetGroup:
		if s.entries[c.name].group {
			return ok, s.unnamed(c.name)
		}
		return ok, s
	}
	if !there {
		return notFound, s
	}
	switch c.op {
	case toExpand:
		v.size = max(v.size, c.size)
		return answer{size: v.size}, s.with(c.volume, v)
	case toModify:
		v.value = c.text
		return ok, s.with(c.volume, v)
	case toUse:
		was := v.text
		v.text = c.text
		return answer{text: was}, s.with(c.volume, v)
	}
	return answer{size: v.size}, s
}

// create is what making a volume does. One that is there answers, whatever has become of its source. One that is made holds what the
// client has read of that, or what is there now.
func (s state) create(c call) (answer, state) {
	source, read := s.read[c.client]
	s = s.reads(c.client, nil)
	if v, there := s.volumes[c.volume]; there {
		if v.source == c.source && v.mode == c.mode && v.size >= c.size {
			return answer{size: v.size}, s
		}
		return answer{code: codes.AlreadyExists}, s
	}
	if !read {
		source, read = s.source(c.source)
	}
	v := held{source: c.source, mode: c.mode, size: c.size}
	switch {
	case read:
		v.size, v.text = source.size, source.text
	case c.source != "":
		return answer{code: codes.NotFound}, s
	}
	return answer{size: v.size}, s.with(c.volume, v)
}

// source returns what a volume or a snapshot holds.
func (s state) source(id string) (held, bool) {
	if v, there := s.volumes[id]; there {
		return held{size: v.size, text: v.text}, true
	}
	m, there := s.snapshot(id)
	return held{size: m.size, text: m.text}, there
}

// snapshot returns the snapshot of an ID.
func (s state) snapshot(id string) (moment, bool) {
	for name, e := range s.entries {
		for _, m := range e.members {
			if m.of != "" && m.of+"@"+name == id {
				return m, true
			}
		}
	}
	return moment{}, false
}

// cut is what taking a snapshot does, or a group of two.
func (s state) cut(c call) (answer, state) {
	sources := []string{c.volume}
	if c.op == toSnapshotGroup {
		sources = append(sources, c.other)
	}
	slices.Sort(sources)
	e, there := s.entries[c.name]
	if !there {
		e.group = c.op == toSnapshotGroup
		for i, id := range sources {
			v, there := s.volumes[id]
			if !there {
				return answer{code: codes.NotFound}, s
			}
			e.members[i] = moment{id, v.text, v.size}
		}
		if e.group && (s.volumes[c.volume].mode == abroad) != (s.volumes[c.other].mode == abroad) {
			return answer{code: codes.FailedPrecondition}, s
		}
		s = s.named(c.name, e)
	}
	var of []string
	size := int64(0)
	for _, m := range e.members[:len(sources)] {
		of, size = append(of, m.of), size+m.size
	}
	if e.group != (c.op == toSnapshotGroup) || !slices.Equal(of, sources) {
		return answer{code: codes.AlreadyExists}, s
	}
	return answer{size: size}, s
}

// forget is what deleting a snapshot does: one of a group goes with that only.
func (s state) forget(c call) (answer, state) {
	switch _, there := s.snapshot(c.volume + "@" + c.name); {
	case !there:
		return answer{}, s
	case s.entries[c.name].group:
		return answer{code: codes.InvalidArgument}, s
	}
	return answer{}, s.unnamed(c.name)
}

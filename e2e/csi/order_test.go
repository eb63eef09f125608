package csi_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/zfs-csi/zfs-csi/zfs"
)

// TestDeleteOrders deletes a family of volumes in every order. After each deletion each
// volume that is left holds what it held; in the end the pool holds nothing.
func TestDeleteOrders(t *testing.T) {
	s := newStack(t)
	for _, f := range []struct {
		name  string
		build func(s *stack, k kind, prefix string) []member
		// first is the member that goes before the others, or -1.
		first int
	}{
		{"three clones of three moments", threeMoments, -1},
		{"middle of a chain of five", chainOfFive, 2},
	} {
		for _, k := range kinds {
			t.Run(f.name+"/"+k.name, func(t *testing.T) {
				all := orders(f.first)
				if k.onZvol() {
					// Their lineage is a zvol's, for which all are tried.
					all = [][]int{all[0], all[len(all)-1]}
				}
				for _, order := range all {
					t.Run(fmt.Sprint(order), func(t *testing.T) {
						t.Parallel()
						s := s.sub(t)
						prefix := fmt.Sprintf("%s-%d-", k.name, serial.Add(1))
						s.deleteInOrder(k, f.build(s, k, prefix), order)
						if pool := s.pool(); strings.Contains(pool, prefix) {
							t.Errorf("something is left:\n%s", pool)
						}
					})
				}
			})
		}
	}
}

// serial numbers families, whose orders are tried side by side.
var serial atomic.Int64

// member is a volume of a family and the text it holds.
type member struct{ id, text string }

// threeMoments is a source and a clone of each of three moments of it.
func threeMoments(s *stack, k kind, prefix string) []member {
	a := s.create(k.request(prefix + "a"))
	family := []member{{a, "moment 3"}}
	for i := range 3 {
		moment := fmt.Sprintf("moment %d", i)
		s.writeIn(k, a, moment)
		family = append(family, member{s.create(k.cloneRequest(prefix+string(rune('b'+i)), a)), moment})
	}
	s.writeIn(k, a, family[0].text)
	return family
}

// chainOfFive is a volume, a clone of it, a clone of that, and so on.
func chainOfFive(s *stack, k kind, prefix string) []member {
	var family []member
	for i := range 5 {
		name := prefix + string(rune('a'+i))
		id := ""
		if i == 0 {
			id = s.create(k.request(name))
		} else {
			id = s.create(k.cloneRequest(name, family[i-1].id))
		}
		text := fmt.Sprintf("generation %d", i)
		s.writeIn(k, id, text)
		family = append(family, member{id, text})
	}
	return family
}

// deleteInOrder deletes the members and checks those that are left.
func (s *stack) deleteInOrder(k kind, family []member, order []int) {
	s.Helper()
	gone := map[int]bool{}
	for _, i := range order {
		s.delete(family[i].id)
		gone[i] = true
		for j, m := range family {
			if !gone[j] {
				if got := s.readIn(k, m.id); got != m.text {
					s.Errorf("%s holds %q, want %q, after %s went", m.id, got, m.text, family[i].id)
				}
			}
		}
	}
}

// orders returns every order of four, or every order of five with one that goes first.
func orders(first int) [][]int {
	members, out := []int{0, 1, 2, 3}, [][]int{}
	if first >= 0 {
		members = nil
		for i := range 5 {
			if i != first {
				members = append(members, i)
			}
		}
	}
	var permute func(done, left []int)
	permute = func(done, left []int) {
		if len(left) == 0 {
			out = append(out, append([]int{}, done...))
		}
		for i := range left {
			rest := append(append([]int{}, left[:i]...), left[i+1:]...)
			permute(append(done, left[i]), rest)
		}
	}
	if first >= 0 {
		permute([]int{first}, members)
	} else {
		permute(nil, members)
	}
	return out
}

// writeIn and readIn reach a volume's content without publishing it, which takes
// less of the slow machine's time; TestClone goes the whole way.
func (s *stack) writeIn(k kind, id, text string) {
	s.Helper()
	s.inside(k, id, func(path string) { s.write(path, text) })
}

func (s *stack) readIn(k kind, id string) (text string) {
	s.Helper()
	s.inside(k, id, func(path string) { text = s.read(path) })
	return text
}

// inside calls f with a path to the content of a volume.
func (s *stack) inside(k kind, id string, f func(path string)) {
	s.Helper()
	if k.onZvol() {
		f(s.publish(id, k))
		s.unpublish(id)
		return
	}
	name := s.parents[0].String() + "/" + id
	if k.name == zvol.name {
		device, err := s.store.Device(s.ctx(), zfs.MustParseDataset(name))
		s.must(err)
		f(device)
		return
	}
	dir := s.TempDir()
	s.must(unix.Mount(name, dir, "zfs", 0, ""))
	f(dir)
	// A command that another test starts just now holds all that is open, for a moment.
	s.eventually("it is unmounted", func() error { return unix.Unmount(dir, 0) })
}

// exists tells whether a dataset is there.
func (s *stack) exists(name string) bool {
	s.Helper()
	return strings.Contains("\n"+s.pool(), "\n"+name+"\t")
}

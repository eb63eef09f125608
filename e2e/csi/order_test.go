package csi_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/zfs-csi/zfs-csi/zfs"
)

// TestDeleteOrders deletes families of volumes in every order. After each deletion each
// volume that is left holds what it held; in the end the pool holds nothing and its
// space is what it was. Families are made once, several in a pool, which is taken back to that for each
// round of orders: that is dearer than the deletions. Filesystems on zvols are zvols for ZFS: unless
// all is to be tried, of their orders it takes the first and the last.
func TestDeleteOrders(t *testing.T) {
	pair := family{"pair", oneMoment, permutations(0, 1)}
	moments := family{"moments", threeMoments, permutations(0, 1, 2, 3)}
	chain := family{"chain", chainOfFive, prefixed(2, permutations(0, 1, 3, 4))}
	t.Run("all", func(t *testing.T) {
		deleteOrders(t, 1, uses{[]family{moments, chain}, []kind{dataset, zvol}})
	})
	t.Run("some", func(t *testing.T) {
		apart := len(moments.orders) - 1
		if exhaustive() {
			apart = 1
		}
		deleteOrders(t, apart, uses{[]family{pair}, kinds}, uses{[]family{moments, chain}, []kind{ext4, xfs}})
	})
}

// family is a family of volumes, and orders in which it is to be deleted.
type family struct {
	name string
	// make makes its volumes, whose names begin with a prefix.
	make   func(s *stack, k kind, prefix string) []member
	orders [][]int
}

// member is a volume of a family and the text it holds.
type member struct{ id, text string }

// uses are families, each of which is to be made of each of the kinds.
type uses struct {
	families []family
	kinds    []kind
}

// deleteOrders deletes the families, all in one pool, in round after round: in the first order, in that so far apart
// from it, and so on. Families with fewer orders begin anew. Those of one round go side by side, since they wait for the same
// transaction groups.
func deleteOrders(t *testing.T, apart int, all ...uses) {
	t.Helper()
	s := newStack(t)
	before := s.spaces()
	rounds, deletions := 0, map[string]func(s *stack, round int){}
	for _, u := range all {
		for _, f := range u.families {
			for _, k := range u.kinds {
				name := f.name + "-" + k.name
				members := f.make(s, k, name+"-")
				rounds = max(rounds, len(f.orders))
				deletions[name] = func(s *stack, round int) { s.deleteInOrder(k, members, f.orders[round%len(f.orders)]) }
			}
		}
	}
	rewind := s.pools[0].Checkpoint(t)
	for round := 0; round < rounds; round += apart {
		if round > 0 {
			rewind(t)
		}
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			for name, f := range deletions {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					f(s.sub(t), round)
				})
			}
		})
		s.empty()
		s.sameSpace(before)
	}
}

// oneMoment is a source and a clone of it, which both have gone on.
func oneMoment(s *stack, k kind, prefix string) []member { return moments(s, k, prefix, 1) }

// threeMoments is a source and a clone of each of three moments of it.
func threeMoments(s *stack, k kind, prefix string) []member { return moments(s, k, prefix, 3) }

func moments(s *stack, k kind, prefix string, n int) []member {
	a := s.create(k.request(prefix + "a"))
	all := []member{{a, fmt.Sprintf("moment %d", n)}}
	for i := range n {
		moment := fmt.Sprintf("moment %d", i)
		s.writeIn(k, a, moment)
		all = append(all, member{s.create(k.cloneRequest(prefix+string(rune('b'+i)), a)), moment})
	}
	s.writeIn(k, a, all[0].text)
	return all
}

// chainOfFive is a volume, a clone of it, a clone of that, and so on.
func chainOfFive(s *stack, k kind, prefix string) []member {
	var all []member
	for i := range 5 {
		name := prefix + string(rune('a'+i))
		id := ""
		if i == 0 {
			id = s.create(k.request(name))
		} else {
			id = s.create(k.cloneRequest(name, all[i-1].id))
		}
		text := fmt.Sprintf("generation %d", i)
		s.writeIn(k, id, text)
		all = append(all, member{id, text})
	}
	return all
}

// deleteInOrder deletes the members, and checks those that are left. These are in use all the while.
func (s *stack) deleteInOrder(k kind, members []member, order []int) {
	s.Helper()
	paths, leave := map[int]string{}, map[int]func(){}
	for _, i := range order[1:] {
		paths[i], leave[i] = s.enter(k, members[i].id, unix.MS_RDONLY)
	}
	for n, i := range order {
		if n > 0 {
			leave[i]()
		}
		s.delete(members[i].id)
		for _, j := range order[n+1:] {
			if got := s.read(paths[j]); got != members[j].text {
				s.Errorf("%s holds %q, want %q, after %s went, of the order %v", members[j].id, got, members[j].text, members[i].id, order)
			}
		}
	}
}

// permutations returns every order of the items.
func permutations(items ...int) [][]int {
	if len(items) == 0 {
		return [][]int{nil}
	}
	var out [][]int
	for i, item := range items {
		rest := slices.Concat(items[:i], items[i+1:])
		out = append(out, prefixed(item, permutations(rest...))...)
	}
	return out
}

// prefixed puts an item before each order.
func prefixed(item int, orders [][]int) [][]int {
	var out [][]int
	for _, order := range orders {
		out = append(out, append([]int{item}, order...))
	}
	return out
}

// writeIn and readIn reach a volume's content without publishing it, which takes
// less of the slow machine's time; TestClone goes the whole way.
func (s *stack) writeIn(k kind, id, text string) {
	s.Helper()
	if k.onZvol() && s.unformatted(id) {
		s.publish(id, k)
		s.unpublish(id)
	}
	s.inside(k, id, 0, func(path string) { s.write(path, text) })
}

func (s *stack) readIn(k kind, id string) (text string) {
	s.Helper()
	s.inside(k, id, unix.MS_RDONLY, func(path string) { text = s.read(path) })
	return text
}

// unformatted tells whether no filesystem has been made on a volume that is to have one.
func (s *stack) unformatted(id string) bool {
	s.Helper()
	v, err := s.store.Get(s.ctx(), zfs.VolumeIDFor(id, s.parents[0]))
	s.must(err)
	return !v.Formatted
}

// inside calls f with a path to the content of a volume.
func (s *stack) inside(k kind, id string, flags uintptr, f func(path string)) {
	s.Helper()
	path, leave := s.enter(k, id, flags)
	defer leave()
	f(path)
}

// enter returns a path to the content of a volume, which is there until leave is called. What is mounted to be
// read only needs no transaction group to be unmounted.
func (s *stack) enter(k kind, id string, flags uintptr) (path string, leave func()) {
	s.Helper()
	source, fsType, options := s.dataset(id), "zfs", ""
	if k.name != dataset.name {
		device, err := s.store.Device(s.ctx(), zfs.MustParseDataset(source))
		s.must(err)
		source, fsType = device, k.capability.GetMount().GetFsType()
	}
	switch fsType {
	case "":
		return source, func() {}
	case "xfs":
		options = "nouuid" // Its clones have the same.
	}
	dir := filepath.Join(s.dir, "inside", id)
	s.must(os.MkdirAll(dir, 0o755))
	s.eventually("it is mounted", func() error { return unix.Mount(source, dir, fsType, flags, options) })
	return dir, func() {
		s.Helper()
		// A command that another test starts just now holds all that is open, for a moment.
		s.eventually("it is unmounted", func() error { return unix.Unmount(dir, 0) })
	}
}

package csi_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/zfs-csi/zfs-csi/zfs"
)

// TestDeleteOrders deletes families of volumes in every order. After each deletion each
// volume that is left holds what it held; in the end the pool holds nothing and its
// space is what it was. A family is made once, and its pool taken back to that for each order. For
// ZFS the kinds differ little: unless all is to be tried, it tries every order on datasets, and on the others some.
func TestDeleteOrders(t *testing.T) {
	for _, f := range []struct {
		name   string
		build  func(s *stack, k kind) []member
		orders [][]int
	}{
		{"source and clone", oneMoment, permutations(0, 1)},
		{"source and three clones of three moments", threeMoments, permutations(0, 1, 2, 3)},
		{"middle of a chain of five first", chainOfFive, prefixed(2, permutations(0, 1, 3, 4))},
	} {
		for _, k := range kinds {
			t.Run(f.name+"/"+k.name, func(t *testing.T) {
				s := newStack(t)
				before := s.spaces()
				family := f.build(s, k)
				rewind := s.pools[0].Checkpoint(t)
				orders := everyNth(f.orders, min(ordersApart(k), len(f.orders)-1))
				for i, order := range orders {
					t.Run(fmt.Sprint(order), func(t *testing.T) {
						s := s.sub(t)
						if i > 0 {
							rewind(t)
						}
						s.deleteInOrder(k, family, order)
						s.empty()
						s.sameSpace(before)
					})
				}
			})
		}
	}
}

// ordersApart tells how far the orders are apart that are tried with a kind; 23 makes it the first and the last.
func ordersApart(k kind) int {
	switch {
	case exhaustive() || k.name == dataset.name:
		return 1
	case k.onZvol():
		return 23 // Filesystems on zvols, which for ZFS are zvols.
	}
	return 5
}

// everyNth returns the first of the items, and then each n-th.
func everyNth[T any](items []T, n int) (chosen []T) {
	for i := 0; i < len(items); i += n {
		chosen = append(chosen, items[i])
	}
	return chosen
}

// member is a volume of a family and the text it holds.
type member struct{ id, text string }

// oneMoment is a source and a clone of it, which both have gone on.
func oneMoment(s *stack, k kind) []member { return moments(s, k, 1) }

// threeMoments is a source and a clone of each of three moments of it.
func threeMoments(s *stack, k kind) []member { return moments(s, k, 3) }

func moments(s *stack, k kind, n int) []member {
	a := s.create(k.request("a"))
	family := []member{{a, fmt.Sprintf("moment %d", n)}}
	for i := range n {
		moment := fmt.Sprintf("moment %d", i)
		s.writeIn(k, a, moment)
		family = append(family, member{s.create(k.cloneRequest(string(rune('b'+i)), a)), moment})
	}
	s.writeIn(k, a, family[0].text)
	return family
}

// chainOfFive is a volume, a clone of it, a clone of that, and so on.
func chainOfFive(s *stack, k kind) []member {
	var family []member
	for i := range 5 {
		name := string(rune('a' + i))
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

// inside calls f with a path to the content of a volume. What is mounted to be read only needs no transaction group
// to be unmounted.
func (s *stack) inside(k kind, id string, flags uintptr, f func(path string)) {
	s.Helper()
	source, fsType, options := s.parents[0].String()+"/"+id, "zfs", ""
	if len(s.parents) > 1 {
		source = s.dataset(id)
	}
	if k.name != dataset.name {
		device, err := s.store.Device(s.ctx(), zfs.MustParseDataset(source))
		s.must(err)
		source, fsType = device, k.capability.GetMount().GetFsType()
	}
	switch fsType {
	case "":
		f(source)
		return
	case "xfs":
		options = "nouuid" // Its clones have the same.
	}
	dir := s.TempDir()
	s.eventually("it is mounted", func() error { return unix.Mount(source, dir, fsType, flags, options) })
	f(dir)
	// A command that another test starts just now holds all that is open, for a moment.
	s.eventually("it is unmounted", func() error { return unix.Unmount(dir, 0) })
}

// exists tells whether a dataset is there.
func (s *stack) exists(name string) bool {
	s.Helper()
	return strings.Contains("\n"+s.pool(), "\n"+name+"\t")
}

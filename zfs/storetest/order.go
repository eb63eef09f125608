package storetest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/zfs-csi/zfs-csi/zfs"
)

// permutations returns all orders of items.
func permutations(items []string) [][]string {
	if len(items) <= 1 {
		return [][]string{slices.Clone(items)}
	}
	var out [][]string
	for i, item := range items {
		rest := slices.Concat(items[:i], items[i+1:])
		for _, p := range permutations(rest) {
			out = append(out, append([]string{item}, p...))
		}
	}
	return out
}

// inOrders makes a family of volumes, each but the first a clone of another, and deletes
// it, for each order, many at once; in a slow Backend for one. make returns what each volume holds; it gets the
// prefix of their names.
func (x *trial) inOrders(orders [][]string, make func(x *trial, prefix string) map[string]string) {
	if x.b.Slow() {
		orders = orders[:1] // As they were made: each has a clone when it goes.
	}
	for _, order := range orders {
		name := strings.Join(order, "-")
		x.t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := &trial{t: t, b: x.b, store: x.store}
			prefix := name + "_"
			held := make(x, prefix)
			x.lineage(prefix, len(order))
			for i, member := range order {
				x.delete(prefix + member)
				for _, left := range order[i+1:] {
					x.holds(prefix+left, held[left])
				}
				x.lineage(prefix, len(order)-i-1)
			}
		})
	}
}

// lineage checks that of the volumes whose names begin with prefix there are as many
// snapshots as a family of that many volumes needs. Each was cloned once, from a snapshot
// of its own, so that is one less than there are volumes.
func (x *trial) lineage(prefix string, volumes int) {
	x.t.Helper()
	var snapshots []string
	for _, name := range x.b.Contents(x.t) {
		if dataset, _, snapshot := strings.Cut(name, "@"); snapshot && strings.Contains(dataset, "/"+prefix) {
			snapshots = append(snapshots, name)
		}
	}
	if len(snapshots) != max(volumes-1, 0) {
		x.t.Errorf("%d volumes of a family have the snapshots %q", volumes, snapshots)
	}
}

// testDeleteTwo deletes a source and its clone in both orders.
func testDeleteTwo(x *trial) {
	x.eachKind(func(x *trial, kind zfs.Kind) {
		x.inOrders(permutations([]string{"a", "b"}), func(x *trial, prefix string) map[string]string {
			x.create(prefix+"a", x.spec(kind))
			x.write(prefix+"a", "one")
			x.clone(prefix+"b", prefix+"a", x.spec(kind))
			x.write(prefix+"a", "two")
			return map[string]string{"a": "two", "b": "one"}
		})
	})
}

// testDeleteThreeMoments deletes a source and three clones of three of its moments in
// all 24 orders.
func testDeleteThreeMoments(x *trial) {
	x.eachKind(func(x *trial, kind zfs.Kind) {
		x.inOrders(permutations([]string{"a", "b", "c", "d"}), func(x *trial, prefix string) map[string]string {
			held := map[string]string{"a": "four"}
			x.create(prefix+"a", x.spec(kind))
			for i, text := range []string{"one", "two", "three"} {
				name := string(rune('b' + i))
				x.write(prefix+"a", text)
				x.clone(prefix+name, prefix+"a", x.spec(kind))
				held[name] = text
			}
			x.write(prefix+"a", "four")
			return held
		})
	})
}

// testDeleteChain deletes a chain of five, each a clone of the one before, in all 120
// orders, in a slow Backend in those that begin with the middle.
func testDeleteChain(x *trial) {
	orders := permutations([]string{"a", "b", "c", "d", "e"})
	if x.b.Slow() {
		orders = slices.DeleteFunc(orders, func(order []string) bool { return order[0] != "c" })
	}
	x.eachKind(func(x *trial, kind zfs.Kind) {
		x.inOrders(orders, func(x *trial, prefix string) map[string]string {
			held := map[string]string{}
			for i, name := range []string{"a", "b", "c", "d", "e"} {
				if i == 0 {
					x.create(prefix+name, x.spec(kind))
				} else {
					x.clone(prefix+name, prefix+string(rune('a'+i-1)), x.spec(kind))
				}
				held[name] = "of " + name
				x.write(prefix+name, held[name])
			}
			return held
		})
	})
}

// testDeleteCopies deletes a volume, its copy in another pool and a clone of that.
func testDeleteCopies(x *trial) {
	for _, order := range permutations([]string{"a", "b", "c"}) {
		spec := x.spec(zfs.Filesystem)
		x.create("a", spec)
		x.write("a", "text")
		spec.Parent = x.otherParent()
		x.clone("b", "a", spec)
		x.clone("c", "b", spec)
		for i, name := range order {
			x.delete(name)
			for _, left := range order[i+1:] {
				x.holds(left, "text")
			}
		}
		if x.b.Slow() {
			return
		}
	}
}

// testNameAgain makes a volume of the name of one that was deleted and has a clone.
func testNameAgain(x *trial) {
	x.eachKind(func(x *trial, kind zfs.Kind) {
		spec := x.spec(kind)
		x.create("a", spec)
		x.write("a", "old")
		x.clone("b", "a", spec)
		x.delete("a")
		x.create("a", spec)
		x.holds("a", "")
		x.write("a", "new")
		x.clone("c", "a", spec)
		x.holds("b", "old")
		x.holds("c", "new")
		x.delete("a", "c", "b")
	})
}

// testNameAgainInLineage uses a clone's name again while the snapshot of the first
// clone of that name still serves a clone of it.
func testNameAgainInLineage(x *trial) {
	x.eachKind(func(x *trial, kind zfs.Kind) {
		x.inOrders(permutations([]string{"a", "x", "y"}), func(x *trial, prefix string) map[string]string {
			spec := x.spec(kind)
			x.create(prefix+"a", spec)
			x.write(prefix+"a", "first")
			x.clone(prefix+"x", prefix+"a", spec)
			x.clone(prefix+"y", prefix+"x", spec)
			x.delete(prefix + "x")
			x.write(prefix+"y", "second")
			x.clone(prefix+"x", prefix+"y", spec)
			for i := range 2 { // And once more, from the other side.
				x.delete(prefix + "x")
				x.clone(prefix+"x", prefix+[]string{"a", "y"}[i], spec)
			}
			x.write(prefix+"a", fmt.Sprint("last of ", prefix))
			return map[string]string{"a": fmt.Sprint("last of ", prefix), "x": "second", "y": "second"}
		})
	})
}

package zfs_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/zfs-csi/zfs-csi/zfs"
	"github.com/zfs-csi/zfs-csi/zfs/storetest"
)

// outline writes a lineage as text, roles in brackets, with the numbers that differ left out.
func outline(n *zfs.Node, parent string) string {
	var below []string
	for _, c := range n.Children {
		below = append(below, outline(c, parent))
	}
	name := strings.TrimPrefix(n.Dataset, parent+"/")
	switch n.Role {
	case zfs.RoleParent:
		name = "parent"
	case zfs.RoleClone, zfs.RoleTombstone:
		name = n.Name // The rest is a number.
	default:
	}
	return fmt.Sprintf("%s[%s](%s)", name, n.Role, strings.Join(below, " "))
}

// TestLineage shows a volume with a clone and snapshots, one of them deleted, and a tombstone.
func TestLineage(t *testing.T) {
	b := newBackend(t, 1)
	store, ctx := b.Store(), t.Context()
	parent := store.Parents()[0]
	spec := zfs.Spec{Parent: parent, Kind: zfs.Filesystem, Size: 16 << 20, Attributes: zfs.Attributes{Name: "x"}}
	plan := storetest.Plan(zfs.CloneSpec{Spec: spec})
	id := func(name string) zfs.VolumeID { return zfs.VolumeIDFor(name, parent) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"a", "gone"} {
		_, err := store.Create(ctx, id(name), spec)
		must(err)
		b.Write(t, id(name), name)
		_, err = store.Take(ctx, zfs.SnapshotSpec{Name: "of-" + name, Sources: []zfs.VolumeID{id(name)}})
		must(err)
	}
	_, err := store.Restore(ctx, id("restored"), zfs.SnapshotIDFor("of-a", id("a")), plan)
	must(err)
	must(store.DeleteSnapshot(ctx, zfs.SnapshotIDFor("of-a", id("a"))))
	_, err = store.Clone(ctx, id("clone"), id("a"), plan)
	must(err)
	must(store.Delete(ctx, id("gone")))
	b.ForeignSnapshot(t, id("a"), "zzz")

	root, err := zfs.Lineage(ctx, run, parent)
	must(err)
	got := outline(root, parent.String())
	for _, part := range []string{
		"a[volume](", "a@of-a[deleted snapshot](restored[volume]())", "[of the driver](clone[volume]())", "a@zzz[foreign]()", "x[tombstone](",
	} {
		if !strings.Contains(got, part) {
			t.Errorf("the lineage is %s, without %s", got, part)
		}
	}
	for _, n := range root.Children {
		if (n.Role == zfs.RoleTombstone) != (n.Pinned > 0) || n.Used < n.Unique {
			t.Errorf("%s %s uses %d, has %d alone and pins %d", n.Role, n.Dataset, n.Used, n.Unique, n.Pinned)
		}
	}
	must(store.DeleteSnapshot(ctx, zfs.SnapshotIDFor("of-gone", id("gone"))))
	for _, name := range []string{"a", "clone", "restored"} {
		must(store.Delete(ctx, id(name)))
	}
}

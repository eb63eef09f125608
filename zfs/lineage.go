package zfs

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Role is what a dataset or snapshot below a parent is there for.
type Role string

// The roles.
const (
	RoleParent Role = "parent"
	// RoleVolume is a volume; RoleTombstone one that is deleted and whose snapshots live.
	RoleVolume    Role = "volume"
	RoleTombstone Role = "tombstone"
	// RoleSnapshot is a caller's snapshot; RoleDeleted one that waits for its last clone to go.
	RoleSnapshot Role = "snapshot"
	RoleDeleted  Role = "deleted snapshot"
	// RoleClone is a snapshot that the driver took for a clone, or an unfinished copy.
	RoleClone Role = "of the driver"
	// RoleForeign is somebody else's dataset or snapshot.
	RoleForeign Role = "foreign"
)

// Node is a dataset or snapshot in the lineage below a parent.
type Node struct {
	// Dataset is the full name, of a snapshot too.
	Dataset string `json:"dataset"`
	Role    Role   `json:"role"`
	// Name is what the caller called it; empty for what is no caller's.
	Name string `json:"name,omitempty"`
	// Origin is the snapshot that a clone was made of; empty for what is no clone.
	Origin  string    `json:"origin,omitempty"`
	Created time.Time `json:"created"`
	// Used and Referenced are the properties of these names; see zfsprops(7). All are in bytes.
	Used       int64 `json:"used"`
	Referenced int64 `json:"referenced"`
	// Unique is what no other dataset or snapshot holds: usedbydataset, or a snapshot's used.
	Unique int64 `json:"unique"`
	// Pinned is what is held for nobody but those below: a tombstone's or deleted snapshot's Used.
	Pinned int64 `json:"pinned"`
	// Children are a dataset's snapshots, and a snapshot's clones, the oldest first.
	Children []*Node `json:"children,omitempty"`
}

// lineageProperties are those of which Lineage makes nodes.
var lineageProperties = strings.Join([]string{
	"type", "origin", "creation", "used", "referenced", "usedbydataset", "defer_destroy",
	propVolume, propKind, propSnapshot, propDeleted,
}, ",")

// Lineage returns the parent with all that is below it: datasets that are no clones first, their
// snapshots below them, and the clones of each snapshot below that. A clone whose origin is below another parent has that in
// Origin alone. Its cost grows with their number.
func Lineage(ctx context.Context, run Runner, parent Dataset) (*Node, error) {
	c := getCommand(lineageProperties, "-d", "2", "-t", "filesystem,volume,snapshot", parent.name)
	result, err := run.Run(ctx, c)
	if err == nil {
		err = result.fault(c, parent.name)
	}
	if err != nil {
		return nil, fmt.Errorf("lineage of %s: %w", parent, err)
	}
	rows, order, err := parseGet(result.Stdout)
	if err != nil {
		return nil, fmt.Errorf("lineage of %s: %w", parent, err)
	}
	order = slices.DeleteFunc(order, func(name string) bool { return isPart(parent, name) })
	nodes := map[string]*Node{}
	for _, name := range order {
		if nodes[name], err = newNode(parent, name, rows[name]); err != nil {
			return nil, fmt.Errorf("lineage of %s: %w", parent, err)
		}
	}
	root := nodes[parent.name]
	if root == nil {
		return nil, fmt.Errorf("lineage of %s: zfs get did not tell of it", parent)
	}
	for _, name := range order {
		above := nodes[above(name, rows[name])]
		switch {
		case name == parent.name, strings.HasPrefix(name, parent.name+"@"):
			continue // A snapshot of the parent stands for a name, and holds nothing.
		case above == nil:
			above = root
		}
		above.Children = append(above.Children, nodes[name])
	}
	for _, n := range nodes {
		slices.SortStableFunc(n.Children, func(a, b *Node) int {
			return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.Dataset, b.Dataset))
		})
	}
	return root, nil
}

// above returns what a dataset or snapshot hangs on.
func above(name string, r row) string {
	if dataset, _, isSnapshot := strings.Cut(name, "@"); isSnapshot {
		return dataset
	}
	return r.origin()
}

func newNode(parent Dataset, name string, r row) (*Node, error) {
	n := &Node{Dataset: name, Role: role(parent, name, r), Origin: r.origin()}
	for property, field := range map[string]*int64{"used": &n.Used, "referenced": &n.Referenced, "usedbydataset": &n.Unique} {
		var err error
		if *field, err = r.size(property); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	if strings.Contains(name, "@") {
		n.Unique = n.Used
	}
	if n.Role == RoleTombstone || n.Role == RoleDeleted {
		n.Pinned = n.Used
	}
	created, err := r.size("creation")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	n.Created = time.Unix(created, 0)
	if n.Name, err = unescape(cmp.Or(r.local(propVolume), r.local(propSnapshot))); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return n, nil
}

func role(parent Dataset, name string, r row) Role {
	switch {
	case name == parent.name:
		return RoleParent
	case r.local(propDeleted) != "":
		return RoleTombstone
	case r.local(propKind) != "":
		return RoleClone
	case r.local(propSnapshot) != "" && r["defer_destroy"].value == "on":
		return RoleDeleted
	case r.local(propSnapshot) != "":
		return RoleSnapshot
	case r.local(propVolume) != "":
		return RoleVolume
	}
	return RoleForeign
}

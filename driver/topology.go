package driver

import (
	"slices"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// topology returns where volumes of this driver are accessible from: this node.
func (d *Driver) topology() *csi.Topology {
	return &csi.Topology{Segments: map[string]string{TopologyKey: d.config.NodeID}}
}

// here tells whether this node is in t.
func (d *Driver) here(t *csi.Topology) bool {
	return len(t.GetSegments()) == 1 && t.GetSegments()[TopologyKey] == d.config.NodeID
}

// reachable returns nil when a volume of this node meets the requirement, else
// RESOURCE_EXHAUSTED. Preferred topologies bind only where none is requisite: a
// volume that is wanted elsewhere is then left to the driver of that node.
func (d *Driver) reachable(r *csi.TopologyRequirement) error {
	wanted := r.GetRequisite()
	if len(wanted) == 0 {
		wanted = r.GetPreferred()
	}
	if len(wanted) == 0 || slices.ContainsFunc(wanted, d.here) {
		return nil
	}
	return status.Errorf(codes.ResourceExhausted,
		"volumes of this driver are accessible from node %q alone (topology %s), which accessibility_requirements do not include", d.config.NodeID, TopologyKey)
}

// Package driver serves the Container Storage Interface (CSI) on top of the
// volumes of package zfs: Identity, Controller, GroupController and Node in one process, because
// the pool is on the node.
package driver

import (
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"sync"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/zfs-csi/zfs-csi/zfs"
)

// DefaultName is the driver's name unless configured otherwise.
const DefaultName = "zfs-csi.github.io"

// TopologyKey is the key of the one topology segment, whose value is the node's ID.
const TopologyKey = "zfs-csi.github.io/node"

// DefaultStopTimeout leaves some of the 30 s that Kubernetes gives a pod to end.
const DefaultStopTimeout = 25 * time.Second

// Config is what a Driver is made from.
type Config struct {
	// Name is the driver's name; DefaultName if empty.
	Name string
	// Version is the build's version.
	Version string
	// NodeID is this node's ID. It is the value of the topology segment too, so it
	// is at most 63 letters, digits, "-", "_" and ".", and begins and ends with one of the former two.
	NodeID string
	// Store keeps the volumes.
	Store zfs.Store
	// Log takes one line a call; required.
	Log *slog.Logger
	// StopTimeout is how long running calls are waited for when the driver stops;
	// DefaultStopTimeout if zero.
	StopTimeout time.Duration
	// Mounter is the mount table; that of this machine if nil.
	Mounter Mounter
	// Registration makes the driver known to the kubelet; nil where a registrar beside it does.
	Registration *Registration
	// ExpandOnNode has volumes grow by NodeExpandVolume alone. The resizer of Kubernetes calls the
	// controller of one node, whichever has the volume.
	ExpandOnNode bool
	// MaxVolumes is how many volumes the orchestrator is told to use on this node at the same time; zero for no
	// limit, since ZFS sets none.
	MaxVolumes int64
}

// The forms of names in the CSI specification: GetPluginInfoResponse.name, and a
// topology segment's value.
var (
	driverName = regexp.MustCompile(`^[a-zA-Z0-9]([-.a-zA-Z0-9]{0,61}[a-zA-Z0-9])?$`)
	segment    = regexp.MustCompile(`^[a-zA-Z0-9]([-_.a-zA-Z0-9]{0,61}[a-zA-Z0-9])?$`)
)

// Driver serves the CSI services.
type Driver struct {
	csi.UnimplementedIdentityServer
	csi.UnimplementedControllerServer
	csi.UnimplementedNodeServer
	csi.UnimplementedGroupControllerServer

	config    Config
	store     zfs.Store
	locks     *locks
	listing   listing[*zfs.Volume]
	snapshots listing[*zfs.Snapshot]
	freezes   freezes
	probes    probes
	// thawRetry and restShared are the constants, but in tests.
	thawRetry, restShared time.Duration
	// running counts the operations under way, which outlive their calls.
	running sync.WaitGroup
}

// New returns a driver that is ready to serve, or an error that tells what is wrong with c.
func New(c Config) (*Driver, error) {
	if c.Name == "" {
		c.Name = DefaultName
	}
	if c.StopTimeout == 0 {
		c.StopTimeout = DefaultStopTimeout
	}
	if c.Mounter == nil {
		c.Mounter = kernelMounter{}
	}
	switch {
	case !driverName.MatchString(c.Name):
		return nil, fmt.Errorf("driver name %q is not a domain name of at most 63 characters", c.Name)
	case !segment.MatchString(c.NodeID):
		return nil, fmt.Errorf("node ID %q is not 1 to 63 letters, digits, \"-\", \"_\" and \".\" that begin and end with a letter or a digit", c.NodeID)
	case c.MaxVolumes < 0:
		return nil, fmt.Errorf("a node cannot have %d volumes at most; 0 sets no limit", c.MaxVolumes)
	case c.Store == nil || c.Log == nil:
		return nil, errors.New("a driver needs a store and a log")
	case len(c.Store.Parents()) == 0:
		return nil, errors.New("no parent dataset is configured; name at least one, such as tank/csi")
	}
	return &Driver{config: c, store: c.Store, locks: newLocks(), thawRetry: thawRetry, restShared: restShared}, nil
}

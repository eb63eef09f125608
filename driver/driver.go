// Package driver serves the Container Storage Interface (CSI) on top of the
// volumes of package zfs: Identity, Controller and Node in one process, because
// the pool is on the node.
package driver

import (
	"log/slog"
	"sync"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/zfs-csi/zfs-csi/zfs"
)

// DefaultName is the driver's name unless configured otherwise.
const DefaultName = "zfs-csi.github.io"

// TopologyKey is the key of the one topology segment, whose value is the node's ID.
const TopologyKey = "zfs-csi.github.io/node"

// Config is what a Driver is made from.
type Config struct {
	// Name is the driver's name; DefaultName if empty.
	Name string
	// Version is the build's version.
	Version string
	// NodeID is this node's ID, at most 192 bytes.
	NodeID string
	// Store keeps the volumes.
	Store zfs.Store
	// Log takes one line a call; required.
	Log *slog.Logger
	// StopTimeout is how long running calls are waited for when the driver stops.
	StopTimeout time.Duration
}

// Driver serves the CSI services.
type Driver struct {
	csi.UnimplementedIdentityServer
	csi.UnimplementedControllerServer
	csi.UnimplementedNodeServer

	config Config
	store  zfs.Store
	locks  *locks
	// running counts the operations under way, which outlive their calls.
	running sync.WaitGroup
}

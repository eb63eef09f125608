// Package zfs keeps volumes, their clones and their lineage on the ZFS of this
// node. ZFS itself is the only state: what must be remembered of a volume is a user
// property, written by the command that makes it.
//
// Names are types, so that nothing from a caller reaches a command line unparsed,
// and errors are classified once, into those of errors.go. The package knows
// nothing of gRPC, CSI or Kubernetes.
package zfs

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"
)

// LocalConfig is what a Local is made from.
type LocalConfig struct {
	// Driver is the name in the parents' markers.
	Driver string
	// Parents are the datasets that hold the volumes, the default first.
	Parents []Dataset
	// Runner starts the commands.
	Runner Runner
	// Log takes the progress of copies and what Sweep did; nil for none.
	Log *slog.Logger
	// DeviceDir is a folder for device nodes of the driver's own; DefaultDeviceDir if empty.
	DeviceDir string
	// Progress is how often a copy tells the log how far it is; DefaultProgress if zero.
	Progress time.Duration
}

// Local is the Store on this node's ZFS.
type Local struct {
	driver  string
	parents []Dataset
	runner  Runner
	log     *slog.Logger
	kstat   string
	devices *devices
	// looks holds one entry for each look through open files that is under way.
	looks chan struct{}
	// statsOf are the looks at each pool.
	statsOf map[string]*poolLooks
	// answerTime is another than that of the constant in tests.
	answerTime time.Duration
	marks      marks
	entries    map[Dataset]*entries
	// entriesOfParent is another number than that of the constant in tests.
	entriesOfParent int64
	// progress is how often a copy tells how far it is.
	progress time.Duration

	// nonce and serial make the names of snapshots: what carries the nonce of
	// another process is a left-over of it.
	nonce  string
	serial atomic.Uint64
}

var _ Store = (*Local)(nil)

// NewLocal returns the Store for the parents, without asking whether they are there:
// Check does that, and every call for itself.
func NewLocal(c LocalConfig) (*Local, error) {
	if len(c.Parents) == 0 {
		return nil, errors.New("no parent dataset is configured")
	}
	for _, p := range c.Parents {
		if err := checkParent(p); err != nil {
			return nil, err
		}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.DeviceDir == "" {
		c.DeviceDir = DefaultDeviceDir
	}
	if c.Progress == 0 {
		c.Progress = DefaultProgress
	}
	nonce := make([]byte, 4)
	if _, err := rand.Read(nonce); err != nil {
		return nil, fmt.Errorf("make a nonce: %w", err)
	}
	l := &Local{
		driver:   c.Driver,
		parents:  c.Parents,
		runner:   c.Runner,
		log:      c.Log,
		kstat:    kstatRoot,
		devices:  newDevices(c.DeviceDir),
		looks:    make(chan struct{}, maxLooks),
		statsOf:  map[string]*poolLooks{},
		entries:  newEntries(c.Parents),
		progress: c.Progress,
		nonce:    hex.EncodeToString(nonce),

		entriesOfParent: entriesOfParent, answerTime: answerTime,
	}
	for _, pool := range l.pools() {
		l.statsOf[pool] = &poolLooks{running: make(chan struct{}, maxStats)}
	}
	return l, nil
}

// Parents implements Store.
func (l *Local) Parents() []Dataset { return l.parents }

// Check implements Store.
func (l *Local) Check(ctx context.Context) (some bool, err error) {
	f, err := l.find(ctx)
	if err != nil {
		return false, err
	}
	return len(f.faults) < len(l.parents), errors.Join(f.faults...)
}

// Capacity implements Store.
func (l *Local) Capacity(ctx context.Context, parent Dataset) (Capacity, error) {
	f, err := l.find(ctx)
	if err != nil {
		return Capacity{}, err
	}
	if err := f.usable(parent); err != nil {
		return Capacity{}, err
	}
	available, err := f.rows[parent.name].size("available")
	return Capacity{Available: available}, err
}

// run starts a command and returns what it wrote, or its fault about the datasets asked.
func (l *Local) run(ctx context.Context, c Command, asked ...string) ([]byte, error) {
	r, err := l.runner.Run(ctx, c)
	if err != nil {
		return nil, err
	}
	return r.Stdout, r.fault(c, asked...)
}

// zfs runs the zfs tool for a change, which is never abandoned half-way: it goes on when ctx ends.
func (l *Local) zfs(ctx context.Context, asked string, args ...string) error {
	return l.carryOut(ctx, Command{Name: "zfs", Args: args}, asked)
}

// carryOut is zfs for a command that can be a call.
func (l *Local) carryOut(ctx context.Context, c Command, asked ...string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	_, err := l.run(context.WithoutCancel(ctx), c, asked...)
	return err
}

// settle is how long a zvol that nobody seems to use is tried again: when it appears or
// changes the kernel and udev have it open for a moment, which is long on a busy node.
const settle = 15 * time.Second

// patiently calls f until it no longer says ErrBusy, for as long as a zvol may take to settle.
func patiently(ctx context.Context, f func() error) error {
	for deadline := time.Now().Add(settle); ; {
		err := f()
		if !errors.Is(err, ErrBusy) || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(settle / 150):
		}
	}
}

// change runs the zfs tool on a volume that nobody is to have open.
func (l *Local) change(ctx context.Context, d Dataset, args ...string) error {
	return patiently(ctx, func() error { return l.zfs(ctx, d.name, args...) })
}

// snapshotName returns a name that no snapshot of the pool has, now or ever. A name
// made of the clone's ID would not do: after the clone is deleted its snapshot can
// live on below another clone, and stand in the way of the next of that name.
func (l *Local) snapshotName(kind string) string {
	return kind + "-" + l.nonce + "-" + strconv.FormatUint(l.serial.Add(1), 36)
}

// options returns "-o value" for each value.
func options(values ...[]string) []string {
	var out []string
	for _, list := range values {
		for _, v := range list {
			out = append(out, "-o", v)
		}
	}
	return out
}

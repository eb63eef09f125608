package fake

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/zfs-csi/zfs-csi/zfs"
)

// DefaultPoolSize is the size of a pool in bytes, unless SetPoolSize changes it.
const DefaultPoolSize = 1 << 40

// PoolState is how a pool is.
type PoolState int

// The states of a pool.
const (
	Healthy PoolState = iota
	// Degraded: it works, with less redundancy.
	Degraded
	// Suspended: it does no input or output any more.
	Suspended
	// Exported: it is not there.
	Exported
	// Replaced: another pool of its name is in its place, with none of the parents.
	Replaced
)

type pool struct {
	name  string
	state PoolState
	size  int64
}

// reasons are the words of zfs.Condition for the states that are not healthy.
var reasons = map[PoolState]string{
	Degraded:  "PoolDegraded",
	Suspended: "PoolSuspended",
	Exported:  "PoolNotImported",
	Replaced:  "ParentMissing",
}

// err returns why calls about the pool fail, or nil.
func (p *pool) err() error {
	switch p.state {
	case Suspended:
		return fmt.Errorf("pool %s is SUSPENDED; see `zpool status %s`: %w", p.name, p.name, zfs.ErrUnavailable)
	case Exported:
		return fmt.Errorf("pool %s is not imported: %w", p.name, zfs.ErrUnavailable)
	case Replaced:
		return fmt.Errorf("the parents do not exist in pool %s: %w", p.name, zfs.ErrUnavailable)
	case Healthy, Degraded:
	}
	return nil
}

// SetPool puts a pool into a state. What it holds is kept.
func (s *Store) SetPool(name string, state PoolState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pools[name].state = state
}

// SetPoolSize sets the size of a pool in bytes.
func (s *Store) SetPoolSize(name string, size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pools[name].size = size
}

// SetMarked gives a parent this driver's marker, as all have at first, or takes it away.
func (s *Store) SetMarked(parent zfs.Dataset, marked bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unmarked[parent] = !marked
}

// Capacity implements zfs.Store.
func (s *Store) Capacity(ctx context.Context, parent zfs.Dataset) (zfs.Capacity, error) {
	if err := s.enter(ctx, "Capacity", zfs.VolumeID{}); err != nil {
		return zfs.Capacity{}, err
	}
	defer s.mu.Unlock()
	if err := s.usable(parent); err != nil {
		return zfs.Capacity{}, err
	}
	return zfs.Capacity{Available: s.available(parent.Pool())}, nil
}

// Condition implements zfs.Store.
func (s *Store) Condition(ctx context.Context, parent zfs.Dataset) (zfs.Condition, error) {
	if err := s.enter(ctx, "Condition", zfs.VolumeID{}); err != nil {
		return zfs.Condition{}, err
	}
	defer s.mu.Unlock()
	c := zfs.Condition{Pool: parent.Pool()}
	p := s.pools[c.Pool]
	if err := s.usable(parent); err != nil {
		c.Health, c.Reason, c.Message = zfs.Inaccessible, "ParentMissing", err.Error()
		if p != nil && p.err() != nil {
			c.Reason = reasons[p.state]
		}
		return c, nil
	}
	if p.state == Degraded {
		c.Health, c.Reason = zfs.Degraded, reasons[p.state]
		c.Message = fmt.Sprintf("pool %s is DEGRADED; see `zpool status %s`", p.name, p.name)
	}
	return c, nil
}

// check returns nil when every parent can be used.
func (s *Store) check() error {
	var faults []error
	for _, p := range s.parents {
		faults = append(faults, s.usable(p))
	}
	return errors.Join(faults...)
}

// usable returns nil when p is a parent that can be used.
func (s *Store) usable(p zfs.Dataset) error {
	if !slices.Contains(s.parents, p) {
		return fmt.Errorf("%s is not one of the configured parents: %w", p, zfs.ErrInvalid)
	}
	if err := s.pools[p.Pool()].err(); err != nil {
		return err
	}
	if s.unmarked[p] {
		return fmt.Errorf("parent %s has no marker of its own: %w", p, zfs.ErrUnavailable)
	}
	return nil
}

// available returns what a pool has left: its size less what is reserved and less each
// content once, however many datasets and snapshots share it.
func (s *Store) available(pool string) int64 {
	left := s.pools[pool].size
	seen := map[*content]bool{}
	count := func(c *content) {
		if c != nil && !seen[c] {
			seen[c] = true
			left -= int64(len(c.data))
		}
	}
	for _, d := range s.datasets {
		if d.name.Pool() != pool {
			continue
		}
		left -= d.reserved()
		count(d.content)
		for _, snap := range d.snapshots {
			count(snap.content)
		}
	}
	return max(left, 0)
}

// room returns ErrNoSpace unless a pool has that many bytes left.
func (s *Store) room(pool string, bytes int64) error {
	if left := s.available(pool); bytes > left {
		return fmt.Errorf("pool %s has %d bytes left, not %d: %w", pool, left, bytes, zfs.ErrNoSpace)
	}
	return nil
}

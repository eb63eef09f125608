package zfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// kstatRoot is where the module shows the pools that are imported. Reading there
// starts no process and does not wait for a pool that hangs.
const kstatRoot = "/proc/spl/kstat/zfs"

// poolState returns the state of an imported pool, such as "ONLINE" or "SUSPENDED";
// see spa_state_to_name in OpenZFS's module/zfs/spa_misc.c.
func (l *Local) poolState(pool string) (string, error) {
	state, err := os.ReadFile(filepath.Join(l.kstat, pool, "state"))
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(l.kstat); err != nil {
			return "", fmt.Errorf("pool %s: the ZFS module is not loaded (no %s): %w", pool, l.kstat, ErrUnavailable)
		}
		return "", fmt.Errorf("pool %s is not imported: %w", pool, ErrUnavailable)
	}
	if err != nil {
		return "", fmt.Errorf("state of pool %s: %w", pool, err)
	}
	return strings.TrimSpace(string(state)), nil
}

// poolUsable returns nil for a pool that works, else ErrUnavailable.
func (l *Local) poolUsable(pool string) error {
	state, err := l.poolState(pool)
	if err != nil {
		return err
	}
	if state != "ONLINE" && state != "DEGRADED" {
		return fmt.Errorf("pool %s is %s; see `zpool status %s`: %w", pool, state, pool, ErrUnavailable)
	}
	return nil
}

// Condition implements Store.
func (l *Local) Condition(ctx context.Context, parent Dataset) (Condition, error) {
	pool := parent.Pool()
	state, err := l.poolState(pool)
	switch {
	case errors.Is(err, ErrUnavailable):
		return Condition{Inaccessible, pool, "PoolNotImported", err.Error()}, nil
	case err != nil:
		return Condition{}, err
	case state != "ONLINE" && state != "DEGRADED":
		return Condition{Inaccessible, pool, "Pool" + camel(state), l.poolUsable(pool).Error()}, nil
	}
	f, err := l.find(ctx)
	if err != nil {
		return Condition{}, err
	}
	if err := f.usable(parent); err != nil {
		return Condition{Inaccessible, pool, "ParentMissing", err.Error()}, nil
	}
	if state == "DEGRADED" {
		return Condition{Degraded, pool, "PoolDegraded", fmt.Sprintf("pool %s is DEGRADED; see `zpool status %s`", pool, pool)}, nil
	}
	return Condition{Health: Healthy, Pool: pool}, nil
}

// camel turns "SUSPENDED" into "Suspended".
func camel(s string) string { return s[:min(1, len(s))] + strings.ToLower(s[min(1, len(s)):]) }

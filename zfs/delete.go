package zfs

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

//go:embed delete.lua
var deleteProgram string

// deletion is the result of deleteProgram.
type deletion struct {
	// Status is "deleted", "absent", or why nothing was deleted: "unmarked" (the
	// parent in Dataset), "foreign" (What, which is Dataset), "dependent" or "held" (by
	// What), "busy", "unknown" (whether it is busy), "failed" (with Errno).
	Status  string `json:"status"`
	Dataset string `json:"dataset"`
	What    string `json:"what"`
	Errno   int    `json:"errno"`
	// Promoted are the clones that took over the volume's snapshots.
	Promoted map[string]string `json:"promoted"`
}

// glance is how long a process may have a zvol open that only looks at it, as udev's do.
const glance = 3 * time.Second

// Delete implements Store.
func (l *Local) Delete(ctx context.Context, id VolumeID) error {
	var dataset string
	var users []string
	start := time.Now()
	err := patiently(ctx, func() (err error) {
		users = nil
		if dataset, err = l.delete(ctx, id); !errors.Is(err, ErrBusy) {
			return err
		}
		var mounted bool
		users, mounted = l.users(ctx, dataset)
		if mounted || len(users) > 0 && time.Since(start) > glance {
			return nil // Patience would be of no use.
		}
		return err
	})
	switch {
	case len(users) > 0:
		return fmt.Errorf("volume %s is in use (%s): %w", id, strings.Join(users, ", "), ErrBusy)
	case errors.Is(err, ErrBusy):
		return fmt.Errorf("volume %s is in use by something this process cannot see "+
			"(try `grep -l %s /proc/*/mountinfo` on the node): %w", id, dataset, ErrBusy)
	}
	return err
}

// delete makes one try. With ErrBusy it returns the dataset that is in use.
func (l *Local) delete(ctx context.Context, id VolumeID) (dataset string, err error) {
	var faults []error
	for _, pool := range l.pools() {
		if err := l.poolUsable(pool); err != nil {
			faults = append(faults, err)
			continue
		}
		d, err := l.deleteIn(ctx, pool, id, "first")
		if err == nil && d.Status == "unknown" {
			if users, _ := l.users(ctx, d.Dataset); len(users) > 0 {
				return d.Dataset, fmt.Errorf("volume %s: %s: %w", id, d.Dataset, ErrBusy)
			}
			d, err = l.deleteIn(ctx, pool, id, "looked")
		}
		if err != nil {
			return "", fmt.Errorf("delete volume %s: %w", id, err)
		}
		switch d.Status {
		case "deleted":
			l.log.InfoContext(ctx, "volume deleted", "dataset", d.Dataset, "promoted", d.Promoted)
			return "", nil
		case "absent":
		case "unmarked":
			f, err := l.find(ctx)
			if err == nil {
				err = errors.Join(f.faults...)
			}
			if err == nil {
				err = fmt.Errorf("parent %s had no marker when the volume was looked for; try again: %w", d.Dataset, ErrUnavailable)
			}
			faults = append(faults, err)
		case "foreign", "dependent":
			// It may be an unfinished volume: the one to delete, or a clone of it.
			if err := l.reclaim(ctx, Dataset{d.What}); err != nil {
				return "", fmt.Errorf("%w (%w)", d.err(id), err)
			}
			return l.delete(ctx, id)
		default:
			return d.Dataset, d.err(id)
		}
	}
	return "", errors.Join(faults...)
}

// deleteIn runs the program for the parents in one pool.
func (l *Local) deleteIn(ctx context.Context, pool string, id VolumeID, looked string) (deletion, error) {
	args := []string{"program", "-j", "-t", "100000000", "-m", "104857600", pool, "-", l.driver, id.id, looked}
	for _, p := range l.parents {
		if p.Pool() == pool {
			args = append(args, p.name)
		}
	}
	out, err := l.run(ctx, Command{Name: "zfs", Args: args, Stdin: strings.NewReader(deleteProgram)}, pool)
	if err != nil {
		return deletion{}, err
	}
	var result struct {
		Return *deletion `json:"return"`
	}
	if err := json.NewDecoder(bytes.NewReader(out)).Decode(&result); err != nil || result.Return == nil {
		return deletion{}, fmt.Errorf("channel program answered %q: %w", out, errors.Join(err, errors.New("not a result")))
	}
	return *result.Return, nil
}

// err returns why nothing was deleted.
func (d deletion) err(id VolumeID) error {
	switch d.Status {
	case "busy":
		return fmt.Errorf("volume %s: %s: %w", id, d.Dataset, ErrBusy)
	case "foreign":
		return fmt.Errorf("volume %s: %s has no %s property of its own: %w", id, d.Dataset, propVolume, ErrNotOurs)
	case "dependent":
		return fmt.Errorf("volume %s: %s depends on it and is not this driver's; remove that first: %w", id, d.What, ErrDependents)
	case "held":
		return fmt.Errorf("volume %s: snapshot %s is held; see `zfs holds %s` and release that first: %w", id, d.What, d.What, ErrDependents)
	}
	if known, ok := errnos[d.Errno]; ok {
		return fmt.Errorf("volume %s: %s: error number %d: %w", id, d.Dataset, d.Errno, known)
	}
	return fmt.Errorf("volume %s: %s: status %q, error number %d", id, d.Dataset, d.Status, d.Errno)
}

// pools returns the pools of the parents, each once, in their order.
func (l *Local) pools() []string {
	var out []string
	seen := map[string]bool{}
	for _, p := range l.parents {
		if pool := p.Pool(); !seen[pool] {
			seen[pool] = true
			out = append(out, pool)
		}
	}
	return out
}

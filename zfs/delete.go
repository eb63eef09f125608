package zfs

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// The two parts of the program that deletes; the first's beginning says how. Volumes and tombstones need no more than that.
var (
	//go:embed delete.lua
	volumesProgram string
	//go:embed delete_snapshot.lua
	snapshotsProgram string
)

// deletion is the result of that program.
type deletion struct {
	// Status is "deleted", "absent", "found" (Sources), "buried" (Dataset is a tombstone now), or why nothing was
	// deleted: "unmarked" (the parent in Dataset), "foreign" (What, which is Dataset), "dependent",
	// "held" or "received" (by What), "grouped", "busy", "unknown" (whether it is busy), "conflict" (Dataset
	// and What have snapshots of the same names, Conflicts), "failed" (with Errno).
	Status    string   `json:"status"`
	Dataset   string   `json:"dataset"`
	What      string   `json:"what"`
	Errno     int      `json:"errno"`
	Conflicts luaTable `json:"conflicts"`
	// Promoted is the clone that took over the volume's snapshots, if it had any.
	Promoted string `json:"promoted"`
	// Sources are what snapshots carry that were found, each text once; see source.
	Sources luaTable `json:"sources"`
	// Left are the tombstones that could not go with their last snapshot.
	Left luaTable `json:"left"`
}

// luaTable is a list, which a channel program returns as an object with the numbers for keys.
type luaTable []string

// UnmarshalJSON implements json.Unmarshaler.
func (t *luaTable) UnmarshalJSON(b []byte) error {
	var items map[string]string
	if err := json.Unmarshal(b, &items); err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(items)) {
		*t = append(*t, items[key])
	}
	return nil
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
		var stays bool
		users, stays = l.users(ctx, dataset)
		if stays || len(users) > 0 && time.Since(start) > glance {
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
	name := func(parent Dataset) []string { return []string{parent.volume(id).name} }
	d, err := l.inPools(ctx, name, func(pool string) (deletion, error) {
		d, err := l.program(ctx, pool, "volume", id.id, "first")
		if err == nil && d.Status == "unknown" {
			if users, _ := l.users(ctx, d.Dataset); len(users) > 0 {
				return d, fmt.Errorf("volume %s: %s: %w", id, d.Dataset, ErrBusy)
			}
			d, err = l.program(ctx, pool, "volume", id.id, "looked")
		}
		if err != nil {
			return d, fmt.Errorf("delete volume %s: %w", id, err)
		}
		switch d.Status {
		case "deleted":
			l.log.InfoContext(ctx, "volume deleted", "dataset", d.Dataset, "promoted", d.Promoted)
		case "buried":
			l.log.InfoContext(ctx, "volume deleted; its snapshots stay", "dataset", d.Dataset)
			return d, l.bury(ctx, Dataset{d.Dataset})
		case "absent", "unmarked":
		case "foreign", "dependent", "conflict":
			if err := l.clear(ctx, d); err != nil {
				return d, fmt.Errorf("%w (%w)", d.err("volume "+id.id), err)
			}
			d.Dataset, err = l.delete(ctx, id)
			return d, err
		default:
			return d, d.err("volume " + id.id)
		}
		return d, nil
	})
	return d.Dataset, err
}

// clear removes what stands in the way of a deletion: an unfinished volume, be it the one to
// delete or a clone of it, or the name of a snapshot that waits to vanish.
func (l *Local) clear(ctx context.Context, d deletion) error {
	if d.Status != "conflict" {
		return l.reclaim(ctx, Dataset{d.What})
	}
	for _, leaf := range d.Conflicts {
		name := d.Dataset + "@" + leaf
		r, err := readRow(ctx, l.runner, Dataset{name}, "defer_destroy")
		if err == nil && r["defer_destroy"].value != "on" {
			name = d.What + "@" + leaf
			r, err = readRow(ctx, l.runner, Dataset{name}, "defer_destroy")
		}
		if err == nil && r["defer_destroy"].value != "on" {
			err = fmt.Errorf("%s does not wait to vanish: %w", name, ErrDependents)
		}
		if err == nil {
			err = l.setAside(ctx, name)
		}
		if err != nil && !errors.Is(err, ErrNotFound) { // It has gone by itself.
			return err
		}
	}
	return nil
}

// inPools calls f for each pool until it does not answer "absent", which is then the answer. Pools that have any of the names, if there are
// several pools, are first. What one pool's answer cannot tell, because its parent is not there or the pool refuses, is
// an error unless another has it.
func (l *Local) inPools(ctx context.Context, names func(parent Dataset) []string, f func(pool string) (deletion, error)) (deletion, error) {
	var faults []error
	for _, pool := range l.likeliest(ctx, names) {
		if err := l.poolUsable(pool); err != nil {
			faults = append(faults, err)
			continue
		}
		d, err := f(pool)
		switch {
		case errors.Is(err, ErrReadOnly), errors.Is(err, ErrUnavailable):
			faults = append(faults, err)
		case err != nil:
			return d, err
		case d.Status == "unmarked":
			faults = append(faults, l.unmarked(ctx, d.Dataset))
		case d.Status != "absent":
			return d, nil
		}
	}
	return deletion{Status: "absent"}, errors.Join(faults...)
}

// likeliest returns the pools, those that have any of the names first: a program that changes nothing of a pool waits
// for a transaction group of it all the same.
func (l *Local) likeliest(ctx context.Context, names func(parent Dataset) []string) []string {
	pools := l.pools()
	if len(pools) < 2 {
		return pools
	}
	f, err := l.look(ctx, names)
	if err != nil {
		return pools // Each of them tells by itself what is wrong.
	}
	has := func(pool string) bool {
		return slices.ContainsFunc(l.parents, func(p Dataset) bool {
			return p.Pool() == pool && slices.ContainsFunc(names(p), func(name string) bool { return f.rows[name] != nil })
		})
	}
	var others []string
	pools = slices.DeleteFunc(pools, func(pool string) bool {
		other := !has(pool)
		if other {
			others = append(others, pool)
		}
		return other
	})
	return append(pools, others...)
}

// unmarked returns what is wrong with a parent that a program could not use.
func (l *Local) unmarked(ctx context.Context, parent string) error {
	f, err := l.find(ctx)
	if err == nil {
		err = errors.Join(f.faults...)
	}
	if err == nil {
		err = fmt.Errorf("parent %s had no marker when it was looked at; try again: %w", parent, ErrUnavailable)
	}
	return err
}

// program has a pool carry out what of the program it takes, for the parents in it.
func (l *Local) program(ctx context.Context, pool, what, name, detail string) (deletion, error) {
	args := []string{l.driver, what, name, detail, partOf(name)}
	for _, p := range l.parents {
		if p.Pool() == pool {
			args = append(args, p.name)
		}
	}
	text := "local argv = " + luaList(args...) + "\n" + volumesProgram // The kernel compiles it each time.
	if what != "volume" && what != "tombstone" {
		text += snapshotsProgram
	}
	var d deletion
	err := l.execute(ctx, pool, what == "orphans", text, &d)
	return d, err
}

// err returns why what was not deleted.
func (d deletion) err(what string) error {
	switch d.Status {
	case "busy":
		return fmt.Errorf("%s: %s: %w", what, d.Dataset, ErrBusy)
	case "foreign":
		return fmt.Errorf("%s: %s has no %s property of its own: %w", what, d.Dataset, propVolume, ErrNotOurs)
	case "dependent":
		return fmt.Errorf("%s: %s depends on it and is not this driver's; remove that first: %w", what, d.What, ErrDependents)
	case "held":
		return fmt.Errorf("%s: snapshot %s is held; see `zfs holds %s` and release that first: %w", what, d.What, d.What, ErrDependents)
	case "received":
		return fmt.Errorf("%s: snapshot %s was somebody's where it was sent from (see `zfs get -s received all %s`), and would be lost; "+
			"destroy it first if it is of no use: %w", what, d.What, d.What, ErrDependents)
	case "conflict":
		return fmt.Errorf("%s: snapshots %s are on both %s and %s; rename those that are not this driver's: %w",
			what, strings.Join(d.Conflicts, ", "), d.Dataset, d.What, ErrDependents)
	}
	if known, ok := errnos[d.Errno]; ok {
		return fmt.Errorf("%s: %s: error number %d: %w", what, d.Dataset, d.Errno, known)
	}
	return fmt.Errorf("%s: %s: status %q, error number %d", what, d.Dataset, d.Status, d.Errno)
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

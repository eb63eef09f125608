package zfs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
)

// look looks at the parents, and at the datasets and snapshots that below names for each. A program
// tells of them at the least cost; where it cannot, as of a pool that is read-only, and wherever
// anything is wrong with its answer, `zfs get` does.
//
// Of the parents it tells the marker and the native properties that are named. Of those that a zvol may inherit it tells
// where it has found one, too.
func (l *Local) look(ctx context.Context, below func(parent Dataset) []string, ofParents ...string) (*findings, error) {
	return l.survey(below, func(f *findings, names map[string][]string) error { return f.askOrGet(ctx, names, ofParents...) })
}

func (f *findings) askOrGet(ctx context.Context, names map[string][]string, ofParents ...string) error {
	err := f.ask(ctx, names, ofParents...)
	if err != nil && ctx.Err() == nil {
		f.store.log.DebugContext(ctx, "a program could not tell; asking in the other way", "error", err)
		err = f.get(ctx, strings.Join(asked, ","), names)
	}
	return err
}

// survey has find fill in the rows of the parents, and of the datasets and snapshots that below names for
// each, all of which it is given by pool.
func (l *Local) survey(below func(parent Dataset) []string, find func(f *findings, names map[string][]string) error) (*findings, error) {
	f := &findings{store: l, rows: map[string]row{}, fault: map[Dataset]error{}}
	names, parents := map[string][]string{}, map[string][]string{}
	for _, p := range l.parents {
		if err := l.poolUsable(p.Pool()); err != nil {
			f.fail(p, err)
			continue
		}
		names[p.Pool()] = append(names[p.Pool()], below(p)...)
		parents[p.Pool()] = append(parents[p.Pool()], p.name)
	}
	// Last, since ZFS looks at them in this order: a parent that is there proves that its pool was, when the
	// volumes were looked for. And whether it is asked what zvols inherit hangs on what was seen below any of them.
	for pool := range names {
		names[pool] = append(names[pool], parents[pool]...)
	}
	if len(names) == 0 {
		return f, nil
	}
	if err := find(f, names); err != nil {
		return nil, err
	}
	for _, p := range l.parents {
		if f.fault[p] == nil {
			f.checkMarker(p)
		}
	}
	return f, nil
}

// ask has a program in each pool tell what is there.
func (f *findings) ask(ctx context.Context, names map[string][]string, ofParents ...string) error {
	type answer struct {
		pool string
		reply
		err error
	}
	answers := make(chan answer, len(names))
	for pool, in := range names {
		go func() {
			r, err := f.store.programs[pool].look.do(ctx, "look("+luaList(in...)+","+f.store.luaParents(pool)+","+luaList(ofParents...)+")")
			answers <- answer{pool, r, err}
		}()
	}
	f.rows = map[string]row{}
	for range names {
		a := <-answers
		if errors.Is(a.err, ErrUnavailable) {
			// ZFS has more to answer from than it tells: up to OpenZFS 2.1 a suspended pool with failmode=continue is ONLINE.
			f.failPool(a.pool, a.err)
			continue
		}
		if err := cmp.Or(a.err, f.take(a.Text)); err != nil {
			return fmt.Errorf("pool %s: %w", a.pool, err)
		}
	}
	return nil
}

// lookAndTake is look, and takes snapshots of volumes at once, with that leaf, where nothing is in the way: none of what absent names for
// each parent is there, and no volume has to be brought to rest. Else the reply's Taken is empty. With an entry they are a
// caller's, and one of the parent is taken with them, the first. Where the parents are in several pools it only looks: what
// is in one of them is not seen in the other.
func (l *Local) lookAndTake(ctx context.Context, below, absent func(parent Dataset) []string, ids []VolumeID,
	leaf string, properties map[string]string, entry bool,
) (f *findings, r reply, err error) {
	if len(l.pools()) > 1 {
		f, err = l.look(ctx, below)
		return f, reply{}, err
	}
	f, err = l.survey(below, func(f *findings, names map[string][]string) error {
		pool := l.pools()[0]
		r, err = l.programs[pool].take.do(context.WithoutCancel(ctx), fmt.Sprintf("lookAndTake(%s,%s,%s,%s,%s,%s,%s,%t)",
			luaList(names[pool]...), l.luaParents(pool), luaString(l.driver), luaList(l.below(absent)...), l.luaVolumes(ids),
			luaString(leaf), luaMap(properties), entry))
		if err == nil {
			f.rows = map[string]row{}
			err = f.take(r.Text)
		}
		if err != nil {
			err = f.askOrGet(ctx, names)
		}
		return err
	})
	return f, r, err
}

// below returns all that a function names for the parents.
func (l *Local) below(names func(parent Dataset) []string) (out []string) {
	for _, p := range l.parents {
		out = append(out, names(p)...)
	}
	return out
}

// luaVolumes returns a list of Lua with the ID of each volume and the places where it can be.
func (l *Local) luaVolumes(ids []VolumeID) string {
	var out []string
	for _, id := range ids {
		out = append(out, "{id="+luaString(id.id)+",places="+luaList(l.below(below(id))...)+"}")
	}
	return "{" + strings.Join(out, ",") + "}"
}

// failPool has all parents in a pool fail.
func (f *findings) failPool(pool string, err error) {
	for _, p := range f.store.parents {
		if p.Pool() == pool && f.fault[p] == nil {
			f.fail(p, err)
		}
	}
}

// luaParents returns a table of Lua with the parents in a pool for keys.
func (l *Local) luaParents(pool string) string {
	parents := map[string]string{}
	for _, p := range l.parents {
		if p.Pool() == pool {
			parents[p.name] = "parent"
		}
	}
	return luaMap(parents)
}

// take takes in what a program told.
func (f *findings) take(text string) error {
	rows, _, err := parseGet([]byte(text))
	if err != nil {
		return err
	}
	for _, r := range rows {
		if guid, err := strconv.ParseInt(r["guid"].value, 10, 64); err == nil && guid < 0 {
			r["guid"] = cell{strconv.FormatUint(uint64(guid), 10), r["guid"].source} // Lua has no unsigned numbers.
		}
	}
	if len(rows) == 0 {
		// The pool is there, and so are its parents, as a rule.
		return errors.New("a program told of nothing")
	}
	maps.Copy(f.rows, rows)
	return nil
}

// get has `zfs get` tell what is there, and properties of it.
func (f *findings) get(ctx context.Context, properties string, names map[string][]string) error {
	var all []string
	for _, pool := range f.store.pools() {
		all = append(all, names[pool]...)
	}
	c := getCommand(properties, all...)
	r, err := f.store.runner.Run(ctx, c)
	if err != nil {
		return err
	}
	if f.rows, _, err = parseGet(r.Stdout); err != nil {
		return err
	}
	return f.account(c, r, all)
}

// account proves that each name was either printed or said to be absent.
func (f *findings) account(c Command, r Result, names []string) error {
	absent := map[string]bool{}
	if why, bad := strings.CutPrefix(firstLine(r.Stderr), "bad property list: "); bad {
		return fmt.Errorf("%s in this version of ZFS: %w", why, ErrInvalid)
	}
	known, other := failures(r.Stderr)
	for _, k := range known {
		if err := k.err(); !errors.Is(err, ErrNotFound) {
			return fmt.Errorf("look up volumes: %w", err)
		}
		absent[k.dataset] = true
	}
	for _, name := range names {
		if _, printed := f.rows[name]; printed == absent[name] {
			return fmt.Errorf("%s ended with %d and told nothing certain of %s: %s", c, r.ExitCode, name, strings.Join(other, "; "))
		}
	}
	return nil
}

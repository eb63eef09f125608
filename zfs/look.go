package zfs

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// look looks at the parents, and at the datasets and snapshots that below names for each. The kernel
// tells of them at the least cost; wherever anything is wrong with its answer, `zfs get` does.
func (l *Local) look(ctx context.Context, below func(parent Dataset) []string) (*findings, error) {
	return l.survey(below, func(f *findings, names map[string][]string) error {
		err := f.ask(ctx, names)
		if err != nil && ctx.Err() == nil {
			l.log.DebugContext(ctx, "the kernel could not tell; asking in the other way", "error", err)
			err = f.get(ctx, strings.Join(asked, ","), names)
		}
		return err
	})
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
	// volumes were looked for.
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

// ask has the kernel tell what is there in each pool.
func (f *findings) ask(ctx context.Context, names map[string][]string) error {
	type answer struct {
		pool string
		rows map[string]row
		err  error
	}
	answers := make(chan answer, len(names))
	for pool, in := range names {
		go func() {
			rows, err := f.store.stats(ctx, pool, in)
			answers <- answer{pool, rows, err}
		}()
	}
	f.rows = map[string]row{}
	var faults []error
	for range names {
		a := <-answers
		if errors.Is(a.err, ErrUnavailable) {
			// ZFS has more to answer from than it tells: up to OpenZFS 2.1 a suspended pool with failmode=continue is ONLINE.
			f.failPool(a.pool, a.err)
			continue
		}
		if a.err != nil {
			faults = append(faults, fmt.Errorf("pool %s: %w", a.pool, a.err))
		}
		for name, r := range a.rows {
			f.rows[name] = r
		}
	}
	return errors.Join(faults...)
}

const (
	// maxStats is how many looks at one pool are made at once at most: those at a pool that hangs end when it is back.
	maxStats = 8
	// answerTime is how long a pool has for its answer. A disk that hangs without an error leaves its pool ONLINE,
	// and the other pools are not to wait for it.
	answerTime = 20 * time.Second
)

// poolLooks are the looks at a pool.
type poolLooks struct {
	// running holds one entry for each that is under way.
	running chan struct{}
	// late is how many of these took longer than answerTime: until they end no others are made.
	late atomic.Int32
}

// stats asks the kernel for the properties of datasets and snapshots in a pool. When ctx ends it returns at once, and with
// ErrUnavailable when the pool does not answer.
func (l *Local) stats(ctx context.Context, pool string, names []string) (map[string]row, error) {
	looks := l.statsOf[pool]
	if looks.late.Load() > 0 {
		return nil, noAnswer(pool)
	}
	tooLong := time.NewTimer(l.answerTime)
	defer tooLong.Stop()
	select {
	case looks.running <- struct{}{}:
	case <-tooLong.C:
		return nil, noAnswer(pool)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	c := getCommand(strings.Join(asked, ","), names...)
	c.Call = statsCall(names...)
	type ending struct {
		Result
		err error
	}
	done := make(chan ending, 1)
	go func() {
		defer func() { <-looks.running }()
		r, err := l.runner.Run(ctx, c)
		done <- ending{r, err}
	}()
	select {
	case r := <-done:
		switch {
		case r.err != nil:
			return nil, r.err
		case r.fault(c, names...) != nil:
			return nil, r.fault(c, names...)
		case len(r.Answers) == 0:
			// The pool is there, and so are its parents, as a rule.
			return nil, errors.New("the kernel told of nothing")
		}
		rows := map[string]row{}
		for name, told := range r.Answers {
			rows[name] = toldRow(name, told)
		}
		return rows, nil
	case <-tooLong.C:
		looks.late.Add(1)
		go func() {
			<-done
			looks.late.Add(-1)
		}()
		return nil, noAnswer(pool)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// noAnswer returns what is wrong with a pool that does not answer.
func noAnswer(pool string) error {
	return fmt.Errorf("pool %s does not answer: perhaps one of its disks hangs, or a pool is being imported; see the kernel's log: %w", pool, ErrUnavailable)
}

// toldRow returns what the kernel told of a dataset or snapshot as `zfs get -p` does, of the properties in asked. What has its
// default is left out.
func toldRow(name string, told map[string]any) row {
	r := row{}
	for _, property := range asked {
		of, _ := told[property].(map[string]any)
		if of == nil {
			continue
		}
		var c cell
		switch value := of["value"].(type) {
		case string:
			c.value = value
		case uint64:
			c.value = strconv.FormatUint(value, 10)
			for word, number := range numbers[property] {
				if number == value {
					c.value = word
				}
			}
		}
		switch source, _ := of["source"].(string); source {
		case "":
			c.source = "-"
		case name:
			c.source = "local"
		case "$recvd":
			c.source = "received"
		default:
			c.source = "inherited from " + source
		}
		r[property] = c
	}
	_, zvol := r["volsize"]
	switch {
	case strings.Contains(name, "@"):
		r["type"] = cell{"snapshot", "-"}
	case zvol:
		r["type"] = cell{Block.String(), "-"}
	default:
		r["type"] = cell{Filesystem.String(), "-"}
	}
	return r
}

// failPool has all parents in a pool fail.
func (f *findings) failPool(pool string, err error) {
	for _, p := range f.store.parents {
		if p.Pool() == pool && f.fault[p] == nil {
			f.fail(p, err)
		}
	}
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

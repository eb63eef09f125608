package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	poolSize = 64 << 30
	// perVolume is what a volume and its snapshot in the full parent take at most of the folder for the pool's file, which
	// gives nothing back, and besides what all else takes.
	perVolume, besides = 512 << 10, 256 << 20
	// quietTime is how long the driver is to have done nothing before a call is measured, and
	// markTime the same after a clone, whose snapshot it marks a while later.
	quietTime = 250 * time.Millisecond
	markTime  = 900 * time.Millisecond
)

// bench is a pool, the drivers on it, and what was measured.
type bench struct {
	options
	binary, dir, pool string
	drivers           []*serving
	rows              map[string]*Row
	order             []string
	serial            int
	// raws counts the processes that raw commands were.
	raws int
}

// group measures some rows, so many times each.
type group struct {
	name string
	run  func(ctx context.Context, b *bench, times int) error
}

// measure makes a pool, measures, and takes all away again.
func measure(ctx context.Context, o options) (f Figures, err error) {
	b := &bench{options: o, binary: os.Getenv("ZFS_CSI_BINARY"), rows: map[string]*Row{}}
	dir, token := os.Getenv("ZFS_CSI_TEST_DIR"), os.Getenv("ZFS_CSI_TEST_TOKEN")
	if b.binary == "" || dir == "" || token == "" {
		return f, errors.New("ZFS_CSI_BINARY, ZFS_CSI_TEST_DIR or ZFS_CSI_TEST_TOKEN is not set; run make bench, which sets them")
	}
	if err := room(dir, int64(o.scale)*perVolume+besides); err != nil {
		return f, err
	}
	if b.dir, err = os.MkdirTemp(dir, "bench-"); err != nil {
		return f, err
	}
	b.pool = "zfscsitest-" + token + "-bench"
	defer func() {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Minute)
		defer cancel()
		f = b.figures(clean)
		err = errors.Join(err, b.cleanUp(clean))
	}()
	file := filepath.Join(b.dir, "pool.img")
	if _, err := command(ctx, "truncate", "-s", strconv.Itoa(poolSize), file); err != nil {
		return f, err
	}
	if _, err := command(ctx, "zpool", "create", "-O", "mountpoint=none", b.pool, file); err != nil {
		return f, err
	}
	driver, err := b.start(ctx, "csi")
	if err != nil {
		return f, err
	}
	if err := b.inTurn(ctx, groups(driver)); err != nil {
		return f, err
	}
	for _, g := range []group{
		{"data", data(driver)}, {"chain", chain(driver)}, {"crowd", crowd(driver)}, {"scale", scale},
	} {
		if err := b.enter(ctx, g, o.times); err != nil {
			return f, err
		}
	}
	return f, nil
}

// room makes sure that a folder has so many bytes free: a pool whose file finds no more is suspended, and all that use it hang.
func room(dir string, need int64) error {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return fmt.Errorf("statfs %s: %w", dir, err)
	}
	if free := int64(s.Bavail) * s.Bsize; free < need {
		return fmt.Errorf("the pool's file in %s may need %d MiB, and %d MiB are free; in the machine it is in memory, "+
			"of which ZFS_CSI_MACHINE_MEMORY=6144 gives it twice as much", dir, need>>20, free>>20)
	}
	return nil
}

// inTurn measures groups in several passes, each with the groups in another order: who comes first
// after something else can come out slower.
func (b *bench) inTurn(ctx context.Context, groups []group) error {
	for pass := range b.passes {
		times := b.times*(pass+1)/b.passes - b.times*pass/b.passes
		for i := range groups {
			g := groups[(i+pass*len(groups)/b.passes)%len(groups)]
			if err := b.enter(ctx, g, times); err != nil {
				return err
			}
		}
	}
	return nil
}

// enter lets the pool settle and measures a group.
func (b *bench) enter(ctx context.Context, g group, times int) error {
	for _, args := range [][]string{{"sync", b.pool}, {"wait", "-t", "free", b.pool}} {
		if _, err := command(ctx, "zpool", args...); err != nil {
			return err
		}
	}
	began := time.Now()
	if err := g.run(ctx, b, times); err != nil {
		return fmt.Errorf("%s: %w", g.name, err)
	}
	fmt.Fprintf(os.Stderr, "%s: %.1f s\n", g.name, time.Since(began).Seconds())
	return nil
}

// start starts a driver on a parent of that name.
func (b *bench) start(ctx context.Context, leaf string) (*serving, error) {
	s, err := b.serve(ctx, b.pool+"/"+leaf)
	if s != nil && s.Service != nil {
		b.drivers = append(b.drivers, s)
	}
	return s, err
}

// row returns the row of a name, and whether it is to be measured.
func (b *bench) row(name, beside, unit string, goal float64) (*Row, bool) {
	if !b.only.MatchString(name) {
		return nil, false
	}
	if b.rows[name] == nil {
		b.rows[name] = &Row{Name: name, Beside: beside, Unit: unit, Goal: goal}
		b.order = append(b.order, name)
	}
	return b.rows[name], true
}

// name returns a name that nothing has yet.
func (b *bench) name(prefix string) string {
	b.serial++
	return prefix + strconv.Itoa(b.serial)
}

// step is something to measure: what comes before and after it is not. Each can be nil.
type step struct {
	driver             *serving // whose processes count; nil for raw commands
	marks              bool     // a snapshot is marked afterwards
	before, call, undo func(ctx context.Context) error
}

// both measures two steps, the one first and then the other first.
func (b *bench) both(ctx context.Context, r *Row, times int, driver, other step) error {
	for range times {
		turn := []struct {
			step   step
			series *Series
		}{{driver, &r.Driver}, {other, &r.Other}}
		if len(r.Driver.Values)%2 == 1 {
			turn[0], turn[1] = turn[1], turn[0]
		}
		for _, t := range turn {
			if err := b.once(ctx, t.step, t.series); err != nil {
				return fmt.Errorf("%s: %w", r.Name, err)
			}
		}
	}
	return nil
}

// once measures a step.
func (b *bench) once(ctx context.Context, s step, series *Series) error {
	if s.before != nil {
		if err := s.before(ctx); err != nil {
			return err
		}
	}
	if err := b.quiet(ctx, quietTime); err != nil {
		return err
	}
	processes, err := b.processes(s.driver)
	if err != nil {
		return err
	}
	var before []ran
	if s.driver != nil {
		if before, err = s.driver.commands(); err != nil {
			return err
		}
	}
	group, err := b.transactionGroup()
	if err != nil {
		return err
	}
	began := time.Now()
	if err := s.call(ctx); err != nil {
		return err
	}
	took := time.Since(began)
	groupThen, err := b.transactionGroup()
	if err != nil {
		return err
	}
	processesThen, err := b.processes(s.driver)
	if err != nil {
		return err
	}
	series.Values = append(series.Values, took.Seconds()*1000)
	series.Groups = append(series.Groups, groupThen-group)
	series.Processes = append(series.Processes, processesThen-processes)
	if s.driver != nil {
		all, err := s.driver.commands()
		if err != nil {
			return err
		}
		series.Commands = nil
		for _, r := range all[len(before):] {
			series.Commands = append(series.Commands, r.String())
		}
		while := quietTime
		if s.marks {
			while = markTime
		}
		if err := s.driver.quiet(ctx, while); err != nil {
			return err
		}
		after, err := b.processes(s.driver)
		if err != nil {
			return err
		}
		series.After = append(series.After, after-processesThen)
	}
	if s.undo != nil {
		return s.undo(ctx)
	}
	return nil
}

// quiet waits until no driver has anything at work.
func (b *bench) quiet(ctx context.Context, while time.Duration) error {
	for _, d := range b.drivers {
		if err := d.quiet(ctx, while); err != nil {
			return err
		}
	}
	return nil
}

// processes returns how many processes a driver has had, or raw commands were.
func (b *bench) processes(driver *serving) (float64, error) {
	if driver == nil {
		return float64(b.raws), nil
	}
	commands, err := driver.commands()
	processes := 0
	for _, r := range commands {
		if r.process() {
			processes++
		}
	}
	return float64(processes), err
}

// transactionGroup returns the number of the pool's open transaction group.
func (b *bench) transactionGroup() (float64, error) {
	text, err := os.ReadFile("/proc/spl/kstat/zfs/" + b.pool + "/txgs")
	if err != nil {
		return 0, err
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	number, _, _ := strings.Cut(lines[len(lines)-1], " ")
	return strconv.ParseFloat(number, 64)
}

// raw runs a command that counts.
func (b *bench) raw(ctx context.Context, name string, args ...string) error {
	b.raws++
	_, err := command(ctx, name, args...)
	return err
}

func (b *bench) cleanUp(ctx context.Context) error {
	var faults []error
	for _, d := range b.drivers {
		faults = append(faults, d.Stop())
	}
	if _, err := command(ctx, "zpool", "destroy", "-f", b.pool); err != nil {
		faults = append(faults, err)
	}
	return errors.Join(append(faults, os.RemoveAll(b.dir))...)
}

// figures returns what was measured.
func (b *bench) figures(ctx context.Context) Figures {
	f := Figures{Revision: b.revision, Scale: b.scale}
	version, err := command(ctx, "zfs", "version")
	if err != nil {
		version = err.Error()
	}
	kernel, err := command(ctx, "uname", "-r")
	if err != nil {
		kernel = err.Error()
	}
	f.Machine = strings.ReplaceAll(version, "\n", ", ") + ", kernel " + kernel
	if model, err := command(ctx, "sh", "-c", "grep -m1 'model name' /proc/cpuinfo | cut -d: -f2"); err == nil {
		f.Machine += ", " + model
	}
	for _, name := range b.order {
		f.Rows = append(f.Rows, b.rows[name])
	}
	return f
}

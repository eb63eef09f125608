package main

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/zfs-csi/zfs-csi/e2e/service"
)

// few is how many volumes and snapshots the emptier parent holds.
const few = 10

// clients is how many call at once.
const clients = 16

// atOnce calls f for each number below n, clients of them at once, and returns the first fault.
func atOnce(n int, f func(i int) error) error {
	var wait sync.WaitGroup
	next, faults := make(chan int), make(chan error, n)
	for range clients {
		wait.Go(func() {
			for i := range next {
				faults <- f(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wait.Wait()
	close(faults)
	for err := range faults {
		if err != nil {
			return err
		}
	}
	return nil
}

// fill makes volumes and a snapshot of each.
func (s *serving) fill(ctx context.Context, n int) error {
	return atOnce(n, func(i int) error {
		name := "v" + strconv.Itoa(i)
		if err := s.create(ctx, name, kinds()[0], nil); err != nil {
			return err
		}
		return s.snapshot(ctx, name, "s"+strconv.Itoa(i))
	})
}

// scale measures calls in a full parent beside those in an emptier one, and what grows with the
// number of volumes.
func scale(ctx context.Context, b *bench, times int) error {
	if b.scale == 0 {
		return nil
	}
	many, err := b.start(ctx, "many")
	if err != nil {
		return err
	}
	sparse, err := b.start(ctx, "few")
	if err != nil {
		return err
	}
	began := time.Now()
	if err := prepare(many.fill(ctx, b.scale), sparse.fill(ctx, few)); err != nil {
		return err
	}
	made := fmt.Sprintf("the parent was filled through the driver in %.0f s", time.Since(began).Seconds())
	take := func(d *serving) named {
		return func(ctx context.Context, name string) error { return d.snapshot(ctx, "v0", name) }
	}
	remove := func(d *serving) named {
		return func(ctx context.Context, name string) error { return d.deleteSnapshot(ctx, "v0", name) }
	}
	for _, row := range []struct {
		name string
		make func(d *serving) step
	}{
		{"clone", func(d *serving) step {
			s := b.fresh("c", d, nil, func(ctx context.Context, name string) error {
				return d.create(ctx, name, kinds()[0], service.FromVolume("v0"))
			}, d.delete)
			s.marks = true
			return s
		}},
		{"create", func(d *serving) step {
			return b.fresh("c", d, nil, func(ctx context.Context, name string) error { return d.create(ctx, name, kinds()[0], nil) }, d.delete)
		}},
		{"delete", func(d *serving) step {
			return b.fresh("c", d, func(ctx context.Context, name string) error { return d.create(ctx, name, kinds()[0], nil) }, d.delete, nil)
		}},
		{"snapshot", func(d *serving) step { return b.fresh("t", d, nil, take(d), remove(d)) }},
		{"delete a snapshot", func(d *serving) step { return b.fresh("t", d, take(d), remove(d), nil) }},
		{"stage", func(d *serving) step { return staging(d, "v0") }},
	} {
		r, wanted := b.row(fmt.Sprintf("%s among %d", row.name, b.scale), fmt.Sprintf("the same among %d", few), "ms", 1.2)
		if !wanted {
			continue
		}
		r.Note = made
		n := times
		if row.name == "stage" {
			n *= 3 // It waits for no transaction group, so that all that disturbs shows.
		}
		if err := b.both(ctx, r, n, row.make(many), row.make(sparse)); err != nil {
			return err
		}
	}
	if err := b.lists(ctx, many, max(1, times/5)); err != nil {
		return err
	}
	return b.memory(ctx, many)
}

// pages lists all volumes in pages of 100, and returns how many there are.
func (s *serving) pages(ctx context.Context) (n int, err error) {
	for token := ""; ; {
		page, err := s.ListVolumes(ctx, &csi.ListVolumesRequest{MaxEntries: 100, StartingToken: token})
		if err != nil {
			return n, err
		}
		n += len(page.GetEntries())
		if token = page.GetNextToken(); token == "" {
			return n, nil
		}
	}
}

// lists measures the lists of all volumes.
func (b *bench) lists(ctx context.Context, d *serving, times int) error {
	r, wanted := b.row(fmt.Sprintf("list %d volumes, pages of 100", b.scale), "one zfs list", "ms", 1.3)
	if !wanted {
		return nil
	}
	driver := step{driver: d, call: func(ctx context.Context) error {
		if n, err := d.pages(ctx); err != nil || n != b.scale {
			return fmt.Errorf("%d volumes are listed, not %d: %w", n, b.scale, err)
		}
		return nil
	}}
	raw := step{call: func(ctx context.Context) error {
		return b.raw(ctx, "zfs", "list", "-Hp", "-d", "1", "-t", "filesystem,volume", d.parent)
	}}
	return b.both(ctx, r, times, driver, raw)
}

// memory measures a fresh driver's memory, before and after it has listed all volumes.
func (b *bench) memory(ctx context.Context, d *serving) error {
	r, wanted := b.row(fmt.Sprintf("memory, %d volumes listed", b.scale), "idle", "KiB", 1.5)
	if !wanted {
		return nil
	}
	if err := d.Stop(); err != nil {
		return err
	}
	if err := d.start(ctx, b.binary); err != nil {
		return err
	}
	// It sweeps first.
	if err := d.quiet(ctx, 20*markTime); err != nil {
		return err
	}
	idle, err := d.memory()
	if err != nil {
		return err
	}
	if _, err := d.pages(ctx); err != nil {
		return err
	}
	listed, err := d.memory()
	if err != nil {
		return err
	}
	r.Driver.Values, r.Other.Values = append(r.Driver.Values, listed), append(r.Other.Values, idle)
	return nil
}

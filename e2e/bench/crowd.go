package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/zfs-csi/zfs-csi/e2e/service"
)

// each is how many clones each client makes in a round.
const each = 4

// crowd measures many clients that clone one volume at once.
func crowd(d *serving) func(context.Context, *bench, int) error {
	return func(ctx context.Context, b *bench, times int) error {
		r, wanted := b.row(fmt.Sprintf("%d clients cloning at once", clients), fmt.Sprintf("%d shells, zfs snapshot + zfs clone", clients), "clones/s", 1.0)
		if !wanted {
			return nil
		}
		k, source := kinds()[0], b.name("source")
		if err := prepare(d.create(ctx, source, k, nil), d.create(ctx, "sample", k, service.FromVolume(source)), d.delete(ctx, "sample")); err != nil {
			return err
		}
		options, err := d.options("zfs clone", 2)
		if err != nil {
			return err
		}
		makers := []struct {
			series *Series
			make   func(name string) error
		}{
			{&r.Driver, func(name string) error { return d.create(ctx, name, k, service.FromVolume(source)) }},
			{&r.Other, func(name string) error {
				snapshot := d.parent + "/" + source + "@" + name
				script := "zfs snapshot " + snapshot + " && zfs " + strings.Join(with("clone", options, snapshot, d.parent+"/"+name), " ")
				return exec.CommandContext(ctx, "sh", "-c", script).Run()
			}},
		}
		for round := range max(1, times/5) {
			for i := range makers {
				m := makers[(i+round)%len(makers)]
				names := make([]string, clients*each)
				for n := range names {
					names[n] = b.name("w")
				}
				if err := b.quiet(ctx, markTime); err != nil {
					return err
				}
				before, err := b.processes(d)
				if err != nil {
					return err
				}
				began := time.Now()
				if err := atOnce(len(names), func(n int) error { return m.make(names[n]) }); err != nil {
					return err
				}
				m.series.Values = append(m.series.Values, float64(len(names))/time.Since(began).Seconds())
				after, err := b.processes(d)
				if err != nil {
					return err
				}
				if m.series == &r.Driver {
					r.Note = fmt.Sprintf("%.2f processes a clone; of the shells 3", (after-before)/float64(len(names)))
				}
				if err := atOnce(len(names), func(n int) error { return d.delete(ctx, names[n]) }); err != nil {
					return err
				}
			}
		}
		return d.delete(ctx, source)
	}
}

// chainEnd is how many links at each end of the chain are compared.
const chainEnd = 10

// chain measures clones of clones of which each source is deleted.
func chain(d *serving) func(context.Context, *bench, int) error {
	return func(ctx context.Context, b *bench, _ int) error {
		const links = 200
		r, wanted := b.row(fmt.Sprintf("clone and delete the source, the last %d of %d", chainEnd, links), fmt.Sprintf("the first %d", chainEnd), "ms", 1.2)
		if !wanted {
			return nil
		}
		k, source := kinds()[0], b.name("link")
		if err := d.create(ctx, source, k, nil); err != nil {
			return err
		}
		for i := range links {
			clone := b.name("link")
			began := time.Now()
			if err := prepare(d.create(ctx, clone, k, service.FromVolume(source)), d.delete(ctx, source)); err != nil {
				return err
			}
			took := time.Since(began).Seconds() * 1000
			if i < chainEnd {
				r.Other.Values = append(r.Other.Values, took)
			} else if i >= links-chainEnd {
				r.Driver.Values = append(r.Driver.Values, took)
			}
			source = clone
		}
		if err := b.quiet(ctx, markTime); err != nil {
			return err
		}
		left, err := command(ctx, "zfs", "list", "-Hr", "-t", "all", "-o", "name,origin", d.parent)
		if err != nil {
			return err
		}
		r.Note = fmt.Sprintf("then the parent holds %d dataset or snapshot", strings.Count(left, "\n"))
		return d.delete(ctx, source)
	}
}

// data measures clones of a volume with much data beside those of one with little.
func data(d *serving) func(context.Context, *bench, int) error {
	return func(ctx context.Context, b *bench, times int) error {
		r, wanted := b.row(fmt.Sprintf("clone a volume of %d MiB of data", b.data>>20), "of 1 MiB", "ms", 1.1)
		if !wanted || b.data == 0 {
			return nil
		}
		cloning := func(size int64) (step, string, error) {
			name := b.name("data")
			if err := prepare(d.create(ctx, name, kinds()[0], nil), d.write(ctx, name, size)); err != nil {
				return step{}, "", err
			}
			s := b.fresh("d", d, nil, func(ctx context.Context, clone string) error {
				return d.create(ctx, clone, kinds()[0], service.FromVolume(name))
			}, d.delete)
			s.marks = true
			return s, name, nil
		}
		much, muchName, err := cloning(b.data)
		if err != nil {
			return err
		}
		little, littleName, err := cloning(1 << 20)
		if err != nil {
			return err
		}
		if err := b.both(ctx, r, times, much, little); err != nil {
			return err
		}
		return errors.Join(d.delete(ctx, muchName), d.delete(ctx, littleName))
	}
}

// write fills a volume with data of which each block differs from the others, and compresses
// well, so that the pool fits into memory.
func (s *serving) write(ctx context.Context, volume string, size int64) (err error) {
	at := service.PlaceIn(s.dir, volume)
	if err := s.Publish(ctx, volume, kinds()[0].capability, at); err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, s.Unpublish(ctx, volume, at))
	}()
	f, err := os.Create(filepath.Join(at.Target, "data"))
	if err != nil {
		return err
	}
	block := make([]byte, 128<<10)
	for n := int64(0); n < size; n += int64(len(block)) {
		copy(block, fmt.Sprintf("block %d", n))
		if _, err := f.Write(block); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return errors.Join(f.Sync(), f.Close())
}

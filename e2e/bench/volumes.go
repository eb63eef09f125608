package main

import (
	"context"
	"errors"
	"os"

	"github.com/zfs-csi/zfs-csi/e2e/service"
)

// groups returns what is measured beside raw commands, call by call in turn.
func groups(d *serving) []group {
	var out []group
	for _, k := range kinds() {
		out = append(out,
			group{"create a " + k.name, createGroup(d, k)},
			group{"clone a " + k.name, cloneGroup(d, k)},
		)
	}
	return append(out,
		group{"snapshot", snapshotGroup(d)},
		group{"delete", deleteGroup(d)},
		group{"source", sourceGroup(d)},
		group{"stage", stageGroup(d)},
	)
}

// one calls a function with a fresh name each time.
type named func(ctx context.Context, name string) error

// fresh makes a step of functions that work on something of a fresh name.
func (b *bench) fresh(prefix string, d *serving, before, call, undo named) step {
	var name string
	of := func(f named) func(context.Context) error {
		if f == nil {
			return nil
		}
		return func(ctx context.Context) error { return f(ctx, name) }
	}
	return step{
		driver: d, call: of(call), undo: of(undo),
		before: func(ctx context.Context) error {
			name = b.name(prefix)
			if before == nil {
				return nil
			}
			return before(ctx, name)
		},
	}
}

func createGroup(d *serving, k kind) func(context.Context, *bench, int) error {
	return func(ctx context.Context, b *bench, times int) error {
		r, wanted := b.row("create a "+k.name, "zfs create", "ms", 1.1)
		if !wanted {
			return nil
		}
		if err := prepare(d.create(ctx, "sample", k, nil), d.delete(ctx, "sample")); err != nil {
			return err
		}
		options, err := d.options("zfs create", 1)
		if err != nil {
			return err
		}
		driver := b.fresh("d", d, nil, func(ctx context.Context, name string) error { return d.create(ctx, name, k, nil) }, d.delete)
		raw := b.fresh("r", nil, nil,
			func(ctx context.Context, name string) error {
				return b.raw(ctx, "zfs", with("create", options, d.parent+"/"+name)...)
			}, d.delete)
		return b.both(ctx, r, times, driver, raw)
	}
}

func cloneGroup(d *serving, k kind) func(context.Context, *bench, int) error {
	return func(ctx context.Context, b *bench, times int) (err error) {
		r, wanted := b.row("clone a "+k.name, "zfs snapshot + zfs clone", "ms", 1.0)
		if !wanted {
			return nil
		}
		source := b.name("source")
		from := service.FromVolume(source)
		if err := prepare(d.create(ctx, source, k, nil), d.create(ctx, "sample", k, from), d.delete(ctx, "sample")); err != nil {
			return err
		}
		options, err := d.options("zfs clone", 2)
		if err != nil {
			return err
		}
		driver := b.fresh("d", d, nil, func(ctx context.Context, name string) error { return d.create(ctx, name, k, from) }, d.delete)
		driver.marks = true
		raw := b.fresh("r", nil, nil, func(ctx context.Context, name string) error {
			snapshot := d.parent + "/" + source + "@" + name
			if err := b.raw(ctx, "zfs", "snapshot", snapshot); err != nil {
				return err
			}
			return b.raw(ctx, "zfs", with("clone", options, snapshot, d.parent+"/"+name)...)
		}, d.delete)
		if err := b.both(ctx, r, times, driver, raw); err != nil {
			return err
		}
		return d.delete(ctx, source)
	}
}

func snapshotGroup(d *serving) func(context.Context, *bench, int) error {
	return func(ctx context.Context, b *bench, times int) error {
		k := kinds()[0]
		source := b.name("source")
		if err := prepare(d.create(ctx, source, k, nil), d.snapshot(ctx, source, source+"s"),
			d.create(ctx, "sample", k, service.FromSnapshot(source+"@"+source+"s")), d.delete(ctx, "sample")); err != nil {
			return err
		}
		options, err := d.options("zfs clone", 2)
		if err != nil {
			return err
		}
		take := func(ctx context.Context, name string) error { return d.snapshot(ctx, source, name) }
		remove := func(ctx context.Context, name string) error { return d.deleteSnapshot(ctx, source, name) }
		rawTake := func(ctx context.Context, name string) error {
			return b.raw(ctx, "zfs", "snapshot", d.parent+"/"+source+"@"+name)
		}
		rawRemove := func(ctx context.Context, name string) error {
			return b.raw(ctx, "zfs", "destroy", d.parent+"/"+source+"@"+name)
		}
		if r, wanted := b.row("snapshot", "zfs snapshot", "ms", 1.1); wanted {
			if err := b.both(ctx, r, times, b.fresh("d", d, nil, take, remove), b.fresh("r", nil, nil, rawTake, rawRemove)); err != nil {
				return err
			}
		}
		if r, wanted := b.row("delete a snapshot", "zfs destroy", "ms", 1.1); wanted {
			if err := b.both(ctx, r, times, b.fresh("d", d, take, remove, nil), b.fresh("r", nil, rawTake, rawRemove, nil)); err != nil {
				return err
			}
		}
		if r, wanted := b.row("restore", "zfs clone", "ms", 1.1); wanted {
			from := service.FromSnapshot(source + "@" + source + "s")
			driver := b.fresh("d", d, nil, func(ctx context.Context, name string) error { return d.create(ctx, name, k, from) }, d.delete)
			raw := b.fresh("r", nil, nil, func(ctx context.Context, name string) error {
				return b.raw(ctx, "zfs", with("clone", options, d.parent+"/"+source+"@"+source+"s", d.parent+"/"+name)...)
			}, d.delete)
			if err := b.both(ctx, r, times, driver, raw); err != nil {
				return err
			}
		}
		return prepare(d.deleteSnapshot(ctx, source, source+"s"), d.delete(ctx, source))
	}
}

func deleteGroup(d *serving) func(context.Context, *bench, int) error {
	return func(ctx context.Context, b *bench, times int) error {
		r, wanted := b.row("delete a volume", "zfs destroy", "ms", 1.1)
		if !wanted {
			return nil
		}
		made := func(ctx context.Context, name string) error { return d.create(ctx, name, kinds()[0], nil) }
		raw := b.fresh("r", nil, made, func(ctx context.Context, name string) error {
			return b.raw(ctx, "zfs", "destroy", d.parent+"/"+name)
		}, nil)
		return b.both(ctx, r, times, b.fresh("d", d, made, d.delete, nil), raw)
	}
}

func sourceGroup(d *serving) func(context.Context, *bench, int) error {
	return func(ctx context.Context, b *bench, times int) error {
		r, wanted := b.row("delete a source that has a clone", "zfs promote + zfs destroy", "ms", 0.6)
		if !wanted {
			return nil
		}
		k := kinds()[0]
		pair := func(ctx context.Context, name string) error {
			return prepare(d.create(ctx, name, k, nil), d.create(ctx, name+"c", k, service.FromVolume(name)), d.quiet(ctx, markTime))
		}
		rest := func(ctx context.Context, name string) error { return d.delete(ctx, name+"c") }
		raw := func(ctx context.Context, name string) error {
			if err := b.raw(ctx, "zfs", "promote", d.parent+"/"+name+"c"); err != nil {
				return err
			}
			return b.raw(ctx, "zfs", "destroy", d.parent+"/"+name)
		}
		return b.both(ctx, r, times, b.fresh("d", d, pair, d.delete, rest), b.fresh("r", nil, pair, raw, rest))
	}
}

func stageGroup(d *serving) func(context.Context, *bench, int) error {
	return func(ctx context.Context, b *bench, times int) error {
		r, wanted := b.row("stage + publish a dataset", "mount -t zfs + mount --bind", "ms", 1.3)
		if !wanted {
			return nil
		}
		volume := b.name("staged")
		if err := d.create(ctx, volume, kinds()[0], nil); err != nil {
			return err
		}
		at := service.PlaceIn(d.dir, volume)
		raw := step{
			before: func(context.Context) error {
				return errors.Join(os.MkdirAll(at.Staging, 0o750), os.MkdirAll(at.Target, 0o750))
			},
			call: func(ctx context.Context) error {
				if err := b.raw(ctx, "mount", "-t", "zfs", d.parent+"/"+volume, at.Staging); err != nil {
					return err
				}
				return b.raw(ctx, "mount", "--bind", at.Staging, at.Target)
			},
			undo: func(ctx context.Context) error {
				_, err := command(ctx, "umount", at.Target, at.Staging)
				return errors.Join(err, os.Remove(at.Target))
			},
		}
		if err := b.both(ctx, r, times, staging(d, volume), raw); err != nil {
			return err
		}
		return errors.Join(d.delete(ctx, volume), os.Remove(at.Staging))
	}
}

// staging is the step of staging and publishing a dataset.
func staging(d *serving, volume string) step {
	at := service.PlaceIn(d.dir, volume)
	return step{
		driver: d,
		call:   func(ctx context.Context) error { return d.Publish(ctx, volume, kinds()[0].capability, at) },
		undo:   func(ctx context.Context) error { return d.Unpublish(ctx, volume, at) },
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"

	"github.com/zfs-csi/zfs-csi/zfs"
)

const initHelp = `Makes each dataset a parent of this driver's volumes: it creates the dataset where
there is none (mountpoint=none, canmount=off), and marks it with the driver's name
in the user property zfs-csi:driver. An existing filesystem keeps its properties and its
contents. Done again it changes nothing. A dataset that belongs to another driver is refused.

The pool has to be there, or, for a trial, is made in a file and imported from it:

  zfs-csi init --pool-file /var/lib/zfs-csi/pool.img --pool-size 20Gi tank/csi

This makes the file and the pool where there has been neither, imports the pool where only the file
is there, as after a start of the machine, and does nothing where the pool is imported from this file.
A file without a pool, or with a pool of another name, and a pool of the name that is imported from
elsewhere are left alone, with an error; and a file that is gone is not made again.
`

func initParents(ctx context.Context, call invocation) error {
	var driverName, hostRoot string
	pool := zfs.PoolFile{}
	f := newFlags("init", initHelp, call)
	f.driverName(&driverName)
	f.hostRoot(&hostRoot)
	f.poolFile(&pool, "the dataset")
	newLog := f.logs(slog.LevelWarn)
	if err := f.parse(math.MaxInt); err != nil {
		return err
	}
	var parents datasets
	for _, name := range f.Args() {
		if err := parents.Set(name); err != nil {
			return f.wrong(err)
		}
	}
	if len(parents) == 0 {
		return f.wrong(errors.New("no dataset is named"))
	}
	run := zfs.Exec{Log: newLog(), Root: hostRoot}
	if pool.Path != "" {
		if len(parents) > 1 {
			return f.wrong(errors.New("with --pool-file there is one dataset, whose name begins with the pool's"))
		}
		if err := pool.CheckPlaces(); err != nil {
			return f.wrong(err)
		}
		pool.Runner, pool.Pool = run, parents[0].Pool()
		change, err := pool.Ensure(ctx)
		if err != nil {
			return err
		}
		fmt.Fprintln(call.stdout, sayPoolChange(change, pool))
	}
	for _, parent := range parents {
		change, err := zfs.InitParent(ctx, run, driverName, parent)
		if err != nil {
			return err
		}
		fmt.Fprintln(call.stdout, sayChange(change, parent, driverName))
	}
	return nil
}

func sayChange(change zfs.ParentChange, parent zfs.Dataset, driverName string) string {
	switch change {
	case zfs.ParentCreated:
		return fmt.Sprintf("%s is made and marked for %s", parent, driverName)
	case zfs.ParentMarked:
		return fmt.Sprintf("%s was there and is now marked for %s", parent, driverName)
	case zfs.ParentUnchanged:
		return fmt.Sprintf("%s was marked for %s before: nothing changed", parent, driverName)
	}
	return fmt.Sprintf("%s: unknown change %d", parent, change)
}

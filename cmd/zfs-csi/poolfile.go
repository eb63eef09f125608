package main

import (
	"context"
	"fmt"
	"time"

	"github.com/zfs-csi/zfs-csi/zfs"
)

// defaultPoolSize is the size in bytes of a pool's file unless another is given.
const defaultPoolSize = 20 << 30

// poolFile adds --pool-file, --pool-size and --pool-note-dir; parent names the parent that is in the pool.
func (f *flags) poolFile(pool *zfs.PoolFile, parent string) {
	pool.Size = defaultPoolSize
	f.StringVar(&pool.Path, "pool-file", "",
		"the `FILE` that holds the pool of "+parent+", or is made to; an absolute path, which in a\ncontainer has to be the node's own")
	f.Var((*quantity)(&pool.Size), "pool-size", "the `SIZE` of the file when it is made; it is sparse")
	f.StringVar(&pool.NoteDir, "pool-note-dir", "/etc/zfs-csi",
		"the `FOLDER` where it is noted which pool was made, so that no other takes the place of one whose\n"+
			"file is gone; not that of the file, whose disk may be away")
}

// awaitPool makes or imports the pool in the file with the last parent, and tries again until that has worked or ctx ends:
// whatever is wrong, calls about other parents are answered meanwhile, and those about this one that it is not there.
func (o *options) awaitPool(ctx context.Context) {
	parent := o.parents[len(o.parents)-1]
	o.pool.Runner, o.pool.Pool = &o.tools, parent.Pool()
	for pause := time.Second; ; pause = min(2*pause, time.Minute) {
		change, err := o.pool.Ensure(ctx)
		if err == nil {
			_, err = zfs.InitParent(ctx, &o.tools, o.Name, parent)
		}
		switch {
		case err == nil:
			o.Log.InfoContext(ctx, sayPoolChange(change, o.pool))
			return
		case ctx.Err() != nil:
			return
		}
		o.Log.ErrorContext(ctx, "the pool in the file cannot be used", "error", err, "retry", pause)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

func sayPoolChange(change zfs.PoolChange, pool zfs.PoolFile) string {
	switch change {
	case zfs.PoolCreated:
		return fmt.Sprintf("pool %s is made in %s", pool.Pool, pool.Path)
	case zfs.PoolImported:
		return fmt.Sprintf("pool %s is imported from %s", pool.Pool, pool.Path)
	case zfs.PoolUnchanged:
		return fmt.Sprintf("pool %s was imported from %s before: nothing changed", pool.Pool, pool.Path)
	}
	return fmt.Sprintf("pool %s: unknown change %d", pool.Pool, change)
}

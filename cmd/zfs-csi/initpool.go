package main

import (
	"fmt"

	"github.com/zfs-csi/zfs-csi/zfs"
)

// defaultPoolSize is the size in bytes of a pool's file unless another is given.
const defaultPoolSize = 20 << 30

// poolFile adds --pool-file and --pool-size.
func (f *flags) poolFile(pool *zfs.PoolFile) {
	pool.Size = defaultPoolSize
	f.StringVar(&pool.Path, "pool-file", "",
		"the `FILE` that holds the dataset's pool, or is made to; an absolute path, which in a\ncontainer has to be the node's own")
	f.Var((*quantity)(&pool.Size), "pool-size", "the `SIZE` of the file when it is made; it is sparse")
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

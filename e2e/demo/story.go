package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

const (
	poolSize  = 4 * gib
	dataSize  = 64 * mib
	blockSize = 64 * mib
	// slack is how much more an empty parent may use than a new one: ZFS keeps a
	// little for itself.
	slack = mib
)

// tell tells the story.
func (s *stage) tell(ctx context.Context) error {
	before, err := s.prepare(ctx)
	if err != nil {
		return err
	}
	if err := s.filesystems(ctx); err != nil {
		return err
	}
	if err := s.blocks(ctx); err != nil {
		return err
	}
	s.step("Nothing is left in the pool")
	if err := s.showLineage(ctx); err != nil {
		return err
	}
	if err := s.checkEmpty(ctx, before); err != nil {
		return err
	}
	if err := s.connection.Close(); err != nil {
		return err
	}
	s.connection = nil
	if err := s.stopDriver(ctx); err != nil {
		return fmt.Errorf("stop the driver: %w", err)
	}
	return s.check(true, "the driver stopped when it was told to")
}

// prepare makes the pool and starts the driver. It returns what the empty parent uses.
func (s *stage) prepare(ctx context.Context) (used int64, err error) {
	version, err := command(ctx, "zfs", "version")
	if err != nil {
		return 0, err
	}
	fmt.Printf("zfs-csi on real ZFS\n")
	s.say("%s", version)

	s.step("A pool, made in a file, and in it the parent of all volumes")
	file := filepath.Join(s.dir, "pool.img")
	if err := s.show(ctx, "truncate", "-s", fmt.Sprint(poolSize), file); err != nil {
		return 0, err
	}
	if err := s.show(ctx, "zpool", "create", "-O", "mountpoint=none", s.pool, file); err != nil {
		return 0, err
	}
	if err := s.show(ctx, s.binary, "init", s.parent); err != nil {
		return 0, err
	}
	if used, err = number(ctx, "used", s.parent); err != nil {
		return 0, err
	}

	s.step("The driver, started as on a node and asked its name over its socket")
	s.say("$ zfs-csi serve --parent %s --endpoint unix://%s", s.parent, s.socket)
	if err := s.startDriver(); err != nil {
		return 0, err
	}
	info, err := s.connect(ctx)
	if err != nil {
		return 0, fmt.Errorf("the driver does not answer: %w", err)
	}
	return used, s.check(info.GetName() == "zfs-csi.github.io", "%s %s answers", info.GetName(), info.GetVendorVersion())
}

// pair is a volume and its clone, both mounted.
type pair struct {
	source, clone *volume
	// sourceData and cloneData are where their bytes are.
	sourceData, cloneData string
	// sum is of the bytes at the moment of the clone, size their number.
	sum  string
	size int64
}

// filesystems is the story of a Filesystem volume.
func (s *stage) filesystems(ctx context.Context) error {
	s.step("A volume for a pod: created, mounted, written to")
	source, took, err := s.create(ctx, "source", gib, filesystem(), nil)
	if err != nil {
		return err
	}
	s.say("CreateVolume: %s in %s", size(gib), short(took))
	if err := s.mount(ctx, source); err != nil {
		return err
	}
	p := pair{source: source, sourceData: filepath.Join(source.target, "data"), size: dataSize}
	if p.sum, err = fill(p.sourceData, p.size); err != nil {
		return err
	}
	if err := s.check(true, "%s of random bytes are written and synced, sum %.12s…", size(p.size), p.sum); err != nil {
		return err
	}

	if err := s.cloneOf(ctx, &p, gib); err != nil {
		return err
	}
	p.cloneData = filepath.Join(p.clone.target, "data")
	if err := s.compare(p.cloneData, p); err != nil {
		return err
	}
	if err := s.changeFiles(p); err != nil {
		return err
	}
	return s.deleteBoth(ctx, p)
}

// cloneOf clones the volume and mounts the clone.
func (s *stage) cloneOf(ctx context.Context, p *pair, bytes int64) error {
	s.step("Its clone, made while the volume is in use")
	clone, took, err := s.create(ctx, filepath.Base(filepath.Dir(p.source.target))+"-clone", bytes, p.source.capability, p.source)
	if err != nil {
		return err
	}
	p.clone = clone
	used, err := number(ctx, "used", s.parent+"/"+clone.id)
	if err != nil {
		return err
	}
	referenced, err := number(ctx, "referenced", s.parent+"/"+clone.id)
	if err != nil {
		return err
	}
	s.say("CreateVolume from the volume: in %s; it shows %s and takes %s of its own", short(took), size(referenced), size(used))
	if err := s.check(used < mib, "the clone takes less than 1 MiB"); err != nil {
		return err
	}
	if err := s.showLineage(ctx); err != nil {
		return err
	}
	return s.mount(ctx, clone)
}

// compare checks that the bytes at path are those of the moment of the clone.
func (s *stage) compare(path string, p pair) error {
	sum, err := sumOf(path, p.size)
	if err != nil {
		return err
	}
	return s.check(sum == p.sum, "the clone holds the same %s, sum %.12s…", size(p.size), sum)
}

// changeFiles writes to both sides.
func (s *stage) changeFiles(p pair) error {
	s.step("Both are written to: neither sees the other")
	if err := writeText(filepath.Join(p.source.target, "note"), "written to the source\n"); err != nil {
		return err
	}
	if err := writeText(filepath.Join(p.clone.target, "own"), "written to the clone\n"); err != nil {
		return err
	}
	if err := writeText(p.sourceData, "the source's data changed"); err != nil {
		return err
	}
	_, inClone := os.Stat(filepath.Join(p.clone.target, "note"))
	_, inSource := os.Stat(filepath.Join(p.source.target, "own"))
	if err := s.check(os.IsNotExist(inClone) && os.IsNotExist(inSource), "the file written to one is not in the other"); err != nil {
		return err
	}
	return s.compare(p.cloneData, p)
}

// deleteBoth deletes the source, looks at the clone, and deletes that.
func (s *stage) deleteBoth(ctx context.Context, p pair) error {
	s.step("The source is deleted, and the clone lives on")
	took, err := s.remove(ctx, p.source)
	if err != nil {
		return err
	}
	s.say("DeleteVolume: OK in %s", short(took))
	if err := s.showLineage(ctx); err != nil {
		return err
	}
	names, err := s.list(ctx)
	if err != nil {
		return err
	}
	if err := s.check(len(names) == 1 && names[0] == s.parent+"/"+p.clone.id, "the source is gone, its snapshot too; the clone depends on nothing"); err != nil {
		return err
	}
	if err := s.compare(p.cloneData, p); err != nil {
		return err
	}

	s.step("The clone is deleted")
	if took, err = s.remove(ctx, p.clone); err != nil {
		return err
	}
	s.say("DeleteVolume: OK in %s", short(took))
	return nil
}

// blocks is the story of a Block volume, shorter.
func (s *stage) blocks(ctx context.Context) error {
	s.step("The same with a Block volume: a zvol, as a device in the pod")
	source, took, err := s.create(ctx, "disk", blockSize, block(), nil)
	if err != nil {
		return err
	}
	s.say("CreateVolume: %s in %s", size(blockSize), short(took))
	if err := s.mount(ctx, source); err != nil {
		return err
	}
	p := pair{source: source, sourceData: source.target, size: 8 * mib}
	if p.sum, err = fill(p.sourceData, p.size); err != nil {
		return err
	}
	if err := s.cloneOf(ctx, &p, 2*blockSize); err != nil {
		return err
	}
	p.cloneData = p.clone.target
	if err := s.compare(p.cloneData, p); err != nil {
		return err
	}
	volsize, err := number(ctx, "volsize", s.parent+"/"+p.clone.id)
	if err != nil {
		return err
	}
	if err := s.check(volsize == 2*blockSize, "the clone was asked for, and has, twice the size: %s", size(volsize)); err != nil {
		return err
	}
	if err := writeText(p.sourceData, "the source's first bytes changed"); err != nil {
		return err
	}
	changed, err := startsWith(p.sourceData, "the source's first bytes changed")
	if err != nil {
		return err
	}
	if err := s.check(changed, "the source's first bytes are changed"); err != nil {
		return err
	}
	if err := s.compare(p.cloneData, p); err != nil {
		return err
	}
	return s.deleteBoth(ctx, p)
}

// showLineage lists all that is below the parent for the reader.
func (s *stage) showLineage(ctx context.Context) error {
	return s.show(ctx, "zfs", "list", "-r", "-t", "all", "-o", "name,origin,defer_destroy,used,referenced", s.parent)
}

// checkEmpty checks that the parent holds nothing and uses what it did when it was new.
func (s *stage) checkEmpty(ctx context.Context, before int64) error {
	names, err := s.list(ctx)
	if err != nil {
		return err
	}
	if err := s.check(len(names) == 0, "no dataset, zvol or snapshot is below the parent"); err != nil {
		return err
	}
	used, err := s.settled(ctx, before+slack)
	if err != nil {
		return err
	}
	return s.check(used <= before+slack, "it uses %s; when it was new, %s", size(used), size(before))
}

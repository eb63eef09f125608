package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
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
	if cpu, err := os.ReadFile("/proc/cpuinfo"); err == nil && strings.Contains(string(cpu), "QEMU TCG") {
		s.say("This machine is emulated in software: what follows takes a fraction of the time on a real one.")
	}

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
	if err := s.startDriver(ctx); err != nil {
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
	// content is the bytes at the moment of the clone.
	content []byte
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
	p := pair{source: source, sourceData: filepath.Join(source.target, "data")}
	if p.content, err = fill(p.sourceData, dataSize); err != nil {
		return err
	}
	s.say("%s of random bytes are written to it and synced", size(dataSize))

	if err := s.cloneOf(ctx, &p, gib); err != nil {
		return err
	}
	p.cloneData = filepath.Join(p.clone.target, "data")
	if err := s.compare(p); err != nil {
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

// compare checks that the clone holds the bytes of the moment of the clone.
func (s *stage) compare(p pair) error {
	same, err := holds(p.cloneData, p.content)
	if err != nil {
		return err
	}
	return s.check(same, "the clone holds the %s of the moment it was made, byte for byte", size(int64(len(p.content))))
}

// change overwrites the source's first bytes and checks that they are changed there, and
// there only.
func (s *stage) change(p pair) error {
	text := []byte("the source's first bytes, written anew")
	if err := overwrite(p.sourceData, text); err != nil {
		return err
	}
	changed, err := holds(p.sourceData, text)
	if err != nil {
		return err
	}
	if err := s.check(changed, "the source's first bytes are changed"); err != nil {
		return err
	}
	return s.compare(p)
}

// changeFiles writes to both sides.
func (s *stage) changeFiles(p pair) error {
	s.step("Both are written to: neither sees the other")
	if err := overwrite(filepath.Join(p.source.target, "note"), []byte("written to the source\n")); err != nil {
		return err
	}
	if err := overwrite(filepath.Join(p.clone.target, "own"), []byte("written to the clone\n")); err != nil {
		return err
	}
	_, inClone := os.Stat(filepath.Join(p.clone.target, "note"))
	_, inSource := os.Stat(filepath.Join(p.source.target, "own"))
	if err := s.check(os.IsNotExist(inClone) && os.IsNotExist(inSource), "the file written to one is not in the other"); err != nil {
		return err
	}
	return s.change(p)
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
	if err := s.compare(p); err != nil {
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
	p := pair{source: source, sourceData: source.target}
	if p.content, err = fill(p.sourceData, 8*mib); err != nil {
		return err
	}
	s.say("8 MiB of random bytes are written to it and synced")
	if err := s.cloneOf(ctx, &p, 2*blockSize); err != nil {
		return err
	}
	p.cloneData = p.clone.target
	if err := s.compare(p); err != nil {
		return err
	}
	volsize, err := number(ctx, "volsize", s.parent+"/"+p.clone.id)
	if err != nil {
		return err
	}
	if err := s.check(volsize == 2*blockSize, "the clone was asked for, and has, twice the size: %s", size(volsize)); err != nil {
		return err
	}
	if err := s.change(p); err != nil {
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

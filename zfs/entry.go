package zfs

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"strings"
	"sync/atomic"
)

// A caller's snapshot is found by its name alone: beside the snapshots of the volumes, and in the same command, one is
// taken of a dataset that is empty. This entry carries the same properties, so that it tells which volumes the name is of.
//
// At each snapshot ZFS copies a list of all that the dataset has (its deadlist), so that the thousandth of one dataset costs more time and
// space than the first. So the parent has but the first entries; further ones are spread over parts, which go with
// the last of their entries.

const (
	// entriesOfParent is how many snapshots a parent has before further entries are others'.
	entriesOfParent = 200
	// partsOfEntries is over how many datasets further ones are spread: one of ten thousand costs what
	// one of some six hundred would.
	partsOfEntries = 16
	// entryFolder, below a parent, holds those datasets.
	entryFolder = ".names"
)

// part returns the dataset below the parent d of which a name's entry can be where the parent has many.
func (d Dataset) part(leaf string) Dataset { return Dataset{d.name + "/" + partOf(leaf)} }

// partOf returns its name below the parent.
func partOf(leaf string) string {
	h := fnv.New32a()
	h.Write([]byte(leaf))
	return fmt.Sprintf("%s/%02d", entryFolder, h.Sum32()%partsOfEntries)
}

// entries returns what can be the entry of a name below the parent d.
func (d Dataset) entries(leaf string) []string {
	return []string{d.name + "@" + leaf, d.part(leaf).name + "@" + leaf}
}

// entriesOf returns them for a look, which leaves out what is known not to be there: the kernel takes
// as long to tell that as to tell what is.
func (l *Local) entriesOf(leaf string) func(parent Dataset) []string {
	return func(parent Dataset) []string {
		if l.entries[parent].parts.Load() == noParts {
			return parent.entries(leaf)[:1]
		}
		return parent.entries(leaf)
	}
}

// isPart tells whether a dataset or snapshot is the folder of a parent's further entries, or below it.
func isPart(parent Dataset, name string) bool {
	dataset, _, _ := strings.Cut(name, "@")
	folder := parent.name + "/" + entryFolder
	return dataset == folder || strings.HasPrefix(dataset, folder+"/")
}

// What is known of a parent's parts.
const (
	anyParts int32 = iota // Nothing: there may be some.
	noParts
	someParts
)

// entries is what is known of the entries of a parent.
type entries struct {
	// count is about how many are its own snapshots.
	count atomic.Int64
	// parts is one of the above. It can be noParts only where a sweep saw none and no entry was placed in one since.
	parts atomic.Int32
}

func newEntries(parents []Dataset) map[Dataset]*entries {
	all := map[Dataset]*entries{}
	for _, p := range parents {
		all[p] = &entries{}
	}
	return all
}

// seen notes what a sweep saw.
func (e *entries) seen(count int64, parts bool) {
	e.count.Store(count)
	if parts {
		e.parts.Store(someParts)
	} else {
		e.parts.CompareAndSwap(anyParts, noParts) // Since it looked, an entry may have been placed in one.
	}
}

// countEntry notes that an entry has come or gone, if it is a parent's.
func (l *Local) countEntry(entry string, n int64) {
	dataset, _, _ := strings.Cut(entry, "@")
	if e := l.entries[Dataset{dataset}]; e != nil {
		e.count.Add(n)
	}
}

// placeEntry returns what a new entry is to be a snapshot of.
func (l *Local) placeEntry(parent Dataset, leaf string) Dataset {
	e := l.entries[parent]
	if e.count.Load() < l.entriesOfParent {
		return parent
	}
	e.parts.Store(someParts)
	return parent.part(leaf)
}

// makePart makes a part, and the folder of them, where they are not there. They are marked, so that nothing of somebody
// else's is ever taken for them.
func (l *Local) makePart(ctx context.Context, part Dataset) error {
	for _, d := range []Dataset{part.parent(), part} {
		err := l.zfs(ctx, d.name, "create", "-o", "canmount=off", "-o", "mountpoint=none", "-o", propKind+"="+l.snapshotName(kindEntries), d.name)
		if err != nil && !errors.Is(err, ErrExists) {
			return err
		}
	}
	return nil
}

// sweepParts removes the parts below a parent that have no entry: a process made them and did not come to use them, or
// somebody else's snapshots were in the way when their last entry went.
func (l *Local) sweepParts(ctx context.Context, parts []Dataset) error {
	var faults []error
	for i := range parts {
		d := parts[len(parts)-1-i] // The folder is the first.
		err := l.zfs(ctx, d.name, "destroy", d.name)
		if err != nil && !errors.Is(err, ErrDependents) && !errors.Is(err, ErrNotFound) {
			faults = append(faults, err)
		}
	}
	return errors.Join(faults...)
}

package zfs

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"sync"
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
		if l.entries[parent].noParts() {
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

// entries is what is known of the entries of a parent.
type entries struct {
	// count is about how many are its own snapshots.
	count atomic.Int64

	mu sync.Mutex
	// changes counts what may have made what was seen of parts untrue.
	changes int
	// none tells that there are no parts: a sweep saw none, and nothing has changed since it began.
	none bool
}

func newEntries(parents []Dataset) map[Dataset]*entries {
	all := map[Dataset]*entries{}
	for _, p := range parents {
		all[p] = &entries{}
	}
	return all
}

// changed notes that there may be parts: an entry is placed in one, or the parent that is there next may be another pool's.
func (e *entries) changed() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.changes++
	e.none = false
}

// look begins a look at all of them, at whose end seen is told what there was.
func (e *entries) look() (seen func(count int64, parts bool)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	before := e.changes
	return func(count int64, parts bool) {
		e.count.Store(count)
		e.mu.Lock()
		defer e.mu.Unlock()
		e.none = !parts && e.changes == before
	}
}

func (e *entries) noParts() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.none
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
	e.changed()
	return parent.part(leaf)
}

// makePart makes a part, and the folder of them, where they are not there, and returns what it has made. They are marked, so that
// nothing of somebody else's is ever taken for them.
func (l *Local) makePart(ctx context.Context, part Dataset) (made []Dataset, err error) {
	for _, d := range []Dataset{part.parent(), part} {
		err := l.zfs(ctx, d.name, "create", "-o", "canmount=off", "-o", "mountpoint=none", "-o", propKind+"="+l.snapshotName(kindEntries), d.name)
		switch {
		case err == nil:
			made = append(made, d)
		case !errors.Is(err, ErrExists):
			return made, err
		}
	}
	return made, nil
}

// sweepParts removes those of the parts that have no entry: nobody came to use them, or
// somebody else's snapshots were in the way when their last entry went.
func (l *Local) sweepParts(ctx context.Context, parts []Dataset) error {
	var faults []error
	for i := range parts {
		d := parts[len(parts)-1-i] // The folder is the first.
		err := l.zfs(ctx, d.name, "destroy", d.name)
		// It may be in use, also since a moment ago, or gone.
		if err != nil && !slices.ContainsFunc([]error{ErrDependents, ErrExists, ErrBusy, ErrNotFound}, func(known error) bool { return errors.Is(err, known) }) {
			faults = append(faults, err)
		}
	}
	return errors.Join(faults...)
}

// Package storetest is the one suite for every zfs.Store: what the contract says,
// and above all that volumes and their clones can be deleted in any order.
package storetest

import (
	"strconv"
	"testing"

	"github.com/zfs-csi/zfs-csi/zfs"
)

// Backend is a Store together with what only the side of the test can do to what lies
// below it. Its methods fail the test when they fail themselves. Those that return a
// function return the one that undoes them, which is called before the test ends.
type Backend interface {
	// Store returns the Store, with a parent on each of its pools.
	Store() zfs.Store
	// Slow tells that a command costs a good part of a second.
	Slow() bool
	// Contents returns the full names of all datasets and snapshots below the parents, sorted.
	Contents(t testing.TB) []string
	// Settled fails unless the pools use the space, within the deadline of t, that they
	// used when the Backend was made.
	Settled(t testing.TB)

	// Write replaces what a volume holds by a short text, and Read returns it: nothing
	// where nothing was written. Neither leaves the volume in use.
	Write(t testing.TB, id zfs.VolumeID, text string)
	Read(t testing.TB, id zfs.VolumeID) string
	// Property returns a native property of a volume as `zfs get -Hp` prints it.
	Property(t testing.TB, id zfs.VolumeID, name string) string
	// Use mounts a volume or opens it, and tells where.
	Use(t testing.TB, id zfs.VolumeID) (where string, release func())

	// ForeignSnapshot takes a snapshot of a volume, as a backup tool would.
	ForeignSnapshot(t testing.TB, id zfs.VolumeID, name string)
	// ForeignSnapshotOfAll takes a snapshot of a parent and of all below it, as a backup tool would.
	ForeignSnapshotOfAll(t testing.TB, parent zfs.Dataset, name string) (remove func())
	// ForeignClone makes a clone of a volume's snapshot outside of the parents, and names it.
	ForeignClone(t testing.TB, id zfs.VolumeID, snapshot string) (name string, remove func())
	// ForeignDataset makes a dataset of a kind below a parent or a volume, and writes to it.
	ForeignDataset(t testing.TB, name zfs.Dataset, kind zfs.Kind) (remove func())
	// Hold holds a snapshot of a volume.
	Hold(t testing.TB, id zfs.VolumeID, snapshot string) (release func())

	// Export exports a pool.
	Export(t testing.TB, pool string) (imports func())
	// Unmark takes this driver's marker from a parent.
	Unmark(t testing.TB, parent zfs.Dataset) (mark func())
	// Degrade takes redundancy from a pool.
	Degrade(t testing.TB, pool string) (repair func())
	// Die leaves what a process, or the power, leaves that goes at some moment while a volume of
	// that ID is made, as a clone of source or, at InCreate, as an empty volume of its kind.
	Die(t testing.TB, source, id zfs.VolumeID, moment Moment)
}

// Moment is when a process dies.
type Moment int

// The moments in which a Backend's process can die.
const (
	// BeforeClone: the source's snapshot is taken.
	BeforeClone Moment = iota + 1
	// InClone: the clone is made and does not have its properties yet.
	InClone
	// InCopy: the copy is not whole.
	InCopy
	// InCreate: the empty volume is made and does not have its properties yet.
	InCreate
	// InRestore: as InClone, of source's snapshot "s".
	InRestore
)

// testCase is a part of the contract.
type testCase struct {
	name string
	run  func(*trial)
	// pools is how many it takes. On each a call's commands cost time.
	pools int
}

func cases() []testCase {
	return []testCase{
		{"Create", testCreate, 2},
		{"CreateRounds", testCreateRounds, 1},
		{"CreateProperties", testCreateProperties, 1},
		{"CreateErrors", testCreateErrors, 1},
		{"Attributes", testAttributes, 1},
		{"Thick", testThick, 1},
		{"NoSpace", testNoSpace, 1},
		{"Resize", testResize, 1},
		{"Modify", testModify, 1},
		{"ModifyThick", testModifyThick, 1},
		{"ModifyRefused", testModifyRefused, 1},
		{"List", testList, 2},
		{"Absent", testAbsent, 1},
		{"Device", testDevice, 2},
		{"Clone", testClone, 1},
		{"CloneLarger", testCloneLarger, 1},
		{"CloneProperties", testCloneProperties, 1},
		{"CloneErrors", testCloneErrors, 2},
		{"CloneCopy", testCloneCopy, 2},
		{"CloneInUse", testCloneInUse, 1},
		{"CloneQuiesce", testCloneQuiesce, 1},
		{"CloneConcurrent", testCloneConcurrent, 1},
		{"DeleteTwo", testDeleteTwo, 1},
		{"DeleteThreeMoments", testDeleteThreeMoments, 1},
		{"DeleteChain", testDeleteChain, 1},
		{"DeleteCopies", testDeleteCopies, 2},
		{"Snapshot", testSnapshot, 1},
		{"SnapshotNames", testSnapshotNames, 1},
		{"SnapshotOrders", testSnapshotOrders, 1},
		{"SnapshotNameAgain", testSnapshotNameAgain, 1},
		{"SnapshotQuiesce", testSnapshotQuiesce, 1},
		{"SnapshotForeign", testSnapshotForeign, 1},
		{"SnapshotForeignOfAll", testSnapshotForeignOfAll, 1},
		{"Restore", testRestore, 2},
		{"Tombstone", testTombstone, 1},
		{"Group", testGroup, 2},
		{"UnfinishedRestore", testUnfinishedRestore, 1},
		{"NameAgain", testNameAgain, 1},
		{"NameAgainInLineage", testNameAgainInLineage, 1},
		{"DeleteBusy", testDeleteBusy, 1},
		{"NotOurs", testNotOurs, 1},
		{"ForeignSnapshots", testForeignSnapshots, 1},
		{"ForeignDependents", testForeignDependents, 1},
		{"Exported", testExported, 1},
		{"OtherPoolExported", testOtherPoolExported, 2},
		{"Unmarked", testUnmarked, 1},
		{"Condition", testCondition, 1},
		{"Sweep", testSweep, 1},
		{"Unfinished", testUnfinished, 1},
		{"Ended", testEnded, 1},
	}
}

// Run holds a Store to its contract. The cases take turns in so many lanes, which go side by side. newBackend is
// called for each case, for so many pools; it may return the same Backend again for the same lane, since each case leaves the pools empty.
//
// Orders of deletion run side by side, as many at once as -parallel says. A slow Backend
// runs only some of them, and shows its space once, at the end.
func Run(t *testing.T, lanes int, newBackend func(t *testing.T, lane, pools int) Backend) {
	for lane := range lanes {
		t.Run(strconv.Itoa(lane), func(t *testing.T) {
			t.Parallel()
			last := map[int]Backend{}
			for i, c := range cases() {
				if i%lanes == lane {
					t.Run(c.name, func(t *testing.T) { last[c.pools] = c.try(t, newBackend(t, lane, c.pools)) })
				}
			}
			for _, b := range last {
				if b.Slow() && !t.Failed() {
					b.Settled(t)
				}
			}
		})
	}
}

// try runs a case, after which nothing is left.
func (c testCase) try(t *testing.T, b Backend) Backend {
	c.run(&trial{t: t, b: b, store: b.Store()})
	if t.Failed() {
		return b // What is left now is of no interest.
	}
	if left := b.Contents(t); len(left) > 0 {
		t.Fatalf("the pools are not empty in the end: %q", left)
	}
	if !b.Slow() {
		b.Settled(t)
	}
	return b
}

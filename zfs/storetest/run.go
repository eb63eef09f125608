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
	// Store returns the Store, with two parents on two pools.
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
}

func cases() []testCase {
	return []testCase{
		{"Create", testCreate},
		{"CreateRounds", testCreateRounds},
		{"CreateProperties", testCreateProperties},
		{"CreateErrors", testCreateErrors},
		{"Attributes", testAttributes},
		{"Thick", testThick},
		{"NoSpace", testNoSpace},
		{"Resize", testResize},
		{"Modify", testModify},
		{"ModifyThick", testModifyThick},
		{"ModifyRefused", testModifyRefused},
		{"List", testList},
		{"Absent", testAbsent},
		{"Device", testDevice},
		{"Clone", testClone},
		{"CloneLarger", testCloneLarger},
		{"CloneProperties", testCloneProperties},
		{"CloneErrors", testCloneErrors},
		{"CloneCopy", testCloneCopy},
		{"CloneInUse", testCloneInUse},
		{"CloneQuiesce", testCloneQuiesce},
		{"CloneConcurrent", testCloneConcurrent},
		{"DeleteTwo", testDeleteTwo},
		{"DeleteThreeMoments", testDeleteThreeMoments},
		{"DeleteChain", testDeleteChain},
		{"DeleteCopies", testDeleteCopies},
		{"Snapshot", testSnapshot},
		{"SnapshotNames", testSnapshotNames},
		{"SnapshotOrders", testSnapshotOrders},
		{"SnapshotNameAgain", testSnapshotNameAgain},
		{"SnapshotQuiesce", testSnapshotQuiesce},
		{"SnapshotForeign", testSnapshotForeign},
		{"SnapshotForeignOfAll", testSnapshotForeignOfAll},
		{"Restore", testRestore},
		{"Tombstone", testTombstone},
		{"Group", testGroup},
		{"UnfinishedRestore", testUnfinishedRestore},
		{"NameAgain", testNameAgain},
		{"NameAgainInLineage", testNameAgainInLineage},
		{"DeleteBusy", testDeleteBusy},
		{"NotOurs", testNotOurs},
		{"ForeignSnapshots", testForeignSnapshots},
		{"ForeignDependents", testForeignDependents},
		{"Exported", testExported},
		{"OtherPoolExported", testOtherPoolExported},
		{"Unmarked", testUnmarked},
		{"Condition", testCondition},
		{"Sweep", testSweep},
		{"Unfinished", testUnfinished},
		{"Ended", testEnded},
	}
}

// Run holds a Store to its contract. The cases take turns in so many lanes, which go side by side. newBackend is
// called for each case; it may return the same Backend again for the same lane, since each case leaves the pools empty.
//
// Orders of deletion run side by side, as many at once as -parallel says. A slow Backend
// runs only some of them, and shows its space once, at the end.
func Run(t *testing.T, lanes int, newBackend func(t *testing.T, lane int) Backend) {
	for lane := range lanes {
		t.Run(strconv.Itoa(lane), func(t *testing.T) {
			t.Parallel()
			var last Backend
			for i, c := range cases() {
				if i%lanes == lane {
					t.Run(c.name, func(t *testing.T) { last = c.try(t, newBackend(t, lane)) })
				}
			}
			if last != nil && last.Slow() && !t.Failed() {
				last.Settled(t)
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

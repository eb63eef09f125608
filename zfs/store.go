package zfs

import "context"

// Store keeps volumes under a set of parents. Local is the one on this node's
// ZFS; package fake holds one in memory. Both pass storetest.Run.
//
// All methods may be called side by side. Callers serialise calls that change
// the same volume; cloning one source several times at once is allowed.
// Methods leave nothing half-done: when they return an error nothing has changed, but
// that a deletion may have begun. That, and what a process leaves that dies inside one, the same
// call made again, Delete, or Sweep finishes or undoes.
type Store interface {
	// Parents returns the configured parents, the default first.
	Parents() []Dataset

	// Check returns nil when every parent is there, carries this driver's marker,
	// and lies on a pool that answers; else ErrUnavailable, and whether there is one that does.
	Check(ctx context.Context) (some bool, err error)

	// Create makes an empty volume. Errors: ErrExists, ErrNotOurs (something else is in its
	// place), ErrNoSpace, ErrInvalid, ErrUnavailable.
	Create(ctx context.Context, id VolumeID, spec Spec) (*Volume, error)

	// Clone makes a volume with the bytes that source holds at some moment during the
	// call, to the spec that plan returns for the source. Errors: those of plan; ErrNotFound (the
	// source), ErrExists and ErrNotOurs (the id), ErrInvalid (a source that is not this driver's, another
	// kind, a smaller size, a property that only a new volume can have), ErrNoSpace, ErrUnavailable.
	Clone(ctx context.Context, id, source VolumeID, plan Plan) (*Volume, error)

	// Restore makes a volume with the bytes of a snapshot, to the spec that plan returns for
	// the volume as it was then. Errors: as those of Clone.
	Restore(ctx context.Context, id VolumeID, source SnapshotID, plan Plan) (*Volume, error)

	// Take takes a snapshot of each source, all at one moment, or returns the ones that were
	// taken by that name. Errors: ErrNotFound and ErrNotOurs (a source), ErrExists (the name is that of other
	// snapshots), ErrPools, ErrInvalid, ErrNoSpace, ErrUnavailable.
	Take(ctx context.Context, spec SnapshotSpec) ([]*Snapshot, error)

	// GetSnapshot returns a live snapshot, by name. Errors: ErrNotFound, which is proven, ErrUnavailable.
	GetSnapshot(ctx context.Context, id SnapshotID) (*Snapshot, error)

	// GetGroup returns the snapshots of a group, by name. Errors: ErrNotFound, which is proven, ErrUnavailable.
	GetGroup(ctx context.Context, id GroupID) ([]*Snapshot, error)

	// ListSnapshots returns all live snapshots in the order of their IDs.
	ListSnapshots(ctx context.Context) ([]*Snapshot, error)

	// DeleteSnapshot and DeleteGroup remove snapshots, whatever was restored from them, and what was
	// kept only for them. What is proven absent is no error. Errors: ErrGrouped (DeleteSnapshot),
	// ErrBusy (it is being sent or looked into), ErrUnavailable.
	DeleteSnapshot(ctx context.Context, id SnapshotID) error
	DeleteGroup(ctx context.Context, id GroupID) error

	// Get returns a volume, by name, at a cost that does not depend on how many
	// there are. Errors: ErrNotFound, which is proven, ErrNotOurs, ErrUnavailable.
	Get(ctx context.Context, id VolumeID) (*Volume, error)

	// List returns all volumes in the order of their IDs.
	List(ctx context.Context) ([]*Volume, error)

	// Delete removes a volume and all that only it needs, whatever was cloned from it.
	// A volume that is proven absent is no error. Errors: ErrBusy with the places where
	// it is in use, ErrDependents, ErrNotOurs, ErrUnavailable.
	Delete(ctx context.Context, id VolumeID) error

	// Resize grows a volume to size bytes, or leaves one that has them alone, and
	// returns it as it is then. Errors: ErrNotFound, ErrNotOurs, ErrNoSpace, ErrInvalid, ErrUnavailable.
	Resize(ctx context.Context, id VolumeID, size int64) (*Volume, error)

	// Modify changes a volume, in use or not, in all that the change names or in nothing, and returns
	// it as it is then. Errors: ErrNotFound, ErrNotOurs, ErrNoSpace, ErrInvalid (a property that is fixed, of the other
	// kind, or that the pool has no feature for), ErrUnavailable.
	Modify(ctx context.Context, id VolumeID, change Change) (*Volume, error)

	// SetFormatted remembers that the volume's FSType has been made on it. Errors: those of Get.
	SetFormatted(ctx context.Context, id VolumeID) error

	// Capacity returns the room below a parent. Errors: ErrUnavailable.
	Capacity(ctx context.Context, parent Dataset) (Capacity, error)

	// Condition returns the health of what a parent lies on, without waiting for a
	// pool that does not answer.
	Condition(ctx context.Context, parent Dataset) (Condition, error)

	// Device returns the path of the block device of a zvol, with or without udev,
	// and waits for it as long as ctx allows.
	Device(ctx context.Context, volume Dataset) (string, error)

	// Owner returns the volume whose zvol has the block device of that number, as stat(2) gives it. It asks
	// the device alone, so that it answers whatever has become of other pools, and waits for none that
	// hangs. Errors: ErrNotFound, when it is no volume's.
	Owner(ctx context.Context, device uint64) (VolumeID, error)

	// Sweep finishes or undoes what an earlier process left half-done below these parents, or below all where none
	// is named. It is meant to run at start and now and then, beside other calls. What it does to the place of a volume it
	// does under lock, which takes the volume alone, or returns nil when another call has it:
	// that one then finds by itself what was left. Errors: ErrUnavailable (a parent; the others have been swept).
	Sweep(ctx context.Context, lock func(VolumeID) (unlock func()), parents ...Dataset) error
}

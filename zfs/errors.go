package zfs

import "errors"

// The errors of this package. Every error it returns wraps at most one of them;
// one that wraps none is a fault whose meaning is unknown, and nothing may be
// concluded from it. Which words of ZFS mean which of them stands in classify.go.
var (
	// ErrNotFound: the pool answered, and the volume, snapshot or parent is not there.
	ErrNotFound = errors.New("not found")
	// ErrExists: something of that name is there already.
	ErrExists = errors.New("already exists")
	// ErrBusy: mounted, held open, or otherwise in use.
	ErrBusy = errors.New("in use")
	// ErrDependents: clones, children or holds that are not this driver's depend on it.
	ErrDependents = errors.New("has dependents")
	// ErrNoSpace: the pool, a quota or a reservation has no room for it.
	ErrNoSpace = errors.New("out of space")
	// ErrUnavailable: the pool is exported, suspended, faulted or replaced, or a
	// parent is missing or does not carry this driver's marker.
	ErrUnavailable = errors.New("unavailable")
	// ErrReadOnly: the pool or dataset takes no writes.
	ErrReadOnly = errors.New("read-only")
	// ErrNotOurs: a dataset of that name exists, but this driver did not make it.
	ErrNotOurs = errors.New("not made by this driver")
	// ErrInvalid: ZFS cannot do what was asked, on any try.
	ErrInvalid = errors.New("invalid")
	// ErrPools: volumes that are to share a moment are in several pools.
	ErrPools = errors.New("in several pools")
	// ErrGrouped: a snapshot of a group, which goes with its group only.
	ErrGrouped = errors.New("part of a group")
	// ErrPermission: the process may not use ZFS.
	ErrPermission = errors.New("permission denied")
)

package zfs

import "slices"

// Kind tells the two kinds of volumes apart.
type Kind int

// The kinds of volumes.
const (
	// Filesystem is a ZFS filesystem, which this documentation calls a dataset.
	Filesystem Kind = iota + 1
	// Block is a zvol.
	Block
)

// String returns the ZFS name of the kind, as the type property gives it.
func (k Kind) String() string {
	switch k {
	case Filesystem:
		return "filesystem"
	case Block:
		return "volume"
	}
	return "unknown"
}

// Volume is a volume as ZFS holds it.
type Volume struct {
	// ID is the leaf of Dataset.
	ID VolumeID
	// Dataset is where the volume lives at present.
	Dataset Dataset
	// Parent is the configured parent that holds Dataset.
	Parent Dataset
	Kind   Kind
	// Size in bytes: the refquota of a filesystem, the volsize of a zvol.
	Size int64
	// BlockSize is a zvol's volblocksize, of which Size is a multiple; 0 for a filesystem.
	BlockSize int64
	// Thick: the size is reserved (refreservation).
	Thick bool
	// Origin is the full name of the snapshot the volume is a clone of at present; empty for none.
	Origin string
	Attributes
}

// Attributes are what the driver remembers of a volume in user properties.
type Attributes struct {
	// Name is the caller's name, from which the ID was made.
	Name string
	// FSType is the filesystem kept on a zvol ("ext4", "xfs"); empty for raw zvols and filesystems.
	FSType string
	// Formatted: FSType has been made on the zvol, by this volume or by the source it
	// was cloned from. From then on it is never made again.
	Formatted bool
	// Source is the ID of the volume this one was made from; empty for none.
	Source string
	// Parameters is a canonical text of the parameters it was created with.
	Parameters string
	// Labels are names the orchestrator gave it, such as "pvc.name".
	Labels map[string]string
}

// Spec is what a new volume is to be.
type Spec struct {
	// Parent is one of the Store's parents.
	Parent Dataset
	Kind   Kind
	// Size in bytes; a zvol's is rounded up to its block size.
	Size  int64
	Thick bool
	// Properties are native ZFS properties to set.
	Properties Properties
	Attributes
	// held is what a filesystem holds already, in bytes, if that is more than its size.
	held int64
}

// CloneSpec is what a clone is to be.
type CloneSpec struct {
	Spec
	// Copy makes a full copy by send and receive, also where a clone would do.
	// A source in another pool is always copied.
	Copy bool
	// Quiesce, when not nil, is called just before the source's snapshot is taken,
	// and the function it returns just after, so that a filesystem on a zvol is at rest.
	Quiesce func() (release func() error, err error)
}

// SnapshotSpec is what a new snapshot, or a group of them, is to be.
type SnapshotSpec struct {
	// Name is the caller's.
	Name string
	// Group tells whether they are asked for as a group, be it of one.
	Group bool
	// Sources are the volumes.
	Sources []VolumeID
	// Labels are names the orchestrator gave it.
	Labels map[string]string
	// Quiesce, when not nil and when there are filesystems on zvols, is called just before the snapshots are taken, and the function
	// it returns just after, so that these are at rest.
	Quiesce func(sources []*Volume) (release func() error, err error)
}

// Rest brings the filesystems on zvols to rest, where there are some.
func (s SnapshotSpec) Rest(sources []*Volume) (release func() error, err error) {
	if s.Quiesce == nil || !slices.ContainsFunc(sources, func(v *Volume) bool { return v.FSType != "" }) {
		return func() error { return nil }, nil
	}
	return s.Quiesce(sources)
}

// Plan returns what a clone of source is to be.
type Plan func(source *Volume) (CloneSpec, error)

// Capacity is the room below a parent, in bytes.
type Capacity struct {
	// Available is what can still be written or reserved.
	Available int64
}

// Health is the state of what a volume or parent lies on.
type Health int

// The states of health, best first.
const (
	// Healthy: nothing adverse is known.
	Healthy Health = iota
	// Degraded: it works, with less redundancy than it should have.
	Degraded
	// Inaccessible: the pool is suspended, faulted or not imported, or its parent is not there.
	Inaccessible
)

// Condition is a health state with its reason in words.
type Condition struct {
	Health Health
	// Pool names the pool it speaks of.
	Pool string
	// Reason is a CamelCase word, empty when healthy; Message a sentence for people.
	Reason, Message string
}

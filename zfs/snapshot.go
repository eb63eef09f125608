package zfs

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxSnapshotLeaf is the longest name of a snapshot within its volume, in bytes.
const maxSnapshotLeaf = roomForSnapshot - 1

// SnapshotID names a snapshot: the volume it was taken of, "@", and its name. It stays true as
// long as the snapshot lives, whatever becomes of the volume.
type SnapshotID struct {
	volume VolumeID
	leaf   string
}

// ParseSnapshotID parses a snapshot's ID as it came from a caller.
func ParseSnapshotID(s string) (SnapshotID, error) {
	volume, leaf, found := strings.Cut(s, "@")
	if !found {
		return SnapshotID{}, fmt.Errorf("snapshot ID %q holds no \"@\"", s)
	}
	id, err := ParseVolumeID(volume)
	if err != nil {
		return SnapshotID{}, fmt.Errorf("snapshot ID %q: %w", s, err)
	}
	if err := checkSnapshotLeaf(leaf); err != nil {
		return SnapshotID{}, fmt.Errorf("snapshot ID %q: %w", s, err)
	}
	return SnapshotID{id, leaf}, nil
}

// String returns the ID.
func (s SnapshotID) String() string { return s.volume.id + "@" + s.leaf }

// Volume returns the ID of the volume the snapshot was taken of.
func (s SnapshotID) Volume() VolumeID { return s.volume }

// Name returns the snapshot's name without its volume, which a group's snapshots have in common.
func (s SnapshotID) Name() GroupID { return GroupID{s.leaf} }

// GroupID names the snapshots that were taken of several volumes at one moment.
type GroupID struct{ leaf string }

// ParseGroupID parses a group's ID as it came from a caller.
func ParseGroupID(s string) (GroupID, error) {
	if err := checkSnapshotLeaf(s); err != nil {
		return GroupID{}, fmt.Errorf("group snapshot ID %q: %w", s, err)
	}
	return GroupID{s}, nil
}

// String returns the ID.
func (g GroupID) String() string { return g.leaf }

func checkSnapshotLeaf(leaf string) error {
	if err := checkComponent(leaf); err != nil {
		return err
	}
	if len(leaf) > maxSnapshotLeaf || strings.Contains(leaf, " ") {
		return fmt.Errorf("name %q is longer than %d bytes or holds a space", leaf, maxSnapshotLeaf)
	}
	return nil
}

// snapshotLeaf returns the name that ZFS gets for a caller's: that itself where it can be, else a
// hash of it. The same name always gives the same.
func snapshotLeaf(name string) string {
	if checkSnapshotLeaf(name) == nil {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return "snap-" + hex.EncodeToString(sum[:16])
}

// GroupIDFor returns the ID of the group that a caller asks for by name.
func GroupIDFor(name string) GroupID { return GroupID{snapshotLeaf(name)} }

// SnapshotIDFor returns the ID of the snapshot of a volume that a caller asks for by name.
func SnapshotIDFor(name string, volume VolumeID) SnapshotID {
	return SnapshotID{volume, snapshotLeaf(name)}
}

// Snapshot is a moment of a volume that a caller asked to keep.
type Snapshot struct {
	ID SnapshotID
	// Name is the caller's name of the snapshot, or of its group.
	Name string
	// Group is the group that it was taken in; the zero GroupID for none.
	Group GroupID
	// Created is when it was taken, by ZFS's clock, to the second.
	Created time.Time
	// Of is the volume as it was then. Its Dataset is where the volume is now, perhaps as a
	// tombstone, and of its Attributes only FSType and Formatted are set.
	Of Volume
}

// fullName is what ZFS calls the snapshot at present.
func (s *Snapshot) fullName() string { return s.Of.Dataset.name + "@" + s.ID.leaf }

// source is what a snapshot's properties tell of a volume at the moment it was taken. The
// properties of all snapshots that one command takes are the same, so each holds a text with
// all the sources: "<guid>:<size>:<flag>:<volume ID>", with spaces between. delete_snapshot.lua
// reads it too.
type source struct {
	id VolumeID
	// guid is ZFS's own number of the dataset. It tells where the dataset is when it has
	// become a tombstone.
	guid string
	// size in bytes.
	size int64
	// formatted: the volume's filesystem had been made.
	formatted bool
}

// tombstonePrefix begins the names of volumes that are deleted and whose snapshots live; the rest is their guid.
const tombstonePrefix = ".deleted-"

// places returns where the source's dataset can be below a parent.
func (s source) places(parent Dataset) []Dataset {
	return []Dataset{parent.volume(s.id), {parent.name + "/" + tombstonePrefix + s.guid}}
}

func formatSources(sources []source) string {
	var parts []string
	for _, s := range sources {
		flag := "-"
		if s.formatted {
			flag = "formatted"
		}
		parts = append(parts, strings.Join([]string{s.guid, strconv.FormatInt(s.size, 10), flag, s.id.id}, ":"))
	}
	return strings.Join(parts, " ")
}

func parseSources(text string) ([]source, error) {
	var out []source
	for part := range strings.FieldsSeq(text) {
		fields := strings.SplitN(part, ":", 4) // A volume's ID can hold a colon.
		if len(fields) != 4 {
			return nil, fmt.Errorf("source %q has not four parts", part)
		}
		size, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("source %q: %w", part, err)
		}
		id, err := ParseVolumeID(fields[3])
		if err != nil {
			return nil, fmt.Errorf("source %q: %w", part, err)
		}
		out = append(out, source{id, fields[0], size, fields[2] == "formatted"})
	}
	return out, nil
}

// decodeSnapshot makes a Snapshot of what ZFS says of dataset@leaf; nil when it is not, or no
// longer, a caller's.
func decodeSnapshot(parent, dataset Dataset, leaf string, r row) (*Snapshot, error) {
	name := r.local(propSnapshot)
	if name == "" || r["defer_destroy"].value == "on" || dataset == parent {
		return nil, nil
	}
	wrong := func(err error) error { return fmt.Errorf("%s@%s: %w", dataset, leaf, err) }
	sources, err := parseSources(r.local(propSources))
	if err != nil {
		return nil, wrong(err)
	}
	i := slices.IndexFunc(sources, func(s source) bool { return slices.Contains(s.places(parent), dataset) })
	if i < 0 {
		return nil, wrong(fmt.Errorf("its %s does not name its dataset", propSources))
	}
	s := &Snapshot{
		ID: SnapshotID{sources[i].id, leaf},
		Of: Volume{
			ID: sources[i].id, Dataset: dataset, Parent: parent, Kind: Filesystem, Size: sources[i].size,
			Attributes: Attributes{Formatted: sources[i].formatted},
		},
	}
	if s.Name, err = unescape(name); err != nil {
		return nil, wrong(err)
	}
	if r.local(propGroup) != "" {
		s.Group = GroupID{leaf}
	}
	created, err := strconv.ParseInt(r["creation"].value, 10, 64)
	if err != nil {
		return nil, wrong(err)
	}
	s.Created = time.Unix(created, 0)
	if volsize := r["volsize"].value; volsize != "-" && volsize != "" {
		s.Of.Kind = Block
		if s.Of.BlockSize, err = r.size(propVolblocksize); err != nil {
			return nil, wrong(err)
		}
	}
	if c := r[propFSType]; c.source == "inherited from "+dataset.name {
		s.Of.FSType = c.value
	}
	return s, nil
}

package zfs

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// Limits of names, in bytes.
const (
	// maxDatasetName is ZFS_MAX_DATASET_NAME_LEN less the terminating zero;
	// it holds for the whole path and counts a snapshot's part too.
	maxDatasetName = 255
	// maxVolumeID is the CSI specification's general size limit of a string.
	maxVolumeID = 128
	// maxGivenID is the longest name that is taken as an ID as it is. It leaves room for
	// the rest of a snapshot's ID and of a list's token, which are held to the same limit.
	maxGivenID = 64
	// roomForSnapshot is what a volume's path leaves free for "@" and a snapshot's name.
	roomForSnapshot = 50
	// maxParent is the longest name of a parent: below it ZFS takes whatever can be a volume's ID
	// and the name of a snapshot of it.
	maxParent = maxDatasetName - 1 - maxVolumeID - roomForSnapshot
)

// Dataset is the full name of a filesystem or zvol, such as "tank/csi/pvc-1".
// A value other than the zero one has been parsed, so it is safe as an argument
// of a command: it never begins with a dash and holds no "@", "," or "%".
type Dataset struct{ name string }

// ParseDataset parses the full name of a filesystem or zvol; see zfs(8), "DATASETS".
func ParseDataset(s string) (Dataset, error) {
	if len(s) > maxDatasetName {
		return Dataset{}, fmt.Errorf("dataset name of %d bytes is longer than the %d that ZFS allows", len(s), maxDatasetName)
	}
	for i, part := range strings.Split(s, "/") {
		if err := checkComponent(part); err != nil {
			return Dataset{}, fmt.Errorf("dataset name %q: %w", s, err)
		}
		if i == 0 && !isLetter(part[0]) {
			return Dataset{}, fmt.Errorf("dataset name %q: the pool's name does not begin with a letter", s)
		}
	}
	return Dataset{s}, nil
}

// MustParseDataset is ParseDataset for names known to be right; it panics on others.
func MustParseDataset(s string) Dataset {
	d, err := ParseDataset(s)
	if err != nil {
		panic(err)
	}
	return d
}

// String returns the full name.
func (d Dataset) String() string { return d.name }

// isZero tells whether d names nothing.
func (d Dataset) isZero() bool { return d.name == "" }

// Pool returns the name of the pool that holds d.
func (d Dataset) Pool() string {
	pool, _, _ := strings.Cut(d.name, "/")
	return pool
}

// Leaf returns the last component of d.
func (d Dataset) Leaf() string { return d.name[strings.LastIndexByte(d.name, '/')+1:] }

// parent returns the dataset that holds d; the zero Dataset for a pool's root.
func (d Dataset) parent() Dataset {
	i := strings.LastIndexByte(d.name, '/')
	if i < 0 {
		return Dataset{}
	}
	return Dataset{d.name[:i]}
}

// volume returns the dataset of a volume below the parent d.
func (d Dataset) volume(id VolumeID) Dataset { return Dataset{d.name + "/" + id.id} }

// checkParent returns ErrInvalid when what is made below d could have longer names than ZFS takes.
func checkParent(d Dataset) error {
	if len(d.name) > maxParent {
		return fmt.Errorf("%s: a name of %d bytes is too long for a parent, whose volumes and their snapshots need the rest; choose one of at most %d: %w",
			d, len(d.name), maxParent, ErrInvalid)
	}
	return nil
}

// VolumeID names a volume: the leaf of its dataset, without pool or parent.
// It is at most 128 bytes of letters, digits, "-", "_", "." and ":", and begins
// with a letter or a digit.
type VolumeID struct{ id string }

// ParseVolumeID parses a volume ID as it came from a caller.
func ParseVolumeID(s string) (VolumeID, error) {
	if len(s) > maxVolumeID {
		return VolumeID{}, fmt.Errorf("volume ID of %d bytes is longer than %d", len(s), maxVolumeID)
	}
	if err := checkComponent(s); err != nil {
		return VolumeID{}, fmt.Errorf("volume ID %q: %w", s, err)
	}
	if strings.Contains(s, " ") {
		return VolumeID{}, fmt.Errorf("volume ID %q holds a space", s)
	}
	if !isLetter(s[0]) && !isDigit(s[0]) {
		return VolumeID{}, fmt.Errorf("volume ID %q does not begin with a letter or a digit", s)
	}
	return VolumeID{s}, nil
}

// VolumeIDFor returns the ID of the volume that a caller asks for by name: the
// name itself where it is short enough and ZFS takes it below the parent, else a hash
// of it. The same name always gives the same ID.
func VolumeIDFor(name string, parent Dataset) VolumeID {
	if id, err := ParseVolumeID(name); err == nil && len(name) <= maxGivenID && len(parent.name)+1+len(name)+roomForSnapshot <= maxDatasetName {
		return id
	}
	sum := sha256.Sum256([]byte(name))
	return VolumeID{"vol-" + hex.EncodeToString(sum[:16])}
}

// String returns the ID.
func (v VolumeID) String() string { return v.id }

// checkComponent checks one part of a dataset's name against what ZFS allows.
func checkComponent(s string) error {
	switch {
	case s == "":
		return fmt.Errorf("a component is empty")
	case s == "." || s == "..":
		return fmt.Errorf("%q is not a component", s)
	case s[0] == '-':
		return fmt.Errorf("component %q begins with a dash", s)
	case s[len(s)-1] == ' ' || s[0] == ' ':
		return fmt.Errorf("component %q begins or ends with a space", s)
	}
	for i := range len(s) {
		if !isLetter(s[i]) && !isDigit(s[i]) && !strings.ContainsRune("-_.: ", rune(s[i])) {
			return fmt.Errorf("character %q is not allowed", s[i])
		}
	}
	return nil
}

func isLetter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

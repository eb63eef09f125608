package driver

import (
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"unicode"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/zfs-csi/zfs-csi/zfs"
)

// maxName is the longest name of a volume, in bytes: what is sure to fit into a ZFS
// user property, whatever it is made of. The specification asks for 128.
const maxName = 1024

// creation is a CreateVolume request, understood.
type creation struct {
	id     zfs.VolumeID
	name   string
	source source
	use    use
	sizes  sizes
	// size is that of an empty volume, in bytes.
	size int64
	parameters
	// mutable are the mutable parameters, which go before those of the same name.
	mutable zfs.Change
}

// parseCreation returns the request, or what is wrong with it by itself.
func (d *Driver) parseCreation(req *csi.CreateVolumeRequest) (c creation, err error) {
	if err := checkName(req.GetName()); err != nil {
		return c, invalid(err)
	}
	if c.use, err = parseUse(req.GetVolumeCapabilities()); err != nil {
		return c, invalid(err)
	}
	if c.parameters, err = parseParameters(req.GetParameters(), c.use.kind, d.store.Parents()); err != nil {
		return c, invalid(err)
	}
	if c.mutable, err = parseMutable(req.GetMutableParameters(), c.use.kind); err != nil {
		return c, invalid(err)
	}
	if c.sizes, err = parseSizes(req.GetCapacityRange()); err != nil {
		return c, err
	}
	if err := d.reachable(req.GetAccessibilityRequirements()); err != nil {
		return c, err
	}
	c.name = req.GetName()
	c.id = zfs.VolumeIDFor(c.name, d.longestParent())
	if c.source, err = parseSource(req.GetVolumeContentSource()); err != nil {
		return c, err
	}
	if c.source.none() {
		c.size, err = c.sizes.choose(c.use, defaultSize, c.newBlockSize())
		return c, err
	}
	if c.source.volume == c.id {
		return c, invalid(fmt.Errorf("volume %q cannot be a clone of itself", c.id))
	}
	return c, nil
}

// spec returns what the new volume is to be.
func (c creation) spec() zfs.Spec {
	spec := zfs.Spec{
		Parent: c.parent, Kind: c.use.kind, Size: c.size, Thick: c.thick, Properties: maps.Clone(c.properties),
		Attributes: zfs.Attributes{
			Name: c.name, FSType: c.use.fsType,
			Parameters: c.parameters.String(), Labels: c.labels,
		},
	}
	if c.mutable.Thick != nil {
		spec.Thick = *c.mutable.Thick
	}
	maps.Copy(spec.Properties, c.mutable.Properties)
	return spec
}

// checkName checks the name of a new volume; see CreateVolumeRequest.name in the CSI specification.
func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("name is missing")
	case len(name) > maxName:
		return fmt.Errorf("name of %d bytes is longer than %d", len(name), maxName)
	case strings.ContainsFunc(name, func(r rune) bool { return unicode.IsControl(r) && !strings.ContainsRune("\t\n\r", r) }):
		return fmt.Errorf("name %q holds control characters", name)
	}
	return nil
}

// source is what a new volume is made of: a volume, a snapshot, or nothing.
type source struct {
	volume   zfs.VolumeID
	snapshot zfs.SnapshotID
}

func (s source) none() bool { return s == source{} }

// String returns the ID, as a volume remembers it; empty for none.
func (s source) String() string {
	if s.snapshot != (zfs.SnapshotID{}) {
		return s.snapshot.String()
	}
	return s.volume.String()
}

// locks returns what must stay as it is while a volume of that ID is made of the source. The
// volume of a snapshot does not stay in its place when it is deleted; its ID can be that of
// the new volume, which is locked anyway.
func (s source) locks(id zfs.VolumeID) []string {
	switch {
	case s.none():
		return nil
	case s.snapshot.Volume() == id:
		return []string{snapshotLock(s.snapshot)}
	case s.snapshot != (zfs.SnapshotID{}):
		return []string{snapshotLock(s.snapshot), s.snapshot.Volume().String()}
	}
	return []string{s.volume.String()}
}

// parseSource returns what to make a volume of.
func parseSource(s *csi.VolumeContentSource) (source, error) {
	switch s.GetType().(type) {
	case nil:
		if s != nil {
			return source{}, invalid(errors.New("volume_content_source names nothing"))
		}
		return source{}, nil
	case *csi.VolumeContentSource_Volume:
		id, err := parseID(s.GetVolume().GetVolumeId())
		return source{volume: id}, err
	case *csi.VolumeContentSource_Snapshot:
		id, err := parseSnapshotID(s.GetSnapshot().GetSnapshotId())
		return source{snapshot: id}, err
	}
	return source{}, invalid(errors.New("volume_content_source is neither a volume nor a snapshot"))
}

// longestParent returns the parent whose name leaves the least room for a volume's, so
// that a name gives the same ID whichever parent it is asked for.
func (d *Driver) longestParent() zfs.Dataset {
	var longest zfs.Dataset
	for _, p := range d.store.Parents() {
		if len(p.String()) > len(longest.String()) {
			longest = p
		}
	}
	return longest
}

// newBlockSize returns what the size of a new volume is a multiple of, in bytes.
func (c creation) newBlockSize() int64 {
	if c.use.kind == zfs.Filesystem {
		return 1
	}
	// ParseProperty has seen to it that what is there is a number.
	if n, err := strconv.ParseInt(c.properties["volblocksize"], 10, 64); err == nil {
		return n
	}
	return zfs.DefaultVolblocksize
}

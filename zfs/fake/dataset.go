package fake

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/zfs-csi/zfs-csi/zfs"
)

// content is what a dataset or snapshot holds. It never changes, so those that hold
// the same can share it.
type content struct{ data []byte }

// dataset is a filesystem or zvol: a volume, or somebody else's if not ours.
type dataset struct {
	name   zfs.Dataset
	parent zfs.Dataset
	ours   bool
	// unfinished: a process died when the dataset was made and not yet ours.
	unfinished bool
	kind       zfs.Kind
	size       int64
	thick      bool
	properties zfs.Properties
	attributes zfs.Attributes
	content    *content
	busy       string // where it is in use
	// deleted: it is a tombstone, kept for its snapshots.
	deleted bool

	origin    *snapshot
	snapshots []*snapshot // oldest first
}

func newDataset(id zfs.VolumeID, spec zfs.Spec) (*dataset, error) {
	if spec.Kind != zfs.Filesystem && spec.Kind != zfs.Block {
		return nil, fmt.Errorf("%s is not a kind of volume: %w", spec.Kind, zfs.ErrInvalid)
	}
	if spec.Size <= 0 {
		return nil, fmt.Errorf("a size of %d bytes is not above zero: %w", spec.Size, zfs.ErrInvalid)
	}
	name, err := zfs.ParseDataset(spec.Parent.String() + "/" + id.String())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, zfs.ErrInvalid)
	}
	d := &dataset{
		name: name, parent: spec.Parent, ours: true, kind: spec.Kind, thick: spec.Thick,
		properties: maps.Clone(spec.Properties), attributes: spec.Attributes,
	}
	d.attributes.Labels = maps.Clone(spec.Labels)
	d.size = d.round(spec.Size)
	return d, nil
}

// volume returns the dataset as callers see it.
func (d *dataset) volume() *zfs.Volume {
	id, err := zfs.ParseVolumeID(d.name.Leaf())
	if err != nil {
		panic(err) // It was made from one.
	}
	v := &zfs.Volume{
		ID: id, Dataset: d.name, Parent: d.parent,
		Kind: d.kind, Size: d.size, Thick: d.thick, Attributes: d.attributes,
	}
	v.Labels = maps.Clone(d.attributes.Labels)
	if d.kind == zfs.Block {
		v.BlockSize = d.blockSize()
	}
	if d.origin != nil {
		v.Origin = d.origin.fullName()
	}
	return v
}

// reserved returns the bytes that are kept for the dataset alone.
func (d *dataset) reserved() int64 {
	if d.thick {
		return d.size
	}
	return 0
}

// round returns a size as ZFS takes it: a zvol's is a multiple of its block size.
func (d *dataset) round(size int64) int64 {
	if d.kind != zfs.Block {
		return size
	}
	block := d.blockSize()
	return (size + block - 1) / block * block
}

// blockSize returns a zvol's volblocksize in bytes.
func (d *dataset) blockSize() int64 {
	block, err := strconv.ParseInt(d.property("volblocksize"), 10, 64)
	if err != nil {
		panic(err) // ParseProperty made it.
	}
	return block
}

// property returns a native property, by its default where it was not set.
func (d *dataset) property(name zfs.Property) string {
	if value, set := d.properties[name]; set {
		return value
	}
	return map[zfs.Property]string{
		"volblocksize":    strconv.Itoa(zfs.DefaultVolblocksize),
		"casesensitivity": "sensitive",
		"normalization":   "none",
		"utf8only":        "off",
	}[name]
}

// Write replaces all that a volume holds.
func (s *Store) Write(id zfs.VolumeID, data []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, err := s.find(id)
	if err != nil {
		return err
	}
	if int64(len(data)) > d.size {
		return fmt.Errorf("write %d bytes to volume %s of %d: %w", len(data), id, d.size, zfs.ErrNoSpace)
	}
	if err := s.room(d.name.Pool(), int64(len(data))); err != nil {
		return err
	}
	d.content = &content{slices.Clone(data)}
	return nil
}

// Read returns all that a volume holds: nothing where nothing was written.
func (s *Store) Read(id zfs.VolumeID) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, err := s.find(id)
	if err != nil || d.content == nil {
		return nil, err
	}
	return slices.Clone(d.content.data), nil
}

// SetBusy marks a volume as in use at a place, such as "/mnt"; empty for nowhere.
func (s *Store) SetBusy(id zfs.VolumeID, where string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, err := s.find(id)
	if err != nil {
		return err
	}
	d.busy = where
	return nil
}

// Property returns a native property of a volume, empty where it is inherited.
func (s *Store) Property(id zfs.VolumeID, name zfs.Property) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, err := s.find(id)
	if err != nil {
		return "", err
	}
	return d.property(name), nil
}

// Device implements zfs.Store: the path of a file as large as the volume.
func (s *Store) Device(ctx context.Context, volume zfs.Dataset) (string, error) {
	id, err := zfs.ParseVolumeID(volume.Leaf())
	if err != nil {
		return "", fmt.Errorf("%w: %w", err, zfs.ErrInvalid)
	}
	if err := s.enter(ctx, "Device", id); err != nil {
		return "", err
	}
	defer s.mu.Unlock()
	d, err := s.find(id)
	if err != nil {
		return "", err
	}
	if d.name != volume || d.kind != zfs.Block {
		return "", fmt.Errorf("%s is not a zvol: %w", volume, zfs.ErrNotFound)
	}
	dir := s.DeviceDir
	if dir == "" && s.tempDir == "" {
		if s.tempDir, err = os.MkdirTemp("", "zfs-csi-fake-"); err != nil {
			return "", err
		}
	}
	if dir == "" {
		dir = s.tempDir
	}
	path := filepath.Join(dir, strings.ReplaceAll(volume.String(), "/", "-"))
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", err
	}
	return path, errors.Join(f.Truncate(d.size), f.Close())
}

// Owner implements zfs.Store. The volumes of a Store in memory have no devices.
func (s *Store) Owner(ctx context.Context, device uint64) (zfs.VolumeID, error) {
	if err := s.enter(ctx, "Owner", zfs.VolumeID{}); err != nil {
		return zfs.VolumeID{}, err
	}
	defer s.mu.Unlock()
	return zfs.VolumeID{}, fmt.Errorf("block device %x: %w", device, zfs.ErrNotFound)
}

// Close removes the files that Device made in a temporary folder.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tempDir == "" {
		return nil
	}
	return os.RemoveAll(s.tempDir)
}

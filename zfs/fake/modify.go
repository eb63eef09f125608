package fake

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/zfs-csi/zfs-csi/zfs"
)

// Modify implements zfs.Store.
func (s *Store) Modify(ctx context.Context, id zfs.VolumeID, change zfs.Change) (*zfs.Volume, error) {
	if err := s.enter(ctx, "Modify", id); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	d, err := s.find(id)
	if err != nil {
		return nil, err
	}
	for name := range change.Properties {
		if !zfs.Mutable(string(name)) || !slices.Contains(zfs.AllowedProperties(d.kind), string(name)) {
			return nil, fmt.Errorf("modify volume %s: property %s of a %s cannot change: %w", id, name, d.kind, zfs.ErrInvalid)
		}
	}
	if change.Thick != nil {
		if *change.Thick && !d.thick {
			if err := s.room(d.name.Pool(), d.size); err != nil {
				return nil, fmt.Errorf("modify volume %s: %w", id, err)
			}
		}
		d.thick = *change.Thick
	}
	if d.properties == nil {
		d.properties = zfs.Properties{}
	}
	maps.Copy(d.properties, change.Properties)
	return d.volume(), nil
}

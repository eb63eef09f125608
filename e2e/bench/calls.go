package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/zfs-csi/zfs-csi/e2e/service"
)

// volumeSize is that of all volumes, in bytes; most of them hold nothing.
const volumeSize = 4 << 30

// kind is a kind of volume.
type kind struct {
	name       string
	capability *csi.VolumeCapability
}

func kinds() []kind {
	return []kind{{"dataset", service.Mount("")}, {"zvol", service.Block()}}
}

// create makes a volume, of a source unless that is nil.
func (s *serving) create(ctx context.Context, name string, k kind, from *csi.VolumeContentSource) error {
	_, err := s.CreateVolume(ctx, &csi.CreateVolumeRequest{
		Name: name, CapacityRange: &csi.CapacityRange{RequiredBytes: volumeSize},
		VolumeCapabilities: []*csi.VolumeCapability{k.capability}, VolumeContentSource: from,
	})
	return err
}

func (s *serving) delete(ctx context.Context, name string) error {
	_, err := s.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: name})
	return err
}

func (s *serving) snapshot(ctx context.Context, volume, name string) error {
	_, err := s.CreateSnapshot(ctx, &csi.CreateSnapshotRequest{SourceVolumeId: volume, Name: name})
	return err
}

func (s *serving) deleteSnapshot(ctx context.Context, volume, name string) error {
	_, err := s.DeleteSnapshot(ctx, &csi.DeleteSnapshotRequest{SnapshotId: volume + "@" + name})
	return err
}

// options returns the options that the driver gave to the last command that began like that, so that a
// raw command has the same.
func (s *serving) options(begin string, names int) ([]string, error) {
	words, err := s.last(begin)
	if err != nil {
		return nil, err
	}
	return words[len(strings.Fields(begin)) : len(words)-names], nil
}

// with returns a command's arguments with options.
func with(verb string, options []string, names ...string) []string {
	return slices.Concat([]string{verb}, options, names)
}

// prepare makes things of the driver before a measurement.
func prepare(calls ...error) error {
	for i, err := range calls {
		if err != nil {
			return fmt.Errorf("preparation %d: %w", i+1, err)
		}
	}
	return nil
}

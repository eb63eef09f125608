package service

import (
	"context"
	"path/filepath"

	"github.com/container-storage-interface/spec/lib/go/csi"
)

// Mount returns the capability of a mounted filesystem; "" is that of ZFS itself.
func Mount(fsType string) *csi.VolumeCapability {
	return &csi.VolumeCapability{
		AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{FsType: fsType}},
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER},
	}
}

// Block returns the capability of a raw block volume.
func Block() *csi.VolumeCapability {
	return &csi.VolumeCapability{
		AccessType: &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}},
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER},
	}
}

// FromVolume returns the content source of a clone.
func FromVolume(id string) *csi.VolumeContentSource {
	return &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Volume{
		Volume: &csi.VolumeContentSource_VolumeSource{VolumeId: id},
	}}
}

// FromSnapshot returns the content source of a snapshot restored.
func FromSnapshot(id string) *csi.VolumeContentSource {
	return &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Snapshot{
		Snapshot: &csi.VolumeContentSource_SnapshotSource{SnapshotId: id},
	}}
}

// Place is where a volume is staged and published.
type Place struct{ Staging, Target string }

// PlaceIn returns the place of a volume in a folder.
func PlaceIn(dir, volumeID string) Place {
	return Place{Staging: filepath.Join(dir, "staging", volumeID), Target: filepath.Join(dir, "pods", volumeID, "volume")}
}

// Publish stages and publishes a volume.
func (s *Service) Publish(ctx context.Context, volumeID string, c *csi.VolumeCapability, at Place) error {
	for _, dir := range []string{at.Staging, filepath.Dir(at.Target)} {
		if err := s.MakeFolder(dir); err != nil {
			return err
		}
	}
	_, err := s.NodeStageVolume(ctx, &csi.NodeStageVolumeRequest{VolumeId: volumeID, StagingTargetPath: at.Staging, VolumeCapability: c})
	if err != nil {
		return err
	}
	_, err = s.NodePublishVolume(ctx, &csi.NodePublishVolumeRequest{
		VolumeId: volumeID, StagingTargetPath: at.Staging, TargetPath: at.Target, VolumeCapability: c,
	})
	return err
}

// Unpublish takes back what Publish did.
func (s *Service) Unpublish(ctx context.Context, volumeID string, at Place) error {
	_, err := s.NodeUnpublishVolume(ctx, &csi.NodeUnpublishVolumeRequest{VolumeId: volumeID, TargetPath: at.Target})
	if err != nil {
		return err
	}
	_, err = s.NodeUnstageVolume(ctx, &csi.NodeUnstageVolumeRequest{VolumeId: volumeID, StagingTargetPath: at.Staging})
	return err
}

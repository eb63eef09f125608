package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

const (
	mib = int64(1) << 20
	gib = int64(1) << 30
	// startTime is how long the driver may take to answer its first call.
	startTime = 30 * time.Second
)

// volume is one volume, as Kubernetes would know it.
type volume struct {
	id         string
	capability *csi.VolumeCapability
	context    map[string]string
	// staging and target are where it is mounted.
	staging, target string
}

// connect dials the driver's socket and waits for its first answer, or the driver's end.
func (s *stage) connect(ctx context.Context) (*csi.GetPluginInfoResponse, error) {
	connection, err := grpc.NewClient("unix://"+s.socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, fmt.Errorf("dial the driver: %w", err)
	}
	s.connection = connection
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	answered := make(chan struct{})
	defer close(answered)
	go func() {
		select {
		case <-s.driverDone:
			cancel()
		case <-answered:
		}
	}()
	return csi.NewIdentityClient(connection).GetPluginInfo(ctx, &csi.GetPluginInfoRequest{}, grpc.WaitForReady(true))
}

func filesystem() *csi.VolumeCapability {
	return capability(&csi.VolumeCapability{AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{}}})
}

func block() *csi.VolumeCapability {
	return capability(&csi.VolumeCapability{AccessType: &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}}})
}

func capability(c *csi.VolumeCapability) *csi.VolumeCapability {
	c.AccessMode = &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER}
	return c
}

// create makes a volume, from source unless that is nil, and says how long it took.
func (s *stage) create(ctx context.Context, name string, size int64, c *csi.VolumeCapability, source *volume) (*volume, time.Duration, error) {
	request := &csi.CreateVolumeRequest{
		Name:               name,
		CapacityRange:      &csi.CapacityRange{RequiredBytes: size},
		VolumeCapabilities: []*csi.VolumeCapability{c},
	}
	if source != nil {
		request.VolumeContentSource = &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Volume{
			Volume: &csi.VolumeContentSource_VolumeSource{VolumeId: source.id},
		}}
	}
	start := time.Now()
	response, err := csi.NewControllerClient(s.connection).CreateVolume(ctx, request)
	took := time.Since(start)
	if err != nil {
		return nil, 0, fmt.Errorf("create %s: %w", name, err)
	}
	made := response.GetVolume()
	folder := filepath.Join(s.dir, "node", name)
	return &volume{
		id: made.GetVolumeId(), capability: c, context: made.GetVolumeContext(),
		staging: filepath.Join(folder, "staging"), target: filepath.Join(folder, "target"),
	}, took, nil
}

// mount stages and publishes a volume, as the kubelet does for a pod.
func (s *stage) mount(ctx context.Context, v *volume) error {
	if err := os.MkdirAll(v.staging, 0o750); err != nil {
		return err
	}
	node := csi.NewNodeClient(s.connection)
	s.mounted = append(s.mounted, v.staging, v.target)
	if _, err := node.NodeStageVolume(ctx, &csi.NodeStageVolumeRequest{
		VolumeId: v.id, StagingTargetPath: v.staging, VolumeCapability: v.capability, VolumeContext: v.context,
	}); err != nil {
		return fmt.Errorf("stage %s: %w", v.id, err)
	}
	if _, err := node.NodePublishVolume(ctx, &csi.NodePublishVolumeRequest{
		VolumeId: v.id, StagingTargetPath: v.staging, TargetPath: v.target, VolumeCapability: v.capability, VolumeContext: v.context,
	}); err != nil {
		return fmt.Errorf("publish %s: %w", v.id, err)
	}
	return nil
}

// unmount unpublishes and unstages a volume.
func (s *stage) unmount(ctx context.Context, v *volume) error {
	node := csi.NewNodeClient(s.connection)
	if _, err := node.NodeUnpublishVolume(ctx, &csi.NodeUnpublishVolumeRequest{VolumeId: v.id, TargetPath: v.target}); err != nil {
		return fmt.Errorf("unpublish %s: %w", v.id, err)
	}
	if _, err := node.NodeUnstageVolume(ctx, &csi.NodeUnstageVolumeRequest{VolumeId: v.id, StagingTargetPath: v.staging}); err != nil {
		return fmt.Errorf("unstage %s: %w", v.id, err)
	}
	return nil
}

// remove takes a volume out of use, deletes it, and says how long the deletion took.
func (s *stage) remove(ctx context.Context, v *volume) (time.Duration, error) {
	if err := s.unmount(ctx, v); err != nil {
		return 0, err
	}
	start := time.Now()
	if _, err := csi.NewControllerClient(s.connection).DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: v.id}); err != nil {
		return 0, fmt.Errorf("delete %s: %w", v.id, err)
	}
	return time.Since(start), nil
}

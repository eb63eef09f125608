package driver_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"

	"github.com/zfs-csi/zfs-csi/driver"
	"github.com/zfs-csi/zfs-csi/zfs"
	"github.com/zfs-csi/zfs-csi/zfs/fake"
)

// TestProbe: the driver is ready while one of its pools is there.
func TestProbe(t *testing.T) {
	for _, c := range []struct {
		away  []string
		ready bool
	}{{nil, true}, {[]string{tank.Pool()}, true}, {[]string{tank.Pool(), fast.Pool()}, false}} {
		s := serve(t)
		for _, pool := range c.away {
			s.store.SetPool(pool, fake.Exported)
		}
		if resp, err := s.Probe(s.context(), &csi.ProbeRequest{}); err != nil || resp.GetReady().GetValue() != c.ready {
			t.Errorf("without %v: %v, %v; want ready %t", c.away, resp, err, c.ready)
		}
	}
}

// TestUnavailable makes every call while a pool is not there.
func TestUnavailable(t *testing.T) {
	s := serve(t)
	s.create(request("pvc-1", mib, mount("")))
	calls := map[string]func(context.Context) error{
		"create": func(ctx context.Context) error {
			_, err := s.CreateVolume(ctx, request("pvc-2", mib, mount("")))
			return err
		},
		"create again": func(ctx context.Context) error {
			_, err := s.CreateVolume(ctx, request("pvc-1", mib, mount("")))
			return err
		},
		"clone": func(ctx context.Context) error {
			_, err := s.CreateVolume(ctx, cloneRequest("pvc-3", "pvc-1", 0, mount("")))
			return err
		},
		"delete": func(ctx context.Context) error {
			_, err := s.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: "pvc-1"})
			return err
		},
		"delete what is not there": func(ctx context.Context) error {
			_, err := s.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: "missing"})
			return err
		},
		"expand": func(ctx context.Context) error {
			_, err := s.ControllerExpandVolume(ctx, expansion("pvc-1", gib, 0))
			return err
		},
		"modify": func(ctx context.Context) error {
			_, err := s.ControllerModifyVolume(ctx, modification("pvc-1", map[string]string{"provisioning": "thick"}))
			return err
		},
		"get": func(ctx context.Context) error {
			_, err := s.ControllerGetVolume(ctx, &csi.ControllerGetVolumeRequest{VolumeId: "pvc-1"})
			return err
		},
		"list": func(ctx context.Context) error {
			_, err := s.ListVolumes(ctx, &csi.ListVolumesRequest{})
			return err
		},
		"capacity": func(ctx context.Context) error {
			_, err := s.GetCapacity(ctx, &csi.GetCapacityRequest{})
			return err
		},
		"validate": func(ctx context.Context) error {
			_, err := s.ValidateVolumeCapabilities(ctx, &csi.ValidateVolumeCapabilitiesRequest{VolumeId: "pvc-1", VolumeCapabilities: []*csi.VolumeCapability{mount("")}})
			return err
		},
		"list health": func(ctx context.Context) error {
			_, err := s.ControllerListVolumeHealth(ctx, &csi.ControllerListVolumeHealthRequest{})
			return err
		},
		"stage": func(ctx context.Context) error {
			_, err := s.NodeStageVolume(ctx, &csi.NodeStageVolumeRequest{VolumeId: "pvc-1", StagingTargetPath: "/none", VolumeCapability: mount("")})
			return err
		},
		"publish": func(ctx context.Context) error {
			_, err := s.NodePublishVolume(ctx, &csi.NodePublishVolumeRequest{
				VolumeId: "pvc-1", StagingTargetPath: "/none", TargetPath: "/none/target", VolumeCapability: mount(""),
			})
			return err
		},
		"grow on the node": func(ctx context.Context) error {
			_, err := s.NodeExpandVolume(ctx, &csi.NodeExpandVolumeRequest{VolumeId: "pvc-1", VolumePath: "/none"})
			return err
		},
		"stats": func(ctx context.Context) error {
			_, err := s.NodeGetVolumeStats(ctx, &csi.NodeGetVolumeStatsRequest{VolumeId: "pvc-1", VolumePath: "/none"})
			return err
		},
	}
	for _, state := range []fake.PoolState{fake.Suspended, fake.Exported, fake.Replaced} {
		s.store.SetPool("tank", state)
		for name, call := range calls {
			t.Run(fmt.Sprint(name, " in state ", state), func(t *testing.T) {
				s.want(call(s.context()), codes.Unavailable, "tank")
			})
		}
	}
	s.store.SetPool("tank", fake.Healthy)
	if v := s.get("pvc-1"); v.Size != mib {
		t.Errorf("the volume has changed: %+v", v)
	}
}

func TestErrorCodes(t *testing.T) {
	s := &service{T: t, store: fake.New(tank)}
	var fault error
	s.store.Intercept = func(op string, _ zfs.VolumeID) error {
		if op == "Delete" {
			return fmt.Errorf("volume pvc-1: %w", fault)
		}
		return nil
	}
	s.start(driver.Config{StopTimeout: deadline})
	for err, code := range map[error]codes.Code{
		zfs.ErrUnavailable:  codes.Unavailable,
		zfs.ErrBusy:         codes.FailedPrecondition,
		zfs.ErrDependents:   codes.FailedPrecondition,
		zfs.ErrNotOurs:      codes.FailedPrecondition,
		zfs.ErrReadOnly:     codes.Unavailable,
		zfs.ErrNoSpace:      codes.ResourceExhausted,
		zfs.ErrInvalid:      codes.InvalidArgument,
		zfs.ErrPermission:   codes.Internal,
		fmt.Errorf("what?"): codes.Internal,
	} {
		fault = err
		_, got := s.DeleteVolume(s.context(), &csi.DeleteVolumeRequest{VolumeId: "pvc-1"})
		s.want(got, code, "pvc-1", err.Error())
	}
}

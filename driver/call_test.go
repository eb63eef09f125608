package driver_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/zfs-csi/zfs-csi/driver"
	"github.com/zfs-csi/zfs-csi/zfs"
	"github.com/zfs-csi/zfs-csi/zfs/fake"
)

// gate is a store whose calls of one name wait until it is opened.
type gate struct {
	op      string
	entered chan struct{}
	open    chan struct{}
}

func newGate(op string) *gate {
	return &gate{op: op, entered: make(chan struct{}, 100), open: make(chan struct{})}
}

func (g *gate) pass(op string, _ zfs.VolumeID) error {
	if op == g.op {
		g.entered <- struct{}{}
		<-g.open
	}
	return nil
}

// gated starts a driver whose calls to the store of one name wait.
func gated(t *testing.T, op string, c driver.Config) (*service, *gate) {
	g := newGate(op)
	s := &service{T: t, store: fake.New(tank)}
	s.store.Intercept = g.pass
	s.start(c)
	return s, g
}

// TestHungPool lets the deadline of a call pass while the pool hangs.
func TestHungPool(t *testing.T) {
	s, g := gated(t, "Create", driver.Config{StopTimeout: deadline})
	ctx, cancel := context.WithCancel(s.context())
	failed := make(chan error)
	go func() {
		_, err := s.CreateVolume(ctx, request("pvc-1", mib, mount("")))
		failed <- err
	}()
	<-g.entered
	// Meanwhile the volume is taken, and others are not.
	_, err := s.CreateVolume(s.context(), request("pvc-1", mib, mount("")))
	s.want(err, codes.Aborted, "pvc-1")
	_, err = s.CreateVolume(s.context(), cloneRequest("pvc-2", "pvc-1", 0, mount("")))
	s.want(err, codes.Aborted, "pvc-1")
	s.delete("pvc-3")

	cancel()
	s.want(<-failed, codes.Canceled)
	_, err = s.DeleteVolume(s.context(), &csi.DeleteVolumeRequest{VolumeId: "pvc-1"})
	s.want(err, codes.Aborted, "pvc-1")
	close(g.open)
	// What was begun goes on to its end, and then answers.
	for end := time.Now().Add(deadline); ; time.Sleep(time.Millisecond) { // between two looks
		resp, err := s.CreateVolume(s.context(), request("pvc-1", mib, mount("")))
		if err == nil && resp.GetVolume().GetVolumeId() == "pvc-1" {
			break
		}
		if status.Code(err) != codes.Aborted || time.Now().After(end) {
			t.Fatalf("asked again: %v, %v", resp, err)
		}
	}
	// Its lock was given back before the log was told of it.
	for end := time.Now().Add(deadline); !strings.Contains(s.log.String(), "operation ended after its call"); time.Sleep(time.Millisecond) { // between two looks
		if time.Now().After(end) {
			t.Fatal("the log does not tell how the operation ended")
		}
	}
}

// TestClonesSideBySide makes two clones of one source at the same moment.
func TestClonesSideBySide(t *testing.T) {
	s, g := gated(t, "Clone", driver.Config{StopTimeout: deadline})
	s.create(request("source", mib, mount("")))
	done := make(chan error)
	for _, name := range []string{"one", "two"} {
		go func() {
			_, err := s.CreateVolume(s.context(), cloneRequest(name, "source", 0, mount("")))
			done <- err
		}()
	}
	<-g.entered
	<-g.entered
	_, err := s.DeleteVolume(s.context(), &csi.DeleteVolumeRequest{VolumeId: "source"})
	s.want(err, codes.Aborted, "source")
	close(g.open)
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	s.delete("source")
}

func TestPanic(t *testing.T) {
	s := &service{T: t, store: fake.New(tank)}
	s.store.Intercept = func(op string, _ zfs.VolumeID) error {
		if op == "Create" || op == "List" {
			panic("a fault")
		}
		return nil
	}
	s.start(driver.Config{StopTimeout: deadline})
	_, err := s.CreateVolume(s.context(), request("pvc-1", mib, mount("")))
	s.want(err, codes.Internal)
	_, err = s.ListVolumes(s.context(), &csi.ListVolumesRequest{})
	s.want(err, codes.Internal)
	s.delete("pvc-1") // Its lock was given back.
	if log := s.log.String(); !strings.Contains(log, "a fault") || !strings.Contains(log, "call_test.go") {
		t.Errorf("the log does not tell of the panic:\n%s", log)
	}
}

// TestGetMeanwhile asks for a volume that is there and does not have its mark yet: while it is being made
// nobody can tell, and afterwards it is somebody else's.
func TestGetMeanwhile(t *testing.T) {
	s, g := &service{T: t, store: fake.New(tank)}, newGate("Create")
	s.store.Intercept = func(op string, id zfs.VolumeID) error {
		if op == "Get" {
			return zfs.ErrNotOurs
		}
		return g.pass(op, id)
	}
	s.start(driver.Config{StopTimeout: deadline})
	made := make(chan error)
	go func() {
		_, err := s.CreateVolume(s.context(), request("pvc-1", mib, mount("")))
		made <- err
	}()
	<-g.entered
	_, err := s.ControllerGetVolume(s.context(), &csi.ControllerGetVolumeRequest{VolumeId: "pvc-1"})
	s.want(err, codes.Aborted, "pvc-1")
	close(g.open)
	s.want(<-made, codes.OK)
	_, err = s.ControllerGetVolume(s.context(), &csi.ControllerGetVolumeRequest{VolumeId: "pvc-1"})
	s.want(err, codes.FailedPrecondition)
}

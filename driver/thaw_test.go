package driver

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/zfs-csi/zfs-csi/driver/filesystem"
	"github.com/zfs-csi/zfs-csi/zfs"
)

// freezeByHand brings a filesystem to rest as somebody else does, or a process that died.
func (n *node) freezeByHand(path string) {
	n.Helper()
	dir, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	must(n.T, err)
	defer unix.Close(dir)
	must(n.T, filesystem.Freeze(dir))
}

func (n *node) thawByHand(path string) {
	n.Helper()
	dir, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	must(n.T, err)
	defer unix.Close(dir)
	must(n.T, filesystem.Thaw(dir))
}

// staged stages a volume and returns where.
func (n *node) staged(id string, u use) string {
	n.Helper()
	n.volume(id, u, 320*mib)
	path := n.folder(id)
	must(n.T, n.stage(id, path, mountCapability(u.fsType, multiWriter)))
	return path
}

// When a driver has answered its first call, what an earlier one left at rest goes on, although no pool can be
// asked; what is not a volume of ours does not, and what is frozen from then on stays so, also when the store is swept.
func TestServeThaws(t *testing.T) {
	eachType(t, func(n *node, u use) {
		left, foreign := n.staged("left", u), n.staged("foreign", u)
		delete(n.store.devices, n.store.Parents()[0].String()+"/foreign")
		swept := make(chan struct{})
		n.store.Intercept = func(op string, _ zfs.VolumeID) error {
			switch op {
			case "Owner":
				return nil
			case "Sweep":
				swept <- struct{}{}
			}
			return zfs.ErrUnavailable
		}
		n.freezeByHand(left)
		n.freezeByHand(foreign)

		ctx, cancel := context.WithCancel(n.context())
		defer cancel()
		socket, served := filepath.Join(n.dir, "csi.sock"), make(chan error, 1)
		go func() { served <- n.Serve(ctx, socket) }()
		conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))
		must(n.T, err)
		defer conn.Close()
		_, err = csi.NewIdentityClient(conn).GetPluginInfo(ctx, &csi.GetPluginInfoRequest{})
		must(n.T, err)
		if frozen(n.T, left) {
			n.Error("a volume that was left at rest still is when calls are answered")
			n.thawByHand(left)
		}
		if !frozen(n.T, foreign) {
			n.Error("a filesystem that is not ours was let go on")
		}
		<-swept

		n.freezeByHand(left)
		again, stop := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() {
			defer close(done)
			n.sweep(again)
		}()
		<-swept
		stop()
		<-done
		if !frozen(n.T, left) {
			n.Error("a sweep let a filesystem go on that somebody brought to rest after the start")
		}
		n.thawByHand(left)
		n.thawByHand(foreign)
		cancel()
		must(n.T, <-served)
	})
}

// What could not be let go on at first is tried again until it has been, and then no more.
func TestThawAgain(t *testing.T) {
	eachType(t, func(n *node, u use) {
		left := n.staged("left", u)
		asked := 0
		n.store.Intercept = func(op string, _ zfs.VolumeID) error {
			if asked++; asked < 3 {
				return errors.New("the device does not answer")
			}
			return nil
		}
		n.thawRetry = time.Millisecond
		n.freezeByHand(left)
		n.thawAtStart(n.context())
		n.running.Wait()
		if frozen(n.T, left) || asked != 3 {
			n.Errorf("the filesystem is at rest, or the device was asked %d times, not 3", asked)
		}
	})
}

// A filesystem that hangs does not keep another at rest.
func TestThawBesideOneThatHangs(t *testing.T) {
	eachType(t, func(n *node, u use) {
		left := []string{n.staged("a", u), n.staged("b", u)}
		for _, path := range left {
			n.freezeByHand(path)
		}
		hang, hangs := make(chan struct{}), make(chan struct{}, 1)
		hangs <- struct{}{}
		n.store.Intercept = func(string, zfs.VolumeID) error {
			select {
			case <-hangs: // Whichever comes first.
				<-hang
			default:
			}
			return nil
		}
		started := make(chan struct{})
		go func() {
			defer close(started)
			n.thawAtStart(n.context())
		}()
		written := make(chan string, len(left))
		for _, path := range left {
			go func() {
				if err := os.WriteFile(path+"/file", nil, 0o600); err == nil {
					written <- path
				}
			}()
		}
		for i := range left {
			select {
			case <-written:
			case <-time.After(callTime):
				n.Errorf("%d of %d filesystems go on", i, len(left))
			}
			if i == 0 {
				close(hang)
			}
		}
		<-started
		n.running.Wait()
	})
}

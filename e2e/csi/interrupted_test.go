package csi_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"

	"github.com/zfs-csi/zfs-csi/zfs"
)

// TestPending: while an operation runs on a volume others on it are told ABORTED, those
// on other volumes run, and a call whose deadline passes returns while its work goes on.
func TestPending(t *testing.T) {
	s := newStack(t)
	a := s.create(dataset.request("a"))
	reached, release := make(chan struct{}), make(chan struct{})
	s.runner.at(func(c zfs.Command) error {
		if c.Args[0] == "clone" && strings.HasSuffix(c.Args[len(c.Args)-1], "/b") {
			close(reached)
			<-release
		}
		return nil
	})
	ctx, cancel := context.WithCancel(s.ctx())
	first := make(chan error, 1)
	go func() {
		_, err := s.CreateVolume(ctx, dataset.cloneRequest("b", a))
		first <- err
	}()
	<-reached

	_, err := s.CreateVolume(s.ctx(), dataset.cloneRequest("b", a))
	s.code(err, codes.Aborted, "b")
	_, err = s.DeleteVolume(s.ctx(), &csi.DeleteVolumeRequest{VolumeId: "b"})
	s.code(err, codes.Aborted, "b")
	_, err = s.DeleteVolume(s.ctx(), &csi.DeleteVolumeRequest{VolumeId: a})
	s.code(err, codes.Aborted, a)
	c := s.create(dataset.cloneRequest("c", a)) // the source is shared by clones
	d := s.create(dataset.request("d"))

	cancel()
	s.code(<-first, codes.Canceled)
	_, err = s.DeleteVolume(s.ctx(), &csi.DeleteVolumeRequest{VolumeId: "b"})
	s.code(err, codes.Aborted, "b")
	close(release)
	s.insist("the clone is there", func() error {
		_, err := s.CreateVolume(s.ctx(), dataset.cloneRequest("b", a))
		return err
	}, codes.Aborted)
	s.delete(a, "b", c, d)
}

// TestUndone: a clone whose command fails leaves nothing, and asked for again it is made.
func TestUndone(t *testing.T) {
	s := newStack(t)
	for _, k := range []kind{dataset, zvol} {
		a := s.create(k.request("a"))
		for _, mode := range []string{"cow", "copy"} {
			req := k.cloneRequest("b", a)
			req.Parameters = map[string]string{"cloneMode": mode}
			for _, command := range map[string][]string{"cow": {"snapshot", "clone"}, "copy": {"snapshot", "send", "receive", "set", "rename"}}[mode] {
				s.runner.at(func(c zfs.Command) error {
					if c.Args[0] == command && !looks(c) {
						return errDied
					}
					return nil
				})
				s.unchanged(func() {
					_, err := s.CreateVolume(s.ctx(), req)
					s.code(err, codes.Internal)
				})
				s.runner.at(nil)
			}
			s.delete(s.create(req))
		}
		s.delete(a)
	}
}

// TestInterrupted: a process that dies between two commands leaves what the repeated
// call, the deletion, or the sweep of the next process makes good.
func TestInterrupted(t *testing.T) {
	s := newStack(t)
	a := s.create(dataset.request("a"))
	s.writeIn(dataset, a, "text")
	points := 0
	for _, c := range []struct {
		req *csi.CreateVolumeRequest
		// before are the commands before which it dies, and what is then there to be mended.
		before map[string]string
	}{
		{dataset.cloneRequest("b", a), map[string]string{"clone": "@clone-"}},
		{dataset.copyRequest("b", a), map[string]string{
			"receive": "@copy-", "destroy": "@copy-", "set": "/.copy-b", "rename": "/.copy-b", "inherit": "",
		}},
	} {
		for command, left := range c.before {
			points++ // The commands come in another order each time, so that each is repeated in some run and never in another.
			for _, repeated := range repetitions(points, true) {
				s.dieBefore(command, func() {
					_, err := s.CreateVolume(s.ctx(), c.req)
					if left != "" {
						s.code(err, codes.Internal)
					}
				})
				if !strings.Contains(s.pool(), left) {
					t.Fatalf("dying before %s leaves nothing to be mended:\n%s", command, s.pool())
				}
				s.restart()
				s.swept() // Until then a call can be told ABORTED.
				if repeated {
					if got := s.readIn(dataset, s.create(c.req)); got != "text" {
						t.Errorf("after dying before %s and a repeated call the volume holds %q", command, got)
					}
				}
				s.delete("b")
				s.eventually("all is mended", s.tidy)
				if pool := s.pool(); strings.Contains(pool, "@") || strings.Contains(pool, "b\t") {
					t.Errorf("dying before %s has left:\n%s", command, pool)
				}
			}
		}
	}
	s.delete(a)
}

// TestUnmarked: a process that dies after it has answered, before it marked the snapshot of a clone for removal,
// leaves that to the next one.
func TestUnmarked(t *testing.T) {
	s := newStack(t)
	a := s.create(dataset.request("a"))
	s.writeIn(dataset, a, "text")
	s.runner.at(func(c zfs.Command) error {
		if c.Args[0] == "program" && changes(c) { // To make a clone takes none but those that look.
			return errDied
		}
		return nil
	})
	b := s.create(dataset.cloneRequest("b", a))
	s.eventually("the driver tries", func() error {
		if !strings.Contains(s.logs.String(), "cannot be marked") {
			return errors.New("not yet")
		}
		return nil
	})
	s.runner.at(nil)
	if s.marked() == nil {
		t.Error("the snapshot is marked already")
	}
	s.restart()
	s.swept()
	s.must(s.marked())
	s.delete(a)
	if got := s.readIn(dataset, b); got != "text" {
		t.Errorf("the clone holds %q", got)
	}
	s.delete(b)
}

// dieBefore has f find that no command is started any more from the first such on.
func (s *stack) dieBefore(command string, f func()) {
	s.Helper()
	var dead atomic.Bool
	s.runner.at(func(c zfs.Command) error {
		if c.Args[0] == command {
			dead.Store(true)
		}
		if dead.Load() {
			return errDied
		}
		return nil
	})
	f()
	s.runner.at(nil)
}

// TestDeadline: a hung command does not hang the calls that come after.
func TestDeadline(t *testing.T) {
	s := newStack(t)
	reached, hang := make(chan struct{}), make(chan struct{})
	reach := sync.OnceFunc(func() { close(reached) })
	s.runner.at(func(zfs.Command) error {
		reach()
		<-hang
		return nil
	})
	ctx, cancel := context.WithTimeout(s.ctx(), inTime)
	defer cancel()
	_, err := s.CreateVolume(ctx, dataset.request("a"))
	s.code(err, codes.DeadlineExceeded)
	select {
	case <-reached:
	default:
		close(hang)
		t.Fatal("the deadline passed before the first command")
	}
	_, err = s.CreateVolume(s.ctx(), dataset.request("a"))
	s.code(err, codes.Aborted, "a")
	close(hang)
	s.runner.at(nil)
	s.insist("the volume is there", func() error {
		_, err := s.CreateVolume(s.ctx(), dataset.request("a"))
		return err
	}, codes.Aborted)
	s.delete("a")
}

package csi_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/zfs-csi/zfs-csi/zfs"
)

// frail is a pool whose device can go away. Its file lies on a file system of its own, which is then
// filled to the brim: writes to the pool fail.
type frail struct {
	*stack
	pool, dir string
}

// onFrail has the stack use a frail pool with that failmode (zpoolprops(7)), and no other.
func onFrail(t *testing.T, failmode string) *frail {
	t.Helper()
	s := newStack(t)
	f := &frail{stack: s, pool: s.parents[0].Pool() + "-frail", dir: t.TempDir()}
	s.must(unix.Mount("tmpfs", f.dir, "tmpfs", 0, "size=96m"))
	t.Cleanup(func() { s.must(unix.Unmount(f.dir, unix.MNT_DETACH)) })
	file := filepath.Join(f.dir, "file")
	s.must(os.WriteFile(file, nil, 0o600))
	s.must(os.Truncate(file, 1<<30))
	s.shell("zpool", "create", "-o", "cachefile=none", "-o", "failmode="+failmode, "-O", "mountpoint=none", f.pool, file)
	before := s.parents
	s.onlyParent(f.pool + "/csi")
	s.swept()
	t.Cleanup(func() {
		if !t.Failed() {
			s.empty()
		}
		f.comeBack() // Else nothing ends.
		s.stop()
		s.shell("zpool", "destroy", f.pool)
		s.parents = before
		s.start()
	})
	return f
}

// filler is the file that takes the room of the pool's.
func (f *frail) filler() string { return filepath.Join(f.dir, "filler") }

// goAway lets all writes to the device fail from now on. The pool notices with the next.
func (f *frail) goAway() {
	filler, err := os.Create(f.filler())
	for err == nil {
		_, err = filler.Write(make([]byte, mib))
	}
	f.must(filler.Close())
}

// suspended returns nil when the pool has noticed. Up to OpenZFS 2.1 its state does not tell with failmode=continue.
func (f *frail) suspended() error {
	if err := f.stateIs(f.pool, "SUSPENDED"); err != nil && !strings.Contains(f.shell("zpool", "status", f.pool), "in response to IO failures") {
		return err
	}
	return nil
}

// comeBack lets the device be there again, and the pool know.
func (f *frail) comeBack() {
	f.Helper()
	if err := os.Remove(f.filler()); err != nil {
		return // It was not away.
	}
	f.shell("zpool", "clear", f.pool)
	f.eventually("the pool is back", func() error { return f.stateIs(f.pool, "ONLINE") })
}

// TestPoolSuspended: a pool whose device fails suspends its I/O, and calls answer in
// time all the same; when the device is back, so is everything.
func TestPoolSuspended(t *testing.T) {
	for _, failmode := range []string{"wait", "continue"} {
		t.Run(failmode, func(t *testing.T) {
			s := onFrail(t, failmode)
			a := s.withSnapshots("a")
			path := s.publish(a, dataset)
			s.goAway()
			// Something must be written for the pool to notice, and whoever waits for it waits long.
			go func() {
				f, err := os.Create(filepath.Join(path, "noise"))
				if err != nil {
					return
				}
				noise := make([]byte, 4*mib)
				for i := range noise {
					noise[i] = byte(i * i >> 3)
				}
				if _, err := f.Write(noise); err == nil {
					_ = f.Sync() // it fails or hangs: that is the point
				}
				_ = f.Close()
			}()
			s.eventually("the pool is suspended", s.suspended)
			s.unavailable(a)

			s.comeBack()
			s.unpublish(a)
			s.withoutSnapshots(a)
		})
	}
}

// TestSuspendedMeanwhile: the device goes away in the midst of an operation. The call returns in time, the
// next one says ABORTED while a command hangs, and when the device is back all of it is done.
func TestSuspendedMeanwhile(t *testing.T) {
	for _, failmode := range []string{"wait", "continue"} {
		for _, k := range faultyKinds() {
			t.Run(failmode+"/"+k.name, func(t *testing.T) {
				s := onFrail(t, failmode)
				chosen := unlessAll(operations(), map[string][]string{
					"wait": {"create", "copy", "snapshot", "delete a source with a snapshot"}, "continue": {"clone", "delete a source with a clone"},
				}[failmode]...)
				s.inTurn(k, chosen, func(op operation) {
					s.goesAwayAt(k, op, 1)
					// Once more, later in the operation, where it can be taken back.
					for n := 2; exhaustive() && len(op.made) > 0; n++ {
						for id := range op.made {
							s.remove(id)
						}
						if !s.goesAwayAt(k, op, n) {
							break
						}
					}
				})
			})
		}
	}
}

// goesAwayAt makes the call, and the device goes away before the n-th command that changes something. It
// returns false when there is none.
func (f *frail) goesAwayAt(k kind, op operation, n int) bool {
	f.Helper()
	ctx, cancel := context.WithCancel(f.ctx())
	defer cancel()
	gone := make(chan time.Time, 1)
	f.atChange(n, func() {
		f.goAway()
		gone <- time.Now()
		time.AfterFunc(inTime, cancel)
	})
	err := op.call(ctx, f.stack, k)
	f.runner.wrap(nil)
	select {
	case at := <-gone:
		if took := time.Since(at); took > inTime+slack {
			f.Errorf("%s took %s, and was given up after %s", op.name, took, inTime)
		}
	default:
		f.must(err)
		return false
	}
	switch status.Code(err) {
	case codes.Canceled:
		f.eventually("the pool is suspended", f.suspended)
		f.code(op.call(f.soon(), f.stack, k), codes.Aborted)
	case codes.Unavailable, codes.OK:
	default:
		f.Errorf("%s on a pool whose device has gone: %v", op.name, err)
	}
	f.Logf("%s, away at change %d: %v", op.name, n, status.Code(err))
	f.comeBack()
	f.insist("the call succeeds", func() error { return op.call(f.ctx(), f.stack, k) }, codes.Aborted)
	return true
}

const (
	// inTime is how long a command hangs until its call is given up.
	inTime = 3 * time.Second
	// slack is how much later it may return on a slow machine.
	slack = 10 * time.Second
)

// atChange has f called before the n-th command from now on that changes something.
func (s *stack) atChange(n int, f func()) {
	s.Helper()
	s.settle() // Or it is one that an earlier call has left to do.
	var mu sync.Mutex
	count := 0
	s.runner.wrap(func(c zfs.Command, run func() (zfs.Result, error)) (zfs.Result, error) {
		mu.Lock()
		if changes(c) {
			count++
		}
		now := changes(c) && count == n
		mu.Unlock()
		if now {
			f()
		}
		return run()
	})
}

// TestDeadlines lets the deadline of each operation pass while a command hangs: the call returns in time, the next
// one says ABORTED, and both are well once the command ends.
func TestDeadlines(t *testing.T) {
	s := newStack(t)
	s.inTurn(dataset, unlessAll(operations(), "create", "clone", "snapshot", "delete a source with a snapshot"), func(op operation) {
		reached, hang := make(chan struct{}), make(chan struct{})
		s.atChange(1, func() {
			close(reached)
			<-hang
		})
		ctx, cancel := context.WithTimeout(s.ctx(), inTime)
		defer cancel()
		s.code(op.call(ctx, s, dataset), codes.DeadlineExceeded)
		select {
		case <-reached:
		default:
			close(hang)
			t.Fatal("the deadline passed before the first change")
		}
		s.code(op.call(s.soon(), s, dataset), codes.Aborted)
		close(hang)
		s.insist("the call succeeds", func() error { return op.call(s.ctx(), s, dataset) }, codes.Aborted)
		s.runner.wrap(nil)
	})
}

// stateIs returns nil when the pool is in the state.
func (s *stack) stateIs(pool, want string) error {
	state, err := os.ReadFile(filepath.Join("/proc/spl/kstat/zfs", pool, "state"))
	if err != nil {
		return err
	}
	if got := strings.TrimSpace(string(state)); got != want {
		return fmt.Errorf("it is %s", got)
	}
	return nil
}

// onlyParent restarts the driver with one parent, which is made for it.
func (s *stack) onlyParent(name string) {
	s.Helper()
	parent, err := zfs.ParseDataset(name)
	s.must(err)
	_, err = zfs.InitParent(s.ctx(), s.runner, driverName, parent)
	s.must(err)
	s.parents = []zfs.Dataset{parent}
	s.restart()
}

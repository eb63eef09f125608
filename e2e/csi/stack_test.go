// Package csi holds the tests of the driver as an orchestrator sees it: on a real
// pool, through the gRPC socket. They are skipped where there is no ZFS; `make test`
// runs them on a machine that has it.
package csi_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/mount-utils"

	"github.com/zfs-csi/zfs-csi/driver"
	"github.com/zfs-csi/zfs-csi/e2e/service"
	"github.com/zfs-csi/zfs-csi/zfs"
	"github.com/zfs-csi/zfs-csi/zfs/zfstest"
)

const (
	mib = 1 << 20

	driverName = "test.zfs-csi.github.io"
	nodeID     = "node-1"
	// poolSize is the size of each pool; its file is sparse.
	poolSize = 64 << 30
)

// stack is a driver that serves on a socket, over real pools with a parent each.
type stack struct {
	*testing.T
	*service.Service

	pools   []*zfstest.Pool
	parents []zfs.Dataset
	runner  *runner
	store   zfs.Store
	socket  string
	dir     string
	logs    *logs
	// stop ends the driver that serves now.
	stop func()
}

// newStack starts a driver on one pool: with a second one each call has one more to look into.
func newStack(t *testing.T) *stack {
	t.Helper()
	return newStackOn(t, 1)
}

// newStackOn starts a driver on that many pools. It stops when the test ends, and the test
// fails unless the pools then are as empty as they were. The test runs beside others:
// most of the time it waits for transaction groups.
func newStackOn(t *testing.T, pools int) *stack {
	t.Helper()
	zfstest.Need(t)
	t.Parallel()
	s := &stack{T: t, dir: t.TempDir(), logs: &logs{}}
	for range pools {
		p := zfstest.NewPool(t, poolSize)
		s.pools, s.parents = append(s.pools, p), append(s.parents, p.Parent(t, "csi", driverName))
	}
	s.runner = &runner{Runner: zfs.Exec{Log: s.log()}}
	s.socket = filepath.Join(s.dir, "run", "csi.sock")
	s.start()
	t.Cleanup(func() { s.stop() })

	before := s.spaces()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the driver's log:\n%s", s.logs)
			s.detach()
			return
		}
		s.empty()
		s.sameSpace(before)
	})
	return s
}

func (s *stack) log() *slog.Logger {
	return slog.New(slog.NewTextHandler(s.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// restart ends the driver and starts another.
func (s *stack) restart() {
	s.Helper()
	s.stop()
	s.start()
}

// start starts a driver and connects to it.
func (s *stack) start() {
	s.Helper()
	log := s.log()
	store, err := zfs.NewLocal(zfs.LocalConfig{
		Driver: driverName, Parents: s.parents, Runner: s.runner, Log: log, DeviceDir: filepath.Join(s.dir, "dev"), Progress: 10 * time.Millisecond,
	})
	s.must(err)
	s.store = store
	s.logs.swept.Store(false)
	s.Service, err = service.Start(driver.Config{Name: driverName, Version: "test", NodeID: nodeID, Store: store, Log: log}, s.socket)
	s.must(err)
	serving := s.Service
	s.stop = func() {
		if err := serving.Stop(); err != nil {
			s.Errorf("the driver stopped: %v", err)
		}
	}
}

// swept waits until the driver has made good what an earlier one left, after which it starts no
// command that no call asks for.
func (s *stack) swept() {
	s.Helper()
	s.eventually("the driver has swept", func() error {
		if !s.logs.swept.Load() {
			return errors.New("not yet")
		}
		return nil
	})
}

// ctx returns a context for one call, with a deadline that no call should need.
func (s *stack) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	s.Cleanup(cancel)
	return ctx
}

func (s *stack) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// code checks that err has the gRPC code and that its message has each of the words.
func (s *stack) code(err error, want codes.Code, words ...string) {
	s.Helper()
	if status.Code(err) != want {
		s.Fatalf("error is %v, want code %s", err, want)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			s.Errorf("error %q does not say %q", err, w)
		}
	}
}

// shell runs a command of the machine, for what is outside of the driver, and returns what it prints.
func (s *stack) shell(command string, args ...string) string {
	s.Helper()
	out, err := exec.CommandContext(s.ctx(), command, args...).CombinedOutput()
	if err != nil {
		s.Fatalf("%s %s: %v: %s", command, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// pool returns everything below the parents, a line each: name, origin, defer_destroy.
func (s *stack) pool() string {
	s.Helper()
	args := []string{"list", "-H", "-r", "-t", "all", "-o", "name,origin,defer_destroy"}
	for _, p := range s.parents {
		args = append(args, p.String())
	}
	return s.shell("zfs", args...)
}

// detach takes away what a test that failed has left mounted: under mounted zvols OpenZFS 2.3 does not get done
// with the destruction of their pool.
func (s *stack) detach() {
	mounts, err := mount.ListProcMounts("/proc/mounts")
	if err != nil {
		s.Log(err)
	}
	for _, m := range slices.Backward(mounts) {
		if strings.HasPrefix(m.Path, s.dir+"/") {
			if err := unix.Unmount(m.Path, unix.MNT_DETACH); err != nil {
				s.Logf("unmount %s: %v", m.Path, err)
			}
		}
	}
}

// empty checks that there is nothing below the parents.
func (s *stack) empty() {
	s.Helper()
	if lines := strings.Count(s.pool(), "\n"); lines != len(s.parents) {
		s.Errorf("the pools are not empty:\n%s", s.pool())
	}
}

// tidy returns nil when no snapshot below the parents is without a clone or without
// the mark that removes it with the last.
func (s *stack) tidy() error {
	s.Helper()
	pool := s.pool()
	for line := range strings.Lines(pool) {
		fields := strings.Fields(line)
		if strings.Contains(fields[0], "@") && (fields[2] != "on" || !strings.Contains(pool, "\t"+fields[0]+"\t")) {
			return fmt.Errorf("%s is left over:\n%s", fields[0], pool)
		}
	}
	return nil
}

// marked returns nil when all snapshots that were taken for clones go with the last of them, for which the
// driver marks them some time after its answer.
func (s *stack) marked() error {
	s.Helper()
	for line := range strings.Lines(s.pool()) {
		if fields := strings.Fields(line); strings.Contains(fields[0], "@clone-") && fields[2] != "on" {
			return fmt.Errorf("%s is not marked", fields[0])
		}
	}
	return nil
}

// settle waits until the driver has done what answered calls have left to do.
func (s *stack) settle() {
	s.Helper()
	s.eventually("the snapshots of clones are marked for removal", s.marked)
}

// spaces returns what each parent uses, in bytes.
func (s *stack) spaces() []int64 {
	s.Helper()
	args := []string{"get", "-Hpo", "value", "used"}
	for _, p := range s.parents {
		args = append(args, p.String())
	}
	out := make([]int64, len(s.parents))
	for i, line := range strings.Fields(s.shell("zfs", args...)) {
		_, err := fmt.Sscan(line, &out[i])
		s.must(err)
	}
	return out
}

// sameSpace waits until the parents use what they did: ZFS frees in the background.
func (s *stack) sameSpace(before []int64) {
	s.Helper()
	const slack = 128 << 10 // metadata of the parent itself
	s.eventually("the space of deleted volumes is free again", func() error {
		for i, used := range s.spaces() {
			if used > before[i]+slack {
				return fmt.Errorf("%s uses %d bytes, before it was %d", s.parents[i], used, before[i])
			}
		}
		return nil
	})
}

// insist makes a call again as long as it answers one of the codes, within a deadline. Any other error is fatal.
func (s *stack) insist(what string, call func() error, transient ...codes.Code) {
	s.Helper()
	s.eventually(what, func() error {
		s.Helper()
		err := call()
		if err != nil && !slices.Contains(transient, status.Code(err)) {
			s.Fatalf("%s: %v", what, err)
		}
		return err
	})
}

// eventually polls until f returns nil, within a deadline.
func (s *stack) eventually(what string, f func() error) {
	s.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			s.Fatalf("not in time: %s: %v", what, err)
		}
		time.Sleep(50 * time.Millisecond) // between two polls
	}
}

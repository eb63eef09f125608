package csi_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"

	"github.com/zfs-csi/zfs-csi/zfs"
)

// demanding are operations that need the room of a whole volume.
func demanding() []operation {
	thick := func(name, text string, request func(k kind) *csi.CreateVolumeRequest) operation {
		return operation{"thick " + name, func(ctx context.Context, s *stack, k kind) error {
			req := request(k)
			if req.Parameters == nil {
				req.Parameters = map[string]string{}
			}
			req.Parameters["provisioning"] = "thick"
			_, err := s.CreateVolume(ctx, req)
			return err
		}, map[string]string{"n": text}, nil}
	}
	return []operation{
		thick("create", "", func(k kind) *csi.CreateVolumeRequest { return k.request("n") }),
		thick("clone", "text", func(k kind) *csi.CreateVolumeRequest { return k.cloneRequest("n", "a") }),
		thick("copy", "text", func(k kind) *csi.CreateVolumeRequest { return k.copyRequest("n", "a") }),
		thick("restore", "text", func(k kind) *csi.CreateVolumeRequest { return k.restoreRequest("n", "a@s") }),
	}
}

// TestFull lets the pool run full before each command of each operation. The call is RESOURCE_EXHAUSTED and has
// changed nothing, or what is left to do needs no room; when there is room again the repeated call
// succeeds. What only frees space works on a full pool.
func TestFull(t *testing.T) {
	for _, k := range faultyKinds() {
		t.Run(k.name, func(t *testing.T) {
			s := newStack(t)
			f := s.newFiller()
			defer f.destroy()
			s.inTurn(k, unlessAll(demanding(), "thick restore"), func(op operation) {
				// There is room for metadata, but not for a volume.
				if s.refusals(op.name, s.untilDone(k, op, f.empty, changes, f.before(k.size/2))) == 0 {
					t.Errorf("%s is not refused where there is no room for it", op.name)
				}
			})
			chosen := unlessAll(operations(), "copy", "expand", "delete a source with a snapshot", "delete a source with a clone", "delete a snapshot")
			s.inTurn(k, chosen, func(op operation) {
				refused := s.refusals(op.name, s.untilDone(k, op, f.empty, changes, f.before(0)))
				if frees := len(op.removed) > 0; frees != (refused == 0) {
					t.Errorf("on a full pool %s is refused %d times", op.name, refused)
				}
			})
		})
	}
}

// TestStageOnFullPool: a filesystem that finds no room on its zvol is not made, which is told, and is made when there is room.
func TestStageOnFullPool(t *testing.T) {
	for _, k := range []kind{ext4, xfs} {
		t.Run(k.name, func(t *testing.T) {
			s := newStack(t)
			f := s.newFiller()
			defer f.destroy()
			a := s.create(k.request("a"))
			f.fill(0)
			if err := s.Publish(s.ctx(), a, k.capability, s.place(a)); err == nil {
				t.Error("a filesystem is made and mounted without any room for it")
			}
			f.empty()
			path := s.publish(a, k)
			s.write(path, "text")
			s.unpublish(a)
			s.delete(a)
		})
	}
}

// TestOutOfSpace lets each single command that changes something tell that there is no space, which ZFS
// does not, by itself, after an earlier one has had it.
func TestOutOfSpace(t *testing.T) {
	for _, k := range faultyKinds() {
		t.Run(k.name, func(t *testing.T) {
			s := newStack(t)
			s.inTurn(k, unlessAll(slices.Concat(demanding(), operations()), "copy", "modify"), func(op operation) {
				s.refusals(op.name, s.untilDone(k, op, func() {}, takesSpace, func(c zfs.Command, _ func() (zfs.Result, error)) (zfs.Result, error) {
					name := c.Args[len(c.Args)-1]
					if c.Args[0] == "rename" {
						name = c.Args[1]
					}
					return zfs.Result{ExitCode: 1, Stderr: fmt.Appendf(nil, "cannot %s '%s': out of space\n", c.Args[0], name)}, nil
				}))
			})
		})
	}
}

// faultyKinds are the kinds of volumes that the tests of faults are made with.
func faultyKinds() []kind {
	if exhaustive() {
		return []kind{dataset, zvol}
	}
	return []kind{dataset}
}

func (s *stack) refusals(name string, n int) int {
	s.Logf("%s: refused %d times", name, n)
	return n
}

// asks tells whether a command changes nothing, as a call that may not.
func asks(c zfs.Command) bool {
	return slices.Contains([]string{"get", "list", "send"}, c.Args[0]) || looks(c)
}

// looks tells whether a command is a call that only looks.
func looks(c zfs.Command) bool { return c.Call != nil && c.Call.Only }

// changes and takesSpace tell whether a command counts for untilDone.
func changes(c zfs.Command) bool { return !asks(c) }

// takesSpace excludes questions, and what frees space: ZFS keeps room for that (see TestFull).
func takesSpace(c zfs.Command) bool {
	return changes(c) && c.Args[0] != "destroy" && c.Args[0] != "program"
}

// untilDone makes the call again and again until it succeeds, each time with a trouble in place of the command
// after the one before, of those that count. In between, each is RESOURCE_EXHAUSTED and has changed nothing but what it is to delete.
// It returns how many were refused.
func (s *stack) untilDone(k kind, op operation, end func(), counts func(zfs.Command) bool,
	trouble func(zfs.Command, func() (zfs.Result, error)) (zfs.Result, error),
) (refused int) {
	s.Helper()
	before := s.whole(op.removed...)
	for n := 1; ; n++ {
		var mu sync.Mutex
		count := 0
		s.runner.wrap(func(c zfs.Command, run func() (zfs.Result, error)) (zfs.Result, error) {
			mu.Lock()
			if counts(c) {
				count++
			}
			now := counts(c) && count == n
			mu.Unlock()
			if now {
				return trouble(c, run)
			}
			return run()
		})
		err := op.call(s.ctx(), s, k)
		s.runner.wrap(nil)
		end()
		if err == nil {
			return refused
		}
		refused++
		s.code(err, codes.ResourceExhausted)
		if after := s.whole(op.removed...); after != before {
			s.Fatalf("%s, refused at command %d, has changed the pools from\n%sto\n%s", op.name, n, before, after)
		}
	}
}

// whole returns all that there is below the parents, and what can change of it, as soon as what
// answered calls have left to do is done. Volumes whose deletion may have begun, which the next call goes on with, can
// have lost their reservation.
func (s *stack) whole(deleting ...string) string {
	s.Helper()
	s.settle()
	args := []string{"get", "-Hpr", "-t", "all", "-o", "name,property,value", "origin,defer_destroy,refquota,volsize,refreservation,compression"}
	for _, p := range s.parents {
		args = append(args, p.String())
	}
	lines := slices.Collect(strings.Lines(s.shell("zfs", args...)))
	return strings.Join(slices.DeleteFunc(lines, func(line string) bool {
		return slices.ContainsFunc(deleting, func(id string) bool { return strings.Contains(line, "/"+id+"\trefreservation\t") })
	}), "")
}

// filler takes the room in a pool.
type filler struct {
	*stack
	name string
}

func (s *stack) newFiller() filler {
	s.Helper()
	f := filler{s, s.parents[0].Pool() + "/filler"}
	s.shell("zfs", "create", "-o", "mountpoint=none", f.name)
	return f
}

// fill reserves all the room there is but for so many bytes.
func (f filler) fill(left int64) {
	f.Helper()
	for {
		f.shell("zpool", "sync", f.parents[0].Pool())
		available := f.number(f.parents[0].String(), "available")
		if available <= left {
			return
		}
		f.shell("zfs", "set", "refreservation="+strconv.FormatInt(f.number(f.name, "refreservation")+available-left, 10), f.name)
	}
}

// before fills the pool before a command.
func (f filler) before(left int64) func(zfs.Command, func() (zfs.Result, error)) (zfs.Result, error) {
	return func(_ zfs.Command, run func() (zfs.Result, error)) (zfs.Result, error) {
		f.fill(left)
		return run()
	}
}

// empty gives the room back.
func (f filler) empty() {
	f.Helper()
	f.shell("zfs", "set", "refreservation=none", f.name)
}

func (f filler) destroy() { f.shell("zfs", "destroy", f.name) }

// number returns a property that is one.
func (s *stack) number(dataset, property string) int64 {
	s.Helper()
	n, err := strconv.ParseInt(strings.TrimSpace(s.shell("zfs", "get", "-Hpo", "value", property, dataset)), 10, 64)
	s.must(err)
	return n
}

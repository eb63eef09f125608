package csi_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/zfs-csi/zfs-csi/zfs"
)

// operation is a call that can be cut off. Before it there are the volumes "a", which holds "text", "b",
// a clone of it that is thick, and a's snapshot "s".
type operation struct {
	name string
	call func(context.Context, *stack, kind) error
	// made is what is there after it, beside or instead of what there was, by ID; removed is what is not.
	made    map[string]string
	removed []string
}

func operations() []operation {
	create := func(req func(k kind) *csi.CreateVolumeRequest) func(context.Context, *stack, kind) error {
		return func(ctx context.Context, s *stack, k kind) error {
			_, err := s.CreateVolume(ctx, req(k))
			return err
		}
	}
	deletion := func(id string) func(context.Context, *stack, kind) error {
		return func(ctx context.Context, s *stack, _ kind) error {
			_, err := s.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: id})
			return err
		}
	}
	return []operation{
		{"create", create(func(k kind) *csi.CreateVolumeRequest { return k.request("n") }), map[string]string{"n": ""}, nil},
		{"clone", create(func(k kind) *csi.CreateVolumeRequest { return k.cloneRequest("n", "a") }), map[string]string{"n": "text"}, nil},
		{"copy", create(func(k kind) *csi.CreateVolumeRequest { return k.copyRequest("n", "a") }), map[string]string{"n": "text"}, nil},
		{"restore", create(func(k kind) *csi.CreateVolumeRequest { return k.restoreRequest("n", "a@s") }), map[string]string{"n": "text"}, nil},
		{"snapshot", func(ctx context.Context, s *stack, _ kind) error {
			_, err := s.CreateSnapshot(ctx, &csi.CreateSnapshotRequest{Name: "n", SourceVolumeId: "b"})
			return err
		}, map[string]string{"b@n": "text"}, nil},
		{"group snapshot", func(ctx context.Context, s *stack, _ kind) error {
			_, err := s.CreateVolumeGroupSnapshot(ctx, &csi.CreateVolumeGroupSnapshotRequest{Name: "g", SourceVolumeIds: []string{"a", "b"}})
			return err
		}, map[string]string{"a@g": "text", "b@g": "text"}, nil},
		{"expand", func(ctx context.Context, s *stack, k kind) error {
			_, err := s.ControllerExpandVolume(ctx, &csi.ControllerExpandVolumeRequest{
				VolumeId: "b", CapacityRange: &csi.CapacityRange{RequiredBytes: 2 * k.size},
			})
			return err
		}, nil, nil},
		{"delete a source with a snapshot", deletion("a"), nil, []string{"a"}},
		{"delete a clone", deletion("b"), nil, []string{"b"}},
		{"delete a snapshot", func(ctx context.Context, s *stack, _ kind) error {
			_, err := s.DeleteSnapshot(ctx, &csi.DeleteSnapshotRequest{SnapshotId: "a@s"})
			return err
		}, nil, []string{"a@s"}},
	}
}

// TestCrashes lets the driver die before and after each command of an operation. Then another one is
// started, and the call is repeated, or never repeated: what was there is there and whole, what the call
// made is there, or can be deleted, and in the end the pool holds nothing. No point is left out.
func TestCrashes(t *testing.T) {
	chosen, kinds := operations(), []kind{dataset, zvol}
	if !exhaustive() {
		// Of all that a volume is made by, and of all deletions, the ones with most to lose.
		chosen = slices.DeleteFunc(chosen, func(op operation) bool { return op.name != "restore" && op.name != "delete a source with a snapshot" })
		kinds = kinds[:1]
	}
	var mu sync.Mutex
	points := 0
	t.Run("points", func(t *testing.T) {
		for _, k := range kinds {
			t.Run(k.name, func(t *testing.T) {
				s := newStackOn(t, 1)
				for _, op := range chosen {
					for n, more := 1, true; more; n++ {
						for _, after := range []bool{false, true} {
							for _, repeated := range []bool{true, false} {
								t.Run(fmt.Sprintf("%s/%d/after=%t/repeated=%t", op.name, n, after, repeated), func(pt *testing.T) {
									s.T = pt
									defer func() { s.T = t }()
									more = s.crash(k, op, n, after, repeated)
								})
								if t.Failed() {
									return // What is left is in the way of the next.
								}
								mu.Lock()
								if points++; !more {
									points--
								}
								mu.Unlock()
							}
						}
					}
				}
			})
		}
	})
	t.Logf("the driver died at %d points", points)
}

// crash runs one point. It returns false when the operation has no n-th command.
func (s *stack) crash(k kind, op operation, n int, after, repeated bool) bool {
	s.Helper()
	held := map[string]string{"a": "text", "b": "text", "a@s": "text"}
	s.create(k.request("a"))
	s.writeIn(k, "a", "text")
	thick := k.cloneRequest("b", "a")
	thick.Parameters = map[string]string{"provisioning": "thick"}
	s.create(thick)
	s.take("s", "a")

	s.swept()
	died := s.dieAt(n, after)
	err := op.call(s.ctx(), s, k)
	s.runner.wrap(nil)
	s.restart()
	s.swept() // Until then a call can be told ABORTED.
	if !died() {
		s.must(err)
	}
	if err == nil || repeated {
		s.eventually("the call succeeds", func() error { return op.call(s.ctx(), s, k) })
		for id, text := range op.made {
			held[id] = text
		}
	}
	for _, id := range op.removed {
		delete(held, id)
	}
	for id, text := range held {
		s.holdsEither(k, id, text)
	}
	// Everything goes, also what a call made that was never repeated.
	for id := range op.made {
		held[id] = ""
	}
	for _, id := range op.removed {
		held[id] = ""
	}
	for id := range held {
		switch {
		case strings.HasSuffix(id, "@g"):
			_, err := s.DeleteVolumeGroupSnapshot(s.ctx(), &csi.DeleteVolumeGroupSnapshotRequest{GroupSnapshotId: "g"})
			s.must(err)
		case strings.Contains(id, "@"):
			s.forget(id)
		default:
			s.eventually("the volume is deleted", func() error {
				_, err := s.DeleteVolume(s.ctx(), &csi.DeleteVolumeRequest{VolumeId: id})
				return err
			})
		}
	}
	s.eventually("nothing is left", func() error {
		if pool := s.pool(); strings.Count(pool, "\n") != len(s.parents) {
			return fmt.Errorf("left:\n%s", pool)
		}
		return nil
	})
	return died()
}

// holdsEither checks what a volume holds, or a volume made of a snapshot.
func (s *stack) holdsEither(k kind, id, text string) {
	s.Helper()
	if strings.Contains(id, "@") {
		restored := s.create(k.restoreRequest("restored", id))
		defer s.delete(restored)
		id = restored
	}
	if text == "" {
		return // A new volume: its content is nobody's.
	}
	if got := s.readIn(k, id); got != text {
		s.Errorf("%s holds %q, want %q", id, got, text)
	}
}

// dieAt lets no command be started any more from the n-th on, or after the n-th has run, of which nobody
// then learns what it did. The function it returns tells whether it came to that.
func (s *stack) dieAt(n int, after bool) (died func() bool) {
	var mu sync.Mutex
	count := 0
	s.runner.wrap(func(run func() (zfs.Result, error)) (zfs.Result, error) {
		mu.Lock()
		count++
		now := count
		mu.Unlock()
		switch {
		case now < n:
			return run()
		case now == n && after:
			if _, err := run(); err != nil {
				return zfs.Result{}, err
			}
		}
		return zfs.Result{}, errDied
	})
	return func() bool {
		mu.Lock()
		defer mu.Unlock()
		return count >= n
	}
}

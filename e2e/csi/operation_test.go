package csi_test

import (
	"context"
	"slices"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
)

// operation is a call that can be cut off, or fail. Before it there is a family.
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
		{"modify", func(ctx context.Context, s *stack, _ kind) error {
			_, err := s.ControllerModifyVolume(ctx, &csi.ControllerModifyVolumeRequest{
				VolumeId: "a", MutableParameters: map[string]string{"zfs.compression": "zstd", "provisioning": "thick"},
			})
			return err
		}, nil, nil},
		deletion("delete a source with a snapshot", "a"),
		deletion("delete a source with a clone", "b"),
		{"delete a snapshot", func(ctx context.Context, s *stack, _ kind) error {
			_, err := s.DeleteSnapshot(ctx, &csi.DeleteSnapshotRequest{SnapshotId: "a@s"})
			return err
		}, nil, []string{"a@s"}},
	}
}

func deletion(name, id string) operation {
	return operation{name, func(ctx context.Context, s *stack, _ kind) error {
		_, err := s.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: id})
		return err
	}, nil, []string{id}}
}

// unlessAll returns those of the operations that the names are of, unless nothing is to be left out.
func unlessAll(all []operation, names ...string) []operation {
	if exhaustive() {
		return all
	}
	return slices.DeleteFunc(all, func(op operation) bool { return !slices.Contains(names, op.name) })
}

// family makes the volumes "a", which holds "text", "b", a clone of it that is thick, "c", a clone of that, and a's snapshot
// "s". It returns what they hold.
func (s *stack) family(k kind) map[string]string {
	s.Helper()
	s.create(k.request("a"))
	s.writeIn(k, "a", "text")
	thick := k.cloneRequest("b", "a")
	thick.Parameters = map[string]string{"provisioning": "thick"}
	s.create(thick)
	s.create(k.cloneRequest("c", "b"))
	s.take("s", "a")
	return map[string]string{"a": "text", "b": "text", "c": "text", "a@s": "text"}
}

// inTurn makes a family and calls f for each operation, one after the other. After that the operation
// has to be done, and what it made is looked at and removed.
func (s *stack) inTurn(k kind, operations []operation, f func(op operation)) {
	s.Helper()
	held := s.family(k)
	for _, op := range operations {
		if len(op.removed) > 0 {
			for id, text := range held {
				s.holdsEither(k, id, text)
			}
		}
		f(op)
		for id, text := range op.made {
			s.holdsEither(k, id, text)
		}
		for id := range op.made {
			s.remove(id)
		}
		for _, id := range op.removed {
			delete(held, id)
		}
	}
	for id, text := range held {
		s.holdsEither(k, id, text)
	}
	for id := range held {
		s.remove(id)
	}
	s.empty()
}

// remove deletes a volume, a snapshot, or, by one of its snapshots, the group "g", which may be gone.
func (s *stack) remove(id string) {
	s.Helper()
	switch {
	case strings.HasSuffix(id, "@g"):
		_, err := s.DeleteVolumeGroupSnapshot(s.ctx(), &csi.DeleteVolumeGroupSnapshotRequest{GroupSnapshotId: "g"})
		s.must(err)
	case strings.Contains(id, "@"):
		s.forget(id)
	default:
		// What made it may not have ended, and a command that another test starts just now holds all that is open, for a moment.
		s.insist(id+" is deleted", func() error {
			_, err := s.DeleteVolume(s.ctx(), &csi.DeleteVolumeRequest{VolumeId: id})
			return err
		}, codes.Aborted, codes.FailedPrecondition)
	}
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

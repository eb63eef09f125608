package csi_test

import (
	"context"
	"slices"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"
)

// mortality is an operation that the driver can die in, and what there is to be seen after it beside contents.
type mortality struct {
	operation
	// prepare makes what the operation needs beside the family, and notes it in held; nil for nothing.
	prepare func(s *stack, k kind, held map[string]string)
	// end takes back what would keep a volume from being deleted; nil for nothing.
	end func(s *stack)
	// sizes are those of volumes after it, as multiples of the kind's, where they are not 1.
	sizes map[string]int64
	// modified tells that "a" is changed.
	modified bool
	// abroad tells that it takes a second pool.
	abroad bool
}

// spares tells whether what was there is as it was when what the operation made is removed again.
func (m mortality) spares() bool {
	for id := range m.sizes {
		if _, made := m.made[id]; !made {
			return false
		}
	}
	return m.prepare == nil && !m.modified && len(m.removed) == 0
}

// mortalities returns all that the driver can die in.
func mortalities(k kind) (all []mortality) {
	if k.onZvol() {
		return append(resting(k), stage())
	}
	for _, op := range operations() {
		m := mortality{operation: op, modified: op.name == "modify"}
		if op.name == "expand" {
			m.sizes = map[string]int64{"b": 2}
		}
		all = append(all, m)
	}
	buried := func(s *stack, _ kind, held map[string]string) {
		s.delete("a")
		delete(held, "a")
	}
	volume := func(name string, req func(s *stack, k kind) *csi.CreateVolumeRequest) operation {
		return operation{name, func(ctx context.Context, s *stack, k kind) error {
			_, err := s.CreateVolume(ctx, req(s, k))
			return err
		}, map[string]string{"n": "text"}, nil}
	}
	return append(all,
		mortality{operation: volume("clone to a larger size", func(_ *stack, k kind) *csi.CreateVolumeRequest {
			req := k.cloneRequest("n", "a")
			req.CapacityRange.RequiredBytes *= 2
			return req
		}), sizes: map[string]int64{"n": 2}},
		mortality{abroad: true, operation: volume("copy to another pool", func(s *stack, k kind) *csi.CreateVolumeRequest {
			req := k.cloneRequest("n", "a")
			req.Parameters = map[string]string{"parent": s.parents[1].String()}
			return req
		})},
		mortality{operation: volume("restore from a tombstone", func(_ *stack, k kind) *csi.CreateVolumeRequest {
			return k.restoreRequest("n", "a@s")
		}), prepare: buried},
		mortality{operation: operation{"delete a tombstone's last snapshot", func(ctx context.Context, s *stack, _ kind) error {
			_, err := s.DeleteSnapshot(ctx, &csi.DeleteSnapshotRequest{SnapshotId: "a@s"})
			return err
		}, nil, []string{"a@s"}}, prepare: buried},
		mortality{operation: deletion("delete a clone", "c")},
		mortality{operation: deletion("delete a volume of no relatives", "n"), prepare: func(s *stack, k kind, held map[string]string) {
			s.create(k.request("n"))
			held["n"] = ""
		}},
		mortality{operation: deletion("delete what a tombstone was restored to", "r"), prepare: func(s *stack, k kind, held map[string]string) {
			buried(s, k, held)
			s.create(k.restoreRequest("r", "a@s"))
			held["r"] = "text"
		}},
		mortality{operation: operation{"delete a group", func(ctx context.Context, s *stack, _ kind) error {
			_, err := s.DeleteVolumeGroupSnapshot(ctx, &csi.DeleteVolumeGroupSnapshotRequest{GroupSnapshotId: "g"})
			return err
		}, nil, []string{"a@g", "b@g"}}, prepare: func(s *stack, _ kind, held map[string]string) {
			_, err := s.CreateVolumeGroupSnapshot(s.ctx(), &csi.CreateVolumeGroupSnapshotRequest{Name: "g", SourceVolumeIds: []string{"a", "b"}})
			s.must(err)
			held["a@g"], held["b@g"] = "text", "text"
		}},
	)
}

// resting returns the operations before which a mounted filesystem is brought to rest. If it stayed so, its volume could not be removed.
func resting(k kind) (all []mortality) {
	for _, op := range operations() {
		if slices.Contains([]string{"clone", "copy", "snapshot", "group snapshot"}, op.name) {
			all = append(all, mortality{
				operation: op,
				prepare: func(s *stack, _ kind, _ map[string]string) {
					s.publish("a", k)
					s.publish("b", k)
				},
				end: func(s *stack) {
					s.unpublish("a")
					s.unpublish("b")
				},
			})
		}
	}
	return all
}

// stage makes a filesystem on a new volume, grows the volume, and stages it again, which grows the filesystem.
func stage() mortality {
	return mortality{
		operation: operation{"stage, expand and stage", func(ctx context.Context, s *stack, k kind) error {
			if err := s.Publish(ctx, "n", k.capability, s.place("n")); err != nil {
				return err
			}
			if err := s.Unpublish(ctx, "n", s.place("n")); err != nil {
				return err
			}
			size := &csi.CapacityRange{RequiredBytes: 2 * k.size}
			if _, err := s.ControllerExpandVolume(ctx, &csi.ControllerExpandVolumeRequest{VolumeId: "n", CapacityRange: size}); err != nil {
				return err
			}
			if err := s.Publish(ctx, "n", k.capability, s.place("n")); err != nil {
				return err
			}
			_, err := s.NodeExpandVolume(ctx, &csi.NodeExpandVolumeRequest{
				VolumeId: "n", VolumePath: s.target("n"), StagingTargetPath: s.staging("n"), CapacityRange: size, VolumeCapability: k.capability,
			})
			if err == nil && s.room(s.target("n")) < k.size*3/2 {
				s.Errorf("the filesystem has %d bytes, and its volume %d", s.room(s.target("n")), 2*k.size)
			}
			return err
		}, map[string]string{"n": ""}, nil},
		prepare: func(s *stack, k kind, held map[string]string) {
			s.create(k.request("n"))
			held["n"] = ""
		},
		end:   func(s *stack) { s.unpublish("n") },
		sizes: map[string]int64{"n": 2},
	}
}

// looks checks the lists, with the sizes, and the properties that count: of what is held all is there, as the call asked
// for when it is done, and beside that nothing but what a call that is not done may have made, or not removed yet.
func (s *stack) looks(k kind, m mortality, held map[string]string, done bool) {
	s.Helper()
	perhaps := map[string]bool{}
	if !done {
		for id := range m.made {
			perhaps[id] = true
		}
		for _, id := range m.removed {
			perhaps[id] = true
		}
	}
	got := map[string]int64{}
	volumes, err := s.ListVolumes(s.ctx(), &csi.ListVolumesRequest{})
	s.must(err)
	for _, e := range volumes.GetEntries() {
		got[e.GetVolume().GetVolumeId()] = e.GetVolume().GetCapacityBytes()
	}
	snapshots, err := s.ListSnapshots(s.ctx(), &csi.ListSnapshotsRequest{})
	s.must(err)
	for _, e := range snapshots.GetEntries() {
		got[e.GetSnapshot().GetSnapshotId()] = e.GetSnapshot().GetSizeBytes()
	}
	for id := range held {
		if _, listed := got[id]; !listed && !perhaps[id] {
			s.Errorf("%s is in no list", id)
		}
	}
	for id, size := range got {
		if _, known := held[id]; !known && !perhaps[id] {
			s.Errorf("%s is listed", id)
		}
		want := []int64{k.size * max(m.sizes[id], 1)}
		if !done {
			want = append(want, k.size)
		}
		if !slices.Contains(want, size) {
			s.Errorf("%s has %d bytes, want one of %v", id, size, want)
		}
	}
	s.reserved(k, m, held, done)
}

// reserved checks that "b" is thick and nothing else, and "a" what it was changed to, or was before.
func (s *stack) reserved(k kind, m mortality, held map[string]string, done bool) {
	s.Helper()
	for id, size := range held {
		if strings.Contains(id, "@") {
			continue
		}
		properties := strings.Fields(s.shell("zfs", "get", "-Hpo", "value", "refreservation,compression,refquota,volsize", s.dataset(id)))
		thick, changed := properties[0] != "0" && properties[0] != "none", properties[1] == "zstd"
		switch may := m.modified && id == "a"; {
		case may && (thick != changed || done && !thick):
			s.Errorf("the modified volume is thick: %t, and has compression=zstd: %t; want both%s", thick, changed, map[bool]string{false: " or none"}[done])
		case !may && (thick != (id == "b") || changed):
			s.Errorf("%s, of %s bytes, has refreservation, compression, refquota and volsize %v", id, size, properties)
		}
	}
}

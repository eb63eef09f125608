package history_test

import (
	"context"
	"fmt"
	"slices"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"
)

// alone returns the snapshots that can be deleted by themselves.
func (h *history) alone() []*snapshot {
	return slices.DeleteFunc(slices.Clone(h.snapshots), func(s *snapshot) bool { return s.group != nil })
}

// snapshot takes a snapshot of a volume, published or not.
func (h *history) snapshot() {
	s := &snapshot{name: pick(h, "name", h.freeSnapshotNames()), of: pick(h, "volume", h.volumes)}
	var got *csi.Snapshot
	if !h.tried(fmt.Sprintf("snapshot %s of %s", s.name, s.of.name), h.taking(s, &got)) {
		id := s.of.id + "@" + s.name
		h.mayBe(s.name, []string{id}, func() { h.allowed("delete snapshot "+id+", which may be there", h.forgetting(id)) })
		return
	}
	h.cut(s, got)
}

func (h *history) taking(s *snapshot, got **csi.Snapshot) func(context.Context) error {
	return func(ctx context.Context) error {
		resp, err := h.CreateSnapshot(ctx, &csi.CreateSnapshotRequest{Name: s.name, SourceVolumeId: s.of.id})
		*got = resp.GetSnapshot()
		return err
	}
}

// cut takes a snapshot that was just taken into the model.
func (h *history) cut(s *snapshot, got *csi.Snapshot) {
	s.id, s.created = got.GetSnapshotId(), got.GetCreationTime()
	s.size, s.text = s.of.size, s.of.text
	h.distinct(s.id)
	h.snapshots = append(h.snapshots, s)
	h.touched = append(h.touched, s)
	h.toldSnapshot(got, s)
}

// snapshotAgain asks again for a snapshot that is there.
func (h *history) snapshotAgain() {
	s := pick(h, "snapshot", slices.DeleteFunc(h.alone(), func(s *snapshot) bool { return !slices.Contains(h.volumes, s.of) }))
	var got *csi.Snapshot
	h.allowed(fmt.Sprintf("snapshot %s of %s again", s.name, s.of.name), h.taking(s, &got))
	h.toldSnapshot(got, s)
}

// restore makes a volume of a snapshot, whose own volume may be gone.
func (h *history) restore() {
	name := pick(h, "name", h.freeVolumeNames())
	s := pick(h, "snapshot", h.snapshots)
	v := &volume{name: name, kind: s.of.kind, size: s.size + pick(h, "more", sizes), text: s.text, from: s}
	parameters, how := h.way(v)
	h.make(fmt.Sprintf("%s %s of snapshot %s of %s with %d MiB", how, name, s.name, s.of.name, v.size/mib), v, parameters)
}

// deleteSnapshot deletes a snapshot, whatever was restored from it.
func (h *history) deleteSnapshot(s *snapshot) {
	if !h.tried("delete snapshot "+s.name+" of "+s.of.name, h.forgetting(s.id)) && h.hasSnapshot(s.id) {
		return // It stays, and has to be whole.
	}
	h.gone(s)
}

func (h *history) forgetting(id string) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := h.DeleteSnapshot(ctx, &csi.DeleteSnapshotRequest{SnapshotId: id})
		return err
	}
}

// gone takes a snapshot out of the model. Its deletion may be the last of what kept its
// volume, which then is deleted in truth.
func (h *history) gone(s *snapshot) {
	h.snapshots = remove(h.snapshots, s)
	h.touched = append(remove(h.touched, s), h.near(s.of)...)
}

// groupSnapshot takes snapshots of several volumes of a pool, at one moment.
func (h *history) groupSnapshot() {
	g := &group{name: pick(h, "name", h.freeGroupNames())}
	first := pick(h, "volume", h.volumes)
	members := []*volume{first}
	for _, v := range h.where(func(v *volume) bool { return v != first && v.parent == first.parent }) {
		if rapid.Bool().Draw(h.T, "and "+v.name) {
			members = append(members, v)
		}
	}
	req, names := &csi.CreateVolumeGroupSnapshotRequest{Name: g.name}, ""
	for _, v := range members {
		req.SourceVolumeIds, names = append(req.SourceVolumeIds, v.id), names+" "+v.name
	}
	var resp *csi.CreateVolumeGroupSnapshotResponse
	if !h.tried("group snapshot "+g.name+" of"+names, func(ctx context.Context) (err error) {
		resp, err = h.CreateVolumeGroupSnapshot(ctx, req)
		return err
	}) {
		h.mayBeGroup(g.name, members)
		return
	}
	got := resp.GetGroupSnapshot()
	g.id = got.GetGroupSnapshotId()
	h.same("the number of snapshots in a group", len(got.GetSnapshots()), len(members))
	h.groups = append(h.groups, g)
	for _, v := range members {
		i := slices.IndexFunc(got.GetSnapshots(), func(s *csi.Snapshot) bool { return s.GetSourceVolumeId() == v.id })
		if i < 0 {
			h.differ("the snapshots of a group", got.GetSnapshots(), v.id)
		}
		s := &snapshot{name: g.name + "/" + v.name, of: v, group: g}
		g.snapshots = append(g.snapshots, s)
		h.cut(s, got.GetSnapshots()[i])
	}
	h.toldGroup(g)
}

// mayBeGroup notes a group that was not acknowledged.
func (h *history) mayBeGroup(name string, of []*volume) {
	var ids []string
	for _, v := range of {
		ids = append(ids, v.id+"@"+name)
	}
	h.mayBe(name, ids, func() {
		h.allowed("delete group "+name+", which may be there", func(ctx context.Context) error {
			_, err := h.DeleteVolumeGroupSnapshot(ctx, &csi.DeleteVolumeGroupSnapshotRequest{GroupSnapshotId: name})
			return err
		})
	})
}

// toldGroup checks what is told of a group that is asked for.
func (h *history) toldGroup(g *group) {
	var resp *csi.GetVolumeGroupSnapshotResponse
	h.allowed("get group "+g.name, func(ctx context.Context) (err error) {
		resp, err = h.GetVolumeGroupSnapshot(ctx, &csi.GetVolumeGroupSnapshotRequest{GroupSnapshotId: g.id, SnapshotIds: g.ids()})
		return err
	})
	got := resp.GetGroupSnapshot()
	var ids []string
	for _, s := range got.GetSnapshots() {
		ids = append(ids, s.GetSnapshotId())
	}
	h.same("the group that is told of", fmt.Sprint(got.GetGroupSnapshotId(), got.GetReadyToUse(), sorted(ids)), fmt.Sprint(g.id, true, sorted(g.ids())))
}

func (g *group) ids() (ids []string) {
	for _, s := range g.snapshots {
		ids = append(ids, s.id)
	}
	return ids
}

func sorted(s []string) []string { return slices.Sorted(slices.Values(s)) }

// deleteGroup deletes a group with all its snapshots.
func (h *history) deleteGroup(g *group) {
	h.groups = remove(h.groups, g)
	for _, s := range g.snapshots {
		h.gone(s)
	}
	h.allowed("delete group "+g.name, func(ctx context.Context) error {
		_, err := h.DeleteVolumeGroupSnapshot(ctx, &csi.DeleteVolumeGroupSnapshotRequest{GroupSnapshotId: g.id, SnapshotIds: g.ids()})
		return err
	})
}

// toldSnapshot checks what a call tells of a snapshot.
func (h *history) toldSnapshot(got *csi.Snapshot, s *snapshot) {
	want := &csi.Snapshot{SnapshotId: s.id, SourceVolumeId: s.of.id, SizeBytes: s.size, CreationTime: s.created, ReadyToUse: true}
	if s.group != nil {
		want.GroupSnapshotId = s.group.id
	}
	if got.GetCreationTime() == nil || !proto.Equal(got, want) {
		h.differ("what is told of a snapshot", got, want)
	}
}

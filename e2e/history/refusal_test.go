package history_test

import (
	"context"
	"fmt"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/zfs-csi/zfs-csi/e2e/service"
)

// refusal makes a call that has to be refused, or one about what is gone already.
func (h *history) refusal() {
	refusals := []func(){h.deletePublished, h.otherSize, h.ofNothing, h.smaller, h.deleteAbsent}
	if h.can.snapshot {
		refusals = append(refusals, h.otherSource, h.restoreNothing, h.restoreSmaller, h.snapshotNothing)
	}
	if h.can.group {
		refusals = append(refusals, h.groupAcrossPools)
	}
	pick(h, "refusal", refusals)()
}

func (h *history) deletePublished() {
	v := pick(h, "volume", h.where(published))
	h.refused(codes.FailedPrecondition, "delete "+v.name+", which is published", func(ctx context.Context) error {
		_, err := h.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: v.id})
		return err
	})
}

// refusedCreation asks for a volume, which has to be refused.
func (h *history) refusedCreation(code codes.Code, what string, req *csi.CreateVolumeRequest) {
	h.refused(code, what, func(ctx context.Context) error {
		_, err := h.CreateVolume(ctx, req)
		return err
	})
}

func (h *history) otherSize() {
	v := pick(h, "volume", h.volumes)
	req := proto.Clone(v.request).(*csi.CreateVolumeRequest)
	req.CapacityRange.RequiredBytes = v.size + 8*mib
	h.refusedCreation(codes.AlreadyExists, fmt.Sprintf("create %s again, with %d MiB", v.name, req.GetCapacityRange().GetRequiredBytes()/mib), req)
}

func (h *history) ofNothing() {
	v := &volume{name: pick(h, "name", h.freeVolumeNames()), kind: pick(h, "kind", kinds), size: 16 * mib, source: &volume{id: "absent"}}
	if h.can.clone {
		h.refusedCreation(codes.NotFound, "clone "+v.name+" of a volume that is not there", v.creation(nil))
	}
}

func (h *history) smaller() {
	source := pick(h, "source", h.volumes)
	v := &volume{name: pick(h, "name", h.freeVolumeNames()), kind: source.kind, size: source.size - 8*mib, source: source}
	req := v.creation(nil)
	req.CapacityRange.LimitBytes = v.size
	h.refusedCreation(codes.OutOfRange, fmt.Sprintf("clone %s of volume %s with %d MiB", v.name, source.name, v.size/mib), req)
}

// deleteAbsent deletes what is not there, which is no error.
func (h *history) deleteAbsent() {
	h.refused(codes.OK, "delete a volume that is not there", func(ctx context.Context) error {
		_, err := h.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: "absent"})
		return err
	})
	if h.can.snapshot {
		h.refused(codes.OK, "delete a snapshot that is not there", func(ctx context.Context) error {
			_, err := h.DeleteSnapshot(ctx, &csi.DeleteSnapshotRequest{SnapshotId: "absent@absent"})
			return err
		})
	}
}

func (h *history) otherSource() {
	s := pick(h, "snapshot", h.alone())
	v := pick(h, "volume", h.where(func(v *volume) bool { return v.id != s.of.id }))
	h.refused(codes.AlreadyExists, "snapshot "+s.name+" of "+v.name+", while there is one of "+s.of.name, func(ctx context.Context) error {
		_, err := h.CreateSnapshot(ctx, &csi.CreateSnapshotRequest{Name: s.name, SourceVolumeId: v.id})
		return err
	})
}

func (h *history) restoreNothing() {
	v := &volume{name: pick(h, "name", h.freeVolumeNames()), kind: pick(h, "kind", kinds), size: 16 * mib}
	id := "absent@absent"
	if len(h.volumes) > 0 {
		id = pick(h, "volume", h.volumes).id + "@absent"
	}
	req := v.creation(nil)
	req.VolumeContentSource = service.FromSnapshot(id)
	h.refusedCreation(codes.NotFound, "clone "+v.name+" of a snapshot that is not there", req)
}

func (h *history) restoreSmaller() {
	s := pick(h, "snapshot", h.snapshots)
	v := &volume{name: pick(h, "name", h.freeVolumeNames()), kind: s.of.kind, size: s.size - 8*mib, from: s}
	req := v.creation(nil)
	req.CapacityRange.LimitBytes = v.size
	h.refusedCreation(codes.OutOfRange, fmt.Sprintf("clone %s of snapshot %s with %d MiB", v.name, s.name, v.size/mib), req)
}

func (h *history) snapshotNothing() {
	name := pick(h, "name", h.freeSnapshotNames())
	h.refused(codes.NotFound, "snapshot "+name+" of a volume that is not there", func(ctx context.Context) error {
		_, err := h.CreateSnapshot(ctx, &csi.CreateSnapshotRequest{Name: name, SourceVolumeId: "absent"})
		return err
	})
}

// groupAcrossPools asks for one moment in two pools, which ZFS does not have.
func (h *history) groupAcrossPools() {
	name := pick(h, "name", h.freeGroupNames())
	near := pick(h, "volume", h.where(func(v *volume) bool { return v.parent == "" }))
	far := pick(h, "other volume", h.where(func(v *volume) bool { return v.parent != "" }))
	h.refused(codes.FailedPrecondition, "group snapshot "+name+" of "+near.name+" and "+far.name+", in two pools", func(ctx context.Context) error {
		_, err := h.CreateVolumeGroupSnapshot(ctx, &csi.CreateVolumeGroupSnapshotRequest{Name: name, SourceVolumeIds: []string{near.id, far.id}})
		return err
	})
}

package history_test

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/zfs-csi/zfs-csi/e2e/service"
)

// operations returns what can happen next. Rapid skips those for which there is nothing.
func (h *history) operations() map[string]func(*rapid.T) {
	all := map[string]func(*rapid.T){
		"create":    func(*rapid.T) { h.create() },
		"again":     func(*rapid.T) { h.again() },
		"write":     func(*rapid.T) { h.write() },
		"publish":   func(*rapid.T) { h.publish() },
		"unpublish": func(*rapid.T) { h.unpublish(pick(h, "volume", h.where(published))) },
		"delete":    func(*rapid.T) { h.delete(pick(h, "volume", h.where(unpublished))) },
		"restart":   func(*rapid.T) { h.restart() },
		"refusal":   func(*rapid.T) { h.refusal() },
	}
	add := func(offered bool, name string, f func()) {
		if offered {
			all[name] = func(*rapid.T) { f() }
		}
	}
	add(h.can.clone, "clone", h.clone)
	add(h.can.expand, "expand", h.expand)
	add(h.can.modify, "modify", h.modify)
	add(h.storage.foreign(), "foreign snapshot", h.foreignSnapshot)
	add(h.can.snapshot, "snapshot", h.snapshot)
	add(h.can.snapshot, "snapshot again", h.snapshotAgain)
	add(h.can.snapshot, "restore", h.restore)
	add(h.can.snapshot, "delete snapshot", func() { h.deleteSnapshot(pick(h, "snapshot", h.alone())) })
	add(h.can.group, "group snapshot", h.groupSnapshot)
	add(h.can.group, "delete group", func() { h.deleteGroup(pick(h, "group", h.groups)) })
	if h.machine != nil {
		// A cut is more than a restart; and a call that is refused changes nothing that a cut could leave half-done.
		delete(all, "restart")
		delete(all, "refusal")
		all["write once more"] = all["write"] // what a cut could lose most easily
		all["delete what may be there"] = func(*rapid.T) { h.rid(pick(h, "what", h.unsure)) }
	}
	return all
}

// pick draws one of those; with none the operation cannot happen.
func pick[T any](h *history, label string, from []T) T {
	if len(from) == 0 {
		h.Skip("there is none")
	}
	return from[rapid.IntRange(0, len(from)-1).Draw(h.T, label)]
}

func published(v *volume) bool   { return v.release != nil }
func unpublished(v *volume) bool { return v.release == nil }

// sizes are what volumes are larger than they need be, in bytes.
var sizes = []int64{0, 8 * mib, 24 * mib}

// create makes an empty volume.
func (h *history) create() {
	name := pick(h, "name", h.freeVolumeNames())
	k := pick(h, "kind", kinds)
	size := 16*mib + pick(h, "more", sizes)
	h.make(fmt.Sprintf("create %s, a %s of %d MiB", name, k.name, size/mib), &volume{name: name, kind: k, size: size}, nil)
}

// clone makes a clone or a copy of a volume.
func (h *history) clone() {
	name := pick(h, "name", h.freeVolumeNames())
	source := pick(h, "source", h.volumes)
	v := &volume{name: name, kind: source.kind, size: source.size + pick(h, "more", sizes), text: source.text, source: source}
	parameters, how := h.way(v)
	h.make(fmt.Sprintf("%s %s of volume %s with %d MiB", how, name, source.name, v.size/mib), v, parameters)
}

// way draws how a volume is made of another, mostly as a clone.
func (h *history) way(v *volume) (parameters map[string]string, how string) {
	switch rapid.IntRange(0, 7).Draw(h.T, "way") {
	case 6:
		return map[string]string{"cloneMode": "copy"}, "copy"
	case 7:
		v.parent = h.storage.elsewhere()
		return map[string]string{"parent": v.parent}, "copy into the other pool,"
	}
	return nil, "clone"
}

// make makes a volume as the model has it.
func (h *history) make(what string, v *volume, parameters map[string]string) {
	v.request = v.creation(parameters)
	var resp *csi.Volume
	if !h.tried(what, h.creating(v.request, &resp)) {
		h.mayBe(v.name, []string{v.name}, func() { h.deleteVolume("delete "+v.name+", which may be there", v.name) })
		return
	}
	v.id = resp.GetVolumeId()
	h.distinct(v.id)
	h.volumes = append(h.volumes, v)
	h.told(resp, v)
}

// creation returns the request for a volume.
func (v *volume) creation(parameters map[string]string) *csi.CreateVolumeRequest {
	req := &csi.CreateVolumeRequest{
		Name: v.name, CapacityRange: &csi.CapacityRange{RequiredBytes: v.size}, Parameters: parameters,
		VolumeCapabilities: []*csi.VolumeCapability{v.kind.capability},
	}
	switch {
	case v.source != nil:
		req.VolumeContentSource = service.FromVolume(v.source.id)
	case v.from != nil:
		req.VolumeContentSource = service.FromSnapshot(v.from.id)
	}
	return req
}

func (h *history) created(what string, req *csi.CreateVolumeRequest) (got *csi.Volume) {
	h.allowed(what, h.creating(req, &got))
	return got
}

func (h *history) creating(req *csi.CreateVolumeRequest, got **csi.Volume) func(context.Context) error {
	return func(ctx context.Context) error {
		resp, err := h.CreateVolume(ctx, req)
		*got = resp.GetVolume()
		return err
	}
}

// again asks again for a volume that is there, whatever has become of its source. One that
// was modified is another than was asked for.
func (h *history) again() {
	v := pick(h, "volume", h.where(func(v *volume) bool { return len(v.modified) == 0 }))
	h.told(h.created("create "+v.name+" again", v.request), v)
}

// write replaces what a volume holds.
func (h *history) write() {
	v := pick(h, "volume", h.volumes)
	h.writes++
	before, again := v.text, false
	v.text = fmt.Sprintf("write %d, to %s", h.writes, v.name)
	h.allowed("write to "+v.name, func(context.Context) error {
		if again { // after a power cut
			h.holdsEither(v, before)
		}
		again = true
		return h.storage.Write(h.testing(), h.volumeID(v), content(v.text))
	})
}

// publish lets a pod use a volume.
func (h *history) publish() {
	v := pick(h, "volume", h.where(unpublished))
	place := service.PlaceIn(h.dir, v.id)
	h.allowed("publish "+v.name, func(ctx context.Context) error { return h.Publish(ctx, v.id, v.kind.capability, place) })
	v.release = h.storage.use(h.testing(), h.volumeID(v), place)
}

func (h *history) unpublish(v *volume) {
	v.release()
	v.release = nil
	h.allowed("unpublish "+v.name, func(ctx context.Context) error { return vacate(ctx, h.Service, v.id, service.PlaceIn(h.dir, v.id)) })
}

// expand grows a volume, or asks for less than it has, which it then keeps.
func (h *history) expand() {
	v := pick(h, "volume", h.volumes)
	size := v.size + pick(h, "more", []int64{8 * mib, 24 * mib, 0, -8 * mib})
	var resp *csi.ControllerExpandVolumeResponse
	h.allowed(fmt.Sprintf("expand %s to %d MiB", v.name, size/mib), func(ctx context.Context) (err error) {
		resp, err = h.ControllerExpandVolume(ctx, &csi.ControllerExpandVolumeRequest{
			VolumeId: v.id, CapacityRange: &csi.CapacityRange{RequiredBytes: size}, VolumeCapability: v.kind.capability,
		})
		return err
	})
	v.size = max(v.size, size)
	h.same("the size after an expansion", resp.GetCapacityBytes(), v.size)
}

// modify sets one or more of the mutable parameters of a volume.
func (h *history) modify() {
	v := pick(h, "volume", h.volumes)
	keys := slices.Sorted(maps.Keys(v.kind.mutable))
	mutable := map[string]string{}
	for _, key := range rapid.SliceOfNDistinct(rapid.SampledFrom(keys), 1, len(keys), rapid.ID[string]).Draw(h.T, "keys") {
		mutable[key] = pick(h, key, v.kind.mutable[key])
	}
	h.allowed(fmt.Sprintf("modify %s to %v", v.name, mutable), func(ctx context.Context) error {
		_, err := h.ControllerModifyVolume(ctx, &csi.ControllerModifyVolumeRequest{VolumeId: v.id, MutableParameters: mutable})
		return err
	})
	if v.modified == nil {
		v.modified = map[string]string{}
	}
	maps.Copy(v.modified, mutable)
	h.areModified()
}

// delete deletes a volume. Its snapshots stay.
func (h *history) delete(v *volume) {
	h.touched = append(h.touched, h.near(v)...)
	if !h.tried("delete "+v.name, h.deleting(v.id)) && h.hasVolume(v.id) {
		return // It stays, and has to be whole.
	}
	h.volumes = remove(h.volumes, v)
}

func (h *history) deleteVolume(what, id string) { h.allowed(what, h.deleting(id)) }

func (h *history) deleting(id string) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := h.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: id})
		return err
	}
}

// restart ends the driver and starts another, which sweeps first.
func (h *history) restart() {
	h.note("restart")
	h.stop()
	h.serve()
	h.touched = append(h.touched, h.snapshots...)
}

// foreignSnapshot takes a snapshot beside the driver, as a backup tool does, of a name that others have too.
func (h *history) foreignSnapshot() {
	v := pick(h, "volume", h.volumes)
	v.foreign++
	name := fmt.Sprintf("auto-%d", v.foreign)
	h.storage.ForeignSnapshot(h.testing(), h.volumeID(v), name)
	h.note("somebody takes snapshot %s of %s", name, v.name)
}

// told checks what a call tells of a volume.
func (h *history) told(got *csi.Volume, v *volume) {
	want := &csi.Volume{VolumeId: v.id, CapacityBytes: v.size, ContentSource: v.request.GetVolumeContentSource(), AccessibleTopology: []*csi.Topology{h.topology}}
	if !proto.Equal(got, want) {
		h.differ("what is told of a volume", got, want)
	}
}

package history_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"pgregory.net/rapid"
)

const (
	// page is how many entries of a list are asked for at once, which is as many calls as there are
	// pages: where those are dear, only every now and then.
	page = 3
	// longest is how many steps a snapshot may go without being restored, where that is dear.
	longest = 8
	// probeName is the name of the volume that a snapshot is restored to, to be read.
	probeName = "probe"
)

// check compares what is there with the model: the lists, each volume's size and content, its properties, where that is
// dear every now and then, and the content of snapshots. To see that, a snapshot has to be restored, which takes longer
// than all the rest. Where commands are dear that is done after a step only for those that the
// step could have touched (see near; a new one; after a restart all), and for those that were
// not restored for some steps, since nothing else changes or removes a snapshot; and for all
// at the end of the history.
func (h *history) check() {
	h.steps++
	h.listed()
	for _, v := range h.volumes {
		h.holds(v)
	}
	for _, s := range h.snapshots {
		if !h.storage.dear() || slices.Contains(h.touched, s) || h.steps-s.checked >= longest {
			h.restores(s)
		}
	}
	h.touched = nil
	if !h.storage.dear() || h.machine != nil || h.steps%longest == 0 {
		h.areModified()
	}
}

// listed compares the lists with the model.
func (h *history) listed() {
	got := byID(h, h.listVolumes(), (*csi.Volume).GetVolumeId)
	if len(got) != len(h.volumes) {
		h.differ("the list of volumes", got, h.volumes)
	}
	for _, v := range h.volumes {
		h.told(got[v.id], v)
	}
	if !h.can.listSnapshots {
		return
	}
	snapshots := byID(h, h.listSnapshots(&csi.ListSnapshotsRequest{}), (*csi.Snapshot).GetSnapshotId)
	if len(snapshots) != len(h.snapshots) {
		h.differ("the list of snapshots", snapshots, h.snapshots)
	}
	for _, s := range h.snapshots {
		h.toldSnapshot(snapshots[s.id], s)
	}
}

// byID returns what is in a list, each once, without what may be there.
func byID[T any](h *history, list []*T, id func(*T) string) map[string]*T {
	all := map[string]*T{}
	for _, x := range list {
		if all[id(x)] != nil {
			h.note("%s is listed twice", id(x))
			h.Fatalf("a list has something twice")
		}
		all[id(x)] = x
	}
	maps.DeleteFunc(all, func(id string, _ *T) bool { return h.isUnsure(id) })
	return all
}

// listVolumes returns the list, asked for page by page.
func (h *history) listVolumes() (all []*csi.Volume) {
	for token := ""; ; {
		var resp *csi.ListVolumesResponse
		h.quietly("list volumes", func(ctx context.Context) (err error) {
			resp, err = h.ListVolumes(ctx, &csi.ListVolumesRequest{MaxEntries: h.page(), StartingToken: token})
			return err
		})
		for _, e := range resp.GetEntries() {
			all = append(all, e.GetVolume())
		}
		if token = resp.GetNextToken(); token == "" {
			return all
		}
	}
}

func (h *history) listSnapshots(req *csi.ListSnapshotsRequest) (all []*csi.Snapshot) {
	for req.MaxEntries = h.page(); ; {
		var resp *csi.ListSnapshotsResponse
		h.quietly("list snapshots", func(ctx context.Context) (err error) {
			resp, err = h.ListSnapshots(ctx, req)
			return err
		})
		for _, e := range resp.GetEntries() {
			all = append(all, e.GetSnapshot())
		}
		if req.StartingToken = resp.GetNextToken(); req.StartingToken == "" {
			return all
		}
	}
}

// page returns how many entries of a list are asked for at once, 0 for all.
func (h *history) page() int32 {
	if h.storage.dear() && h.steps%longest != 0 {
		return 0
	}
	return page
}

// quietly is allowed for calls that only look, which are noted when they fail.
func (h *history) quietly(what string, f func(context.Context) error) {
	lines := h.lines
	h.allowed(what, f)
	h.lines = lines
}

func (h *history) hasVolume(id string) bool {
	return slices.ContainsFunc(h.listVolumes(), func(v *csi.Volume) bool { return v.GetVolumeId() == id })
}

func (h *history) hasSnapshot(id string) bool {
	return slices.ContainsFunc(h.listSnapshots(&csi.ListSnapshotsRequest{}), func(s *csi.Snapshot) bool { return s.GetSnapshotId() == id })
}

// holdsEither checks that a write that was cut off has been made, or has not.
func (h *history) holdsEither(v *volume, before string) {
	if got := h.storage.Read(h.testing(), h.volumeID(v)); got != content(before) && got != content(v.text) {
		h.note("%s holds %.60q, want %q or %q", v.name, got, before, v.text)
		h.Fatalf("a volume does not hold what it should")
	}
}

// holds checks the content of a volume.
func (h *history) holds(v *volume) {
	if got := h.storage.Read(h.testing(), h.volumeID(v)); got != content(v.text) {
		h.note("%s holds %.60q, want %q", v.name, got, v.text)
		h.Fatalf("a volume does not hold what it should")
	}
}

// restores checks the content of a snapshot, and what is told of it alone.
func (h *history) restores(s *snapshot) {
	s.checked = h.steps
	if h.can.getSnapshot {
		var resp *csi.GetSnapshotResponse
		h.quietly("get snapshot "+s.name, func(ctx context.Context) (err error) {
			resp, err = h.GetSnapshot(ctx, &csi.GetSnapshotRequest{SnapshotId: s.id})
			return err
		})
		h.toldSnapshot(resp.GetSnapshot(), s)
	}
	lines := h.lines
	v := &volume{name: probeName, kind: s.of.kind, size: s.size, text: s.text, from: s}
	v.request = v.creation(nil)
	v.id = h.created(fmt.Sprintf("restore snapshot %s of %s", s.name, s.of.name), v.request).GetVolumeId()
	h.holds(v)
	h.deleteVolume("delete "+probeName, v.id)
	h.lines = lines
}

// areModified checks the properties that were asked for, and the reservations, as the storage has them.
func (h *history) areModified() {
	all := h.storage.properties(h.testing())
	for _, v := range h.volumes {
		for key, want := range v.modified {
			name, native := strings.CutPrefix(key, "zfs.")
			if got := all[v.id][name]; native && got != want {
				h.note("%s of %s is %q, want %q", name, v.name, got, want)
				h.Fatalf("a volume is not modified as it should")
			}
		}
		thick := v.modified["provisioning"] == "thick"
		reserved, err := strconv.ParseInt(all[v.id]["refreservation"], 10, 64)
		if err != nil || thick && reserved < v.size || !thick && reserved != 0 {
			h.note("%q of the %d bytes of %s are reserved, and to be thick is %t", all[v.id]["refreservation"], v.size, v.name, thick)
			h.Fatalf("the space of a volume is not reserved as it should")
		}
	}
}

// close ends the history: each snapshot is restored, everything is deleted in random
// order, and then nothing is left and the space is what it was.
func (h *history) close() {
	h.areModified()
	for _, s := range h.snapshots {
		h.restores(s)
	}
	for _, v := range h.where(published) {
		h.unpublish(v)
	}
	for left := h.deletions(); len(left) > 0; left = h.deletions() {
		h.step("delete", left[rapid.IntRange(0, len(left)-1).Draw(h.T, "next to be deleted")])
	}
	h.check()
	if left := h.storage.Contents(h.testing()); len(left) > 0 {
		h.note("left over: %q", left)
		h.Fatalf("something is left in the end")
	}
	h.storage.Settled(h.testing())
}

// deletions returns what deletes all that is left.
func (h *history) deletions() (all []func()) {
	for _, v := range h.volumes {
		all = append(all, func() { h.delete(v) })
	}
	for _, s := range h.alone() {
		all = append(all, func() { h.deleteSnapshot(s) })
	}
	for _, g := range h.groups {
		all = append(all, func() { h.deleteGroup(g) })
	}
	for _, u := range h.unsure {
		all = append(all, func() { h.rid(u) })
	}
	return all
}

// distinct checks that an ID is not that of anything live.
func (h *history) distinct(id string) {
	taken := id == "" || slices.ContainsFunc(h.volumes, func(v *volume) bool { return v.id == id }) ||
		slices.ContainsFunc(h.snapshots, func(s *snapshot) bool { return s.id == id })
	if taken {
		h.note("%q is the ID of something else", id)
		h.Fatalf("an ID was given twice")
	}
}

// same checks that two values are.
func (h *history) same(what string, got, want any) {
	if got != want {
		h.differ(what, got, want)
	}
}

// differ fails the history.
func (h *history) differ(what string, got, want any) {
	h.note("%s: got %v, want %v", what, got, want)
	h.Fatalf("the driver tells something else than the model: %s", what)
}

// String describes a volume to people.
func (v *volume) String() string { return fmt.Sprintf("%s (%d MiB)", v.id, v.size/mib) }

// String describes a snapshot to people.
func (s *snapshot) String() string { return fmt.Sprintf("%s (%d MiB)", s.id, s.size/mib) }

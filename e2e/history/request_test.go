package history_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/zfs-csi/zfs-csi/e2e/service"
)

// The names that clients use, few, so that they are in each other's way, but not always. A
// volume's name tells its kind.
var (
	sharedVolumes   = []string{"dataset-1", "dataset-2", "dataset-3", "dataset-4", "dataset-5", "zvol-1", "zvol-2", "zvol-3"}
	sharedSnapshots = []string{"s", "t", "u", "v", "w"}
	sharedGroups    = []string{"g", "h"}
)

// kindOf returns the kind of a volume.
func kindOf(volume string) kind {
	return kinds[slices.IndexFunc(kinds, func(k kind) bool { return strings.HasPrefix(volume, k.name) })]
}

// leastSize is the size of a new volume, in bytes.
const leastSize = 16 * mib

// meets tells whether two calls have a volume or a name of snapshots in common.
func (c call) meets(other call) bool { return c.touches&other.touches != 0 }

// about returns the call with the set of the volumes and names ("@name") that it is about, each a bit.
func (c call) about() call {
	volume, snapshot, _ := strings.Cut(c.source, "@")
	keys := slices.Concat(sharedVolumes, sharedSnapshots, sharedGroups)
	for _, key := range []string{c.volume, c.other, volume, snapshot, c.name} {
		if i := slices.Index(keys, key); i >= 0 {
			c.touches |= 1 << i
		}
	}
	return c
}

func oneOf[T any](draw *rand.Rand, from []T) T { return from[draw.IntN(len(from))] }

// The pauses of a client between two calls, when the first was ABORTED.
const (
	shortestPause = 10 * time.Millisecond
	longestPause  = time.Second
)

// next makes one call, again while it is ABORTED as an orchestrator does, until the time is up.
func (c *crowd) next(client int, draw *rand.Rand, stop time.Time) {
	asked := drawn(draw).about()
	switch asked.op {
	case toUse:
		asked.text = fmt.Sprintf("text %d of client %d", draw.Uint64(), client)
	case toModify:
		asked.text = oneOf(draw, kindOf(asked.volume).mutable["zfs.compression"])
	}
	if asked.op == toUse || asked.op == toDelete && !c.storage.guards(kindOf(asked.volume)) {
		if !c.pods[asked.volume].TryLock() {
			return // The orchestrator would not do it now.
		}
		defer c.pods[asked.volume].Unlock()
	}
	for pause := shortestPause; c.made(client, asked).code == codes.Aborted && time.Now().Add(pause).Before(stop); pause = min(2*pause, longestPause) {
		time.Sleep(pause)
	}
}

// drawn draws what to ask for. More is made than deleted.
func drawn(draw *rand.Rand) call {
	asked := call{volume: oneOf(draw, sharedVolumes), name: oneOf(draw, sharedSnapshots)}
	relatives := slices.DeleteFunc(slices.Clone(sharedVolumes), func(name string) bool {
		return name == asked.volume || kindOf(name).name != kindOf(asked.volume).name
	})
	switch n := draw.IntN(100); {
	case n < 8:
		return call{op: toCreate, volume: asked.volume, size: leastSize, mode: oneOf(draw, []mode{plain, plain, abroad})}
	case n < 26:
		return call{op: toCreate, volume: asked.volume, source: oneOf(draw, relatives), mode: drawnMode(draw)}
	case n < 34:
		return call{op: toCreate, volume: asked.volume, source: oneOf(draw, relatives) + "@" + asked.name, mode: drawnMode(draw)}
	case n < 48:
		return call{op: toDelete, volume: asked.volume}
	case n < 58:
		return call{op: toSnapshot, volume: asked.volume, name: asked.name}
	case n < 63:
		return call{op: toSnapshotGroup, volume: asked.volume, other: oneOf(draw, relatives), name: oneOf(draw, sharedGroups)}
	case n < 69:
		return call{op: toForget, volume: asked.volume, name: oneOf(draw, slices.Concat(sharedSnapshots, sharedGroups))}
	case n < 72:
		return call{op: toForgetGroup, name: oneOf(draw, sharedGroups)}
	case n < 77:
		return call{op: toExpand, volume: asked.volume, size: leastSize + draw.Int64N(4)*8*mib}
	case n < 82:
		return call{op: toModify, volume: asked.volume}
	case n < 86:
		return call{op: toGet, volume: asked.volume}
	case n < 88:
		return call{op: toList}
	}
	return call{op: toUse, volume: asked.volume}
}

func drawnMode(draw *rand.Rand) mode {
	return oneOf(draw, []mode{plain, plain, plain, plain, plain, copied, abroad})
}

// ask makes the call.
func (c *crowd) ask(ctx context.Context, asked call) (a answer) {
	var err error
	switch asked.op {
	case toCreate:
		var resp *csi.CreateVolumeResponse
		resp, err = c.CreateVolume(ctx, c.request(asked))
		a.size = resp.GetVolume().GetCapacityBytes()
	case toDelete:
		_, err = c.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: asked.volume})
	case toSnapshot:
		var resp *csi.CreateSnapshotResponse
		resp, err = c.CreateSnapshot(ctx, &csi.CreateSnapshotRequest{Name: asked.name, SourceVolumeId: asked.volume})
		a.size = resp.GetSnapshot().GetSizeBytes()
	case toSnapshotGroup:
		var resp *csi.CreateVolumeGroupSnapshotResponse
		resp, err = c.CreateVolumeGroupSnapshot(ctx, &csi.CreateVolumeGroupSnapshotRequest{
			Name: asked.name, SourceVolumeIds: []string{asked.volume, asked.other},
		})
		for _, s := range resp.GetGroupSnapshot().GetSnapshots() {
			a.size += s.GetSizeBytes()
		}
	case toForget:
		_, err = c.DeleteSnapshot(ctx, &csi.DeleteSnapshotRequest{SnapshotId: asked.volume + "@" + asked.name})
	case toForgetGroup:
		_, err = c.DeleteVolumeGroupSnapshot(ctx, &csi.DeleteVolumeGroupSnapshotRequest{GroupSnapshotId: asked.name})
	case toExpand:
		var resp *csi.ControllerExpandVolumeResponse
		resp, err = c.ControllerExpandVolume(ctx, &csi.ControllerExpandVolumeRequest{
			VolumeId: asked.volume, CapacityRange: &csi.CapacityRange{RequiredBytes: asked.size},
		})
		a.size = resp.GetCapacityBytes()
	case toModify:
		_, err = c.ControllerModifyVolume(ctx, &csi.ControllerModifyVolumeRequest{
			VolumeId: asked.volume, MutableParameters: map[string]string{"zfs.compression": asked.text},
		})
	case toGet:
		var resp *csi.ControllerGetVolumeResponse
		resp, err = c.ControllerGetVolume(ctx, &csi.ControllerGetVolumeRequest{VolumeId: asked.volume})
		a.size = resp.GetVolume().GetCapacityBytes()
	case toList:
		err = c.list(ctx)
	case toUse:
		a.text, err = c.use(ctx, asked)
	}
	a.code, a.words = status.Code(err), status.Convert(err).Message()
	return a
}

// request returns the request for a volume.
func (c *crowd) request(asked call) *csi.CreateVolumeRequest {
	req := &csi.CreateVolumeRequest{Name: asked.volume, VolumeCapabilities: []*csi.VolumeCapability{kindOf(asked.volume).capability}}
	if asked.size > 0 {
		req.CapacityRange = &csi.CapacityRange{RequiredBytes: asked.size}
	}
	switch {
	case strings.Contains(asked.source, "@"):
		req.VolumeContentSource = service.FromSnapshot(asked.source)
	case asked.source != "":
		req.VolumeContentSource = service.FromVolume(asked.source)
	}
	switch asked.mode {
	case copied:
		req.Parameters = map[string]string{"cloneMode": "copy"}
	case abroad:
		req.Parameters = map[string]string{"parent": c.storage.elsewhere()}
	case plain:
	}
	return req
}

// list asks for all lists.
func (c *crowd) list(ctx context.Context) error {
	_, err := c.ListVolumes(ctx, &csi.ListVolumesRequest{})
	_, snapshotsErr := c.ListSnapshots(ctx, &csi.ListSnapshotsRequest{})
	return cmp.Or(err, snapshotsErr)
}

// use has a pod use a volume, and returns what it found there.
func (c *crowd) use(ctx context.Context, asked call) (before string, err error) {
	place := service.PlaceIn(c.dir, asked.volume)
	err = c.Publish(ctx, asked.volume, kindOf(asked.volume).capability, place)
	published := err == nil
	if published {
		before, err = c.storage.put(c.id(asked.volume), place, content(asked.text))
		before, _, _ = strings.Cut(before, "\n")
	}
	left := vacate(ctx, c.Service, asked.volume, place)
	if left != nil {
		err = errors.Join(err, fmt.Errorf("unpublish: %w", left))
	}
	if err != nil && (published || left != nil) {
		return "", status.Error(codes.Unknown, err.Error())
	}
	return before, err
}

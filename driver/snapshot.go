package driver

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/zfs-csi/zfs-csi/zfs"
)

// CreateSnapshot implements csi.ControllerServer.
func (d *Driver) CreateSnapshot(ctx context.Context, req *csi.CreateSnapshotRequest) (*csi.CreateSnapshotResponse, error) {
	if req.GetSourceVolumeId() == "" {
		return nil, invalid(errors.New("source_volume_id is missing"))
	}
	spec, err := d.parseSnapshot(req.GetName(), []string{req.GetSourceVolumeId()}, req.GetParameters())
	if err != nil {
		return nil, err
	}
	taken, err := d.take(ctx, spec)
	if err != nil {
		return nil, err
	}
	return &csi.CreateSnapshotResponse{Snapshot: snapshot(taken[0])}, nil
}

// parseSnapshot returns what snapshots are asked for.
func (d *Driver) parseSnapshot(name string, sources []string, parameters map[string]string) (zfs.SnapshotSpec, error) {
	spec := zfs.SnapshotSpec{Name: name, Labels: map[string]string{}}
	if err := checkName(name); err != nil {
		return spec, invalid(err)
	}
	for _, key := range slices.Sorted(maps.Keys(parameters)) {
		label, ofKubernetes := strings.CutPrefix(key, kubernetesPrefix)
		if !ofKubernetes {
			return spec, invalid(fmt.Errorf("parameter %q is not known; a snapshot class has none", key))
		}
		spec.Labels[labelKey(label)] = parameters[key]
	}
	for _, s := range sources {
		id, err := parseID(s)
		if err != nil {
			return spec, err
		}
		if slices.Contains(spec.Sources, id) {
			return spec, invalid(fmt.Errorf("source volume %q is named twice", id))
		}
		spec.Sources = append(spec.Sources, id)
	}
	return spec, nil
}

// take takes snapshots, or returns those that an earlier call has taken by the name.
func (d *Driver) take(ctx context.Context, spec zfs.SnapshotSpec) ([]*zfs.Snapshot, error) {
	var sources []string
	for _, id := range spec.Sources {
		sources = append(sources, id.String())
	}
	return hold(ctx, d, nameLock(zfs.GroupIDFor(spec.Name)), sources, func(work context.Context) ([]*zfs.Snapshot, error) {
		defer d.snapshots.forget()
		spec.Quiesce = func(volumes []*zfs.Volume) (func() error, error) { return d.quiesceAll(ctx, volumes) }
		return d.store.Take(work, spec)
	})
}

// quiesceAll brings the filesystems of all volumes to rest at the same time.
func (d *Driver) quiesceAll(ctx context.Context, volumes []*zfs.Volume) (func() error, error) {
	var releases []func() error
	release := func() (err error) {
		for _, r := range slices.Backward(releases) {
			err = errors.Join(err, r())
		}
		return err
	}
	// In the same order in all calls: where one waits for the rest of a volume to end, no other waits meanwhile for one that it keeps.
	byID := func(a, b *zfs.Volume) int { return strings.Compare(a.ID.String(), b.ID.String()) }
	for _, v := range slices.SortedFunc(slices.Values(volumes), byID) {
		unlock, err := d.whole(v)
		if err != nil {
			return nil, errors.Join(err, release())
		}
		releases = append(releases, func() error { unlock(); return nil })
		if quiesce := d.quiesce(ctx, v); quiesce != nil {
			thaw, err := quiesce()
			if err != nil {
				return nil, errors.Join(err, release())
			}
			releases = append(releases, thaw)
		}
	}
	return release, nil
}

// DeleteSnapshot implements csi.ControllerServer.
func (d *Driver) DeleteSnapshot(ctx context.Context, req *csi.DeleteSnapshotRequest) (*csi.DeleteSnapshotResponse, error) {
	id, err := parseSnapshotID(req.GetSnapshotId())
	if status.Code(err) == codes.NotFound {
		return &csi.DeleteSnapshotResponse{}, nil
	}
	if err != nil {
		return nil, err
	}
	return hold(ctx, d, snapshotLock(id), nil, func(ctx context.Context) (*csi.DeleteSnapshotResponse, error) {
		defer d.snapshots.forget()
		return &csi.DeleteSnapshotResponse{}, d.store.DeleteSnapshot(ctx, id)
	})
}

// GetSnapshot implements csi.ControllerServer.
func (d *Driver) GetSnapshot(ctx context.Context, req *csi.GetSnapshotRequest) (*csi.GetSnapshotResponse, error) {
	id, err := parseSnapshotID(req.GetSnapshotId())
	if err != nil {
		return nil, err
	}
	s, err := d.getSnapshot(ctx, id)
	if err != nil {
		return nil, err
	}
	return &csi.GetSnapshotResponse{Snapshot: snapshot(s)}, nil
}

func (d *Driver) getSnapshot(ctx context.Context, id zfs.SnapshotID) (*zfs.Snapshot, error) {
	return ask(ctx, d, func(ctx context.Context) (*zfs.Snapshot, error) { return d.store.GetSnapshot(ctx, id) })
}

// ListSnapshots implements csi.ControllerServer. What matches nothing is an empty list.
func (d *Driver) ListSnapshots(ctx context.Context, req *csi.ListSnapshotsRequest) (*csi.ListSnapshotsResponse, error) {
	p, err := parsePage(req.GetMaxEntries(), req.GetStartingToken(), func(id string) error {
		_, err := zfs.ParseSnapshotID(id)
		return err
	})
	if err != nil {
		return nil, err
	}
	all, err := d.matching(ctx, req, p)
	if err != nil {
		return nil, err
	}
	part, next := pageOf(p, all, func(s *zfs.Snapshot) string { return s.ID.String() })
	resp := &csi.ListSnapshotsResponse{NextToken: next}
	for _, s := range part {
		resp.Entries = append(resp.Entries, &csi.ListSnapshotsResponse_Entry{Snapshot: snapshot(s)})
	}
	return resp, nil
}

// matching returns the snapshots that a list is asked for, in the order of their IDs.
func (d *Driver) matching(ctx context.Context, req *csi.ListSnapshotsRequest, p page) ([]*zfs.Snapshot, error) {
	of := func(all []*zfs.Snapshot) []*zfs.Snapshot {
		if req.GetSourceVolumeId() == "" {
			return all
		}
		return slices.DeleteFunc(slices.Clone(all), func(s *zfs.Snapshot) bool { return s.ID.Volume().String() != req.GetSourceVolumeId() })
	}
	if req.GetSnapshotId() == "" {
		all, err := read(ctx, d, &d.snapshots, p.further(), d.store.ListSnapshots)
		return of(all), err
	}
	id, err := zfs.ParseSnapshotID(req.GetSnapshotId())
	if err != nil {
		return nil, nil //nolint:nilerr // No snapshot has such an ID.
	}
	s, err := d.getSnapshot(ctx, id)
	if status.Code(err) == codes.NotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return of([]*zfs.Snapshot{s}), nil
}

// snapshotLock is the key of a snapshot in the locks, and nameLock that of all snapshots of a name,
// which is the same, since a name is given once.
func snapshotLock(id zfs.SnapshotID) string { return nameLock(id.Name()) }

func nameLock(name zfs.GroupID) string { return "@" + name.String() }

// parseSnapshotID returns the snapshot ID that a caller gave. One that cannot be a
// snapshot's is NOT_FOUND, and comes near no command.
func parseSnapshotID(s string) (zfs.SnapshotID, error) {
	if s == "" {
		return zfs.SnapshotID{}, invalid(errors.New("snapshot_id is missing"))
	}
	id, err := zfs.ParseSnapshotID(s)
	if err != nil {
		return zfs.SnapshotID{}, status.Errorf(codes.NotFound, "no snapshot has such an ID: %v", err)
	}
	return id, nil
}

// snapshot returns what callers are told of a snapshot.
func snapshot(s *zfs.Snapshot) *csi.Snapshot {
	return &csi.Snapshot{
		SizeBytes:       s.Of.Size,
		SnapshotId:      s.ID.String(),
		SourceVolumeId:  s.ID.Volume().String(),
		CreationTime:    timestamppb.New(s.Created),
		ReadyToUse:      true,
		GroupSnapshotId: s.Group.String(),
	}
}

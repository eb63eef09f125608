package history_test

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/zfs-csi/zfs-csi/e2e/service"
	"github.com/zfs-csi/zfs-csi/zfs"
)

// observe returns all that there is, when nobody works: what is listed, each volume's content, and
// that of a volume restored from each snapshot.
func (c *crowd) observe() state {
	c.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), longestCall)
	defer cancel()
	now := state{volumes: map[string]held{}, entries: map[string]entry{}}
	for _, v := range c.storage.volumes(c) {
		h := held{source: v.Source, size: v.Size, text: c.text(v.ID), mode: plain}
		switch {
		case v.Parent.String() == c.storage.elsewhere():
			h.mode = abroad
		case strings.Contains(v.Parameters, "copy"):
			h.mode = copied
		}
		if value := c.storage.Property(c, v.ID, "compression"); slices.Contains(kindOf(v.ID.String()).mutable["zfs.compression"], value) {
			h.value = value
		}
		now.volumes[v.ID.String()] = h
	}
	c.listsVolumes(ctx, now.volumes)
	resp, err := c.ListSnapshots(ctx, &csi.ListSnapshotsRequest{})
	c.must(err)
	var mu sync.Mutex
	c.each(len(resp.GetEntries()), func(i int) {
		s := resp.GetEntries()[i].GetSnapshot()
		text := c.restored(ctx, s.GetSnapshotId())
		mu.Lock()
		defer mu.Unlock()
		_, name, _ := strings.Cut(s.GetSnapshotId(), "@")
		e := now.entries[name]
		e.group = s.GetGroupSnapshotId() != ""
		// The list is in the order of the IDs, but they were not restored in that.
		at := 0
		if e.members[0].of != "" {
			at = 1
		}
		e.members[at] = moment{s.GetSourceVolumeId(), text, s.GetSizeBytes()}
		if at == 1 && e.members[1].of < e.members[0].of {
			e.members[0], e.members[1] = e.members[1], e.members[0]
		}
		now.entries[name] = e
	})
	return now
}

// listsVolumes checks that the driver lists those that are there.
func (c *crowd) listsVolumes(ctx context.Context, volumes map[string]held) {
	c.Helper()
	resp, err := c.ListVolumes(ctx, &csi.ListVolumesRequest{})
	c.must(err)
	if got := len(resp.GetEntries()); got != len(volumes) {
		c.Errorf("%d volumes are listed, not %d", got, len(volumes))
	}
	for _, e := range resp.GetEntries() {
		id, size := e.GetVolume().GetVolumeId(), e.GetVolume().GetCapacityBytes()
		if v, there := volumes[id]; !there || v.size != size {
			c.Errorf("the list has %s with %d bytes, and there is %+v", id, size, v)
		}
	}
}

// restored returns what a snapshot holds.
func (c *crowd) restored(ctx context.Context, id string) string {
	probe := probeName + "-" + strings.ReplaceAll(id, "@", "-")
	volume, _, _ := strings.Cut(id, "@")
	_, err := c.CreateVolume(ctx, &csi.CreateVolumeRequest{
		Name: probe, VolumeContentSource: service.FromSnapshot(id), VolumeCapabilities: []*csi.VolumeCapability{kindOf(volume).capability},
	})
	if err != nil {
		c.Errorf("restore %s: %v", id, err)
		return ""
	}
	text := c.text(c.id(probe))
	if _, err := c.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: probe}); err != nil {
		c.Errorf("delete %s: %v", probe, err)
	}
	return text
}

// text returns what was written to a volume last, which must be there as a whole.
func (c *crowd) text(id zfs.VolumeID) string {
	all := c.storage.Read(c, id)
	text, _, _ := strings.Cut(all, "\n")
	if content(text) != all {
		c.Errorf("%s holds %.60q, which nobody has written", id, all)
	}
	return text
}

// clear deletes all that is there, many at once, and then nothing is left.
func (c *crowd) clear(now state) {
	c.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), longestCall)
	defer cancel()
	var deletions []func() error
	for name := range now.volumes {
		deletions = append(deletions, func() error {
			_, err := c.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: name})
			return err
		})
	}
	for name, e := range now.entries {
		deletions = append(deletions, func() (err error) {
			if e.group {
				_, err = c.DeleteVolumeGroupSnapshot(ctx, &csi.DeleteVolumeGroupSnapshotRequest{GroupSnapshotId: name})
			} else {
				_, err = c.DeleteSnapshot(ctx, &csi.DeleteSnapshotRequest{SnapshotId: e.members[0].of + "@" + name})
			}
			return err
		})
	}
	c.each(len(deletions), func(i int) {
		if err := deletions[i](); err != nil {
			c.Error(err)
		}
	})
	if left := c.storage.Contents(c); len(left) > 0 {
		c.Errorf("left in the end: %q", left)
	}
	c.storage.Settled(c)
}

// id returns a volume's ID as the storage takes it.
func (c *crowd) id(volume string) zfs.VolumeID {
	return zfs.VolumeIDFor(volume, zfs.MustParseDataset(c.storage.elsewhere()))
}

func (c *crowd) must(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

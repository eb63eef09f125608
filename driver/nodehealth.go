package driver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/zfs-csi/zfs-csi/zfs"
)

// answerWait is how long a mount is given to answer before it counts as hanging.
const answerWait = 5 * time.Second

// NodeGetVolumeHealth implements csi.NodeServer. Beside what the controller tells of a volume it
// looks at the paths it is given: a volume that is mounted there has to answer.
// That nothing is mounted there is no fault: the orchestrator may only have tried to.
func (d *Driver) NodeGetVolumeHealth(ctx context.Context, req *csi.NodeGetVolumeHealthRequest) (*csi.NodeGetVolumeHealthResponse, error) {
	id, err := parseID(req.GetVolumeId())
	if err != nil {
		return nil, err
	}
	health, err := d.health(ctx, id)
	if err != nil {
		return nil, err
	}
	for _, path := range []string{req.GetStagingTargetPath(), req.GetVolumePublishPath()} {
		entry, err := d.mountHealth(ctx, path)
		if err != nil {
			return nil, toStatus(err)
		}
		if entry != nil && !slices.ContainsFunc(health.HealthStatuses, func(e *csi.VolumeHealth_VolumeHealthEntry) bool {
			return e.GetReason() == entry.GetReason() && e.GetStatus() == entry.GetStatus()
		}) {
			health.HealthStatuses = append(health.HealthStatuses, entry)
		}
	}
	return &csi.NodeGetVolumeHealthResponse{VolumeHealth: health}, nil
}

// mountHealth returns what is wrong with the filesystem that is mounted at a path; nil
// where all is well, or no filesystem of ours is.
func (d *Driver) mountHealth(ctx context.Context, path string) (*csi.VolumeHealth_VolumeHealthEntry, error) {
	if _, err := parsePath("path", path); err != nil {
		return nil, nil //nolint:nilerr // The paths are optional.
	}
	at, err := locate(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	table, err := d.mountTable()
	if err != nil {
		return nil, err
	}
	m := table.at(at)
	if m == nil || m.Root != "/" {
		return nil, nil
	}
	within, cancel := context.WithTimeout(ctx, answerWait)
	defer cancel()
	_, err = probe(within, &d.probes, "look "+at, func() (struct{}, error) { return struct{}{}, lookInto(at) })
	if ctx.Err() != nil {
		return nil, ctx.Err() // The caller has not waited long enough to tell.
	}
	return mountFault(m, at, err), nil
}

// mountFault tells what the answer of a mount means.
func mountFault(m *mountinfo.Info, at string, err error) *csi.VolumeHealth_VolumeHealthEntry {
	entry := &csi.VolumeHealth_VolumeHealthEntry{Status: csi.VolumeHealthErrorType_INACCESSIBLE}
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		entry.Reason, entry.Message = "MountNotAnswering", fmt.Sprintf("the filesystem at %s does not answer", at)
	case err != nil:
		entry.Reason = "FilesystemError"
		entry.Message = fmt.Sprintf("the filesystem at %s has failed: %v; end what uses the volume so that it is mounted anew, and see the kernel's log", at, err)
	case hasOption(m.VFSOptions, "shutdown"): // ext4, whose folders can still be read then.
		entry.Reason = "FilesystemError"
		entry.Message = fmt.Sprintf("the filesystem at %s was shut down by the kernel; end what uses the volume so that it is mounted anew, and see the kernel's log", at)
	case hasOption(m.VFSOptions, "ro"), hasOption(m.VFSOptions, "emergency_ro"):
		// It was mounted for writing, see NodeStageVolume.
		entry.Status, entry.Reason = csi.VolumeHealthErrorType_DEGRADED, "FilesystemReadOnly"
		entry.Message = fmt.Sprintf("the filesystem at %s takes no writes any more: the kernel found a fault in it, or somebody mounted it so", at)
	default:
		return nil
	}
	return entry
}

// lookInto tells whether a mounted filesystem still answers.
func lookInto(path string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return err
	}
	dir, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer dir.Close()
	if _, err := dir.Stat(); err != nil {
		return err
	}
	if _, err := dir.Readdirnames(1); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// NodeGetStorageHealth implements csi.NodeServer: the state of what each parent lies on,
// those with the same fault as one.
func (d *Driver) NodeGetStorageHealth(ctx context.Context, _ *csi.NodeGetStorageHealthRequest) (*csi.NodeGetStorageHealthResponse, error) {
	all, err := d.conditions(ctx)
	if err != nil {
		return nil, err
	}
	resp := &csi.NodeGetStorageHealthResponse{}
	for _, parent := range d.store.Parents() {
		c := all[parent]
		if c.Health == zfs.Healthy {
			continue
		}
		entry := &csi.NodeGetStorageHealthResponse_StorageBackendHealth{
			Status: csi.StorageHealthErrorType_STORAGE_UNREACHABLE, Reason: c.Reason, Message: c.Message,
		}
		if c.Health == zfs.Degraded {
			entry.Status = csi.StorageHealthErrorType_STORAGE_DEGRADED
		}
		i := slices.IndexFunc(resp.BackendHealth, func(e *csi.NodeGetStorageHealthResponse_StorageBackendHealth) bool {
			return e.GetStatus() == entry.GetStatus() && e.GetReason() == entry.GetReason()
		})
		switch {
		case i < 0:
			resp.BackendHealth = append(resp.BackendHealth, entry)
		case !strings.Contains(resp.BackendHealth[i].Message, entry.Message):
			resp.BackendHealth[i].Message += "; " + entry.Message
		}
	}
	return resp, nil
}

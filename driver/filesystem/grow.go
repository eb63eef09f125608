package filesystem

import (
	"fmt"

	mount "k8s.io/mount-utils"
	"k8s.io/utils/exec"
)

// Grow grows the filesystem on a device, which is mounted for writing at a path, to the
// size of the device; one that has it is left alone.
func Grow(device, path string) error {
	grown, err := mount.NewResizeFs(exec.New()).Resize(device, path)
	if err == nil && !grown {
		err = fmt.Errorf("no filesystem is recognised on it")
	}
	if err != nil {
		return fmt.Errorf("grow the filesystem of %s at %s: %w", device, path, err)
	}
	return nil
}

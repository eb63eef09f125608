package filesystem

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
)

// ErrUnsound is what Check says of a filesystem that is not whole.
var ErrUnsound = errors.New("the filesystem has faults")

// fsck are the commands that look through a filesystem and write nothing, with the bit in
// their exit code that tells of faults; see e2fsck(8) and xfs_repair(8).
var fsck = map[string]struct {
	command []string
	faults  int
}{
	"ext4": {[]string{"e2fsck", "-f", "-n"}, 4},
	"xfs":  {[]string{"xfs_repair", "-n"}, 1},
}

// Check looks through the filesystem, "ext4" or "xfs", on a device that is not mounted,
// and writes nothing. It returns ErrUnsound where that has faults, for which a log that
// is still to be replayed can be taken too.
func Check(ctx context.Context, fsType, device string) error {
	check, known := fsck[fsType]
	if !known {
		return fmt.Errorf("check %s on %s: how is not known", fsType, device)
	}
	args := append(slices.Clone(check.command[1:]), device)
	out, err := run(ctx, check.command[0], args)
	if err == nil {
		return nil
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() && exit.ExitCode()&check.faults != 0 {
		return fmt.Errorf("%s %q: %w", check.command[0], args, ErrUnsound)
	}
	return fmt.Errorf("%s %q: %w: %s", check.command[0], args, err, bytes.TrimSpace(out))
}

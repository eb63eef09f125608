package filesystem

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

// What Recognise found when it was not a filesystem.
const (
	Nothing = ""
	// Unfinished is an XFS whose mkfs did not end.
	Unfinished = "an unfinished XFS"
)

// Recognise returns what is on a device: a filesystem's name as blkid(8) gives it, or
// another signature in words, or Nothing or Unfinished. A device that cannot be read
// is an error and never Nothing.
func Recognise(ctx context.Context, node string) (string, error) {
	head, err := readable(node)
	if err != nil {
		return "", err
	}
	out, err := exec.CommandContext(ctx, "blkid", "-p", "-s", "TYPE", "-s", "PTTYPE", "-o", "export", node).Output()
	var exit *exec.ExitError
	switch {
	case err != nil && ctx.Err() != nil:
		return "", fmt.Errorf("blkid: %w", ctx.Err())
	case errors.As(err, &exit) && exit.ExitCode() == 2:
		// Also the answer to a device that cannot be read: see readable.
		return Nothing, nil
	case errors.As(err, &exit) && exit.ExitCode() == 8:
		return "signatures of more than one kind", nil
	case err != nil:
		return "", fmt.Errorf("blkid: %w", err)
	}
	var found string
	for line := range strings.Lines(string(out)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch key {
		case "TYPE":
			found = value
		case "PTTYPE":
			return "a partition table (" + value + ")", nil
		}
	}
	if found == "" {
		return "", fmt.Errorf("blkid gave no type: %q", out)
	}
	// sb_inprogress of the XFS superblock (xfs_dsb in the kernel's xfs_format.h).
	if found == "xfs" && head[126] != 0 {
		return Unfinished, nil
	}
	return found, nil
}

// readable reads the beginning and the end of a device, where signatures are: blkid takes
// a device that it cannot read for an empty one.
func readable(node string) ([]byte, error) {
	const part = 64 << 10
	f, err := os.Open(node)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	head := make([]byte, min(part, size))
	if _, err := f.ReadAt(head, 0); err != nil {
		return nil, err
	}
	if len(head) < 512 {
		return nil, fmt.Errorf("%s has only %d bytes", node, size)
	}
	_, err = f.ReadAt(make([]byte, len(head)), size-int64(len(head)))
	return head, err
}

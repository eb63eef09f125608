package zfs

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// runnerFunc is a Runner that is a function.
type runnerFunc func(Command) Result

func (f runnerFunc) Run(_ context.Context, c Command) (Result, error) { return f(c), nil }

// newUsable returns a store on tank/csi whose pool is imported, as far as the kernel tells.
func newUsable(t *testing.T, run runnerFunc) *Local {
	t.Helper()
	l, err := NewLocal(LocalConfig{Driver: "ours", Parents: []Dataset{{"tank/csi"}}, Runner: run, DeviceDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	l.kstat = t.TempDir()
	if err := os.Mkdir(filepath.Join(l.kstat, "tank"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(l.kstat, "tank", "state"), []byte("ONLINE\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return l
}

// TestDeleteMarkerComesBack: a parent that is marked just after the deletion found it
// unmarked is no proof that the volume is gone.
func TestDeleteMarkerComesBack(t *testing.T) {
	l := newUsable(t, func(c Command) Result {
		if c.Args[0] == "program" {
			return Result{Answers: map[string]map[string]any{"tank": {"return": map[string]any{"status": "unmarked", "dataset": "tank/csi"}}}}
		}
		return says("tank/csi\ttype\tfilesystem\t-", "tank/csi\tzfs-csi:driver\tours\tlocal")
	})
	if err := l.Delete(t.Context(), VolumeID{"a"}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("deletion says %v, want %v", err, ErrUnavailable)
	}
}

// TestExportedWhileLooking: a pool that goes away between two names that ZFS is asked
// for leaves the first of them absent, which proves nothing.
func TestExportedWhileLooking(t *testing.T) {
	l := newUsable(t, func(c Command) Result {
		// ZFS takes the names in their order, and the pool goes after the first.
		first := c.Args[len(c.Args)-2]
		if first == "tank/csi" {
			r := says("tank/csi\ttype\tfilesystem\t-", "tank/csi\tzfs-csi:driver\tours\tlocal")
			r.Stderr = []byte("cannot open 'tank/csi/a': dataset does not exist\n")
			return r
		}
		return Result{ExitCode: 1, Stderr: []byte("cannot open 'tank/csi/a': dataset does not exist\ncannot open 'tank/csi': dataset does not exist\n")}
	})
	if _, err := l.Get(t.Context(), VolumeID{"a"}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("the volume is %v, want %v", err, ErrUnavailable)
	}
}

// TestProgramRefusals: an error number of a program tells what of the pool is wrong, where it is that.
func TestProgramRefusals(t *testing.T) {
	c := programCommand("tank", true, "return 1")
	for errno, want := range map[unix.Errno]error{
		unix.EAGAIN: ErrUnavailable, unix.EIO: ErrUnavailable, unix.ENOENT: ErrUnavailable, unix.ENXIO: ErrUnavailable,
		unix.EROFS: ErrReadOnly, unix.EPERM: ErrPermission, unix.ENOSPC: nil, unix.ECHRNG: nil, unix.ENOTTY: nil,
	} {
		err := Result{Errno: errno}.fault(c, "tank")
		if !errors.Is(err, errno) {
			t.Errorf("%v is %v", errno, err)
		}
		for _, known := range []error{ErrUnavailable, ErrReadOnly, ErrPermission, ErrNoSpace, ErrNotFound} {
			if errors.Is(err, known) != errors.Is(want, known) {
				t.Errorf("%v is %v, want %v", errno, err, want)
			}
		}
	}
	if err := (Result{Errno: unix.EINVAL, Stderr: []byte("syntax error")}).fault(c, "tank"); err == nil || !strings.Contains(err.Error(), "syntax error") {
		t.Errorf("what ZFS says of a program is told as %v", err)
	}
}

// TestCauses: room that is missing is told as that, whatever was to be made.
func TestCauses(t *testing.T) {
	for _, c := range []struct {
		command, stderr string
	}{
		{"snapshot", "cannot create snapshot 'tank/csi/a@s': out of space"},
		{"receive", "cannot receive new filesystem stream: out of space"},
	} {
		err := refuses(c.stderr).fault(Command{Name: "zfs", Args: []string{c.command}}, "tank/csi/a", "tank/csi/a@s")
		if !errors.Is(err, ErrNoSpace) {
			t.Errorf("%q is %v, want %v", c.stderr, err, ErrNoSpace)
		}
	}
}

package zfs

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// TestOwner: the device of a volume is known by what it says, with or without udev, and no other is a volume's.
func TestOwner(t *testing.T) {
	k := newKernel(t)
	l := newUsable(t, func(c Command) Result {
		t.Errorf("%s was started", c)
		return Result{ExitCode: 1}
	})
	l.devices = k.devices
	for minor, name := range map[uint32]string{
		0: "tank/csi/a", 16: "tank/csi/b", 32: "tank/other/c", 48: "tank/csi/d/e", 64: "tank/csi", 80: "tank/csi/.deleted-7",
	} {
		k.add(minor, name, minor == 0)
	}
	for minor, want := range map[uint32]string{0: "a", 16: "b", 32: "", 48: "", 64: "", 80: "", 96: ""} {
		id, err := l.Owner(t.Context(), unix.Mkdev(zvolMajor, minor))
		if id.id != want || (want == "") != errors.Is(err, ErrNotFound) {
			t.Errorf("device %d is that of volume %q (%v), want %q", minor, id, err, want)
		}
	}
	// Another device with the minor of a zvol's.
	if id, err := l.Owner(t.Context(), unix.Mkdev(8, 0)); !errors.Is(err, ErrNotFound) {
		t.Errorf("a disk is that of volume %q (%v)", id, err)
	}
	// One that is there and does not say what it is may be anybody's.
	k.ask = func(string) (string, error) { return "", unix.EIO }
	if id, err := l.Owner(t.Context(), unix.Mkdev(zvolMajor, 16)); err == nil || errors.Is(err, ErrNotFound) {
		t.Errorf("a device that does not answer is that of volume %q (%v)", id, err)
	}
}

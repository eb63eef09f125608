package filesystem

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zfs-csi/zfs-csi/zfs"
)

// file makes a file to be taken for a device.
func file(t *testing.T, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "device")
	must(t, os.WriteFile(path, nil, 0o600))
	must(t, os.Truncate(path, size))
	return path
}

func wantRecognised(t *testing.T, device, want string) {
	t.Helper()
	have, err := Recognise(t.Context(), device)
	if err != nil || have != want {
		t.Errorf("recognised %q (%v), want %q", have, err, want)
	}
}

// TestHold: a device that cannot be opened yet is tried again, until the call ends, and what else is wrong is told at once.
func TestHold(t *testing.T) {
	device := file(t, 4096)
	tries := 0
	answers := func(faults ...error) func() (*os.File, error) {
		tries = 0
		return func() (*os.File, error) {
			if tries++; tries <= len(faults) {
				return nil, &os.PathError{Op: "open", Path: device, Err: faults[tries-1]}
			}
			return os.Open(device)
		}
	}
	f, err := hold(t.Context(), answers(zfs.ErrRestart, zfs.ErrRestart))
	if err != nil || tries != 3 {
		t.Fatalf("tried %d times: %v", tries, err)
	}
	must(t, f.Close())
	if _, err := hold(t.Context(), answers(unix.ENXIO)); !errors.Is(err, unix.ENXIO) || tries != 1 {
		t.Errorf("tried %d times: %v, want %v at once", tries, err, unix.ENXIO)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := hold(ctx, answers(zfs.ErrRestart, zfs.ErrRestart)); !errors.Is(err, context.Canceled) || tries != 1 {
		t.Errorf("tried %d times after the call had ended: %v", tries, err)
	}
}

func TestMakeAndRecognise(t *testing.T) {
	for fsType := range mkfs {
		t.Run(fsType, func(t *testing.T) {
			for _, tool := range []string{"mkfs." + fsType, "blkid"} {
				if _, err := exec.LookPath(tool); err != nil {
					t.Skipf("%s is not installed", tool)
				}
			}
			device := file(t, 512<<20)
			wantRecognised(t, device, Nothing)
			must(t, Make(t.Context(), fsType, device))
			wantRecognised(t, device, fsType)
			must(t, Make(t.Context(), fsType, device))
			wantRecognised(t, device, fsType)
			if fsType == "xfs" {
				poke(t, device, 126, 1) // sb_inprogress
				// Newer releases of blkid take it for nothing themselves.
				if have, err := Recognise(t.Context(), device); err != nil || have != Unfinished && have != Nothing {
					t.Errorf("recognised %q (%v), want %q or nothing", have, err, Unfinished)
				}
			}
		})
	}
}

func TestCheck(t *testing.T) {
	for fsType, check := range fsck {
		t.Run(fsType, func(t *testing.T) {
			for _, tool := range []string{"mkfs." + fsType, check.command[0]} {
				if _, err := exec.LookPath(tool); err != nil {
					t.Skipf("%s is not installed", tool)
				}
			}
			device := file(t, 512<<20)
			must(t, Make(t.Context(), fsType, device))
			untouched(t, device, func() { must(t, Check(t.Context(), fsType, device)) })
			// The group descriptors of ext4, the free space of XFS.
			poke(t, device, 4096, make([]byte, 512)...)
			untouched(t, device, func() {
				if err := Check(t.Context(), fsType, device); !errors.Is(err, ErrUnsound) {
					t.Errorf("a filesystem with faults: error %v", err)
				}
			})
		})
	}
}

func TestCheckFails(t *testing.T) {
	if err := Check(t.Context(), "vfat", file(t, 1<<20)); err == nil || errors.Is(err, ErrUnsound) {
		t.Errorf("a filesystem that is not known: error %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Check(ctx, "ext4", file(t, 1<<20)); !errors.Is(err, context.Canceled) {
		t.Errorf("a call that has ended: error %v", err)
	}
	t.Setenv("PATH", "")
	if err := Check(t.Context(), "ext4", file(t, 1<<20)); err == nil || errors.Is(err, ErrUnsound) {
		t.Errorf("without the tools: error %v", err)
	}
}

// untouched checks that f writes nothing to a file.
func untouched(t *testing.T, path string, f func()) {
	t.Helper()
	longAgo := time.Unix(1e9, 0)
	must(t, os.Chtimes(path, longAgo, longAgo))
	f()
	info, err := os.Stat(path)
	must(t, err)
	if !info.ModTime().Equal(longAgo) {
		t.Error("the check has written")
	}
}

func TestRecogniseOthers(t *testing.T) {
	if _, err := exec.LookPath("blkid"); err != nil {
		t.Skip("blkid is not installed")
	}
	device := file(t, 1<<20)
	poke(t, device, 510, 0x55, 0xaa)
	poke(t, device, 446, 0, 0, 0, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 8, 0, 0)
	wantRecognised(t, device, "a partition table (dos)")

	device = file(t, 1<<20)
	poke(t, device, 0, []byte("LUKS\xba\xbe\x00\x01")...)
	wantRecognised(t, device, "crypto_LUKS")
}

// A device that cannot be read is not an empty one.
func TestRecogniseUnreadable(t *testing.T) {
	for _, device := range []string{filepath.Join(t.TempDir(), "none"), t.TempDir(), file(t, 0)} {
		if found, err := Recognise(t.Context(), device); err == nil {
			t.Errorf("%s: recognised %q without an error", device, found)
		}
	}
}

// A caller whose time is over is told so, and nothing of the device.
func TestRecogniseInTime(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "blkid"), []byte("#!/bin/sh\nexec sleep 60\n"), 0o700))
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Recognise(ctx, file(t, 1<<20)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}

func TestMakeFails(t *testing.T) {
	if err := Make(t.Context(), "vfat", file(t, 1<<20)); err == nil {
		t.Error("a filesystem that is not known was made")
	}
	if err := Make(t.Context(), "ext4", filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a filesystem was made on nothing")
	}
}

// poke writes bytes to a device.
func poke(t *testing.T, device string, at int64, bytes ...byte) {
	t.Helper()
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	must(t, err)
	_, err = f.WriteAt(bytes, at)
	must(t, errors.Join(err, f.Close()))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestXFSProfile(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"dax_x86_64.conf", "lts_4.19.conf", "lts_5.10.conf", "lts_5.4.conf", "lts_6.1.conf", "lts_6.12.conf"} {
		must(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	for kernel, want := range map[string]string{
		"6.12.94+deb13-cloud-amd64": "",
		"6.8.0-41-generic":          "lts_6.1.conf",
		"5.14.0-503.el9":            "lts_5.10.conf",
		"5.4.1":                     "lts_5.4.conf",
		"7.0.0":                     "",
		"3.10.0":                    "",
		"strange":                   "",
	} {
		var options []string
		if want != "" {
			options = []string{"-c", "options=" + filepath.Join(dir, want)}
		}
		if have := xfsProfile(dir, kernel); !slices.Equal(have, options) {
			t.Errorf("kernel %s: %q, want %q", kernel, have, options)
		}
	}
	if have := xfsProfile(filepath.Join(dir, "none"), "6.1.0"); have != nil {
		t.Errorf("without profiles: %q", have)
	}
}

// Command demo shows the driver's main job to a person, on real ZFS: it makes a pool
// in a file, starts the driver, and tells as a story how a volume is cloned and its
// source deleted while the clone lives on. Every step is checked.
//
// It runs as root on a machine with ZFS, such as the one of e2e/machine:
//
//	ZFS_CSI_BINARY      the driver's binary
//	ZFS_CSI_TEST_DIR    an empty folder to work in
//	ZFS_CSI_TEST_TOKEN  what makes the pool's name unique
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// cleaningTime is how long the cleaning up may take.
const cleaningTime = time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	os.Exit(run(ctx)) //nolint:gocritic // all has been cleaned up; the signals need not be
}

// run returns the exit code: 130 when it was interrupted, as shells have it.
func run(ctx context.Context) int {
	err := demo(ctx)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errInterrupted):
		fmt.Printf("\nInterrupted; all that was made is removed.\n")
		return 130
	}
	fmt.Printf("\nThe demonstration failed: %v\n", err)
	return 1
}

// errInterrupted: a signal ended the story.
var errInterrupted = errors.New("interrupted")

func demo(ctx context.Context) (err error) {
	binary, dir, token := os.Getenv("ZFS_CSI_BINARY"), os.Getenv("ZFS_CSI_TEST_DIR"), os.Getenv("ZFS_CSI_TEST_TOKEN")
	for name, value := range map[string]string{"ZFS_CSI_BINARY": binary, "ZFS_CSI_TEST_DIR": dir, "ZFS_CSI_TEST_TOKEN": token} {
		if value == "" {
			return fmt.Errorf("%s is not set; run make demo, which sets it", name)
		}
	}
	if _, err := os.Stat("/dev/zfs"); err != nil {
		return fmt.Errorf("this machine has no ZFS, run make demo, which finds one: %w", err)
	}
	dir, err = os.MkdirTemp(dir, "demo-")
	if err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	s := &stage{
		binary: binary, dir: dir,
		pool:   "zfscsitest-" + token + "-demo",
		socket: filepath.Join(dir, "driver", "csi.sock"),
	}
	s.parent = s.pool + "/csi"
	defer func() {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleaningTime)
		defer cancel()
		cleanErr := s.cleanUp(clean)
		if ctx.Err() != nil && cleanErr == nil {
			err = errInterrupted
		}
		err = errors.Join(err, cleanErr)
	}()
	started := time.Now()
	if err := s.tell(ctx); err != nil {
		if s.driver != nil {
			err = fmt.Errorf("%w\n\nThe driver's last words:\n%s", err, s.lastWords())
		}
		return err
	}
	fmt.Printf("\nAll %d checks held, in %s.\n", s.checks, time.Since(started).Round(100*time.Millisecond))
	return nil
}

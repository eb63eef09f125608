package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
)

// stage is where the story takes place: the pool, the driver and what is mounted.
type stage struct {
	binary, dir, socket string
	pool, parent        string

	driver *exec.Cmd
	// driverDone is closed when the driver has ended, with driverErr.
	driverDone chan struct{}
	driverErr  error
	connection *grpc.ClientConn
	// mounted are the paths that the driver was asked to mount on, in order.
	mounted []string
	steps   int
	checks  int
}

// step begins a step of the story.
func (s *stage) step(title string) {
	s.steps++
	fmt.Printf("\n%2d. %s\n", s.steps, title)
}

// say writes a line of the story.
func (s *stage) say(format string, values ...any) {
	text := fmt.Sprintf(format, values...)
	for line := range strings.Lines(text) {
		fmt.Printf("      %s\n", strings.TrimRight(line, "\n"))
	}
}

// check writes what holds, or returns an error that says that it does not.
func (s *stage) check(holds bool, format string, values ...any) error {
	claim := fmt.Sprintf(format, values...)
	if !holds {
		return fmt.Errorf("step %d: this does not hold: %s", s.steps, claim)
	}
	s.checks++
	s.say("[ok] %s", claim)
	return nil
}

// command runs a command and returns what it printed, without the last line's end.
func command(ctx context.Context, name string, args ...string) (string, error) {
	c := exec.CommandContext(ctx, name, args...)
	c.Env = append(os.Environ(), "LC_ALL=C")
	out, err := c.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return strings.TrimRight(string(out), "\n"), nil
}

// show runs a command for the reader to see.
func (s *stage) show(ctx context.Context, name string, args ...string) error {
	s.say("$ %s %s", filepath.Base(name), strings.Join(args, " "))
	out, err := command(ctx, name, args...)
	if err != nil {
		return err
	}
	s.say("%s", out)
	return nil
}

// startDriver starts the driver's binary as a node would. The driver does not end with
// ctx but in cleanUp, after what needs it.
func (s *stage) startDriver(ctx context.Context) error {
	s.driver = exec.CommandContext(context.WithoutCancel(ctx), s.binary, "serve", "--endpoint", "unix://"+s.socket, "--parent", s.parent,
		"--node-id", "demo-node", "--lock-dir", filepath.Join(s.dir, "locks"), "--log-level", "debug")
	log, err := os.Create(s.logFile())
	if err != nil {
		return err
	}
	defer log.Close()
	s.driver.Stdout, s.driver.Stderr = log, log
	s.driver.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C reaches it through cleanUp
	if err := s.driver.Start(); err != nil {
		s.driver = nil
		return fmt.Errorf("start the driver: %w", err)
	}
	s.driverDone = make(chan struct{})
	go func(driver *exec.Cmd) {
		defer close(s.driverDone)
		s.driverErr = driver.Wait()
	}(s.driver)
	return nil
}

func (s *stage) logFile() string { return filepath.Join(s.dir, "driver.log") }

// lastWords returns the end of the driver's log.
func (s *stage) lastWords() string {
	log, err := os.ReadFile(s.logFile())
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(log)), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}

// stopDriver asks the driver to stop and waits for it.
func (s *stage) stopDriver(ctx context.Context) error {
	if s.driver == nil {
		return nil
	}
	driver := s.driver
	s.driver = nil
	if err := driver.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop the driver: %w", err)
	}
	select {
	case <-s.driverDone:
		return s.driverErr
	case <-ctx.Done():
		return errors.Join(errors.New("the driver does not stop"), driver.Process.Kill())
	}
}

// cleanUp takes away all that was made, whatever state it is in. What was never
// made, or is gone, is no error.
func (s *stage) cleanUp(ctx context.Context) error {
	var errs []error
	for i := len(s.mounted) - 1; i >= 0; i-- {
		if err := syscall.Unmount(s.mounted[i], syscall.MNT_DETACH); err != nil &&
			!errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOENT) {
			errs = append(errs, fmt.Errorf("unmount %s: %w", s.mounted[i], err))
		}
	}
	if s.connection != nil {
		errs = append(errs, s.connection.Close())
	}
	stop, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := s.stopDriver(stop); err != nil {
		errs = append(errs, fmt.Errorf("the driver ended with: %w", err))
	}
	if _, err := command(ctx, "zpool", "list", s.pool); err == nil {
		if _, err := command(ctx, "zpool", "destroy", "-f", s.pool); err != nil {
			errs = append(errs, err)
		}
	}
	errs = append(errs, s.removeFolder())
	return errors.Join(errs...)
}

// removeFolder removes the folder with what is in it, unless something is still
// mounted there: that is somebody's data.
func (s *stage) removeFolder() error {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return err
	}
	if bytes.Contains(mounts, []byte(" "+s.dir+"/")) {
		return fmt.Errorf("%s is left, for something is still mounted in it", s.dir)
	}
	return os.RemoveAll(s.dir)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// machineVariable names the folder of the instance that exec, sh and push use.
const machineVariable = "ZFS_CSI_MACHINE"

// zfsDevice is there when the kernel of this computer has ZFS.
const zfsDevice = "/dev/zfs"

// hostHasZFS reports whether no machine is needed.
func hostHasZFS() bool {
	_, err := os.Stat(zfsDevice)
	return err == nil
}

// grace is how long a program gets to end after it was asked to.
const grace = time.Minute

// clusterOption, first among a verb's arguments, asks for a machine with a cluster on it.
const clusterOption = "--cluster"

// takeCluster tells whether the arguments begin with clusterOption, and returns the others.
func takeCluster(args []string) (bool, []string) {
	if len(args) == 0 || args[0] != clusterOption {
		return false, args
	}
	if hostHasZFS() {
		say("this computer has %s; the cluster runs in a machine all the same, apart from what is installed here", zfsDevice)
	}
	return true, args[1:]
}

// runVerb runs a program of the host with a machine at its service.
func runVerb(ctx context.Context, args []string) (int, error) {
	cluster, args := takeCluster(args)
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		return 2, errors.New("run needs a command: run -- CMD ARGS…")
	}
	if hostHasZFS() && !cluster {
		return attend(ctx, exec.CommandContext(context.WithoutCancel(ctx), args[0], args[1:]...), nil)
	}
	cache, err := openCache()
	if err != nil {
		return 1, err
	}
	saved, err := findSaved(ctx, cache, cluster)
	if err != nil {
		return 1, err
	}
	start := time.Now()
	instance, err := saved.resume(ctx, cache, false)
	if err != nil {
		return 1, err
	}
	say("%s resumed in %.1f s", filepath.Base(saved.dir), time.Since(start).Seconds())
	cmd := exec.CommandContext(context.WithoutCancel(ctx), args[0], args[1:]...) // attend ends it
	cmd.Env = append(os.Environ(), instance.variables()...)
	code, err := attend(ctx, cmd, instance.dead)
	if !instance.alive() {
		err = errors.Join(err, fmt.Errorf("%w; its console says:\n%s", errMachineEnded, lastLines(instance.console(), 30)))
		code = max(code, 1)
	}
	return code, errors.Join(err, instance.remove())
}

// attend runs cmd on this program's terminal and returns its exit code. A signal
// is passed on; a program that stays all the same is killed after a grace, and
// so is what it left behind. The machine's end is told at once, and again by the caller.
func attend(ctx context.Context, cmd *exec.Cmd, machine <-chan struct{}) (int, error) {
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := adoptOrphans(); err != nil {
		return 1, err
	}
	ended, err := startAttached(cmd)
	if err != nil {
		return 127, err
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	if ctx.Err() != nil {
		signals <- syscall.SIGTERM // it came before anyone listened
	}
	var patience <-chan time.Time
	for {
		select {
		case err := <-ended:
			return exitCode(err), errors.Join(notExit(err), killDescendants(cmd))
		case sig := <-signals:
			if err := cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
				return 1, err
			}
			patience = time.After(grace)
		case <-patience:
			say("%s does not end; killing it", cmd.Path)
			if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
				return 1, err
			}
		case <-machine:
			say("%v", errMachineEnded)
			machine = nil
		}
	}
}

// exitCode is what a shell would report: 128 and the signal for a killed program.
func exitCode(err error) int {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return 0
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return exit.ExitCode()
}

// notExit passes an error on unless it only says that a program failed.
func notExit(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil
	}
	return err
}

// adoptOrphans makes what a child leaves behind children of this program.
func adoptOrphans() error {
	const prSetChildSubreaper = 36
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, prSetChildSubreaper, 1, 0); errno != 0 {
		return fmt.Errorf("become the parent of orphans: %w", errno)
	}
	return nil
}

// killDescendants ends what cmd left running: orphans, which adoptOrphans made
// children of this program, and theirs. QEMU has its own way to end,
// and nothing is saved of a control plane.
func killDescendants(cmd *exec.Cmd) error {
	parents := map[int][]int{}
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		stat, err := os.ReadFile(filepath.Join(dir, "stat"))
		if err != nil {
			continue // it has ended
		}
		pid, _ := strconv.Atoi(filepath.Base(dir))
		after := string(stat[strings.LastIndexByte(string(stat), ')')+1:])
		parent, _ := strconv.Atoi(strings.Fields(after)[1])
		parents[parent] = append(parents[parent], pid)
	}
	queue := parents[os.Getpid()]
	for len(queue) > 0 {
		pid := queue[0]
		queue = append(queue[1:], parents[pid]...)
		name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		if err != nil || strings.HasPrefix(string(name), "qemu-system") {
			continue
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("end process %d, left by %s: %w", pid, cmd.Path, err)
		}
	}
	return nil
}

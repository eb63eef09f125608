package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// current returns the instance that machineVariable names.
func current() (*Instance, error) {
	dir := os.Getenv(machineVariable)
	if dir == "" {
		return nil, fmt.Errorf("%s names no machine; begin the command with: machine run -- , or start one with: eval \"$(machine up)\"", machineVariable)
	}
	return openInstance(dir)
}

// shVerb runs a shell command in the current machine.
func shVerb(ctx context.Context, args []string) (int, error) {
	if len(args) == 0 {
		return 2, errors.New("sh needs a command: sh 'COMMAND'")
	}
	instance, err := current()
	if err != nil {
		return 1, err
	}
	return attendRemote(ctx, instance.ssh(ctx, []string{"-T"}, strings.Join(args, " ")))
}

// attendRemote runs an ssh with this program's terminal.
func attendRemote(ctx context.Context, cmd *exec.Cmd) (int, error) {
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	ended, err := startAttached(cmd)
	if err != nil {
		return 1, err
	}
	err = <-ended
	if ctx.Err() != nil {
		return codeInterrupted, ctx.Err()
	}
	return exitCode(err), notExit(err)
}

// shellVerb gives a person a shell: in the current machine or in a fresh one, or with
// clusterOption on this computer, at a cluster's service.
func shellVerb(ctx context.Context, args []string) (int, error) {
	if os.Getenv(machineVariable) == "" {
		cluster, _ := takeCluster(args)
		self, err := os.Executable()
		if err != nil {
			return 1, fmt.Errorf("find this program: %w", err)
		}
		if hostHasZFS() && !cluster {
			return 1, fmt.Errorf("this computer has %s: any shell will do", zfsDevice)
		}
		if cluster {
			return runVerb(ctx, []string{clusterOption, "--", self, "shell", clusterOption})
		}
		return runVerb(ctx, []string{self, "shell"})
	}
	instance, err := current()
	if err != nil {
		return 1, err
	}
	if len(args) > 0 && args[0] == clusterOption {
		return instance.hostShell(ctx)
	}
	if with := os.Getenv(binaryVariable); with != "" {
		if err := instance.push(ctx, with, "/usr/local/bin/"+filepath.Base(with)); err != nil {
			return 1, err
		}
	}
	cmd := instance.ssh(context.WithoutCancel(ctx), []string{"-t"}) // Ctrl-C belongs to the shell
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	ended, err := startAttached(cmd)
	if err != nil {
		return 1, err
	}
	err = <-ended
	return exitCode(err), notExit(err)
}

// pushVerb copies a file into the current machine.
func pushVerb(ctx context.Context, args []string) (int, error) {
	if len(args) != 2 {
		return 2, errors.New("push needs two paths: push SRC DST")
	}
	instance, err := current()
	if err != nil {
		return 1, err
	}
	return codeOf(instance.push(ctx, args[0], args[1]))
}

// forwardVerb makes a socket of the current machine one of the host.
func forwardVerb(ctx context.Context, args []string) (int, error) {
	if len(args) != 2 {
		return 2, errors.New("forward needs two paths of sockets: forward HERE THERE")
	}
	local, err := filepath.Abs(args[0])
	if err != nil {
		return 1, err
	}
	instance, err := current()
	if err != nil {
		return 1, err
	}
	return codeOf(instance.forward(ctx, local, args[1]))
}

// buildVerb makes sure that a saved machine exists.
func buildVerb(ctx context.Context, args []string) (int, error) {
	cluster, _ := takeCluster(args)
	if hostHasZFS() && !cluster {
		say("this computer has %s: no machine is needed", zfsDevice)
		return 0, nil
	}
	cache, err := openCache()
	if err != nil {
		return 1, err
	}
	start := time.Now()
	saved, err := findSaved(ctx, cache, cluster)
	if err != nil {
		return 1, err
	}
	say("ready in %.1f s: %s", time.Since(start).Seconds(), saved.dir)
	return 0, nil
}

// upVerb leaves a machine running.
func upVerb(ctx context.Context, args []string) (int, error) {
	cluster, _ := takeCluster(args)
	cache, err := openCache()
	if err != nil {
		return 1, err
	}
	saved, err := findSaved(ctx, cache, cluster)
	if err != nil {
		return 1, err
	}
	instance, err := saved.resume(ctx, cache, true)
	if err != nil {
		return 1, err
	}
	for _, variable := range instance.variables() {
		name, value, _ := strings.Cut(variable, "=")
		fmt.Printf("export %s=%s\n", name, quote(value))
	}
	return 0, nil
}

// downVerb ends the machine that up left running: the current one, or with
// --all every machine of this user that runs in the background.
func downVerb(_ context.Context, args []string) (int, error) {
	if len(args) == 1 && args[0] == "--all" {
		return codeOf(downAll())
	}
	if len(args) == 0 {
		args = []string{os.Getenv(machineVariable)}
	}
	if args[0] == "" {
		return 2, fmt.Errorf("%s names no machine; down takes its folder, or --all", machineVariable)
	}
	var all error
	for _, dir := range args {
		instance, err := openInstance(dir)
		switch {
		case err != nil:
			all = errors.Join(all, err)
		case !instance.Lasting:
			all = errors.Join(all, fmt.Errorf("%s belongs to a run, and ends with it", dir))
		default:
			all = errors.Join(all, instance.remove())
		}
	}
	return codeOf(all)
}

func downAll() error {
	cache, err := openCache()
	if err != nil {
		return err
	}
	dirs, err := filepath.Glob(filepath.Join(cache.instances(), "m*"))
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		if instance, openErr := openInstance(dir); openErr == nil && instance.Lasting {
			err = errors.Join(err, instance.remove())
		}
	}
	return err
}

func codeOf(err error) (int, error) {
	if err != nil {
		return 1, err
	}
	return 0, nil
}

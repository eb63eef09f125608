package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// kubeconfig lets its reader do everything in the cluster on this machine.
func (i *Instance) kubeconfig() string { return filepath.Join(i.dir, "admin.kubeconfig") }

// variables name the machine, and the cluster on it if there is one, to programs of this
// computer, as NAME=VALUE.
func (i *Instance) variables() []string {
	all := []string{machineVariable + "=" + i.dir}
	if i.Hardware.Cluster != "" {
		all = append(all, "KUBECONFIG="+i.kubeconfig(), "PATH="+Cluster{i.Hardware.Cluster}.programs()+":"+os.Getenv("PATH"))
	}
	return all
}

// writeKubeconfig writes that of a user, as it serves on this computer.
func (i *Instance) writeKubeconfig(cluster Cluster, user string) error {
	text, err := os.ReadFile(filepath.Join(cluster.identities(), user+".kubeconfig"))
	if err == nil {
		own := strings.ReplaceAll(string(text), apiServerAddress(apiServerPort), apiServerAddress(i.APIPort))
		err = os.WriteFile(filepath.Join(i.dir, user+".kubeconfig"), []byte(own), 0o600)
	}
	if err != nil {
		return fmt.Errorf("let %s into the cluster: %w", user, err)
	}
	return nil
}

// admit lets people into the cluster, and waits until its API server answers.
func (i *Instance) admit(ctx context.Context, patience time.Duration) error {
	if err := i.writeKubeconfig(Cluster{i.Hardware.Cluster}, "admin"); err != nil {
		return err
	}
	way := filepath.Join(i.dir, "way.json")
	text, err := i.podsWay()
	if err == nil {
		err = os.WriteFile(way, text, 0o600)
	}
	if err != nil {
		return fmt.Errorf("let pods find the API server: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) { // asking takes from what is asked for
		err := i.kubectl(ctx, "--request-timeout=10s", "get", "--raw=/readyz")
		if err == nil {
			err = i.kubectl(ctx, "--request-timeout=10s", "apply", "--server-side", "--filename="+way)
		}
		if err == nil {
			return nil
		}
		if !locked(i.planeLock()) {
			return fmt.Errorf("the control plane has ended:\n%s", i.planeLogs())
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the API server is not ready after %s: %w", patience, err)
		case <-i.dead:
			return errMachineEnded
		case <-time.After(pause):
		}
	}
}

// kubectl runs kubectl on this computer, which takes a fraction of the time it takes in the machine.
func (i *Instance) kubectl(ctx context.Context, args ...string) error {
	program := filepath.Join(Cluster{i.Hardware.Cluster}.programs(), "kubectl")
	return tool(ctx, filepath.Join(i.dir, "kubectl.log"), exec.CommandContext(ctx, program, append([]string{"--kubeconfig=" + i.kubeconfig()}, args...)...))
}

// hostShell gives a person a shell on this computer with the cluster at its service.
func (i *Instance) hostShell(ctx context.Context) (int, error) {
	if i.Hardware.Cluster == "" {
		return 1, fmt.Errorf("on the machine that %s names there is no cluster", machineVariable)
	}
	for _, variable := range i.variables() {
		name, value, _ := strings.Cut(variable, "=")
		if err := os.Setenv(name, value); err != nil {
			return 1, fmt.Errorf("prepare the shell: %w", err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		return 1, fmt.Errorf("find this program: %w", err)
	}
	fmt.Fprintf(os.Stderr, `
A cluster of one node is at your service, on 127.0.0.1:%d. In another terminal:

  export KUBECONFIG=%s
  export PATH=%s:$PATH     # kubectl and helm
  export %s=%s   # for: %s sh 'zpool list'

The end of this shell (exit) ends the cluster, and what was changed in it is gone.

`, i.APIPort, i.kubeconfig(), Cluster{i.Hardware.Cluster}.programs(), machineVariable, i.dir, self)
	shell := os.Getenv("SHELL")
	if shell == "" {
		shell = "/bin/sh"
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), shell) // the person ends it
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	ended, err := startAttached(cmd)
	if err != nil {
		return 1, err
	}
	err = <-ended
	return exitCode(err), notExit(err)
}

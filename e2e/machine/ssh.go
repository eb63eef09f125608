package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// controlSocket is that of the shared connection, in the machine's folder.
const controlSocket = "ssh.sock"

// ssh prepares a command of the machine; they share one connection. The control
// socket is named relative to the folder ssh runs in, since its path is limited.
func (i *Instance) ssh(ctx context.Context, options []string, command ...string) *exec.Cmd {
	args := []string{
		"-F", "none", "-p", strconv.Itoa(i.Port), "-i", i.image().key(),
		"-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "LogLevel=ERROR",
		"-o", "UserKnownHostsFile=" + i.image().knownHosts(), "-o", "HostKeyAlias=" + hostAlias,
		"-o", "ControlPath=" + controlSocket, "-o", "StreamLocalBindUnlink=yes", "-o", "Compression=no",
		// Under emulation by far the fastest pair: four times as fast as aes128-gcm.
		"-c", "aes128-ctr", "-m", "umac-64@openssh.com",
	}
	args = append(append(append(args, options...), "root@127.0.0.1"), command...)
	cmd := exec.CommandContext(ctx, "ssh", args...)
	cmd.Dir = i.dir
	return cmd
}

// reach waits until sshd answers and opens the connection the others share.
func (i *Instance) reach(ctx context.Context, patience time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("sshd did not answer in %s", patience))
	defer cancel()
	log := filepath.Join(i.dir, "ssh.log")
	for {
		attempt, stop := context.WithTimeout(ctx, 40*time.Second)
		err := tool(attempt, log, i.ssh(attempt, []string{"-o", "ControlMaster=yes", "-o", "ControlPersist=yes", "-o", "ConnectTimeout=30", "-f", "-N"}))
		stop()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("reach the machine: %w; its console says:\n%s\nssh says:\n%s",
				context.Cause(ctx), lastLines(i.console(), 20), lastLines(log, 5))
		case <-i.dead:
			return fmt.Errorf("reach the machine: %w; its console says:\n%s", errMachineEnded, lastLines(i.console(), 30))
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// disconnect closes the shared connection.
func (i *Instance) disconnect(ctx context.Context) error {
	return tool(ctx, filepath.Join(i.dir, "ssh.log"), i.ssh(ctx, []string{"-O", "exit"}))
}

// forward lets a program of the host connect to a socket of the machine, for as long as the
// shared connection lasts.
func (i *Instance) forward(ctx context.Context, local, remote string) error {
	return tool(ctx, filepath.Join(i.dir, "ssh.log"), i.ssh(ctx, []string{"-O", "forward", "-L", local + ":" + remote}))
}

// output runs a shell command in the machine to its end.
func (i *Instance) output(ctx context.Context, command string) (string, error) {
	cmd := i.ssh(ctx, []string{"-T"}, command)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	ended, err := start(cmd)
	if err != nil {
		return "", err
	}
	err = <-ended
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	if err != nil {
		return "", fmt.Errorf("in the machine, %q: %w: %s", command, err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// quote makes a word of the machine's shell.
func quote(word string) string {
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// push copies a file into the machine, with its mode.
func (i *Instance) push(ctx context.Context, from, to string) error {
	source, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("push: %w", err)
	}
	defer source.Close()
	info, err := source.Stat()
	if err != nil {
		return fmt.Errorf("push: %w", err)
	}
	script := fmt.Sprintf("mkdir -p %[1]s && cat >%[2]s.part && chmod %[3]o %[2]s.part && mv %[2]s.part %[2]s",
		quote(filepath.Dir(to)), quote(to), info.Mode().Perm())
	cmd := i.ssh(ctx, []string{"-T"}, script)
	cmd.Stdin = source
	return tool(ctx, filepath.Join(i.dir, "ssh.log"), cmd)
}

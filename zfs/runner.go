package zfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Command is one start of a ZFS tool, or a call of ZFS's kernel module.
type Command struct {
	// Name is "zfs" or "zpool".
	Name string
	Args []string
	// Call, when not nil, is made in place of the command, which tells people what it does.
	Call *Call
	// Stdin is what the command reads; nil for nothing.
	Stdin io.Reader
	// Stdout, when not nil, takes what the command writes, and Result.Stdout stays empty.
	Stdout io.Writer
}

// String returns the command as a person would type it, for logs.
func (c Command) String() string { return c.Name + " " + strings.Join(c.Args, " ") }

// Result is what a command that ran to its end left.
type Result struct {
	Stdout, Stderr []byte
	ExitCode       int
	// Answers are those of a call, by the names that it was made about.
	Answers map[string]map[string]any
	// Errno is 0, or why a call was refused; Stderr may say more.
	Errno unix.Errno
}

// Runner starts commands. It is the only way by which this package changes anything.
type Runner interface {
	// Run starts c and waits for its end. The error is not nil only when the
	// command could not be started or was killed; what it then did is unknown.
	// When ctx ends, the command is killed, but not a call.
	Run(ctx context.Context, c Command) (Result, error)
}

// Exec runs commands of this machine, without a shell and in the C locale.
type Exec struct {
	// Log takes a line for each command and call, with its duration.
	Log *slog.Logger
	// Root, if not empty, is where the root of another system is mounted, such as that of the node in a
	// container: its tools are run, with that folder as their root, and calls are made of its /dev/zfs. All they have
	// to be given are names and pipes, which mean the same there.
	Root string
	// Inherited are open files that each command keeps open too, until it ends: a lock on them that nobody gives
	// back is held until the last command has ended.
	Inherited []*os.File
}

// Run implements Runner.
func (e Exec) Run(ctx context.Context, c Command) (Result, error) {
	if c.Call != nil {
		return e.call(ctx, c)
	}
	path, err := e.Find(c.Name)
	if err != nil {
		return Result{ExitCode: -1}, fmt.Errorf("run %s: %w", c, err)
	}
	cmd := exec.CommandContext(ctx, path, c.Args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "LANGUAGE=C")
	// A signal for the driver's process group is not for commands: they run to their end.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Chroot: e.Root}
	if e.Root != "" {
		cmd.Dir = "/"
		cmd.Env = append(cmd.Env, "PATH="+strings.Join(toolFolders, ":"))
	}
	cmd.ExtraFiles = e.Inherited
	cmd.Stdin = c.Stdin
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if c.Stdout != nil {
		cmd.Stdout = c.Stdout
	}

	start := time.Now()
	err = cmd.Run()
	result := Result{Stdout: stdout.Bytes(), Stderr: stderr.Bytes(), ExitCode: -1}
	if cmd.ProcessState != nil {
		result.ExitCode = cmd.ProcessState.ExitCode()
	}
	e.Log.DebugContext(ctx, "command", "command", c.String(), "duration", time.Since(start),
		"exit", result.ExitCode, "stderr", firstLine(result.Stderr))

	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return result, nil
	}
	if err != nil {
		return result, fmt.Errorf("run %s: %w", c, err)
	}
	return result, nil
}

// call makes a call.
func (e Exec) call(ctx context.Context, c Command) (Result, error) {
	if err := ctx.Err(); err != nil {
		return Result{}, fmt.Errorf("run %s: %w", c, err)
	}
	start := time.Now()
	result, err := c.Call.run(filepath.Join("/", e.Root, "dev/zfs"))
	e.Log.DebugContext(ctx, "call", "command", c.String(), "duration", time.Since(start),
		"errno", int(result.Errno), "stderr", firstLine(result.Stderr))
	if err != nil {
		return result, fmt.Errorf("run %s: %w", c, err)
	}
	return result, nil
}

func firstLine(b []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(b)), "\n")
	return line
}

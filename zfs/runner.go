package zfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Command is one start of a ZFS tool.
type Command struct {
	// Name is "zfs" or "zpool".
	Name string
	Args []string
	// Stdin is what the command reads; nil for nothing.
	Stdin io.Reader
	// Stdout, when not nil, takes what the command writes, and Result.Stdout stays empty.
	Stdout io.Writer
	// Ahead tells that the command does nothing before it has read all of Stdin, and nothing if that
	// is empty, so that it can be started before there is a Stdin; which then is an io.Seeker too.
	Ahead bool
}

// String returns the command as a person would type it, for logs.
func (c Command) String() string { return c.Name + " " + strings.Join(c.Args, " ") }

// Result is what a command that ran to its end left.
type Result struct {
	Stdout, Stderr []byte
	ExitCode       int
}

// Runner starts commands. It is the only way by which this package changes anything.
type Runner interface {
	// Run starts c and waits for its end. The error is not nil only when the
	// command could not be started or was killed; what it then did is unknown.
	// When ctx ends, the command is killed.
	Run(ctx context.Context, c Command) (Result, error)
}

// Exec runs commands of this machine, without a shell and in the C locale.
type Exec struct {
	// Log takes a line for each command, with its duration.
	Log *slog.Logger
	// Root, if not empty, is where the root of another system is mounted, such as that of the node in a
	// container: its tools are run, with that folder as their root. All they have to be given are names and
	// pipes, which mean the same there.
	Root string
	// Ready keeps processes for commands that may be started ahead; nil for none.
	Ready *Ready
	// Inherited are open files that each command keeps open too, until it ends: a lock on them that nobody gives
	// back is held until the last command has ended.
	Inherited []*os.File
}

// Run implements Runner.
func (e Exec) Run(ctx context.Context, c Command) (Result, error) {
	started := e.Ready.take(c.key())
	ahead := started != nil
	// A process that nobody waits for is started when this one has ended.
	var next func() (*process, error)
	if c.Ahead {
		next = func() (*process, error) { //nolint:contextcheck // It is for a later call.
			return e.start(context.Background(), Command{Name: c.Name, Args: c.Args}, true)
		}
	}
	defer func() { e.Ready.release(c.key(), next) }()

	start := time.Now()
	var err error
	if ahead {
		err = started.tell(ctx, c)
	}
	if ahead && errors.Is(err, errDeaf) {
		// It ended before it was told anything; the pool was not there when it was started, perhaps.
		if _, err := c.Stdin.(io.Seeker).Seek(0, io.SeekStart); err != nil {
			return Result{ExitCode: -1}, fmt.Errorf("run %s: %w", c, err)
		}
		ahead = false
	}
	if !ahead {
		if started, err = e.start(ctx, c, false); err != nil {
			return Result{ExitCode: -1}, fmt.Errorf("run %s: %w", c, err)
		}
		err = started.cmd.Wait()
	}
	started.kill()
	result := Result{Stdout: started.stdout.Bytes(), Stderr: started.stderr.Bytes(), ExitCode: -1}
	if started.cmd.ProcessState != nil {
		result.ExitCode = started.cmd.ProcessState.ExitCode()
	}
	e.Log.DebugContext(ctx, "command", "command", c.String(), "duration", time.Since(start), "ahead", ahead,
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

// start starts a command; one that waits gets its standard input later.
func (e Exec) start(ctx context.Context, c Command, waits bool) (*process, error) {
	path, err := e.Find(c.Name)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	p := &process{cmd: exec.CommandContext(ctx, path, c.Args...), kill: cancel}
	p.cmd.Env = append(os.Environ(), "LC_ALL=C", "LANGUAGE=C")
	// A signal for the driver's process group is not for commands: they run to their end.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Chroot: e.Root}
	if e.Root != "" {
		p.cmd.Dir = "/"
		p.cmd.Env = append(p.cmd.Env, "PATH="+strings.Join(toolFolders, ":"))
	}
	p.cmd.ExtraFiles = e.Inherited
	p.cmd.Stdin = c.Stdin
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	if c.Stdout != nil {
		p.cmd.Stdout = c.Stdout
	}
	if waits {
		if p.stdin, err = p.cmd.StdinPipe(); err != nil {
			cancel()
			return nil, err
		}
	}
	if err := p.cmd.Start(); err != nil {
		cancel()
		return nil, err
	}
	return p, nil
}

func firstLine(b []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(b)), "\n")
	return line
}

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// builtVariable names this program where the machine that it resumes is built already.
const builtVariable = "ZFS_CSI_BUILT_MACHINE"

// patience is more than a machine needs to be resumed, or to end, on a busy computer.
const patience = 3 * time.Minute

// pause is that between two looks at something.
const pause = 20 * time.Millisecond

// TestInterrupted: Ctrl-C at the terminal of a run ends all of it, while its machine is resumed and while its command runs, and
// leaves another run alone.
func TestInterrupted(t *testing.T) {
	program := os.Getenv(builtVariable)
	if program == "" {
		t.Skipf("%s is not set: this takes a machine that is built; see make test-zfs", builtVariable)
	}
	if hostHasZFS() {
		t.Skipf("this computer has %s, so that tests run on it and not in a virtual machine", zfsDevice)
	}
	interrupted := runAtTerminal(t, program, "exec sleep 1000")
	// Its command ends when it is told to, and has the machine say something then.
	other := runAtTerminal(t, program, `read -r _; exec "$0" sh 'zfs version'`)
	if interrupted.folder == other.folder || interrupted.qemu.pid == other.qemu.pid {
		t.Fatalf("both have the machine %s, of process %d", other.folder, other.qemu.pid)
	}
	command := interrupted.commandRuns()
	interrupted.typed(ctrlC)
	if code, out := interrupted.end(); code != codeInterrupted {
		t.Errorf("after Ctrl-C the exit code is %d:\n%s", code, out)
	}
	interrupted.leavesNothing()
	if command.alive() {
		t.Errorf("the command, process %d, still runs", command.pid)
	}

	early := runAtTerminal(t, program, "exec sleep 1000")
	early.typed(ctrlC)
	if code, out := early.end(); code != codeInterrupted {
		t.Errorf("after Ctrl-C while a machine is resumed the exit code is %d:\n%s", code, out)
	}
	early.leavesNothing()

	other.commandRuns()
	other.typed("\n")
	if code, out := other.end(); code != 0 || !strings.Contains(out, "zfs-kmod-") {
		t.Errorf("the other machine's command ended with code %d:\n%s", code, out)
	}
	other.leavesNothing()
}

// atTerminal is a run of a shell script with a machine, in the foreground of a terminal of its own.
type atTerminal struct {
	*testing.T
	cmd      *exec.Cmd
	terminal *os.File
	started  <-chan int    // the script's process; closed without one when the run has ended before
	output   <-chan string // all of it, when it has ended
	qemu     process
	folder   string // the machine's
}

const (
	// began is what the script writes before its process's number.
	began = "the script is process "
	// ctrlC is what the terminal gets when somebody presses these keys.
	ctrlC = "\x03"
)

// runAtTerminal returns when there is a machine. The script's $0 is the program.
func runAtTerminal(t *testing.T, program, script string) *atTerminal {
	t.Helper()
	terminal, end := openTerminal(t)
	cmd := exec.CommandContext(t.Context(), program, "run", "--", "sh", "-c", `echo "`+began+`$$"; `+script, program)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = end, end, end
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = end.Close()
	output, started := make(chan string, 1), make(chan int, 1)
	go func() {
		var all strings.Builder
		// When the last process has closed the terminal, to read from it fails.
		for in := bufio.NewReader(terminal); ; {
			line, err := in.ReadString('\n')
			all.WriteString(line)
			if _, number, found := strings.Cut(line, began); found {
				if pid, err := strconv.Atoi(strings.TrimSpace(number)); err == nil {
					started <- pid
				}
			}
			if err != nil {
				output <- all.String()
				close(started)
				return
			}
		}
	}()
	run := &atTerminal{T: t, cmd: cmd, terminal: terminal, started: started, output: output}
	run.findMachine()
	return run
}

// findMachine waits for the program's QEMU, which runs in the machine's folder.
func (r *atTerminal) findMachine() {
	r.Helper()
	cache, err := openCache()
	if err != nil {
		r.Fatal(err)
	}
	folders, err := filepath.EvalSymlinks(cache.instances())
	if err != nil {
		r.Fatal(err)
	}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(pause) {
		stats, err := filepath.Glob("/proc/[0-9]*/stat")
		if err != nil {
			r.Fatal(err)
		}
		for _, stat := range stats {
			var pid, parent int
			var name, state string
			text, _ := os.ReadFile(stat) // Whatever ends meanwhile has none.
			_, err := fmt.Sscan(string(text), &pid, &name, &state, &parent)
			if err != nil || parent != r.cmd.Process.Pid || !strings.HasPrefix(name, "(qemu-system") {
				continue
			}
			// It is run elsewhere to tell its version.
			if folder, _ := os.Readlink(filepath.Join(filepath.Dir(stat), "cwd")); filepath.Dir(folder) == folders {
				r.qemu, r.folder = openProcess(r.T, pid), folder
				return
			}
		}
	}
	r.Fatal("no machine is resumed in time")
}

// commandRuns waits until the script runs.
func (r *atTerminal) commandRuns() process {
	r.Helper()
	select {
	case pid, more := <-r.started:
		if !more {
			r.Fatalf("the command does not run:\n%s", <-r.output)
		}
		return openProcess(r.T, pid)
	case <-time.After(patience):
		r.Fatal("the command does not run in time")
		return process{}
	}
}

// typed has somebody type at the terminal.
func (r *atTerminal) typed(text string) {
	r.Helper()
	if _, err := io.WriteString(r.terminal, text); err != nil {
		r.Fatal(err)
	}
}

// end waits for the run's end, and returns its exit code and what it wrote.
func (r *atTerminal) end() (code int, output string) {
	r.Helper()
	ended := make(chan error, 1)
	go func() { ended <- r.cmd.Wait() }()
	select {
	case err := <-ended:
		if err := notExit(err); err != nil {
			r.Fatal(err)
		}
		return exitCode(err), <-r.output
	case <-time.After(patience):
		r.Fatal("the run does not end")
		return 0, ""
	}
}

// leavesNothing checks that nothing is there any more of a run that has ended.
func (r *atTerminal) leavesNothing() {
	r.Helper()
	if r.qemu.alive() {
		r.Errorf("QEMU, process %d, still runs", r.qemu.pid)
	}
	if _, err := os.Lstat(r.folder); !errors.Is(err, os.ErrNotExist) {
		r.Errorf("the machine's folder is still there: %v", err)
	}
}

// openTerminal makes a terminal, and returns the end where a person sits and that of programs; see pts(4).
func openTerminal(t *testing.T) (person, programs *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = person.Close() })
	ask := func(what uintptr, value *int32) {
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, person.Fd(), what, uintptr(unsafe.Pointer(value))); errno != 0 {
			t.Fatal(errno)
		}
	}
	var number, locked int32
	ask(syscall.TIOCGPTN, &number)
	ask(syscall.TIOCSPTLCK, &locked)
	programs, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return person, programs
}

// process is one that is taken for no other when its number is used again, as Go's are on Linux.
type process struct {
	*os.Process
	pid int
}

func openProcess(t *testing.T, pid int) process {
	t.Helper()
	p, err := os.FindProcess(pid)
	if err != nil {
		t.Fatalf("process %d: %v", pid, err)
	}
	t.Cleanup(func() { _ = p.Release() })
	return process{p, pid}
}

func (p process) alive() bool { return p.Signal(syscall.Signal(0)) == nil }

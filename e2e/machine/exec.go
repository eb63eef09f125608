package main

import (
	"archive/tar"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	deadlineVariable = "ZFS_CSI_DEADLINE"
	binaryVariable   = "ZFS_CSI_BINARY"
	tokenVariable    = "ZFS_CSI_TEST_TOKEN"
	folderVariable   = "ZFS_CSI_TEST_DIR"
	// passedOn begins the names of the variables that a program is given.
	passedOn = "ZFS_CSI_"
	// defaultDeadline applies to one program, thus to one package's tests.
	defaultDeadline = 20 * time.Minute
	// codeDeadline and codeInterrupted are exit codes of exec, as timeout(1) and shells have them.
	codeDeadline    = 124
	codeInterrupted = 130
)

// program is one run of a binary on real ZFS, in a folder of its own.
type program struct {
	binary   string
	with     string // another program that it needs, "" for none
	args     []string
	token    string // unique; begins the names of its pools
	dir      string // holds the binary, work/ and pool/; gone afterwards
	deadline time.Duration
}

// execVerb serves go test -exec: it runs BINARY on real ZFS.
func execVerb(ctx context.Context, args []string) (int, error) {
	if len(args) == 0 {
		return 2, errors.New("exec needs a program: exec BINARY ARGS…")
	}
	deadline := defaultDeadline
	if text := os.Getenv(deadlineVariable); text != "" {
		var err error
		if deadline, err = time.ParseDuration(text); err != nil || deadline <= 0 {
			return 2, fmt.Errorf("%s=%q is not a duration such as 20m", deadlineVariable, text)
		}
	}
	random := make([]byte, 4)
	if _, err := rand.Read(random); err != nil {
		return 1, fmt.Errorf("make a token: %w", err)
	}
	p := program{binary: args[0], with: os.Getenv(binaryVariable), args: args[1:], token: hex.EncodeToString(random), deadline: deadline}
	p.dir = "/var/lib/zfs-csi-test-" + p.token
	if err := p.find(); err != nil {
		return 1, err
	}
	if hostHasZFS() {
		return p.onHost(ctx)
	}
	dir := os.Getenv(machineVariable)
	if dir == "" {
		return 1, fmt.Errorf("this computer has no %s and %s names no machine; begin the command with: machine run --", zfsDevice, machineVariable)
	}
	instance, err := openInstance(dir)
	if err != nil {
		return 1, err
	}
	return p.inMachine(ctx, instance)
}

// find makes the paths of the programs absolute: they run in another folder.
func (p *program) find() (err error) {
	for _, path := range []*string{&p.binary, &p.with} {
		if *path == "" {
			continue
		}
		if *path, err = filepath.Abs(*path); err == nil {
			_, err = os.Stat(*path)
		}
		if err != nil {
			return fmt.Errorf("find the program to run, or the one that %s names: %w", binaryVariable, err)
		}
	}
	return nil
}

// environment lists the variables the program is given on top of the usual ones;
// with is where it finds the other program.
func (p program) environment(with string) []string {
	env := []string{tokenVariable + "=" + p.token, folderVariable + "=" + p.dir + "/pool"}
	if p.with != "" {
		env = append(env, binaryVariable+"="+with)
	}
	own := []string{tokenVariable, folderVariable, binaryVariable, machineVariable}
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		if strings.HasPrefix(name, passedOn) && !slices.Contains(own, name) {
			env = append(env, entry)
		}
	}
	return env
}

// inMachine sends the program over the connection that it then runs on.
func (p program) inMachine(ctx context.Context, instance *Instance) (int, error) {
	archive, write := io.Pipe()
	go func() { write.CloseWithError(p.pack(write)) }()
	defer archive.Close() // ends pack when ssh ends early
	// Pools in memory, since what is written to the disk has to be emulated too.
	words := []string{"mkdir", "-p", p.dir + "/work", p.dir + "/pool", "&&",
		"mount", "-t", "tmpfs", "-o", "size=75%", "tmpfs", p.dir + "/pool", "&&", "tar", "-x", "-C", p.dir, "&&", "exec", "env"}
	for _, entry := range p.environment(p.dir + "/with") {
		words = append(words, quote(entry))
	}
	words = append(words, "sh", p.dir+"/exec.sh", p.dir, p.token, p.dir+"/program")
	for _, arg := range p.args {
		words = append(words, quote(arg))
	}
	cmd := instance.ssh(context.WithoutCancel(ctx), []string{"-T"}, strings.Join(words, " "))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = archive, os.Stdout, os.Stderr
	remote := func(script string) error {
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Minute)
		defer cancel()
		out, err := instance.output(limited, script)
		if out != "" {
			fmt.Fprint(os.Stderr, out)
		}
		return err
	}
	code, err := p.watch(ctx, cmd, func(sig string) error {
		return remote(fmt.Sprintf("test ! -e %[1]s/pid || kill -%[2]s $(cat %[1]s/pid)", p.dir, sig))
	})
	cleanErr := remote(fmt.Sprintf("sh %[1]s/clean.sh %[1]s %[2]s 2>&1", p.dir, p.token))
	if cleanErr != nil && !instance.alive() {
		cleanErr = fmt.Errorf("%w; its console says:\n%s", errMachineEnded, lastLines(instance.console(), 30))
	}
	if cleanErr != nil {
		code = max(code, 1)
	}
	return code, errors.Join(err, cleanErr)
}

// onHost runs the program here, on the kernel's own ZFS.
func (p program) onHost(ctx context.Context) (int, error) {
	if err := os.MkdirAll(p.dir+"/pool", 0o700); err != nil {
		return 1, fmt.Errorf("make the program's folder (tests on real ZFS need root): %w", err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), p.binary, p.args...)
	cmd.Env = append(os.Environ(), p.environment(p.with)...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	code, err := p.watch(ctx, cmd, func(sig string) error {
		number := map[string]syscall.Signal{"QUIT": syscall.SIGQUIT, "TERM": syscall.SIGTERM}[sig]
		return killGroup(cmd, number)
	})
	if cmd.Process != nil {
		err = errors.Join(err, killGroup(cmd, syscall.SIGKILL)) // what it left behind
	}
	clean := exec.CommandContext(context.WithoutCancel(ctx), "sh", "-c", assetText("clean.sh"), "clean.sh", p.dir, p.token)
	clean.Stdout, clean.Stderr = os.Stderr, os.Stderr
	if cleanErr := clean.Run(); cleanErr != nil {
		code, err = max(code, 1), errors.Join(err, fmt.Errorf("remove what %s left: %w", p.binary, cleanErr))
	}
	return code, err
}

// watch runs cmd to its end, or ends it when the deadline passes or this program
// is told to stop. With a deadline passed the program first shows where it hangs.
func (p program) watch(ctx context.Context, cmd *exec.Cmd, send func(sig string) error) (int, error) {
	ended, err := start(cmd)
	if err != nil {
		return 1, err
	}
	deadline := time.NewTimer(p.deadline)
	defer deadline.Stop()
	var (
		code     int
		reason   error
		sig      string
		patience time.Duration
	)
	select {
	case err := <-ended:
		return exitCode(err), notExit(err)
	case <-deadline.C:
		code, sig, patience = codeDeadline, "QUIT", 5*time.Second
		reason = fmt.Errorf("%s ran longer than its deadline of %s (%s) and was ended", filepath.Base(p.binary), p.deadline, deadlineVariable)
	case <-ctx.Done():
		code, sig, patience = codeInterrupted, "TERM", 20*time.Second
		reason = fmt.Errorf("%s was interrupted", filepath.Base(p.binary))
	}
	reason = errors.Join(reason, send(sig))
	select {
	case err = <-ended:
	case <-time.After(patience):
		killErr := killGroup(cmd, syscall.SIGKILL)
		err = errors.Join(killErr, notExit(<-ended))
	}
	return code, errors.Join(reason, notExit(err))
}

// pack writes the program, its scripts and the package's testdata as a tar archive.
func (p program) pack(out io.Writer) error {
	archive := tar.NewWriter(out)
	for _, script := range []string{"exec.sh", "clean.sh"} {
		text := assetText(script)
		if err := archive.WriteHeader(&tar.Header{Name: script, Mode: 0o644, Size: int64(len(text))}); err != nil {
			return err
		}
		if _, err := io.WriteString(archive, text); err != nil {
			return err
		}
	}
	if err := packFile(archive, p.binary, "program"); err != nil {
		return err
	}
	if p.with != "" {
		if err := packFile(archive, p.with, "with"); err != nil {
			return err
		}
	}
	err := filepath.WalkDir("testdata", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		return packFile(archive, path, filepath.Join("work", path))
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return archive.Close()
}

func packFile(archive *tar.Writer, path, name string) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("send to the machine: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("send to the machine: %w", err)
	}
	header := &tar.Header{Name: name, Mode: int64(info.Mode().Perm()), Size: info.Size(), ModTime: info.ModTime()}
	if err := archive.WriteHeader(header); err != nil {
		return fmt.Errorf("send %s to the machine: %w", path, err)
	}
	if _, err := io.Copy(archive, file); err != nil {
		return fmt.Errorf("send %s to the machine: %w", path, err)
	}
	return nil
}

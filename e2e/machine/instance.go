package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// bootTime is more than a machine needs to boot, or to go on where it was saved, on a busy computer.
const bootTime = 15 * time.Minute

// errMachineEnded is the machine's end without having been asked: a kernel
// panic, a poweroff inside, or a kill of QEMU.
var errMachineEnded = errors.New("the machine ended by itself")

// Instance is one running machine with a folder, a disk and a port of its own.
// The folder names it: machineVariable holds its path.
type Instance struct {
	dir      string
	lock     *os.File // keeps sweep away; held by whoever made the folder, and by QEMU
	Hardware Hardware
	ImageDir string
	Port     int // of this computer; sshd's
	PID      int // QEMU's
	// Of a cluster: the API server's port, and that which leads to the kubelet, both of this computer, and the
	// process of the control plane.
	APIPort, KubeletPort, PlanePID int           `json:",omitempty"`
	Lasting                        bool          // it outlives the program that started it
	dead                           chan struct{} // closed at QEMU's end; nil when another process started it
	exit                           error         // how it ended, once dead is closed
}

func (i *Instance) image() Image     { return Image{i.ImageDir} }
func (i *Instance) disk() string     { return filepath.Join(i.dir, "disk.qcow2") }
func (i *Instance) qemuLock() string { return filepath.Join(i.dir, "qemu.lock") }
func (i *Instance) console() string  { return filepath.Join(i.dir, "console.log") }

// newInstance makes the folder of a machine with an empty disk on top of
// backing, which may serve any number of instances at once.
func newInstance(ctx context.Context, cache Cache, image Image, hardware Hardware, backing string) (*Instance, error) {
	if err := sweep(ctx, cache); err != nil {
		return nil, err
	}
	all, err := lockFile(ctx, filepath.Join(cache.instances(), "lock"), "another run is clearing ended machines away")
	if err != nil {
		return nil, err
	}
	defer all.Close()
	dir, err := os.MkdirTemp(cache.instances(), "m")
	if err != nil {
		return nil, fmt.Errorf("make a folder for a machine: %w", err)
	}
	instance := &Instance{dir: dir, Hardware: hardware, ImageDir: image.dir}
	if len(filepath.Join(dir, "qmp.sock")) > 100 {
		return nil, errors.Join(fmt.Errorf("%s is too long a path for a socket; set XDG_CACHE_HOME to a shorter one", dir), instance.remove())
	}
	if instance.lock, err = lockFile(ctx, filepath.Join(dir, "lock"), "the machine is in use"); err != nil {
		return nil, errors.Join(err, instance.remove())
	}
	if _, err := capture(ctx, "qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", backing, instance.disk()); err != nil {
		return nil, errors.Join(fmt.Errorf("make a machine's disk: %w", err), instance.remove())
	}
	return instance, nil
}

// sweep removes the folders of machines that ended without cleaning up, which
// takes a kill -9 of their keeper. A folder in use is locked.
func sweep(ctx context.Context, cache Cache) error {
	all, err := lockFile(ctx, filepath.Join(cache.instances(), "lock"), "another run is clearing ended machines away")
	if err != nil {
		return err
	}
	defer all.Close()
	dirs, err := filepath.Glob(filepath.Join(cache.instances(), "m*"))
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return fmt.Errorf("look whether %s is in use: %w", dir, err)
		}
		if syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			err = os.RemoveAll(dir)
		}
		if err := errors.Join(err, lock.Close()); err != nil {
			return fmt.Errorf("remove an ended machine: %w", err)
		}
	}
	return nil
}

// openInstance finds the running machine that dir names.
func openInstance(dir string) (*Instance, error) {
	data, err := os.ReadFile(filepath.Join(dir, "machine.json"))
	if err != nil {
		return nil, fmt.Errorf("%s names no running machine (start one with run or up): %w", machineVariable, err)
	}
	instance := &Instance{dir: dir}
	if err := json.Unmarshal(data, instance); err != nil {
		return nil, fmt.Errorf("read %s/machine.json: %w", dir, err)
	}
	if !instance.alive() {
		return nil, fmt.Errorf("%s: %w; its console says:\n%s", dir, errMachineEnded, lastLines(instance.console(), 20))
	}
	return instance, nil
}

// alive reports whether QEMU runs, by a lock that it alone holds: the number of
// a process may be anyone's by now.
func (i *Instance) alive() bool {
	if i.dead != nil {
		select {
		case <-i.dead:
			return false
		default:
			return true
		}
	}
	return locked(i.qemuLock())
}

// locked tells whether somebody holds the lock on a file.
func locked(path string) bool {
	lock, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return false
	}
	defer lock.Close()
	return errors.Is(syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB), syscall.EWOULDBLOCK)
}

// powerOn starts QEMU on the instance's disk.
func (i *Instance) powerOn(ctx context.Context, extra ...string) (*monitor, error) {
	cmd := i.command(ctx, extra...)
	log, err := os.OpenFile(filepath.Join(i.dir, "qemu.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open QEMU's log: %w", err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	mark, err := lockFile(ctx, i.qemuLock(), "the machine is on already")
	if err != nil {
		return nil, err
	}
	defer mark.Close() // QEMU has inherited it
	cmd.ExtraFiles = []*os.File{i.lock, mark}
	i.dead = make(chan struct{})
	var ended <-chan error
	if i.Lasting {
		ended, err = startLasting(cmd)
	} else {
		ended, err = start(cmd)
	}
	if err != nil {
		return nil, err
	}
	i.PID = cmd.Process.Pid
	go func(dead chan struct{}) {
		i.exit = <-ended
		close(dead)
	}(i.dead)
	control, err := dialMonitor(ctx, filepath.Join(i.dir, "qmp.sock"), i.dead)
	if err != nil {
		return nil, fmt.Errorf("start QEMU: %w; it says:\n%s", errors.Join(err, i.ended()), lastLines(filepath.Join(i.dir, "qemu.log"), 10))
	}
	return control, nil
}

// ended says how QEMU ended; nil when it runs, or ended well.
func (i *Instance) ended() error {
	if i.dead == nil || i.alive() {
		return nil
	}
	return i.exit
}

// boot starts the machine from its disk, as after a power cut, up to a working sshd.
func (i *Instance) boot(ctx context.Context) (*monitor, error) {
	control, err := i.powerOn(ctx)
	if err != nil {
		return nil, err
	}
	return control, errors.Join(i.listen(control), i.reach(ctx, bootTime))
}

// resume continues the machine from a saved state, and sets its clock.
func (i *Instance) resume(ctx context.Context, state string) error {
	control, err := i.powerOn(ctx, "-incoming", "defer")
	if err != nil {
		return err
	}
	defer control.close()
	if err := control.mappedRAM(); err != nil {
		return err
	}
	if err := control.do("migrate-incoming", map[string]any{"uri": "file:" + state}, nil); err != nil {
		return err
	}
	if err := control.migrated(ctx); err != nil {
		return fmt.Errorf("%w; QEMU says:\n%s", err, lastLines(filepath.Join(i.dir, "qemu.log"), 10))
	}
	if err := control.do("cont", nil, nil); err != nil {
		return err
	}
	if err := control.connect(true); err != nil { // where it was saved without
		return err
	}
	if err := i.listen(control); err != nil {
		return err
	}
	if err := i.reach(ctx, bootTime); err != nil {
		return err
	}
	script := ""
	if i.Hardware.Cluster != "" {
		script = "\n" + toAPIServer(i.APIPort)
	}
	_, err = i.output(ctx, fmt.Sprintf("date -s @%d.%09d >/dev/null", time.Now().Unix(), time.Now().Nanosecond())+script)
	if err != nil || i.Hardware.Cluster == "" {
		return err
	}
	return i.admit(ctx, bootTime)
}

// listen notes the ports and makes the machine known to openInstance.
func (i *Instance) listen(control *monitor) (err error) {
	if i.Port, err = control.forwardedPort(sshdPort); err != nil {
		return err
	}
	if i.Hardware.Cluster != "" {
		if i.KubeletPort, err = control.forwardedPort(kubeletPort); err != nil {
			return err
		}
	}
	data, err := json.Marshal(i)
	if err != nil {
		return fmt.Errorf("describe the machine: %w", err)
	}
	if err := os.WriteFile(filepath.Join(i.dir, "machine.json"), data, 0o600); err != nil {
		return fmt.Errorf("describe the machine: %w", err)
	}
	return nil
}

// powerOff kills QEMU, as a power cut would, and waits for its end.
func (i *Instance) powerOff() error {
	if i.PID == 0 || !i.alive() {
		return nil
	}
	if err := syscall.Kill(i.PID, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("end QEMU, process %d: %w", i.PID, err)
	}
	for end := time.Now().Add(10 * time.Second); i.alive(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			return fmt.Errorf("QEMU, process %d, does not end", i.PID)
		}
	}
	return nil
}

// remove ends the machine and leaves nothing of it.
func (i *Instance) remove() error {
	err := errors.Join(i.powerOff(), i.endControlPlane())
	if i.lock != nil {
		err = errors.Join(err, i.lock.Close())
	}
	return errors.Join(err, os.RemoveAll(i.dir))
}

// startLasting starts cmd in a session of its own: it outlives this program.
func startLasting(cmd *exec.Cmd) (<-chan error, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", strings.Join(cmd.Args[:1], ""), err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	return ended, nil
}

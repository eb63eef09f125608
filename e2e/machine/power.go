package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// What powerVerb says on standard output, a line each.
const (
	powerIsOff = "off"
	powerIsOn  = "on"
)

// powerVerb keeps a machine of its own for a program that reads its output and cuts its
// power by a line of input. Unlike the machine of run it may end, so it cannot be that.
func powerVerb(ctx context.Context, _ []string) (code int, err error) {
	if hostHasZFS() {
		return 1, fmt.Errorf("this computer has %s, so that tests run on it and not in a virtual machine; its own power cannot be cut by a test", zfsDevice)
	}
	cache, err := openCache()
	if err != nil {
		return 1, err
	}
	saved, err := findSaved(ctx, cache, false)
	if err != nil {
		return 1, err
	}
	dawn, err := findDawn(ctx, cache, saved)
	if err != nil {
		return 1, err
	}
	instance, err := newInstance(ctx, cache, saved.image, saved.hardware, saved.disk())
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, instance.remove()) }()
	if err := instance.resume(ctx, dawn); err != nil {
		return 1, err
	}
	fmt.Println(instance.dir)
	return codeOf(instance.obey(ctx, dawn))
}

// obey cuts the power at each line of input, until there is no more.
func (i *Instance) obey(ctx context.Context, dawn string) error {
	lines := make(chan struct{})
	go func() {
		defer close(lines)
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			lines <- struct{}{}
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-i.dead:
			return fmt.Errorf("%w; its console says:\n%s", errMachineEnded, lastLines(i.console(), 30))
		case _, more := <-lines:
			if !more {
				return nil
			}
			if err := i.cut(ctx, dawn); err != nil {
				return err
			}
		}
	}
}

// cut kills the machine and boots it again. Lost is what a power cut loses: all that the guest
// had not yet handed to its disk; and what it had, but not flushed, may be there or not, since
// QEMU keeps in its own memory where that lies. All that was flushed is there: cache=unsafe only
// means that the host is not asked to make it outlive a power cut of its own.
func (i *Instance) cut(ctx context.Context, dawn string) error {
	if err := i.powerOff(); err != nil {
		return err
	}
	fmt.Println(powerIsOff)
	if err := i.disconnected(ctx); err != nil {
		return err
	}
	if err := i.resume(ctx, dawn); err != nil {
		return fmt.Errorf("boot the machine again: %w", err)
	}
	fmt.Println(powerIsOn)
	return nil
}

// disconnected waits until the shared connection has seen the machine's end and its socket,
// which is to be the next one's, is gone.
func (i *Instance) disconnected(ctx context.Context) error {
	return poll(ctx, 10*time.Second, "ssh to notice that the machine has ended", nil, func() (bool, error) {
		_, err := os.Lstat(filepath.Join(i.dir, controlSocket))
		if errors.Is(err, fs.ErrNotExist) {
			return true, nil
		}
		return false, err
	})
}

// findDawn returns the state of a machine that has booted as far as it can without its disk. It goes
// on from there with any disk, thus after a power cut with what that has left, in a third of the
// time of a boot.
func findDawn(ctx context.Context, cache Cache, saved Saved) (string, error) {
	const state = "state"
	name := "dawn" + strings.TrimPrefix(filepath.Base(saved.dir), "saved") + "-" + key(assetText("dawn"))
	dir, err := cache.entry(ctx, name, func(ctx context.Context, dir string) error {
		return step(ctx, "boot the machine up to its disk", nil, func(ctx context.Context) error {
			return saveDawn(ctx, cache, saved, filepath.Join(dir, state))
		})
	})
	return filepath.Join(dir, state), err
}

// dawnSign is what the machine says when it can be saved.
const dawnSign = "It is dawn."

func saveDawn(ctx context.Context, cache Cache, saved Saved, state string) (err error) {
	instance, err := saved.resume(ctx, cache, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, instance.remove()) }()
	cmd := instance.ssh(ctx, []string{"-T"}, "cat >/sbin/dawn && chmod 755 /sbin/dawn && ln -sf dawn /sbin/init && sync")
	cmd.Stdin = strings.NewReader(assetText("dawn"))
	if err := tool(ctx, filepath.Join(instance.dir, "ssh.log"), cmd); err != nil {
		return err
	}
	if err := instance.powerOff(); err != nil {
		return err
	}
	control, err := instance.powerOn(ctx)
	if err != nil {
		return err
	}
	defer control.close()
	if err := control.connect(false); err != nil {
		return err
	}
	if err := poll(ctx, bootTime, "the machine to boot", instance.dead, func() (bool, error) {
		text, err := os.ReadFile(instance.console())
		return strings.Contains(string(text), dawnSign), err
	}); err != nil {
		return fmt.Errorf("%w; its console says:\n%s", err, lastLines(instance.console(), 30))
	}
	return instance.suspend(ctx, control, state)
}

// poll calls f until it returns true or an error, the patience ends, or, unless nil, dead is closed.
func poll(ctx context.Context, patience time.Duration, what string, dead <-chan struct{}, f func() (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("waited %s for %s", patience, what))
	defer cancel()
	for {
		if done, err := f(); err != nil || done {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-dead:
			return errMachineEnded
		case <-time.After(10 * time.Millisecond):
		}
	}
}

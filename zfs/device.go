package zfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// DefaultDeviceDir is where the driver keeps device nodes of its own.
const DefaultDeviceDir = "/run/zfs-csi/dev"

const (
	// deviceWait is how long a device is waited for when the caller sets no deadline.
	deviceWait = 30 * time.Second
	// askWait is how long one device is waited for when it is asked its name: that of a
	// pool that hangs may never answer, and must not hold up the others.
	askWait = 2 * time.Second
	// allAfter is how long the new devices alone are asked: one that has told its name has
	// another only after its zvol was renamed.
	allAfter = 300 * time.Millisecond
	// absentAfter is when a device that did not appear is first asked for again.
	absentAfter = time.Second
)

// Device implements Store. ZFS makes the device of a clone first and sets its volmode
// then, for which it takes the device away and makes it anew; who looks at the device
// at that moment, udev for one, can have it stay away. To set the property again, to
// what it is, brings it back, and does nothing where the device is there.
func (l *Local) Device(ctx context.Context, volume Dataset) (string, error) {
	return l.devices.wait(ctx, volume.name, func() error {
		l.log.WarnContext(ctx, "a zvol has no device; asking for it again", "zvol", volume.name)
		return l.zfs(ctx, volume.name, "set", "volmode=dev", volume.name)
	})
}

// devices finds the block devices of zvols. A link of udev (/dev/zvol/…) is a claim,
// and what was found earlier a hint: which zvol a device is, only the device says
// (the BLKZNAME ioctl), and it is asked each time.
type devices struct {
	// dir holds device nodes of the driver's own, for where /dev has none.
	dir string
	// sys is /sys/block, dev is /dev.
	sys, dev string
	// ask returns the name of the zvol whose device node is at a path.
	ask func(node string) (string, error)

	// making is held while a node is made.
	making sync.Mutex

	// mu guards what follows.
	mu sync.Mutex
	// seen is what each device, by its kernel name such as "zd16", last said.
	seen map[string]sighting
	// hints are the kernel names by the zvols' names.
	hints map[string]string
	// asking are the questions without an answer yet, by device node.
	asking map[string]*question
}

// question is put to a device once, however many wait for the answer.
type question struct {
	answered chan struct{}
	name     string
	err      error
}

// sighting is one answer of a device.
type sighting struct {
	// inode of the device's entry in sysfs, which is another one when the kernel
	// name is used again.
	inode uint64
	// name is the zvol's; empty when the device did not answer.
	name string
}

func newDevices(dir string) *devices {
	return &devices{
		dir: dir, sys: "/sys/block", dev: "/dev", ask: zvolName,
		seen: map[string]sighting{}, hints: map[string]string{}, asking: map[string]*question{},
	}
}

// wait returns the path of the device node of a zvol, whose last component is the
// device's kernel name. It waits for the device until ctx ends, or for deviceWait
// when ctx has no deadline. From time to time it calls again, for the device to
// be made again, and gives up when that fails.
func (d *devices) wait(ctx context.Context, name string, again func() error) (string, error) {
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, deviceWait)
		defer cancel()
	}
	pause, start := 5*time.Millisecond, time.Now()
	all, absent := start.Add(allAfter), start.Add(absentAfter)
	for {
		// To ask them all is dear, and a zvol cannot be destroyed while its device is open.
		askAll := time.Now().After(all)
		if askAll {
			all = time.Now().Add(10 * allAfter)
		}
		node, err := d.find(ctx, name, askAll)
		if node != "" {
			return node, nil
		}
		if time.Now().After(absent) {
			if err := again(); err != nil {
				return "", fmt.Errorf("the device of zvol %s is not there: %w", name, err)
			}
			absent = time.Now().Add(time.Since(start))
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("the device of zvol %s did not appear: %w", name, errors.Join(ctx.Err(), err))
		case <-time.After(pause):
			pause = min(2*pause, 250*time.Millisecond)
		}
	}
}

// known returns the device number of a zvol, or 0 when it has no device now.
func (d *devices) known(ctx context.Context, name string) uint64 {
	ctx, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	node, _ := d.find(ctx, name, false)
	if node == "" {
		return 0 // There is no saying why, and nobody to say it to.
	}
	number, err := blockDevice(node)
	if err != nil {
		return 0
	}
	return number
}

// find looks for the device once: by udev's link, by what was found before, among the
// devices that are new since, and among all of them if told so. It returns "" for none.
func (d *devices) find(ctx context.Context, name string, all bool) (string, error) {
	if node, err := filepath.EvalSymlinks(filepath.Join(d.dev, "zvol", name)); err == nil && d.answers(ctx, node, name) {
		d.remember(filepath.Base(node), name)
		return node, nil
	}
	if kernel, hinted := d.hint(name); hinted {
		if node, err := d.node(kernel); err == nil && d.answers(ctx, node, name) {
			return node, nil
		}
	}
	entries, err := os.ReadDir(d.sys)
	if err != nil {
		return "", fmt.Errorf("list block devices: %w", err)
	}
	var old []string
	var faults error
	for _, e := range entries {
		kernel := e.Name()
		if !strings.HasPrefix(kernel, "zd") {
			continue
		}
		if !d.isNew(kernel) {
			old = append(old, kernel)
			continue
		}
		node, err := d.matches(ctx, kernel, name)
		if node != "" {
			return node, nil
		}
		faults = errors.Join(faults, err)
	}
	if !all {
		return "", faults
	}
	for _, kernel := range slices.Backward(old) {
		node, err := d.matches(ctx, kernel, name)
		if node != "" {
			return node, nil
		}
		faults = errors.Join(faults, err)
	}
	return "", faults
}

// matches asks a device its name and remembers the answer. It returns the path of its
// node when the name is the one that is looked for. The error tells why it could not be asked.
func (d *devices) matches(ctx context.Context, kernel, name string) (string, error) {
	node, err := d.node(kernel)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil // It is gone again.
	}
	if err != nil {
		return "", err
	}
	said, err := d.inquire(ctx, node)
	switch {
	case errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTTY):
		return "", nil // It is going, or not there yet, or not a zvol's.
	case err != nil:
		return "", fmt.Errorf("ask %s which zvol it is: %w", node, err)
	}
	d.remember(kernel, said)
	if said != name {
		return "", nil
	}
	return node, nil
}

// answers tells whether the node is a block device that says it is the zvol.
func (d *devices) answers(ctx context.Context, node, name string) bool {
	if _, err := blockDevice(node); err != nil {
		return false
	}
	said, err := d.inquire(ctx, node)
	return err == nil && said == name
}

// inquire asks a device its name and waits askWait at most. A device that still owes
// an answer is not asked again.
func (d *devices) inquire(ctx context.Context, node string) (string, error) {
	d.mu.Lock()
	q := d.asking[node]
	if q == nil {
		q = &question{answered: make(chan struct{})}
		d.asking[node] = q
		go func() {
			q.name, q.err = d.ask(node)
			d.mu.Lock()
			delete(d.asking, node)
			d.mu.Unlock()
			close(q.answered)
		}()
	}
	d.mu.Unlock()

	timer := time.NewTimer(askWait)
	defer timer.Stop()
	select {
	case <-q.answered:
		return q.name, q.err
	case <-ctx.Done():
		return "", ctx.Err()
	case <-timer.C:
		return "", fmt.Errorf("%s does not answer", node)
	}
}

// isNew tells whether the device has never answered since it is there.
func (d *devices) isNew(kernel string) bool {
	inode := d.inode(kernel)
	d.mu.Lock()
	defer d.mu.Unlock()
	s, seen := d.seen[kernel]
	return !seen || s.inode != inode
}

func (d *devices) hint(name string) (string, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	kernel, hinted := d.hints[name]
	return kernel, hinted
}

// remember keeps what a device said.
func (d *devices) remember(kernel, name string) {
	inode := d.inode(kernel)
	d.mu.Lock()
	defer d.mu.Unlock()
	if before, seen := d.seen[kernel]; seen && before.name != name && d.hints[before.name] == kernel {
		delete(d.hints, before.name)
	}
	d.seen[kernel] = sighting{inode, name}
	d.hints[name] = kernel
}

func (d *devices) inode(kernel string) uint64 {
	var st unix.Stat_t
	if unix.Lstat(filepath.Join(d.sys, kernel), &st) != nil {
		return 0
	}
	return st.Ino
}

// ErrRestart is ERESTARTSYS (include/linux/errno.h of the kernel), which no program is to see. To open a zvol that nothing has open
// takes a lock that an import of a pool, say, holds for long; where it is not to be had within a second, OpenZFS 2.1 fails
// with this (zvol_open in module/os/linux/zfs/zvol_os.c).
const ErrRestart = unix.Errno(512)

// RestartPause is how long to wait before a zvol is opened again.
const RestartPause = 50 * time.Millisecond

// zvolName asks a device node for the name of its zvol.
func zvolName(node string) (string, error) {
	fd, err := unix.Open(node, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	for tries := 0; err == ErrRestart && tries < 10; tries++ { //nolint:errorlint // It is the errno itself.
		time.Sleep(RestartPause)
		fd, err = unix.Open(node, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	// BLKZNAME of OpenZFS (include/sys/fs/zfs.h): _IOR(0x12, 125, char[256]).
	var name [256]byte
	if err := readIoctl(fd, 0x8100127d, name[:]); err != nil {
		return "", err
	}
	text, _, _ := bytes.Cut(name[:], []byte{0})
	return string(text), nil
}

package zfs

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Call is what ZFS's kernel module is asked through /dev/zfs, as libzfs_core asks it, without a process of zfs(8), whose
// start is half of what most commands cost.
type Call struct {
	// Only tells that it only looks: it may change nothing, and waits for no transaction group.
	Only bool
	// Program is the text of a channel program in Lua that ZFS carries out in the kernel, see zfs-program(8); empty for other calls.
	Program string
	// names are the datasets that it is made about, one after the other, or the pool.
	names  []string
	number uint
	given  []pair
	// room is for the largest answer, in bytes. None of it is used before something is written there.
	room int
}

// The numbers of calls, which OpenZFS never changes (tests/zfs-tests/cmd/libzfs_input_check).
const (
	objsetStats    = 'Z'<<8 | 0x12
	createDataset  = 'Z'<<8 | 0x17
	takeSnapshots  = 'Z'<<8 | 0x23
	cloneSnapshot  = 'Z'<<8 | 0x42
	channelProgram = 'Z'<<8 | 0x48
)

const (
	// The most that a program may be given, of instructions and of bytes: zfs_lua_max_instrlimit and zfs_lua_max_memlimit.
	mostInstructions = 100_000_000
	mostMemory       = 100 << 20
	// someRoom is for answers about one dataset: its user properties are of 8 KiB each.
	someRoom = 4 << 20
	// sizeOfCall is no less than that of zfs_cmd_t, of which the kernel reads and writes as much as it knows.
	sizeOfCall = 16 << 10
)

// programCall has a pool carry out a program.
func programCall(pool string, only bool, text string) *Call {
	return &Call{Only: only, Program: text, names: []string{pool}, number: channelProgram, room: mostMemory, given: []pair{
		{"program", text},
		{"arg", false},
		{"sync", !only},
		{"instrlimit", uint64(mostInstructions)},
		{"memlimit", uint64(mostMemory)},
	}}
}

// statsCall asks for all properties of datasets and snapshots. Those that are not there have no answer.
func statsCall(names ...string) *Call {
	return &Call{Only: true, names: names, number: objsetStats, room: someRoom}
}

// createCall makes a dataset.
func createCall(name string, kind Kind, properties []pair) *Call {
	objset := int32(2) // DMU_OST_ZFS
	if kind == Block {
		objset = 3 // DMU_OST_ZVOL
	}
	return &Call{names: []string{name}, number: createDataset, room: someRoom, given: []pair{{"type", objset}, {"props", properties}}}
}

// cloneCall makes a clone of a snapshot.
func cloneCall(name, origin string, properties []pair) *Call {
	return &Call{names: []string{name}, number: cloneSnapshot, room: someRoom, given: []pair{{"origin", origin}, {"props", properties}}}
}

// snapshotCall takes snapshots of datasets in one pool, all or none, in one transaction group.
func snapshotCall(names []string, properties []pair) *Call {
	var snapshots []pair
	for _, name := range names {
		snapshots = append(snapshots, pair{name, nil})
	}
	return &Call{names: []string{pool(names[0])}, number: takeSnapshots, room: someRoom, given: []pair{{"snaps", snapshots}, {"props", properties}}}
}

// zfsCall is the beginning of zfs_cmd_t in include/sys/zfs_ioctl.h of OpenZFS, which is all of it that calls with an
// nvlist use, and the same from 2.1 to 2.4.
type zfsCall struct {
	name               [4096]byte
	source, sourceSize uint64
	answer, answerSize uint64
	answered, _        int32
	_                  [sizeOfCall - 4096 - 4*8 - 2*4]byte
}

// run makes the call. device is /dev/zfs.
//
// No signal that can be blocked ends a call before its time: ZFS would abandon a program half-way. This process does not end
// before its calls do, where the pool hangs: then it is there still when it was killed, with all its files open.
func (c *Call) run(device string) (Result, error) {
	file, err := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return Result{}, fmt.Errorf("the ZFS module is not loaded or %s cannot be opened: %w: %w", device, err, ErrUnavailable)
	}
	defer unix.Close(file)

	var source []byte
	if c.given != nil {
		source = packNVList(c.given...)
	}
	at := sizeOfCall + aligned(len(source))
	memory, err := unix.Mmap(-1, 0, at+c.room, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		return Result{}, fmt.Errorf("get memory for a call of ZFS: %w", err)
	}
	defer unix.Munmap(memory) //nolint:errcheck // It was mapped.
	copy(memory[sizeOfCall:], source)
	call, answer := (*zfsCall)(unsafe.Pointer(&memory[0])), memory[at:]

	result := Result{Answers: map[string]map[string]any{}}
	for _, name := range c.names {
		*call = zfsCall{
			source: uint64(uintptr(unsafe.Pointer(&memory[sizeOfCall]))), sourceSize: uint64(len(source)),
			answer: uint64(uintptr(unsafe.Pointer(&answer[0]))), answerSize: uint64(len(answer)),
		}
		if copy(call.name[:len(call.name)-1], name) < len(name) {
			return Result{}, fmt.Errorf("the name %q is too long", name)
		}
		errno := uninterrupted(func() unix.Errno {
			_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(file), uintptr(c.number), uintptr(unsafe.Pointer(call)))
			return errno
		})
		told := map[string]any{}
		if call.answered != 0 {
			if told, err = unpackNVList(answer[:min(call.answerSize, uint64(len(answer)))]); err != nil {
				return Result{}, fmt.Errorf("read what ZFS answers: %w", err)
			}
		}
		switch {
		case errno == 0:
			result.Answers[name] = told
		case errno == unix.ENOENT && c.number == objsetStats: // It is not there.
		default:
			why, _ := told["error"].(string)
			return Result{Errno: errno, Stderr: []byte(why)}, nil
		}
	}
	return result, nil
}

// refusal returns why a call was refused.
func (r Result) refusal(c Command) error {
	known, ok := errnos[int(r.Errno)]
	switch why := firstLine(r.Stderr); {
	case why != "": // So it is a program that is wrong, or that takes too long.
		return fmt.Errorf("%s: %s (%w)", c, why, r.Errno)
	case r.Errno == unix.ENOSPC && c.Call.Program != "": // Of a pool that is full a program hears itself.
		return fmt.Errorf("%s: it takes more memory than it may have (%w)", c, r.Errno)
	case r.Errno == unix.ENXIO:
		known = ErrUnavailable
	case !ok:
		return fmt.Errorf("%s: %w", c, r.Errno)
	case errors.Is(known, ErrNotFound): // Of the pool: what a program does not find it answers itself.
		known = ErrUnavailable
	}
	return fmt.Errorf("%s: %w: %w", c, r.Errno, known)
}

// refusedByKernel tells whether an error is that of a call which the kernel refused: the command it stands for says why in words.
func refusedByKernel(err error) bool {
	var errno unix.Errno
	return errors.As(err, &errno)
}

// uninterrupted makes a system call in which no signal for this process is handled, as Go's own are now and then.
func uninterrupted(call func() unix.Errno) unix.Errno {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, before unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^all.Val[i]
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, &before); err != nil {
		panic(err) // Its arguments are valid.
	}
	defer unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil) //nolint:errcheck // Nor can this fail.
	return call()
}

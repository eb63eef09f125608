package zfs

import (
	"encoding/json"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Program is a channel program: a text in Lua that ZFS carries out in the kernel, see zfs-program(8).
type Program struct {
	Pool string
	// Only tells that it only looks: it may change nothing, and waits for no transaction group.
	Only bool
	Text string
}

const (
	// channelProgram is ZFS_IOC_CHANNEL_PROGRAM, whose number OpenZFS never changes (tests/zfs-tests/cmd/libzfs_input_check).
	channelProgram = 'Z'<<8 | 0x48
	// The most that a program may be given, of instructions and of bytes: zfs_lua_max_instrlimit and zfs_lua_max_memlimit.
	mostInstructions = 100_000_000
	mostMemory       = 100 << 20
	// sizeOfCall is no less than that of zfs_cmd_t, of which the kernel reads and writes as much as it knows.
	sizeOfCall = 16 << 10
)

// zfsCall is the beginning of zfs_cmd_t in include/sys/zfs_ioctl.h of OpenZFS, which is all of it that calls with an
// nvlist use, and the same from 2.1 to 2.4.
type zfsCall struct {
	name               [4096]byte
	source, sourceSize uint64
	answer, answerSize uint64
	answered, _        int32
	_                  [sizeOfCall - 4096 - 4*8 - 2*4]byte
}

// run has the kernel carry out a program as lzc_channel_program of libzfs_core does, without a process of zfs(8), whose
// start is half of what that costs. device is /dev/zfs. What a program returns is printed as JSON.
//
// No signal that can be blocked ends a program before its time: ZFS would abandon it half-way. This process does not end
// before its programs do, where the pool hangs: then it is there still when it was killed, with all its files open.
func (p Program) run(device string) (Result, error) {
	file, err := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return Result{}, fmt.Errorf("the ZFS module is not loaded or %s cannot be opened: %w: %w", device, err, ErrUnavailable)
	}
	defer unix.Close(file)

	source := packNVList(pair{"program", p.Text}, pair{"arg", false}, pair{"sync", !p.Only},
		pair{"instrlimit", uint64(mostInstructions)}, pair{"memlimit", uint64(mostMemory)})
	// The answer may be as large as the memory of the program. None of it is used before something is written there.
	memory, err := unix.Mmap(-1, 0, sizeOfCall+aligned(len(source))+mostMemory, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		return Result{}, fmt.Errorf("get memory for a channel program: %w", err)
	}
	defer unix.Munmap(memory) //nolint:errcheck // It was mapped.
	call := (*zfsCall)(unsafe.Pointer(&memory[0]))
	if copy(call.name[:len(call.name)-1], p.Pool) < len(p.Pool) {
		return Result{}, fmt.Errorf("the name of pool %q is too long", p.Pool)
	}
	given, answer := memory[sizeOfCall:], memory[sizeOfCall+aligned(len(source)):]
	copy(given, source)
	call.source, call.sourceSize = uint64(uintptr(unsafe.Pointer(&given[0]))), uint64(len(source))
	call.answer, call.answerSize = uint64(uintptr(unsafe.Pointer(&answer[0]))), uint64(len(answer))

	errno := uninterrupted(func() unix.Errno {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(file), channelProgram, uintptr(unsafe.Pointer(call)))
		return errno
	})
	told := map[string]any{}
	if call.answered != 0 {
		if told, err = unpackNVList(answer[:min(call.answerSize, uint64(len(answer)))]); err != nil {
			return Result{}, fmt.Errorf("read what a channel program returned: %w", err)
		}
	}
	if errno != 0 {
		why, _ := told["error"].(string)
		return Result{Errno: errno, Stderr: []byte(why)}, nil
	}
	out, err := json.Marshal(told)
	return Result{Stdout: out}, err
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

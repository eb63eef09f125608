package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// Hardware is what the guest is given; a saved machine resumes only on the same.
type Hardware struct {
	MemoryMB int
	CPUs     int
	// Cluster is the folder of the [Cluster] whose disk is the machine's second, and
	// whose control plane runs on this computer; "" for none.
	Cluster string `json:",omitempty"`
}

// kernelArguments: mitigations cost time and protect nothing here; a panic ends
// QEMU, which is told not to reboot, so that the caller notices; and each setting of a timer
// leaves the emulated code, so that a steady tick costs a seventh less of all. What the kernel does
// to be hard to attack (clear each page that is taken, check each copy from and to a program, AppArmor) costs a fifth.
const kernelArguments = "console=ttyS0 quiet mitigations=off audit=0 panic=-1 net.ifnames=0 nokaslr " +
	"no_timer_check nowatchdog nohz=off highres=off systemd.show_status=0 " +
	"init_on_alloc=0 hardened_usercopy=off randomize_kstack_offset=off lsm=yama"

// unaccounted spares the kernel to note whose each piece of memory is, which only a cluster asks for.
const unaccounted = " cgroup_disable=memory"

// cpuModel leaves out the short forms of rep movsb and rep stosb: QEMU's emulation goes byte by byte, and
// the guest would choose them to copy and to clear pages, which then takes twice as long.
const cpuModel = "max,la57=off,-erms,-fsrm,-fsrs,-fsrc,-fzrm"

// defaultHardware reads ZFS_CSI_MACHINE_MEMORY (megabytes; memoryMB without) and ZFS_CSI_MACHINE_CPUS.
func defaultHardware(memoryMB int) (Hardware, error) {
	hardware := Hardware{MemoryMB: memoryMB, CPUs: 2}
	for name, field := range map[string]*int{
		"ZFS_CSI_MACHINE_MEMORY": &hardware.MemoryMB,
		"ZFS_CSI_MACHINE_CPUS":   &hardware.CPUs,
	} {
		text := os.Getenv(name)
		if text == "" {
			continue
		}
		value, err := strconv.Atoi(text)
		if err != nil || value < 1 {
			return Hardware{}, fmt.Errorf("%s=%q is not a whole number above zero", name, text)
		}
		*field = value
	}
	return hardware, nil
}

// arguments of QEMU that a saved machine depends on.
func (h Hardware) arguments() []string {
	kernel := kernelArguments
	if h.Cluster == "" {
		kernel += unaccounted
	}
	arguments := []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-machine", "q35,smbus=off,sata=off,usb=off,vmport=off",
		"-accel", "tcg,thread=multi", "-cpu", cpuModel,
		"-m", strconv.Itoa(h.MemoryMB), "-smp", strconv.Itoa(h.CPUs),
		"-device", "virtio-blk-pci,drive=disk",
		"-device", "virtio-net-pci,netdev=net,romfile=",
		"-device", "virtio-rng-pci",
		"-append", kernel,
	}
	if h.Cluster != "" {
		arguments = append(arguments, "-device", "virtio-blk-pci,drive=cluster")
	}
	return arguments
}

// command starts QEMU in the instance's folder. The paths of its sockets are
// relative to it: a socket's path may be no longer than 107 bytes. A killed QEMU
// loses what a power cut would: cache=unsafe does not wait for the host's disk,
// yet hands over to the host all that the guest has flushed. Only powerOff ends it.
func (i *Instance) command(ctx context.Context, extra ...string) *exec.Cmd {
	network := "user,id=net,hostfwd=tcp:127.0.0.1:0-:" + strconv.Itoa(sshdPort)
	args := i.Hardware.arguments()
	if i.Hardware.Cluster != "" {
		network += ",hostfwd=tcp:127.0.0.1:0-:" + strconv.Itoa(kubeletPort)
		args = append(args, "-drive", "if=none,id=cluster,format=raw,readonly=on,file="+Cluster{i.Hardware.Cluster}.disk())
	}
	args = append(args,
		"-kernel", i.image().kernel(), "-initrd", i.image().initrd(),
		"-drive", "if=none,id=disk,file=disk.qcow2,format=qcow2,cache=unsafe,discard=unmap",
		"-netdev", network,
		"-serial", "chardev:console", "-chardev", "file,id=console,path=console.log,append=on",
		"-qmp", "unix:qmp.sock,server=on,wait=off",
	)
	cmd := exec.CommandContext(context.WithoutCancel(ctx), qemuProgram, append(args, extra...)...)
	cmd.Dir = i.dir
	cmd.Env = append(os.Environ(), "TMPDIR="+filepath.Clean(i.dir))
	return cmd
}

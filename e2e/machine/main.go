// Machine gives tests a kernel with real ZFS, on a computer that has none: a
// small virtual machine, built once, saved booted, and resumed in seconds.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
)

// verb is one thing the program does; run returns the exit code.
type verb struct {
	name, usage, about string
	run                func(ctx context.Context, args []string) (int, error)
}

func verbs() []verb {
	return []verb{
		{"build", "build [--cluster]", "Make sure that the machine is built and saved in the cache folder. Later calls\nfind it there. ZFS=2.1, 2.3 (the default) or 2.4 picks the version of OpenZFS.\nWith --cluster it is one with Kubernetes running on it, here and below.", buildVerb},
		{"run", "run [--cluster] -- CMD ARGS…", "Resume a machine of one's own, run CMD on this computer with " + machineVariable + " naming\nit, and end the machine. On a computer with " + zfsDevice + " CMD runs without one.\nWith --cluster KUBECONFIG names the cluster, and kubectl and helm are in the PATH.\nThe exit code is CMD's.", runVerb},
		{"exec", "exec BINARY ARGS…", "Run a program of this computer on real ZFS, as root: for go test -exec. It gets\n" + folderVariable + ", a folder for files that back pools, and " + tokenVariable + ": pools\nnamed zfscsitest-$" + tokenVariable + "-… are destroyed afterwards if it left them.\nVariables named " + passedOn + "… and the folder testdata are handed on, and so is\nthe program that " + binaryVariable + " names.\n" + deadlineVariable + " (20m) bounds its time: after it the exit code is 124.", execVerb},
		{"sh", "sh 'COMMAND'", "Run a shell command in the machine that " + machineVariable + " names.", shVerb},
		{"shell", "shell [--cluster]", "A shell for a person, in that machine or in a fresh one that ends with it. The program\nthat " + binaryVariable + " names is in its PATH. With --cluster it is one of this computer, for kubectl.", shellVerb},
		{"push", "push SRC DST", "Copy a file into that machine.", pushVerb},
		{"forward", "forward HERE THERE", "Make a unix socket of that machine one of this computer, until the machine ends.", forwardVerb},
		{"power", "power", "Resume a machine of one's own and print its folder. At each line of input its power is\ncut, which prints off, and it is booted from its disk, which prints on. It ends with the input.", powerVerb},
		{"image", "image BINARY NAME ARCHIVE", "Build the container image of the Dockerfile in this folder around the driver BINARY, without a\nregistry, and write it as NAME to ARCHIVE: for docker load, kind load image-archive and ctr images import.", imageVerb},
		{"load", "load ARCHIVE…", "Bring archives of container images into the cluster on that machine.", loadVerb},
		{"control-plane", "control-plane CLUSTER PORT", "Run the control plane of the cluster on the machine whose folder is the current one, until that ends:\nup, run and build do so.", controlPlaneVerb},
		{"up", "up [--cluster]", "Leave a machine running, for quick work: eval \"$(machine up)\", then\ngo test -exec \"machine exec\" and machine sh; at last machine down.", upVerb},
		{"down", "down [FOLDER… | --all]", "End machines that up left running: that of " + machineVariable + ", or those named.", downVerb},
	}
}

func main() { os.Exit(dispatch(os.Args[1:])) }

func dispatch(args []string) int {
	if len(args) == 0 || slices.Contains([]string{"help", "-h", "--help"}, args[0]) {
		help(verbs()...)
		return 0
	}
	for _, v := range verbs() {
		if v.name != args[0] {
			continue
		}
		if len(args) > 1 && slices.Contains([]string{"-h", "--help"}, args[1]) {
			help(v)
			return 0
		}
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
		defer stop()
		code, err := v.run(ctx, args[1:])
		if errors.Is(err, context.Canceled) {
			say("interrupted")
			return codeInterrupted
		}
		if err != nil {
			say("%s: %v", v.name, err)
		}
		return code
	}
	say("there is no verb %q; see machine help", args[0])
	return 2
}

func help(verbs ...verb) {
	for _, v := range verbs {
		fmt.Printf("machine %s\n", v.usage)
		fmt.Printf("%s\n\n", v.about)
	}
}

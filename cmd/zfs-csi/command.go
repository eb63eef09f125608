package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"text/tabwriter"
)

// The exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// errUsage: the command line is wrong; what it says has been written to stderr.
var errUsage = errors.New("wrong usage")

// invocation is what a sub-command is run with.
type invocation struct {
	args           []string
	env            func(string) string
	stdout, stderr io.Writer
}

// command is a sub-command.
type command struct {
	name, synopsis, summary string
	run                     func(context.Context, invocation) error
}

func commands() []command {
	return []command{
		{"serve", "serve --parent POOL/DATASET [flags]", "serve CSI on a socket, until SIGTERM", serve},
		{"check", "check [--parent POOL/DATASET] [flags]", "look at this machine and say what to do about each fault", check},
		{"init", "init POOL/DATASET... [flags]", "make datasets, or take existing ones, as parents of volumes", initParents},
		{"tree", "tree --parent POOL/DATASET [flags]", "print the lineage of volumes, snapshots and clones, and what they hold", tree},
		{"version", "version", "print the version", printVersion},
	}
}

// run is the whole program: it returns the exit code.
func run(ctx context.Context, args []string, env func(string) string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		writeHelp(stderr)
		return exitUsage
	}
	switch args[0] {
	case "help", "--help", "-help", "-h":
		writeHelp(stdout)
		return exitOK
	case "--version", "-version":
		args = []string{"version"}
	}
	for _, c := range commands() {
		if c.name != args[0] {
			continue
		}
		err := c.run(ctx, invocation{args[1:], env, stdout, stderr})
		switch {
		case err == nil, errors.Is(err, flag.ErrHelp):
			return exitOK
		case errors.Is(err, errUsage):
			return exitUsage
		}
		fmt.Fprintf(stderr, "zfs-csi %s: %v\n", c.name, err)
		return exitFailed
	}
	fmt.Fprintf(stderr, "zfs-csi: there is no command %q; zfs-csi --help lists them\n", args[0])
	return exitUsage
}

const about = `zfs-csi gives containers volumes on the ZFS of the node they run on: a dataset for
a filesystem volume, a zvol for a block volume. Clones are made in an instant and
are independent: source and clone can be used, snapshotted, grown and deleted in any
order.

The volumes are kept in a parent dataset, which you make once and name to serve.
All that the driver remembers of volumes is in ZFS user properties: there is no database.
`

const examples = `
To begin, as root on a node with a pool named tank:

  zfs-csi init tank/csi              make the parent dataset
  zfs-csi check --parent tank/csi    see that all is well
  zfs-csi serve --parent tank/csi    serve CSI on unix:///run/zfs-csi/csi.sock

zfs-csi COMMAND --help tells more of each. Every flag can also be given in the
environment: --driver-name as ZFS_CSI_DRIVER_NAME, and so on.
Exit codes: 0 well, 1 failed, 2 wrong command line.
`

func writeHelp(w io.Writer) {
	fmt.Fprint(w, about, "\nCommands:\n")
	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	for _, c := range commands() {
		fmt.Fprintf(table, "  %s\t%s\n", c.name, c.summary)
	}
	_ = table.Flush() // help that cannot be written helps nobody
	fmt.Fprint(w, examples)
}

func synopsis(name string) string {
	for _, c := range commands() {
		if c.name == name {
			return c.synopsis
		}
	}
	return name
}

// Command bench measures the driver beside the raw ZFS commands, on the same pool and call by call
// in turn, so that what disturbs falls on both. It runs as root on a machine with ZFS, such as that of
// e2e/machine, and prints a table on stderr and the figures as JSON on stdout:
//
//	ZFS_CSI_BINARY      the driver's binary
//	ZFS_CSI_TEST_DIR    an empty folder to work in
//	ZFS_CSI_TEST_TOKEN  what makes the pool's name unique
//
// With -report FILE it needs none of that: it reads the figures and prints the table (-as table), or
// makes a plot (svg) or lines for benchstat (benchstat) of them.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"syscall"
)

// options are the flags.
type options struct {
	scale, times, passes int
	data                 int64
	only                 *regexp.Regexp
	revision             string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1) //nolint:gocritic // All has been cleaned up; the signals need not be.
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	var o options
	f.IntVar(&o.scale, "scale", 1000, "how many volumes and snapshots the full parent holds; 0 leaves those rows out")
	f.IntVar(&o.times, "times", 15, "how often each call is measured")
	f.IntVar(&o.passes, "passes", 3, "in how many passes, each with the groups in another order")
	f.Int64Var(&o.data, "data", 2<<30, "the bytes in the volume that is cloned with much data; 0 leaves that row out")
	only := f.String("only", "", "a regular expression of the rows to measure")
	f.StringVar(&o.revision, "revision", "", "what was built, for the figures")
	file := f.String("report", "", "a file of figures to report on, instead of measuring")
	as := f.String("as", "table", "the form of the report: table, svg or benchstat")
	if err := f.Parse(args); err != nil {
		return err
	}
	if *file != "" {
		return report(*file, *as, out)
	}
	var err error
	if o.only, err = regexp.Compile(*only); err != nil {
		return err
	}
	// What was measured until then is worth something.
	figures, faults := measure(ctx, o)
	writeTable(os.Stderr, figures)
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return errors.Join(faults, encoder.Encode(figures))
}

func report(file, as string, out io.Writer) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var figures Figures
	if err := json.Unmarshal(text, &figures); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	switch as {
	case "table":
		writeTable(out, figures)
	case "benchstat":
		writeBenchstat(out, figures)
	case "svg":
		return writePlot(out, figures)
	default:
		return fmt.Errorf("no report is in the form %q; there are table, svg and benchstat", as)
	}
	return nil
}

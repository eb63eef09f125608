package main

import (
	"flag"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/zfs-csi/zfs-csi/driver"
	"github.com/zfs-csi/zfs-csi/zfs"
)

// flags are the flags of a sub-command. Each can come from the environment too,
// as ZFS_CSI_ with its name in capitals, or under another name given in also; what
// stands on the command line wins.
type flags struct {
	*flag.FlagSet
	help string
	also map[string][]string
	call invocation
}

// newFlags returns the flags of the sub-command of that name; help says, below its
// synopsis, what it does.
func newFlags(name, help string, call invocation) *flags {
	f := &flags{FlagSet: flag.NewFlagSet(name, flag.ContinueOnError), help: help, also: map[string][]string{}, call: call}
	f.SetOutput(io.Discard) // parse writes what is wrong, and once, without the whole help
	f.Usage = func() {}
	return f
}

// parse reads the command line and the environment, and leaves at most most
// arguments that are no flags. Its error is errUsage or flag.ErrHelp.
func (f *flags) parse(most int) error {
	rest, err := f.parseInterspersed(f.call.args)
	if err != nil {
		return f.wrong(err)
	}
	if len(rest) > most {
		return f.wrong(fmt.Errorf("there is no place for the argument %q", rest[most]))
	}
	given := map[string]bool{}
	f.Visit(func(option *flag.Flag) { given[option.Name] = true })
	f.VisitAll(func(option *flag.Flag) {
		if given[option.Name] || isShort(option) {
			return
		}
		for _, variable := range f.variables(option.Name) {
			if value := f.call.env(variable); value != "" {
				if e := f.Set(option.Name, value); e != nil && err == nil {
					err = fmt.Errorf("%s=%q in the environment: %w", variable, value, e)
				}
				return
			}
		}
	})
	if err != nil {
		return f.wrong(err)
	}
	return f.FlagSet.Parse(append([]string{"--"}, rest...))
}

// parseInterspersed parses flags before, after and between other arguments, which it returns.
func (f *flags) parseInterspersed(args []string) (rest []string, err error) {
	for {
		if err := f.FlagSet.Parse(args); err != nil {
			return nil, err
		}
		left := f.Args()
		if len(left) == 0 {
			return rest, nil
		}
		if at := len(args) - len(left); at > 0 && args[at-1] == "--" {
			return append(rest, left...), nil
		}
		rest = append(rest, left[0])
		args = left[1:]
	}
}

// wrong writes what is wrong with the command line, or the help that was asked for, and
// returns errUsage or flag.ErrHelp.
func (f *flags) wrong(err error) error {
	if err == flag.ErrHelp { //nolint:errorlint // package flag documents this value itself
		f.writeHelp()
		return err
	}
	fmt.Fprintf(f.call.stderr, "zfs-csi %s: %v\nzfs-csi %s --help tells what is possible\n", f.Name(), err, f.Name())
	return errUsage
}

// isShort tells whether the flag is only another name for one.
func isShort(option *flag.Flag) bool { return len(option.Name) == 1 }

func (f *flags) variables(name string) []string {
	return append([]string{"ZFS_CSI_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))}, f.also[name]...)
}

func (f *flags) writeHelp() {
	w := f.call.stdout
	fmt.Fprintf(w, "zfs-csi %s\n\n%s\nFlags:\n", synopsis(f.Name()), f.help)
	f.VisitAll(func(option *flag.Flag) {
		if isShort(option) {
			return
		}
		placeholder, usage := flag.UnquoteUsage(option)
		fmt.Fprintf(w, "  --%s %s\n        %s\n        (environment: %s", option.Name, placeholder,
			strings.ReplaceAll(usage, "\n", "\n        "), strings.Join(f.variables(option.Name), " or "))
		if option.DefValue != "" {
			fmt.Fprintf(w, "; default: %s", option.DefValue)
		}
		fmt.Fprint(w, ")\n")
	})
}

// driverName adds --driver-name.
func (f *flags) driverName(name *string) {
	f.StringVar(name, "driver-name", driver.DefaultName,
		"the `NAME` under which the driver is known to Kubernetes and to the parents")
}

// parents adds --parent.
func (f *flags) parents(parents *datasets) {
	f.Var(parents, "parent", "a `DATASET` that holds volumes, such as tank/csi; made by zfs-csi init.\n"+
		"Give it several times, or with commas, for several: the first is the default")
}

// hostRoot adds --host-root.
func (f *flags) hostRoot(root *string) {
	f.StringVar(root, "host-root", "", "where the node's root is mounted, as a `FOLDER` such as /host: zfs, zpool and zdb, and they\n"+
		"alone, are then the node's own, which always go with its module. What the node unmounts has to vanish there\n"+
		"(in a pod: mountPropagation: HostToContainer), or volumes stay busy. Empty: those in PATH")
}

// logs adds --log-format and --log-level, and returns what makes the logger after parse.
func (f *flags) logs(level slog.Level) func() *slog.Logger {
	form := format("text")
	options := slog.HandlerOptions{Level: &level}
	f.Var(&form, "log-format", "text or json: the `FORMAT` of the log on stderr")
	f.TextVar(&level, "log-level", level, "debug, info, warn or error: the least `LEVEL` that is logged;\n"+
		"debug shows every ZFS command with its duration")
	return func() *slog.Logger {
		if form == "json" {
			return slog.New(slog.NewJSONHandler(f.call.stderr, &options))
		}
		return slog.New(slog.NewTextHandler(f.call.stderr, &options))
	}
}

// format is "text" or "json".
type format string

func (v *format) String() string { return string(*v) }

func (v *format) Set(value string) error {
	if value != "text" && value != "json" {
		return fmt.Errorf("neither text nor json")
	}
	*v = format(value)
	return nil
}

// datasets is a flag that can be given several times, or once with commas.
type datasets []zfs.Dataset

func (d *datasets) String() string {
	var names []string
	for _, dataset := range *d {
		names = append(names, dataset.String())
	}
	return strings.Join(names, ",")
}

func (d *datasets) Set(value string) error {
	for name := range strings.SplitSeq(value, ",") {
		dataset, err := zfs.ParseDataset(strings.TrimSpace(name))
		if err != nil {
			return err
		}
		for _, known := range *d {
			if known == dataset {
				return fmt.Errorf("%s is named twice", dataset)
			}
		}
		*d = append(*d, dataset)
	}
	return nil
}

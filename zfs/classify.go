package zfs

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// failure is one line in which a ZFS tool says what it could not do, and to what.
type failure struct {
	dataset string
	reason  string
}

// failureLine is the form of such lines: "cannot VERB 'NAME': REASON", or "cannot inherit PROPERTY for
// 'NAME': REASON"; see zfs_verror in OpenZFS's lib/libzfs/libzfs_util.c. unquotedLine is that of one which leaves out the quotes.
var (
	failureLine  = regexp.MustCompile(`^cannot (?:inherit [^ ]+ for |[a-z][a-z ]*)'([^']+)': (.+)$`)
	unquotedLine = regexp.MustCompile(`^cannot destroy snapshot ([^ ']+): (.+)$`)
)

// reasons says what the words mean; they are those of OpenZFS 2.1 to 2.4 in the C
// locale. What is not here stays unknown.
var reasons = []struct {
	prefix string
	err    error
}{
	{"dataset does not exist", ErrNotFound},
	{"no such pool or dataset", ErrNotFound},
	{"snapshot does not exist", ErrNotFound},
	{"parent does not exist", ErrUnavailable},
	{"no such pool", ErrUnavailable},
	{"pool I/O is currently suspended", ErrUnavailable},
	{"pool is unavailable", ErrUnavailable},
	{"I/O error", ErrUnavailable},
	{"dataset already exists", ErrExists},
	{"pool or dataset exists", ErrExists},
	{"destination already exists", ErrExists},
	{"dataset is busy", ErrBusy},
	{"pool or dataset is busy", ErrBusy},
	{"out of space", ErrNoSpace},
	{"size is greater than available space", ErrNoSpace},
	{"size is less than current used or reserved space", ErrNoSpace},
	{"volume has children", ErrDependents},
	{"filesystem has children", ErrDependents},
	{"volume has dependent clones", ErrDependents},
	{"filesystem has dependent clones", ErrDependents},
	{"snapshot has dependent clones", ErrDependents},
	{"it's being held", ErrBusy},
	{"dataset is read-only", ErrReadOnly},
	{"dataset is read only", ErrReadOnly},
	{"pool is read-only", ErrReadOnly},
	{"permission denied", ErrPermission},
	{"invalid property value", ErrInvalid},
	{"volume size exceeds limit for this system", ErrInvalid},
	{"property doesn't apply to datasets of this type", ErrInvalid},
	{"invalid property '", ErrInvalid},
	{"pool and or dataset must be upgraded", ErrInvalid},
}

// failures reads what a tool said on stderr. It returns the failures by dataset
// and the lines that are not in the known form.
func failures(stderr []byte) (known []failure, other []string) {
	for line := range strings.Lines(string(stderr)) {
		line = strings.TrimSpace(line)
		m := failureLine.FindStringSubmatch(line)
		if m == nil {
			m = unquotedLine.FindStringSubmatch(line)
		}
		if m != nil {
			known = append(known, failure{dataset: m[1], reason: m[2]})
		} else if line != "" {
			other = append(other, line)
		}
	}
	return known, other
}

// err returns the failure as one of this package's errors.
func (f failure) err() error {
	for _, r := range reasons {
		if strings.HasPrefix(f.reason, r.prefix) {
			return fmt.Errorf("%s: %s: %w", f.dataset, f.reason, r.err)
		}
	}
	if f.reason == "destination '"+f.dataset+"' exists" {
		return fmt.Errorf("%s: it exists: %w", f.dataset, ErrExists)
	}
	if strings.Contains(f.reason, "' must be ") {
		return fmt.Errorf("%s: %s: %w", f.dataset, f.reason, ErrInvalid)
	}
	return fmt.Errorf("%s: %s", f.dataset, f.reason)
}

// fault returns what the end of a command says about the datasets it was asked
// for: nil when it succeeded, one of this package's errors when it names one of them
// and gives a known reason, else an error that wraps none of those.
func (r Result) fault(c Command, asked ...string) error {
	if r.Errno != 0 {
		return r.refusal(c)
	}
	if r.ExitCode == 0 {
		return nil
	}
	known, _ := failures(r.Stderr)
	for _, f := range known {
		for _, name := range asked {
			switch err := f.err(); {
			case f.dataset == name:
				return fmt.Errorf("%s %s: %w", c.Name, c.Args[0], err)
			case strings.HasPrefix(name, f.dataset+"/"): // It is in the way to what was asked for.
				return fmt.Errorf("%s %s: %s: %s: %w", c.Name, c.Args[0], f.dataset, f.reason, ErrUnavailable)
			case errors.Is(err, ErrUnavailable) && pool(f.dataset) == pool(name): // The pool is, whatever of it was looked at first.
				return fmt.Errorf("%s %s: %w", c.Name, c.Args[0], err)
			}
		}
	}
	if reason, ok := strings.CutPrefix(firstLine(r.Stderr), "cannot receive new filesystem stream: "); ok {
		return fmt.Errorf("%s %s: %w", c.Name, c.Args[0], failure{asked[0], reason}.err())
	}
	// So says zfs snapshot, without a name, where it is the same for all of them.
	if reason, ok := strings.CutPrefix(firstLine(r.Stderr), "cannot create snapshots : "); ok {
		if err := (failure{asked[0], reason}).err(); !errors.Is(err, ErrNotFound) { // Of what would have to be said.
			return fmt.Errorf("%s %s: %w", c.Name, c.Args[0], err)
		}
	}
	if firstLine(r.Stderr) == "could not find any snapshots to destroy; check snapshot names." {
		return fmt.Errorf("%s %s: no such snapshot: %w", c.Name, c.Args[0], ErrNotFound)
	}
	if strings.Contains(string(r.Stderr), "/dev/zfs and /proc/self/mounts are required") {
		return fmt.Errorf("%s: the ZFS module is not loaded or /dev/zfs cannot be opened: %w", c.Name, ErrUnavailable)
	}
	return fmt.Errorf("%s ended with %d: %s", c, r.ExitCode, strings.TrimSpace(string(r.Stderr)))
}

// errnos says what the error numbers of calls and of channel programs mean; they are
// those of Linux, as ZFS numbers them.
var errnos = map[int]error{
	1:   ErrPermission,
	2:   ErrNotFound,
	5:   ErrUnavailable,
	11:  ErrUnavailable,
	16:  ErrBusy,
	17:  ErrExists,
	28:  ErrNoSpace,
	30:  ErrReadOnly,
	122: ErrNoSpace,
}

// pool returns the pool's part of any name.
func pool(name string) string {
	if i := strings.IndexAny(name, "/@"); i >= 0 {
		return name[:i]
	}
	return name
}

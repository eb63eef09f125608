package zfs

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// Severity says what a finding means for the driver.
type Severity int

// The severities, mildest first.
const (
	// Fine: as it should be.
	Fine Severity = iota
	// Warning: volumes work, but something is worse than it should be or soon will be.
	Warning
	// Fault: volumes, or some kind of them, do not work.
	Fault
)

// String returns "ok", "warn" or "fail".
func (s Severity) String() string { return [...]string{"ok", "warn", "fail"}[s] }

// MarshalText implements encoding.TextMarshaler.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Finding is one thing that a look at a machine showed.
type Finding struct {
	// Check names what was looked at, such as "module" or "pool tank".
	Check    string   `json:"check"`
	Severity Severity `json:"severity"`
	// Message says what was found, in one line.
	Message string `json:"message"`
	// Advice says what to do about it; empty when fine.
	Advice string `json:"advice,omitempty"`
}

// Doctor looks at the ZFS of a machine as a driver would find it. It leaves nothing
// changed, and a pool that does not answer does not stop it.
type Doctor struct {
	Runner Runner
	// Root is where /dev, /proc and /sys are; "/" but for tests.
	Root string
	// Driver is the name that the parents' markers are to hold.
	Driver string
	// Parents are the datasets to look at, with their pools.
	Parents []Dataset
	// Patience is how long each command may take.
	Patience time.Duration

	// mknod is unix.Mknod where nil.
	mknod func(path string, mode uint32, device int) error
}

// Examine looks at the module, the tools, the devices and, for each parent, its pool and itself.
func (d Doctor) Examine(ctx context.Context) []Finding {
	findings, loaded := d.module()
	if !loaded {
		return findings
	}
	findings = append(findings, d.versions(ctx), d.kstats(), d.devices())
	seen := map[string]bool{} // whether a pool that was looked at answers
	for _, parent := range d.Parents {
		answers, looked := seen[parent.Pool()]
		if !looked {
			var found []Finding
			found, answers = d.pool(ctx, parent.Pool())
			findings = append(findings, found...)
			seen[parent.Pool()] = answers
		}
		if answers {
			findings = append(findings, d.parent(ctx, parent)...)
		}
	}
	return findings
}

// errNoAnswer: a command was still running when the Doctor's patience ended.
var errNoAnswer = errors.New("no answer")

// ask runs a command. It returns errNoAnswer in time even where the process cannot
// be killed, as when it waits in the kernel for a suspended pool.
func (d Doctor) ask(ctx context.Context, c Command) (Result, error) {
	limited, cancel := context.WithTimeout(ctx, d.Patience)
	defer cancel()
	type answer struct {
		result Result
		err    error
	}
	answers := make(chan answer, 1)
	go func() {
		result, err := d.Runner.Run(limited, c)
		answers <- answer{result, err}
	}()
	select {
	case a := <-answers:
		if a.err == nil || limited.Err() == nil {
			return a.result, a.err
		}
	case <-limited.Done():
	}
	if err := ctx.Err(); err != nil {
		return Result{}, fmt.Errorf("%s: %w", c, err)
	}
	return Result{}, fmt.Errorf("%s: %w in %s", c, errNoAnswer, d.Patience)
}

// askRow asks for the properties of one pool or dataset.
func (d Doctor) askRow(ctx context.Context, c Command, name string) (row, error) {
	result, err := d.ask(ctx, c)
	if err != nil {
		return nil, err
	}
	return result.row(c, name)
}

func (d Doctor) path(name string) string { return filepath.Join(d.Root, name) }

package zfs

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// recorded is a Runner that gives the answers ZFS gave to these commands once. It
// fails a command that is not among them.
type recorded struct {
	answers map[string]Result
	// hang holds commands that do not end before their context does.
	hang []string
	// asked are the commands that were run.
	asked []string
}

func (r *recorded) Run(ctx context.Context, c Command) (Result, error) {
	r.asked = append(r.asked, c.String())
	if slices.Contains(r.hang, c.String()) {
		<-ctx.Done()
		return Result{}, ctx.Err()
	}
	answer, ok := r.answers[c.String()]
	if !ok {
		return Result{}, fmt.Errorf("run %s: no answer is recorded", c)
	}
	return answer, nil
}

// says is the answer of a command that succeeded.
func says(lines ...string) Result {
	return Result{Stdout: []byte(strings.Join(lines, "\n") + "\n")}
}

// refuses is the answer of one that failed.
func refuses(line string) Result {
	return Result{Stderr: []byte(line + "\n"), ExitCode: 1}
}

// changes returns the commands that were run but for those that only look.
func (r *recorded) changes() []string {
	var out []string
	for _, c := range r.asked {
		if verb := strings.Fields(c)[1]; verb != "get" && verb != "list" {
			out = append(out, c)
		}
	}
	return out
}

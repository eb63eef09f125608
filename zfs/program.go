package zfs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

// Channel programs do in the kernel, in one transaction group, what would take several commands; see zfs-program(8). Their
// arguments are in their texts.

// programCommand returns the command that runs a program; one that only looks may change nothing
// and waits for no transaction group.
func programCommand(pool string, only bool, text string) Command {
	how := "-j"
	if only {
		how = "-jn"
	}
	return Command{Name: "zfs", Args: []string{"program", how, pool, "-"}, Call: programCall(pool, only, text)}
}

// execute runs a program and decodes what it returns into result.
func (l *Local) execute(ctx context.Context, pool string, only bool, text string, result any) error {
	c := programCommand(pool, only, text)
	r, err := l.runner.Run(ctx, c)
	if err == nil {
		err = r.fault(c, pool)
	}
	if err != nil {
		return err
	}
	answer := r.Answers[pool]["return"]
	// Its maps have the form of the result's JSON.
	out, err := json.Marshal(answer)
	if err == nil {
		err = json.Unmarshal(out, result)
	}
	if err == nil && answer == nil {
		err = errors.New("not a result")
	}
	if err != nil {
		return fmt.Errorf("channel program answered %q: %w", out, err)
	}
	return nil
}

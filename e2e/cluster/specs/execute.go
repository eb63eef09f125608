package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/onsi/ginkgo/v2/types"
)

// patience is what ginkgo gets to clean up after the specs it was at.
const patience = 5 * time.Minute

// execute runs the specs in as many passes as it takes, adds their reports to the record, and
// tells of each as it ends.
func (r run) execute(ctx context.Context, record Record, specs []string) error {
	limit := r.limit
	if limit == 0 {
		limit = 1000 * time.Hour
	}
	end := time.Now().Add(limit)
	passes, err := r.passes(specs)
	if err != nil {
		return err
	}
	log, err := os.Create(r.log())
	if err != nil {
		return fmt.Errorf("open a log: %w", err)
	}
	defer log.Close()
	number := 0
	tell := func(spec types.SpecReport) {
		number++
		fmt.Printf("[%d/%d] %s, %.0f s: %s\n", number, len(specs), spec.State, spec.RunTime.Seconds(), brief(spec.FullText()))
		if spec.State.Is(types.SpecStateFailureStates) {
			fmt.Printf("    %s\n    %s\n", strings.ReplaceAll(spec.Failure.Message, "\n", "\n    "), spec.Failure.Location)
		}
	}
	for _, p := range passes {
		left := time.Until(end)
		if left <= 0 || ctx.Err() != nil {
			break
		}
		cmd := exec.CommandContext(context.WithoutCancel(ctx), r.ginkgo, r.ginkgoArguments(p, left)...)
		cmd.Stdout, cmd.Stderr = log, log
		if err := r.runGinkgo(ctx, cmd, record, tell); err != nil {
			return err
		}
	}
	return nil
}

// runGinkgo returns when it has ended, and calls tell with each report that it adds to the record.
// Ginkgo is not ended with ctx, but told to clean up.
func (r run) runGinkgo(ctx context.Context, cmd *exec.Cmd, record Record, tell func(types.SpecReport)) error {
	info, err := os.Stat(r.state())
	var offset int64
	if err == nil {
		offset = info.Size()
	}
	cmd.Dir = r.sources
	cmd.Env = append(os.Environ(), "ZFS_CSI_SPECS_STATE="+r.state())
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a signal from the terminal is passed on once
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start ginkgo: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	ran := 0
	each := func(spec types.SpecReport) {
		ran++
		tell(spec)
	}
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	var kill <-chan time.Time
	interrupted := ctx.Done()
	for {
		select {
		case err := <-ended:
			if _, readErr := record.read(r.state(), offset, each); readErr != nil {
				return readErr
			}
			var exit *exec.ExitError
			if ran > 0 && (err == nil || errors.As(err, &exit)) {
				return nil // What failed is in the record.
			}
			return errors.Join(fmt.Errorf("ginkgo ran %d specs; see %s", ran, r.log()), err)
		case <-ticker.C:
			if offset, err = record.read(r.state(), offset, each); err != nil {
				return err
			}
		case <-interrupted:
			fmt.Printf("specs: interrupted; the specs under way are ended and cleaned up after (%s at most)\n", patience)
			interrupted, kill = nil, time.After(patience)
			if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGINT); err != nil {
				return fmt.Errorf("interrupt ginkgo: %w", err)
			}
		case <-kill:
			if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); err != nil {
				return fmt.Errorf("end ginkgo: %w", err)
			}
		}
	}
}

// ginkgoArguments select precisely the specs of the pass. Ginkgo matches expressions against the
// name of the suite and the text of the spec, with a space between.
func (r run) ginkgoArguments(p pass, limit time.Duration) []string {
	args := []string{"--procs=" + strconv.Itoa(r.procs), "--timeout=" + limit.String(), "--grace-period=" + patience.String(), "--no-color", "--poll-progress-after=10m"}
	for _, text := range p.specs {
		args = append(args, "--focus= "+regexp.QuoteMeta(text)+"$")
	}
	return append(append(args, r.suite, "--"), r.suiteArguments(p.sources)...)
}

// brief leaves out what is the same for every spec.
func brief(text string) string {
	_, after, found := strings.Cut(text, "] ")
	if !found || !strings.HasPrefix(text, "External Storage") {
		return text
	}
	return after
}

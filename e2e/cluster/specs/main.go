// Specs runs Kubernetes' storage suite on the cluster that KUBECONFIG names, in as many
// calls as it takes: what has passed is remembered and not run again. See make e2e.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/onsi/ginkgo/v2/types"
)

// run is one call of the program.
type run struct {
	suite   string // the suite's program
	ginkgo  string // the program that runs it in parallel
	sources string // folder of the suite's files
	folder  string // of results
	focus   string
	again   bool
	list    bool
	procs   int
	least   int
	limit   time.Duration
}

// suiteFocus matches the specs that are about the driver; the program holds others.
const suiteFocus = "External.Storage"

// expression matches the specs that are asked for.
func (r run) expression() string {
	if r.focus == "" {
		return suiteFocus
	}
	return suiteFocus + ".*(" + r.focus + ")"
}

func (r run) state() string { return filepath.Join(r.folder, "state.jsonl") }
func (r run) log() string   { return filepath.Join(r.folder, "ginkgo.log") }
func (r run) junit() string { return filepath.Join(r.folder, "junit.xml") }

func main() {
	var r run
	flag.StringVar(&r.suite, "suite", "", "the suite's `program`")
	flag.StringVar(&r.ginkgo, "ginkgo", "", "ginkgo's `program`")
	flag.StringVar(&r.sources, "sources", "", "`folder` with the suite's files")
	flag.StringVar(&r.folder, "results", "", "`folder` for results, those of earlier calls among them")
	flag.StringVar(&r.focus, "focus", "", "run only specs whose text matches this regular `expression`")
	flag.BoolVar(&r.again, "again", false, "forget what earlier calls found out")
	flag.BoolVar(&r.list, "list", false, "only list the specs")
	flag.IntVar(&r.procs, "procs", 2, "how many specs to run at once")
	flag.IntVar(&r.least, "least", 1, "how many specs have to have passed in the end, lest all are skipped unseen")
	flag.DurationVar(&r.limit, "limit", 0, "end after this time, with the specs done so far remembered; 0: run all")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := r.main(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "specs:", err)
		os.Exit(1)
	}
}

func (r run) main(ctx context.Context) error {
	if r.suite == "" || r.ginkgo == "" || r.sources == "" || r.folder == "" {
		return errors.New("-suite, -ginkgo, -sources and -results are needed; make e2e gives them")
	}
	for _, path := range []*string{&r.suite, &r.ginkgo, &r.sources, &r.folder} {
		absolute, err := filepath.Abs(*path)
		if err != nil {
			return err
		}
		*path = absolute
	}
	if r.again {
		if err := os.RemoveAll(r.folder); err != nil {
			return fmt.Errorf("forget earlier results: %w", err)
		}
	}
	if err := os.MkdirAll(r.folder, 0o755); err != nil {
		return fmt.Errorf("make a folder for results: %w", err)
	}
	specs, err := r.specs(ctx)
	if err != nil {
		return err
	}
	if r.list {
		for _, text := range specs {
			fmt.Println(text)
		}
		return nil
	}
	record, err := readRecord(r.state())
	if err != nil {
		return err
	}
	before, todo := record.count(specs), record.todo(specs)
	fmt.Printf("specs: %d match; from before %d passed and %d were skipped; to run: %d (%d at once)\n",
		len(specs), before.passed, before.skipped, len(todo), r.procs)
	if len(todo) > 0 {
		if err := r.execute(ctx, record, todo); err != nil {
			return err
		}
	}
	return r.report(record, specs)
}

// specs asks the suite for its specs that match the focus.
func (r run) specs(ctx context.Context) ([]string, error) {
	focus, err := regexp.Compile(r.expression())
	if err != nil {
		return nil, fmt.Errorf("the focus is no regular expression: %w", err)
	}
	list := filepath.Join(r.folder, "list.json")
	args := append([]string{"--ginkgo.dry-run", "--ginkgo.json-report=" + list, "--ginkgo.succinct"}, r.suiteArguments(r.sources)...)
	cmd := exec.CommandContext(ctx, r.suite, args...)
	cmd.Dir = r.sources
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("list the suite's specs: %w:\n%s", err, out)
	}
	data, err := os.ReadFile(list)
	if err != nil {
		return nil, fmt.Errorf("list the suite's specs: %w", err)
	}
	var reports []types.Report
	if err := json.Unmarshal(data, &reports); err != nil {
		return nil, fmt.Errorf("list the suite's specs: %w", err)
	}
	var specs []string
	for _, report := range reports {
		for _, spec := range report.SpecReports {
			if spec.LeafNodeType == types.NodeTypeIt && focus.MatchString(spec.FullText()) {
				specs = append(specs, spec.FullText())
			}
		}
	}
	if len(specs) == 0 {
		return nil, fmt.Errorf("no spec matches %q; -list shows them", r.focus)
	}
	return specs, nil
}

// suiteArguments are the suite's own, after ginkgo's; sources is the folder of its files.
func (r run) suiteArguments(sources string) []string {
	return []string{
		"-provider=skeleton", "-repo-root=" + sources, "-storage.testdriver=" + filepath.Join(sources, "driver.yaml"),
		"-kubeconfig=" + os.Getenv("KUBECONFIG"), "-kubectl-path=kubectl", "-report-dir=" + r.folder,
		"-e2e-output-dir=" + r.folder, "-disable-log-dump",
	}
}

// report prints the counts and writes JUnit; its error says that there is something left to do.
func (r run) report(record Record, specs []string) error {
	if err := record.junit(r.junit(), specs); err != nil {
		return fmt.Errorf("write %s: %w", r.junit(), err)
	}
	c := record.count(specs)
	fmt.Printf("\nLeft out by the suite's own rules:\n")
	for _, line := range record.reasons(specs) {
		fmt.Println(line)
	}
	if lines := leftOut(specs); len(lines) > 0 {
		fmt.Printf("Left out by the list:\n      %s\n", strings.Join(lines, "\n      "))
	}
	fmt.Printf("\nspecs: %d passed, %d failed, %d skipped by the suite, %d by the list, %d not run yet; %s\n",
		c.passed, c.failed, c.skipped, c.listed, c.left, r.junit())
	for _, text := range specs {
		if one, ran := record[text]; ran && one.State.Is(types.SpecStateFailureStates) {
			fmt.Printf("failed: %s\n", text)
		}
	}
	if c.failed > 0 || c.left > 0 {
		return fmt.Errorf("%d specs failed and %d have not run; the next call takes them up again", c.failed, c.left)
	}
	if c.passed < r.least {
		return fmt.Errorf("%d specs passed, and at least %d have to", c.passed, r.least)
	}
	return nil
}

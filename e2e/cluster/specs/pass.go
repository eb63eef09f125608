package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
)

// pass is one call of ginkgo: the specs it runs, and the folder of the suite's files for them.
type pass struct {
	specs   []string
	sources string
}

// unconsumed matches the specs that make claims and no pod. Claims of a class that waits for the
// first consumer are never bound: what modifies them fails, and what only makes them passes without
// a volume. So these specs get a class that does not wait.
var unconsumed = regexp.MustCompile(`\[Testpattern: Dynamic PV \((default fs|block volmode)\)\] volume-modify-stress `)

// passes sorts the specs by the files they need, and makes those that are not there. None of
// the passes is empty.
func (r run) passes(specs []string) ([]pass, error) {
	waiting, immediate := pass{sources: r.sources}, pass{sources: filepath.Join(r.folder, "immediate")}
	for _, text := range specs {
		if unconsumed.MatchString(text) {
			immediate.specs = append(immediate.specs, text)
		} else {
			waiting.specs = append(waiting.specs, text)
		}
	}
	if len(immediate.specs) > 0 {
		if err := bindAtOnce(waiting.sources, immediate.sources); err != nil {
			return nil, fmt.Errorf("make the files for a StorageClass that binds at once: %w", err)
		}
	}
	return slices.DeleteFunc([]pass{waiting, immediate}, func(p pass) bool { return len(p.specs) == 0 }), nil
}

// bindAtOnce copies the suite's files, but for the binding mode of the StorageClass. The suite
// looks for the files that the driver's names in the folder it is given.
func bindAtOnce(from, to string) error {
	paths, err := filepath.Glob(filepath.Join(from, "*.yaml"))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	waits, binds := []byte("volumeBindingMode: WaitForFirstConsumer"), []byte("volumeBindingMode: Immediate")
	found := 0
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		found += bytes.Count(data, waits)
		if err := os.WriteFile(filepath.Join(to, filepath.Base(path)), bytes.ReplaceAll(data, waits, binds), 0o644); err != nil {
			return err
		}
	}
	if found != 1 {
		return fmt.Errorf("%d classes in %s wait for the first consumer, not one", found, from)
	}
	return nil
}

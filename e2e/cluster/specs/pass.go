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

// immediate matches the specs that need a class which does not wait for the first consumer. Those of volume-modify-stress
// make claims and no pod: claims of a class that waits are never bound, so that what modifies them fails, and what only makes
// them passes without a volume. Those of the ephemeral volumes leave themselves out where topology keys are declared, since a volume that is
// made at once may be where its pod is not; on one node it is not.
var immediate = regexp.MustCompile(`\[Testpattern: (Dynamic PV \((default fs|block volmode)\)\] volume-modify-stress |` +
	`Generic Ephemeral-volume \(default fs\) \(immediate-binding\)\] ephemeral )`)

// replaced are the lines of the suite's files that are others for these specs.
var replaced = []struct{ line, by string }{
	{"volumeBindingMode: WaitForFirstConsumer\n", "volumeBindingMode: Immediate\n"},
	{"  TopologyKeys: [zfs-csi.github.io/node]\n", ""},
}

// passes sorts the specs by the files they need, and makes those that are not there. None of
// the passes is empty.
func (r run) passes(specs []string) ([]pass, error) {
	waiting, binding := pass{sources: r.sources}, pass{sources: filepath.Join(r.folder, "immediate")}
	for _, text := range specs {
		if immediate.MatchString(text) {
			binding.specs = append(binding.specs, text)
		} else {
			waiting.specs = append(waiting.specs, text)
		}
	}
	if len(binding.specs) > 0 {
		if err := bindAtOnce(waiting.sources, binding.sources); err != nil {
			return nil, fmt.Errorf("make the files for a StorageClass that binds at once: %w", err)
		}
	}
	return slices.DeleteFunc([]pass{waiting, binding}, func(p pass) bool { return len(p.specs) == 0 }), nil
}

// bindAtOnce copies the suite's files, but for the lines that are replaced. The suite
// looks for the files that the driver's names in the folder it is given.
func bindAtOnce(from, to string) error {
	paths, err := filepath.Glob(filepath.Join(from, "*.yaml"))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	found := make([]int, len(replaced))
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for i, r := range replaced {
			found[i] += bytes.Count(data, []byte(r.line))
			data = bytes.ReplaceAll(data, []byte(r.line), []byte(r.by))
		}
		if err := os.WriteFile(filepath.Join(to, filepath.Base(path)), data, 0o644); err != nil {
			return err
		}
	}
	for i, r := range replaced {
		if found[i] != 1 {
			return fmt.Errorf("the files in %s have the line %q %d times, not once", from, r.line, found[i])
		}
	}
	return nil
}

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/onsi/ginkgo/v2/types"
)

// Specs as the suite has them.
const (
	driver       = "External Storage [Driver: zfs-csi.github.io] "
	populator    = driver + "[Testpattern: Dynamic PV (default fs)] provisioning should provision storage with any volume data source [Serial]"
	noPopulator  = driver + "[Testpattern: Dynamic PV (block volmode)] provisioning should provision storage with any volume data source [Serial]"
	clone        = driver + "[Testpattern: Dynamic PV (default fs)] provisioning should provision storage with pvc data source"
	stress       = "volume-modify-stress [FeatureGate:VolumeAttributesClass] [Feature:VolumeAttributesClass] multiple pods should modify volumes with a different volumeAttributesClass [Slow]"
	stressFiles  = driver + "[Testpattern: Dynamic PV (default fs)] " + stress
	stressBlock  = driver + "[Testpattern: Dynamic PV (block volmode)] " + stress
	stressNTFS   = driver + "[Testpattern: Dynamic PV (ntfs)] [Feature:Windows] " + stress
	modify       = driver + "[Testpattern: Dynamic PV (default fs)] volume-modify [FeatureGate:VolumeAttributesClass] [Feature:VolumeAttributesClass] should create a volume with VAC"
	ephemeral    = driver + "[Testpattern: Generic Ephemeral-volume (default fs) (immediate-binding)] ephemeral should create read/write inline ephemeral volume"
	lateBinding  = driver + "[Testpattern: Generic Ephemeral-volume (default fs) (late-binding)] ephemeral should create read/write inline ephemeral volume"
	waits, binds = "WaitForFirstConsumer, with topology", "Immediate"
)

// fakeVariable makes the test's program that of the suite, or ginkgo's.
const fakeVariable = "ZFS_CSI_SPECS_FAKE"

func TestMain(m *testing.M) {
	if os.Getenv(fakeVariable) == "" {
		os.Exit(m.Run())
	}
	if err := fake(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// fake lists the specs or, as ginkgo does, runs those that one of the expressions matches. What
// they print is the binding mode of the StorageClass that they would have, and whether the driver has topology keys.
func fake(args []string) error {
	var focus []string
	var list, root string
	for _, arg := range args {
		name, value, _ := strings.Cut(arg, "=")
		switch name {
		case "--focus":
			focus = append(focus, value)
		case "--ginkgo.json-report":
			list = value
		case "-repo-root":
			root = value
		}
	}
	if _, err := os.Stat(filepath.Join(root, "volumeattributesclass.yaml")); err != nil {
		return err
	}
	class, err := os.ReadFile(filepath.Join(root, "storageclass.yaml"))
	if err != nil {
		return err
	}
	_, mode, _ := strings.Cut(string(class), "volumeBindingMode: ")
	mode = strings.TrimSpace(mode)
	of, err := os.ReadFile(filepath.Join(root, "driver.yaml"))
	if err != nil {
		return err
	}
	if strings.Contains(string(of), "TopologyKeys") {
		mode += ", with topology"
	}
	var reports []types.SpecReport
	var lines []byte
	for _, text := range []string{populator, noPopulator, clone, stressFiles, stressBlock, stressNTFS, modify, ephemeral, lateBinding} {
		report := types.SpecReport{LeafNodeType: types.NodeTypeIt, LeafNodeText: text, State: types.SpecStatePassed, CapturedStdOutErr: mode}
		reports = append(reports, report)
		if regexp.MustCompile(strings.Join(focus, "|")).MatchString("the suite " + text) {
			line, err := json.Marshal(report)
			if err != nil {
				return err
			}
			lines = append(append(lines, line...), '\n')
		}
	}
	if list != "" {
		data, err := json.Marshal([]types.Report{{SpecReports: reports}})
		if err != nil {
			return err
		}
		return os.WriteFile(list, data, 0o600)
	}
	state, err := os.OpenFile(os.Getenv("ZFS_CSI_SPECS_STATE"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer state.Close()
	_, err = state.Write(lines)
	return err
}

// fakeRun is a call of the program, on the suite's own files.
func fakeRun(t *testing.T, focus string) run {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(fakeVariable, "1")
	return run{suite: program, ginkgo: program, sources: "../suite", folder: t.TempDir(), focus: focus, least: 1}
}

// ran tells the binding mode that each spec had.
func ran(t *testing.T, r run) map[string]string {
	t.Helper()
	record, err := readRecord(r.state())
	if err != nil {
		t.Fatal(err)
	}
	modes := map[string]string{}
	for text, report := range record {
		modes[text] = report.CapturedStdOutErr
	}
	return modes
}

func TestEachSpecHasItsStorageClass(t *testing.T) {
	for focus, want := range map[string]map[string]string{
		"": {
			noPopulator: waits, clone: waits, stressNTFS: waits, modify: waits,
			stressFiles: binds, stressBlock: binds, ephemeral: binds, lateBinding: waits,
		},
		"pvc data source": {clone: waits},
		"block volmode.*different volumeAttributesClass": {stressBlock: binds},
	} {
		r := fakeRun(t, focus)
		if err := r.main(context.Background()); err != nil {
			t.Errorf("%q: %v", focus, err)
		}
		if got := ran(t, r); !maps.Equal(got, want) {
			t.Errorf("%q: ran %v", focus, got)
		}
	}
}

func TestWhatIsDoneIsNotRunAgain(t *testing.T) {
	r := fakeRun(t, "volume-modify")
	before := report(t, modify, types.SpecStateSkipped) + report(t, stressBlock, types.SpecStatePassed) + report(t, stressFiles, types.SpecStateFailed)
	if err := os.WriteFile(r.state(), []byte(before), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.main(context.Background()); err != nil {
		t.Error(err)
	}
	if got, want := ran(t, r), map[string]string{modify: "", stressBlock: "", stressFiles: binds, stressNTFS: waits}; !maps.Equal(got, want) {
		t.Errorf("ran %v", got)
	}
}

func TestNoPassBeginsAfterAnInterrupt(t *testing.T) {
	r := fakeRun(t, "")
	ctx, interrupt := context.WithCancel(context.Background())
	interrupt()
	if err := r.execute(ctx, Record{}, []string{clone, stressFiles}); err != nil {
		t.Error(err)
	}
	if got := ran(t, r); len(got) != 0 {
		t.Errorf("ran %v", got)
	}
}

func TestEachLineIsReplacedOnce(t *testing.T) {
	class, keys := "volumeBindingMode: WaitForFirstConsumer\n", "  TopologyKeys: [zfs-csi.github.io/node]\n"
	for _, class := range []string{class, keys, class + class + keys, class + keys + keys} {
		from := t.TempDir()
		if err := os.WriteFile(filepath.Join(from, "storageclass.yaml"), []byte(class), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := bindAtOnce(from, t.TempDir()); err == nil {
			t.Errorf("no error for %q", class)
		}
	}
}

func TestOnlyWhatMatchesIsLeftOut(t *testing.T) {
	lines := leftOut([]string{noPopulator, clone, stressFiles, populator})
	if len(lines) != 1 || !strings.HasPrefix(lines[0], "[Testpattern: Dynamic PV (default fs)] provisioning should provision storage with any volume") {
		t.Errorf("left out: %q", lines)
	}
	if lines := leftOut([]string{clone}); len(lines) != 0 {
		t.Errorf("left out: %q", lines)
	}
}

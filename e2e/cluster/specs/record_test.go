package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/onsi/ginkgo/v2/types"
)

func report(t *testing.T, text string, state types.SpecState) string {
	t.Helper()
	line, err := json.Marshal(types.SpecReport{LeafNodeType: types.NodeTypeIt, LeafNodeText: text, State: state})
	if err != nil {
		t.Fatal(err)
	}
	return string(line) + "\n"
}

func TestRecordHoldsTheLatestReportOfEachSpec(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.jsonl")
	if record, err := readRecord(path); err != nil || len(record) != 0 {
		t.Fatalf("without a file: %v, %v", record, err)
	}
	whole := report(t, "clones", types.SpecStateFailed) + report(t, "expands", types.SpecStatePassed) +
		report(t, "moves", types.SpecStateSkipped) + report(t, "clones", types.SpecStatePassed) + report(t, "snapshots", types.SpecStateTimedout)
	half := report(t, "restores", types.SpecStatePassed)
	if err := os.WriteFile(path, []byte(whole+half[:20]), 0o600); err != nil {
		t.Fatal(err)
	}
	record := Record{}
	offset, err := record.read(path, 0, nil)
	if err != nil || offset != int64(len(whole)) {
		t.Fatalf("read %d of %d bytes, %v", offset, len(whole), err)
	}
	specs := []string{"clones", "expands", "moves", "snapshots", "restores", populator}
	if todo := strings.Join(record.todo(specs), ","); todo != "snapshots,restores" {
		t.Errorf("to do: %s", todo)
	}
	if c := record.count(specs); c != (counts{passed: 2, failed: 1, skipped: 1, listed: 1, left: 1}) {
		t.Errorf("%+v", c)
	}
	if err := os.WriteFile(path, []byte(whole+half), 0o600); err != nil {
		t.Fatal(err)
	}
	told := 0
	if _, err := record.read(path, offset, func(types.SpecReport) { told++ }); err != nil || told != 1 {
		t.Errorf("told of %d, %v", told, err)
	}
}

func TestJUnitHoldsWhatIsKnown(t *testing.T) {
	path := filepath.Join(t.TempDir(), "junit.xml")
	record := Record{"clones": {LeafNodeText: "clones", LeafNodeType: types.NodeTypeIt, State: types.SpecStateFailed}}
	if err := record.junit(path, []string{"clones", "expands", populator}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`tests="2"`, `skipped="1"`, `failures="1"`, "populator"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%s is missing in\n%s", want, text)
		}
	}
}

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/onsi/ginkgo/v2/reporters"
	"github.com/onsi/ginkgo/v2/types"
)

// Record is what is known of the specs that have run, in this run and in those before:
// the latest report of each, by its text.
type Record map[string]types.SpecReport

// readRecord reads the file that the suite appends to; none is an empty record.
func readRecord(path string) (Record, error) {
	record := Record{}
	_, err := record.read(path, 0, nil)
	return record, err
}

// read adds the reports from offset on, calls each with every one of them, and returns the
// offset after the last whole line: one being written is left for the next call.
func (r Record) read(path string, offset int64, each func(types.SpecReport)) (int64, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return offset, nil
	}
	if err != nil {
		return offset, fmt.Errorf("read the results so far: %w", err)
	}
	defer file.Close()
	if _, err := file.Seek(offset, io.SeekStart); err != nil {
		return offset, fmt.Errorf("read the results so far: %w", err)
	}
	for in := bufio.NewReader(file); ; {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return offset, nil
		}
		if err != nil {
			return offset, fmt.Errorf("read the results so far: %w", err)
		}
		offset += int64(len(line))
		var report types.SpecReport
		if err := json.Unmarshal(line, &report); err != nil {
			return offset, fmt.Errorf("read the results so far: %s holds a line that is no report (remove it to begin anew): %w", path, err)
		}
		r[report.FullText()] = report
		if each != nil {
			each(report)
		}
	}
}

// todo lists those of the specs that neither passed nor are left out, by the suite's own rules
// or by the list.
func (r Record) todo(specs []string) []string {
	var left []string
	for _, text := range specs {
		if listed(text) == "" && !r[text].State.Is(types.SpecStatePassed|types.SpecStateSkipped) {
			left = append(left, text)
		}
	}
	return left
}

// counts sorts the specs into those that passed, failed, were left out by the suite's own
// rules, by the list, and those that have not run.
type counts struct{ passed, failed, skipped, listed, left int }

func (r Record) count(specs []string) counts {
	var c counts
	for _, text := range specs {
		report, ran := r[text]
		switch {
		case listed(text) != "":
			c.listed++
		case !ran:
			c.left++
		case report.State.Is(types.SpecStatePassed):
			c.passed++
		case report.State.Is(types.SpecStateSkipped):
			c.skipped++
		default:
			c.failed++
		}
	}
	return c
}

// junit writes what is known of the specs, and which are left out by the list.
func (r Record) junit(path string, specs []string) error {
	report := types.Report{SuiteDescription: "Kubernetes storage", SuiteSucceeded: true}
	for _, text := range specs {
		one, ran := r[text]
		if reason := listed(text); reason != "" {
			one = types.SpecReport{LeafNodeText: text, LeafNodeType: types.NodeTypeIt, State: types.SpecStateSkipped, Failure: types.Failure{Message: reason}}
		} else if !ran {
			continue
		}
		report.SuiteSucceeded = report.SuiteSucceeded && !one.State.Is(types.SpecStateFailureStates)
		report.RunTime += one.RunTime
		report.SpecReports = append(report.SpecReports, one)
	}
	return reporters.GenerateJUnitReport(report, path)
}

// reasons counts why the suite left specs out, the most frequent reason first.
func (r Record) reasons(specs []string) []string {
	found := map[string]int{}
	for _, text := range specs {
		if report, ran := r[text]; ran && listed(text) == "" && report.State.Is(types.SpecStateSkipped) {
			reason, _, _ := strings.Cut(report.Failure.Message, "\n")
			found[reason]++
		}
	}
	reasons := slices.SortedFunc(maps.Keys(found), func(a, b string) int {
		if found[a] != found[b] {
			return found[b] - found[a]
		}
		return strings.Compare(a, b)
	})
	for i, reason := range reasons {
		reasons[i] = fmt.Sprintf("%4d  %s", found[reason], reason)
	}
	return reasons
}

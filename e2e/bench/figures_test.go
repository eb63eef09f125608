package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
)

func TestQuantiles(t *testing.T) {
	values := []float64{4, 1, 3, 2}
	if got := median(values); got != 2.5 {
		t.Errorf("the median is %v", got)
	}
	if got := spread(values); got != 1.5 {
		t.Errorf("the spread is %v", got)
	}
	if got := median(nil); !math.IsNaN(got) {
		t.Errorf("the median of nothing is %v", got)
	}
}

func TestReports(t *testing.T) {
	f := Figures{Revision: "r<1>", Rows: []*Row{
		{Name: "clone a dataset", Beside: "zfs", Unit: "ms", Goal: 1, Driver: Series{Values: []float64{90}, Processes: []float64{2}, Groups: []float64{4}}, Other: Series{Values: []float64{100}}},
		{Name: "clients", Beside: "shells", Unit: "clones/s", Goal: 1, Driver: Series{Values: []float64{4}}, Other: Series{Values: []float64{5}}},
		{Name: "nothing", Unit: "ms"},
	}}
	var table, lines, plot bytes.Buffer
	writeTable(&table, f)
	for _, want := range []string{"| 0.90 | ≤ 1.0 | 2 | 4 |", "| **0.80** | ≥ 1.0 |", "| – |"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("the table has no %q:\n%s", want, table.String())
		}
	}
	writeBenchstat(&lines, f)
	if want := "BenchmarkClone_a_dataset 1 90000000 ns/op 2 processes/op 4 txgs/op\nBenchmarkClients 1 4.000 clones/s\n"; lines.String() != want {
		t.Errorf("the lines for benchstat are %q, want %q", lines.String(), want)
	}
	if err := writePlot(&plot, f); err != nil {
		t.Fatal(err)
	}
	for d := xml.NewDecoder(&plot); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("the plot is no XML: %v", err)
		}
	}
}

func TestRoom(t *testing.T) {
	dir := t.TempDir()
	if err := room(dir, 1); err != nil {
		t.Error(err)
	}
	if err := room(dir, 1<<60); err == nil || !strings.Contains(err.Error(), "ZFS_CSI_MACHINE_MEMORY") {
		t.Errorf("room for 2^60 bytes: %v", err)
	}
}

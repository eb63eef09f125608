package main

import (
	"math"
	"slices"
)

// Figures are the results of a run.
type Figures struct {
	Revision string `json:"revision"`
	Machine  string `json:"machine"`
	Scale    int    `json:"scale"`
	Rows     []*Row `json:"rows"`
}

// Row is one line of the table: the driver's call beside something else.
type Row struct {
	Name   string `json:"name"`
	Beside string `json:"beside"`
	// Unit is "ms" where less is better, "clones/s" where more is, or "KiB".
	Unit string `json:"unit"`
	// Goal is the ratio to reach: at most that, or at least where more is better.
	Goal float64 `json:"goal"`
	// Driver and Other are what was measured.
	Driver Series `json:"driver"`
	Other  Series `json:"other"`
	// Note is what else is to be known of it.
	Note string `json:"note,omitempty"`
}

// Series are the measurements of one thing.
type Series struct {
	Values []float64 `json:"values"`
	// Processes and Groups are how many processes were started, and how many transaction groups ended,
	// during each call; After those processes that were started when it had been answered.
	Processes []float64 `json:"processes,omitempty"`
	Groups    []float64 `json:"transaction_groups,omitempty"`
	After     []float64 `json:"processes_after,omitempty"`
	// Commands are those of the last call, channel programs among them, with how long each took, in ms.
	Commands []string `json:"commands,omitempty"`
}

// Ratio is that of the medians.
func (r *Row) Ratio() float64 { return median(r.Driver.Values) / median(r.Other.Values) }

// More tells that more is better.
func (r *Row) More() bool { return r.Unit == "clones/s" }

// Reached tells whether the goal was.
func (r *Row) Reached() bool {
	// As it is printed.
	ratio := math.Round(r.Ratio()*100) / 100
	if r.More() {
		return ratio >= r.Goal
	}
	return ratio <= r.Goal
}

// quantile returns a quantile of the values, with those in between taken to lie on a line; NaN for none.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	at := q * float64(len(sorted)-1)
	below := int(at)
	above := min(below+1, len(sorted)-1)
	return sorted[below] + (at-float64(below))*(sorted[above]-sorted[below])
}

func median(values []float64) float64 { return quantile(values, 0.5) }

// spread is the distance between the quartiles.
func spread(values []float64) float64 { return quantile(values, 0.75) - quantile(values, 0.25) }

package main

import (
	"fmt"
	"io"
	"math"
	"strings"
	"text/template"
)

// writeTable writes the figures as a table in Markdown.
func writeTable(out io.Writer, f Figures) {
	fmt.Fprintf(out, "%s; %s; %d volumes and snapshots in the full parent\n\n", f.Revision, f.Machine, f.Scale)
	fmt.Fprintln(out, "| what | beside | driver | beside | unit | ratio | goal | processes | transaction groups |")
	fmt.Fprintln(out, "|---|---|---|---|---|---|---|---|---|")
	for _, r := range f.Rows {
		fmt.Fprintf(out, "| %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", r.Name, r.Beside,
			value(r.Driver.Values), value(r.Other.Values), r.Unit, verdict(r), r.bound(),
			beside(r.Driver.Processes, r.Other.Processes, r.Driver.After), beside(r.Driver.Groups, r.Other.Groups, nil))
		if r.Note != "" {
			fmt.Fprintf(out, "| | %s | | | | | | | |\n", r.Note)
		}
	}
}

// value is a median with its spread.
func value(values []float64) string {
	m := median(values)
	digits := 0
	if m < 10 {
		digits = 1
	}
	if len(values) < 2 {
		return fmt.Sprintf("%.*f", digits, m)
	}
	return fmt.Sprintf("%.*f ± %.*f", digits, m, digits, spread(values)/2)
}

func verdict(r *Row) string {
	if math.IsNaN(r.Ratio()) {
		return "–"
	}
	if r.Reached() {
		return fmt.Sprintf("%.2f", r.Ratio())
	}
	return fmt.Sprintf("**%.2f**", r.Ratio())
}

func (r *Row) bound() string {
	if r.More() {
		return fmt.Sprintf("≥ %.1f", r.Goal)
	}
	return fmt.Sprintf("≤ %.1f", r.Goal)
}

// beside writes the medians of two counts, and of what the driver does after its answer.
func beside(driver, other, after []float64) string {
	if len(driver) == 0 {
		return ""
	}
	text := fmt.Sprintf("%.0f", median(driver))
	if len(after) > 0 && median(after) > 0 {
		text += fmt.Sprintf(" (then %.0f)", median(after))
	}
	if len(other) == 0 {
		return text
	}
	return fmt.Sprintf("%s / %.0f", text, median(other))
}

// writeBenchstat writes a line for each measurement of the driver, in the form of Go's benchmarks.
func writeBenchstat(out io.Writer, f Figures) {
	for _, r := range f.Rows {
		name := "Benchmark" + strings.Map(func(c rune) rune {
			if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' {
				return c
			}
			return '_'
		}, strings.ToUpper(r.Name[:1])+r.Name[1:])
		for i, v := range r.Driver.Values {
			switch r.Unit {
			case "ms":
				fmt.Fprintf(out, "%s 1 %.0f ns/op", name, v*1e6)
			case "KiB":
				fmt.Fprintf(out, "%s 1 %.0f B", name, v*1024)
			default:
				fmt.Fprintf(out, "%s 1 %.3f %s", name, v, r.Unit)
			}
			if i < len(r.Driver.Processes) {
				fmt.Fprintf(out, " %.0f processes/op %.0f txgs/op", r.Driver.Processes[i], r.Driver.Groups[i])
			}
			fmt.Fprintln(out)
		}
	}
}

// bar is what the plot shows of a row.
type bar struct {
	Name, Label           string
	Y, Width, Goal, Lower float64
	Class                 string
}

// The plot's measures: a ratio of 1 is unit wide.
const (
	plotLeft, plotUnit, plotMost, plotLine = 330.0, 300.0, 2.0, 26.0
)

// writePlot draws the ratio of each row as a bar, with its goal as a line.
func writePlot(out io.Writer, f Figures) error {
	var bars []bar
	for i, r := range f.Rows {
		ratio := r.Ratio()
		if math.IsNaN(ratio) {
			continue
		}
		class := "reached"
		if !r.Reached() {
			class = "missed"
		}
		y := 60 + plotLine*float64(i)
		bars = append(bars, bar{
			Name: r.Name, Label: fmt.Sprintf("%.2f  (%s)", ratio, r.bound()), Y: y, Lower: y + plotLine - 8,
			Width: plotUnit * min(ratio, plotMost), Goal: plotLeft + plotUnit*min(r.Goal, plotMost), Class: class,
		})
	}
	return plot.Execute(out, map[string]any{
		"Bars": bars, "Left": plotLeft, "One": plotLeft + plotUnit, "Height": 80 + plotLine*float64(len(f.Rows)),
		"Title": "The driver beside raw ZFS: ratio of the medians", "Below": f.Revision + "; " + f.Machine,
	})
}

var plot = template.Must(template.New("plot").Funcs(template.FuncMap{
	"add":    func(a, b float64) float64 { return a + b },
	"escape": template.HTMLEscapeString,
}).Parse(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1060 {{.Height}}" font-family="sans-serif" font-size="13">
<style>.reached{fill:#3a7d5c}.missed{fill:#c0562f}text{fill:#222}.goal{stroke:#222;stroke-width:2}.one{stroke:#999;stroke-dasharray:3 3}</style>
<rect width="100%" height="100%" fill="#fff"/>
<text x="20" y="26" font-size="17">{{escape .Title}}</text>
<text x="20" y="45" font-size="11">{{escape .Below}}; the black line is the goal</text>
<line class="one" x1="{{.One}}" x2="{{.One}}" y1="54" y2="{{add .Height -16}}"/>
{{$left := .Left}}{{range .Bars}}<text x="{{add $left -8}}" y="{{add .Y 14}}" text-anchor="end">{{escape .Name}}</text>
<rect class="{{.Class}}" x="{{$left}}" y="{{.Y}}" width="{{printf "%.1f" .Width}}" height="18"/>
<line class="goal" x1="{{.Goal}}" x2="{{.Goal}}" y1="{{add .Y -2}}" y2="{{add .Lower 2}}"/>
<text x="{{printf "%.1f" (add (add $left .Width) 12)}}" y="{{add .Y 14}}">{{escape .Label}}</text>
{{end}}</svg>
`))

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"text/tabwriter"

	"github.com/zfs-csi/zfs-csi/zfs"
)

const treeHelp = `Prints the lineage of what is below each parent: volumes, the snapshots below them,
and below each snapshot what was made of it. It changes nothing.

  USED        what would be free if it went with all that only it needs
  REFERENCED  what can be read in it
  UNIQUE      what nothing else holds
  PINNED      what is held by a volume or snapshot that is deleted, for those below it
`

func tree(ctx context.Context, call invocation) error {
	output := format("text")
	var parents datasets
	var hostRoot string
	f := newFlags("tree", treeHelp, call)
	f.parents(&parents)
	f.hostRoot(&hostRoot)
	f.Var(&output, "output", "text or json: the `FORMAT`; -o for short")
	f.Var(&output, "o", "short for --output")
	newLog := f.logs(slog.LevelWarn)
	if err := f.parse(0); err != nil {
		return err
	}
	if len(parents) == 0 {
		return f.wrong(errors.New("no parent is named; name what serve is given: --parent tank/csi"))
	}
	run := zfs.Exec{Log: newLog(), Root: hostRoot}
	var roots []*zfs.Node
	for _, p := range parents {
		root, err := zfs.Lineage(ctx, run, p)
		if err != nil {
			return err
		}
		roots = append(roots, root)
	}
	if err := writeTree(call.stdout, output, roots); err != nil {
		return fmt.Errorf("write the tree: %w", err)
	}
	return nil
}

func writeTree(w io.Writer, output format, roots []*zfs.Node) error {
	if output == "json" {
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		return encoder.Encode(roots)
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(table, "DATASET\tROLE\tUSED\tREFERENCED\tUNIQUE\tPINNED\tNAME\n")
	for _, root := range roots {
		writeNode(table, root, "", "", "", false)
	}
	return table.Flush()
}

// writeNode writes a node and what is below it; first begins its own line, and rest those below.
// What above begins with is left out of its name. elsewhere: it is not below its origin.
func writeNode(w io.Writer, n *zfs.Node, first, rest, above string, elsewhere bool) {
	name := strings.TrimPrefix(n.Dataset, above)
	label := n.Name
	if label == strings.TrimLeft(name, "@") {
		label = "" // It is the name already.
	}
	if n.Origin != "" && elsewhere {
		label = strings.TrimSpace(label + " (clone of " + n.Origin + ")")
	}
	fmt.Fprintf(w, "%s%s\t%s\t%s\t%s\t%s\t%s\t%s\n", first, name, n.Role,
		size(n.Used), size(n.Referenced), size(n.Unique), size(n.Pinned), label)
	parent := n.Dataset[:strings.LastIndexByte(n.Dataset, '/')+1]
	for i, c := range n.Children {
		branch, below := "├─ ", "│  "
		if i == len(n.Children)-1 {
			branch, below = "└─ ", "   "
		}
		left := parent
		switch {
		case strings.HasPrefix(c.Dataset, n.Dataset+"@"):
			left = n.Dataset
		case strings.HasPrefix(c.Dataset, n.Dataset+"/"):
			left = n.Dataset + "/"
		}
		writeNode(w, c, rest+branch, rest+below, left, c.Origin != n.Dataset)
	}
}

// size writes bytes as people read them, in binary units.
func size(n int64) string {
	const unit = 1024
	if n == 0 {
		return "-"
	}
	value, suffix := float64(n), "B"
	for _, s := range []string{"K", "M", "G", "T", "P"} {
		if value < unit {
			break
		}
		value, suffix = value/unit, s
	}
	if suffix == "B" || value >= 100 {
		return fmt.Sprintf("%.0f%s", value, suffix)
	}
	return fmt.Sprintf("%.1f%s", value, suffix)
}

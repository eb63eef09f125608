package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"time"

	"github.com/zfs-csi/zfs-csi/zfs"
)

const checkHelp = `Looks at this machine as the driver would find it and prints a line for each thing it
looked at, with what to do where it is not well. It changes nothing. Run it as the
driver runs: as root, and in the driver's container when it is in one.

Exit code 0 means that nothing is at fault; warnings do not count.
`

// errFaults: the check found faults, and has said so.
var errFaults = errors.New("the machine is not fit to serve volumes: see the lines marked [fail]")

func check(ctx context.Context, call invocation) error {
	doctor := zfs.Doctor{Root: "/"}
	machine := node{root: "/", look: exec.LookPath, user: os.Geteuid()}
	var tools zfs.Exec
	output := format("text")
	var parents datasets
	f := newFlags("check", checkHelp, call)
	f.driverName(&doctor.Driver)
	f.parents(&parents)
	f.hostRoot(&tools.Root)
	f.StringVar(&machine.kubelet, "kubelet-dir", "/var/lib/kubelet", "the kubelet's `FOLDER`")
	f.DurationVar(&doctor.Patience, "patience", 20*time.Second, "the `TIME` that each ZFS command gets")
	f.Var(&output, "output", "text or json: the `FORMAT` of the findings; -o for short")
	f.Var(&output, "o", "short for --output")
	newLog := f.logs(slog.LevelWarn)
	if err := f.parse(0); err != nil {
		return err
	}
	doctor.Parents = parents
	tools.Log = newLog()
	doctor.Runner, machine.find, machine.hostRoot = tools, tools.Find, tools.Root

	findings := append(machine.examine(), doctor.Examine(ctx)...)
	if len(parents) == 0 {
		findings = append(findings, zfs.Finding{Check: "parents", Severity: zfs.Warning,
			Message: "none is named, so no pool was looked at", Advice: "name what serve is given: --parent tank/csi"})
	}
	if err := writeFindings(call.stdout, output, findings); err != nil {
		return fmt.Errorf("write the findings: %w", err)
	}
	if count(findings, zfs.Fault) > 0 {
		return errFaults
	}
	return nil
}

func count(findings []zfs.Finding, severity zfs.Severity) int {
	n := 0
	for _, f := range findings {
		if f.Severity == severity {
			n++
		}
	}
	return n
}

// writeFindings writes one line a finding, and one below it with the advice; or a JSON object.
func writeFindings(w io.Writer, output format, findings []zfs.Finding) error {
	faults, warnings := count(findings, zfs.Fault), count(findings, zfs.Warning)
	if output == "json" {
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		return encoder.Encode(struct {
			Faults   int           `json:"faults"`
			Warnings int           `json:"warnings"`
			Findings []zfs.Finding `json:"findings"`
		}{faults, warnings, findings})
	}
	for _, f := range findings {
		if _, err := fmt.Fprintf(w, "%-6s %s: %s\n", "["+f.Severity.String()+"]", f.Check, f.Message); err != nil {
			return err
		}
		if f.Advice != "" {
			if _, err := fmt.Fprintf(w, "       -> %s\n", f.Advice); err != nil {
				return err
			}
		}
	}
	_, err := fmt.Fprintf(w, "%d looked at, %d warnings, %d faults\n", len(findings), warnings, faults)
	return err
}

package zfs

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Percentages from which a pool is worth a warning.
const (
	fullPercent       = 90
	fragmentedPercent = 70
)

// features are the pool features that matter to the driver; see zpool-features(7).
// None is needed for volumes and clones as such.
var features = []struct{ name, lost string }{
	{"async_destroy", "deleting a large volume takes long"},
	{"livelist", "deleting a clone that differs much from its source takes long"},
	{"large_blocks", "recordsize and volblocksize above 128K"},
	{"large_dnode", "dnodesize other than legacy"},
	{"zstd_compress", "compression=zstd"},
}

// pool looks at a pool. It answers when it makes sense to look at what is on it.
func (d Doctor) pool(ctx context.Context, pool string) (findings []Finding, answers bool) {
	check := "pool " + pool
	local := Local{kstat: d.path(kstatRoot)}
	state, err := local.poolState(pool)
	switch {
	case errors.Is(err, ErrUnavailable):
		return []Finding{{check, Fault, "it is not imported",
			"zpool import lists the pools that can be imported; then zpool import " + pool + "; a pool in a file the driver imports itself (--pool-file), and its log says why not"}}, false
	case err != nil:
		return []Finding{{check, Fault, err.Error(), "see zpool status " + pool}}, false
	case state == "SUSPENDED":
		return []Finding{{check, Fault, "it is suspended: its devices do not answer",
			"bring the devices back, then zpool clear " + pool}}, false
	}
	get := getCommand("all", pool)
	get.Name = "zpool"
	properties, err := d.askRow(ctx, get, pool)
	if err != nil {
		return []Finding{{check, Fault, err.Error(), "see zpool status " + pool + " and the kernel's log (dmesg)"}}, false
	}
	health := d.health(ctx, pool, state)
	if health.Severity == Fault {
		return []Finding{health}, false
	}
	findings = append(findings, health)
	if properties["readonly"].value == "on" {
		findings = append(findings, Finding{check, Fault, "it is imported read-only",
			fmt.Sprintf("export it and import it for writing: zpool export %s && zpool import %s", pool, pool)})
	}
	if properties["failmode"].value == "panic" {
		findings = append(findings, Finding{check, Warning, "failmode=panic: a fault of its devices halts the node",
			"zpool set failmode=wait " + pool})
	}
	findings = append(findings, room(pool, properties), missingFeatures(pool, properties))
	if properties["readonly"].value != "on" { // on such a pool none runs
		findings = append(findings, d.channelProgram(ctx, pool))
	}
	return findings, true
}

// health reads the pool's state and, when it is not at its best, what zpool says of it.
func (d Doctor) health(ctx context.Context, pool, state string) Finding {
	check := "pool " + pool
	result, err := d.ask(ctx, Command{Name: "zpool", Args: []string{"status", "-x", pool}})
	if err != nil || result.ExitCode != 0 {
		return Finding{check, Fault, "zpool status failed: " + reasonOf(result, err), "see the kernel's log (dmesg)"}
	}
	status, action := diagnosis(string(result.Stdout))
	switch {
	case state == "ONLINE" && status == "":
		return Finding{Check: check, Message: "it is imported and healthy"}
	case status == "":
		status = "zpool gives no reason"
	}
	if action == "" {
		action = "see zpool status " + pool
	}
	found := Finding{check, Warning, state + ": " + status, action}
	if state != "ONLINE" && state != "DEGRADED" {
		found.Severity = Fault
	}
	return found
}

// diagnosis takes the paragraphs "status" and "action" from zpool status.
func diagnosis(out string) (status, action string) {
	var paragraph *string
	for line := range strings.Lines(out) {
		text, continued := strings.CutPrefix(line, "\t")
		if !continued {
			var title string
			title, text, _ = strings.Cut(line, ": ")
			paragraph = map[string]*string{"status": &status, "action": &action}[title]
		}
		if paragraph != nil {
			*paragraph = strings.TrimSpace(*paragraph + " " + strings.TrimSpace(text))
		}
	}
	return status, action
}

// room looks at how full and how scattered the pool is.
func room(pool string, properties row) Finding {
	check := "pool " + pool
	full, err := strconv.Atoi(strings.TrimSuffix(properties["capacity"].value, "%"))
	if err != nil {
		return Finding{check, Warning, fmt.Sprintf("its capacity reads %q", properties["capacity"].value), "see zpool list " + pool}
	}
	fragmented, err := strconv.Atoi(strings.TrimSuffix(properties["fragmentation"].value, "%"))
	if err != nil {
		fragmented = 0 // "-": the pool does not keep count
	}
	words := fmt.Sprintf("it is %d%% full, its free space %d%% fragmented", full, fragmented)
	switch {
	case full >= fullPercent:
		return Finding{check, Warning, words, "delete what is not needed or add devices: ZFS slows down from here, and at 100% nothing can be written"}
	case fragmented >= fragmentedPercent:
		return Finding{check, Warning, words, "writes are slow until there is more free space: delete what is not needed or add devices"}
	}
	return Finding{Check: check, Message: words}
}

// missingFeatures looks for features of the pool that are off.
func missingFeatures(pool string, properties row) Finding {
	check := "features of pool " + pool
	var missing []string
	for _, f := range features {
		if v := properties["feature@"+f.name].value; v != "enabled" && v != "active" {
			missing = append(missing, fmt.Sprintf("%s (%s)", f.name, f.lost))
		}
	}
	if len(missing) > 0 {
		return Finding{check, Warning, "off, with what that means: " + strings.Join(missing, ", "),
			"zpool upgrade " + pool + " turns on what this ZFS knows; older ones may then be unable to import the pool"}
	}
	return Finding{Check: check, Message: "all that matter are on"}
}

// channelProgram runs a read-only channel program that does nothing.
func (d Doctor) channelProgram(ctx context.Context, pool string) Finding {
	check := "channel programs on pool " + pool
	c := programCommand(pool, true, "return 0")
	result, err := d.ask(ctx, c)
	if err == nil {
		err = result.fault(c, pool)
	}
	if err != nil {
		return Finding{check, Fault, "they do not run: " + err.Error(),
			"run as root; deleting the source of a clone needs them"}
	}
	return Finding{Check: check, Message: "they run"}
}

// reasonOf says in one line why a command failed.
func reasonOf(result Result, err error) string {
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%s (exit code %d)", firstLine(result.Stderr), result.ExitCode)
}

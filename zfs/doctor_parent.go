package zfs

import (
	"context"
	"errors"
	"fmt"
	"strconv"
)

// lowSpace is the room, in bytes, below which a parent is worth a warning.
const lowSpace = 1 << 30

// parent looks at a parent whose pool answers.
func (d Doctor) parent(ctx context.Context, parent Dataset) []Finding {
	check := "parent " + parent.name
	found, err := d.askRow(ctx, getCommand("type,readonly,available,keystatus,"+propDriver, parent.name), parent.name)
	switch {
	case errors.Is(err, ErrNotFound):
		return []Finding{{check, Fault, "it is not there", "make it with zfs-csi init " + parent.name + ", or correct the name"}}
	case err != nil:
		return []Finding{{check, Fault, err.Error(), "see zfs list " + parent.name}}
	case found["type"].value != Filesystem.String():
		return []Finding{{check, Fault, "it is a " + found["type"].value, "only a filesystem can hold volumes: choose another dataset"}}
	}
	findings := []Finding{d.marker(parent, found)}
	if found["readonly"].value == "on" {
		findings = append(findings, Finding{check, Fault, "readonly=on, so volumes in it are read-only",
			"zfs set readonly=off " + parent.name})
	}
	if found["keystatus"].value == "unavailable" {
		findings = append(findings, Finding{check, Fault, "it is encrypted and its key is not loaded", "zfs load-key " + parent.name})
	}
	return append(findings, parentRoom(parent, found["available"].value))
}

// marker looks whose parent it is.
func (d Doctor) marker(parent Dataset, found row) Finding {
	check := "parent " + parent.name
	switch local := found.local(propDriver); local {
	case d.Driver:
		return Finding{Check: check, Message: "it is there and marked for " + d.Driver}
	case "":
		return Finding{check, Fault, "it has no marker of its own", "if it is the right one: zfs-csi init " + parent.name}
	default:
		return Finding{check, Fault, fmt.Sprintf("it is marked for another driver, %q", local),
			"choose another dataset, or start zfs-csi with that --driver-name"}
	}
}

func parentRoom(parent Dataset, value string) Finding {
	check := "parent " + parent.name
	available, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return Finding{check, Warning, fmt.Sprintf("its available space reads %q", value), "see zfs list " + parent.name}
	}
	words := fmt.Sprintf("%.1f GiB are available in it", float64(available)/(1<<30))
	if available < lowSpace {
		return Finding{check, Warning, words, "delete what is not needed, raise its quota, or add devices to the pool"}
	}
	return Finding{Check: check, Message: words}
}

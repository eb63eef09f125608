package zfs

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// ParentChange tells what InitParent did.
type ParentChange int

// What InitParent did.
const (
	// ParentUnchanged: the dataset was the driver's parent before.
	ParentUnchanged ParentChange = iota + 1
	// ParentMarked: the dataset was there and is marked now.
	ParentMarked
	// ParentCreated: the dataset is new.
	ParentCreated
)

// InitParent makes parent a place for the volumes of driver: it creates the
// dataset where there is none, and marks it. Done again it changes nothing.
//
// Errors: ErrUnavailable when the pool is not imported, ErrNotOurs when the dataset
// is or lies in the parent of a driver, ErrInvalid when it is a zvol, its name is too long, or what
// should hold it is missing, ErrPermission, ErrReadOnly.
func InitParent(ctx context.Context, run Runner, driver string, parent Dataset) (ParentChange, error) {
	if driver == "" || strings.ContainsAny(driver, "\t\n") {
		return 0, fmt.Errorf("driver name %q: %w as a marker", driver, ErrInvalid)
	}
	if err := checkParent(parent); err != nil {
		return 0, err
	}
	if err := needPool(ctx, run, parent.Pool()); err != nil {
		return 0, err
	}
	found, err := readRow(ctx, run, parent, "type,"+propDriver)
	if errors.Is(err, ErrNotFound) {
		return createParent(ctx, run, driver, parent)
	}
	if err != nil {
		return 0, err
	}
	if found["type"].value != Filesystem.String() {
		return 0, fmt.Errorf("%s: %w as a parent: it is a %s, and only a filesystem can hold volumes; choose another name",
			parent, ErrInvalid, found["type"].value)
	}
	if found.local(propDriver) == driver {
		return ParentUnchanged, nil
	}
	if err := refuseMarked(parent, parent, found); err != nil {
		return 0, err
	}
	return ParentMarked, changeParent(ctx, run, parent, "set", propDriver+"="+driver)
}

func createParent(ctx context.Context, run Runner, driver string, parent Dataset) (ParentChange, error) {
	above := parent.parent()
	found, err := readRow(ctx, run, above, propDriver)
	if errors.Is(err, ErrNotFound) {
		return 0, fmt.Errorf("%s: %w as a parent: %s, which is to hold it, is not there; make that first (zfs create %s)",
			parent, ErrInvalid, above, above)
	}
	if err != nil {
		return 0, err
	}
	if err := refuseMarked(parent, above, found); err != nil {
		return 0, err
	}
	properties := options([]string{"mountpoint=none", "canmount=off"}, zvolProperties, []string{propDriver + "=" + driver})
	return ParentCreated, changeParent(ctx, run, parent, append([]string{"create"}, properties...)...)
}

// refuseMarked returns an error when the dataset at, which is parent or what is to hold
// it, carries or inherits a driver's marker.
func refuseMarked(parent, at Dataset, found row) error {
	marker := found[propDriver]
	switch local := found.local(propDriver); {
	case marker.value == "-":
		return nil
	case local != "" && parent == at:
		return fmt.Errorf("%s: %w: it is the parent of the driver %q; choose another dataset, or, if that driver is gone for good, "+
			"take its marker away (zfs inherit %s %s)", parent, ErrNotOurs, local, propDriver, at)
	case local != "":
		return fmt.Errorf("%s: %w: it would lie inside %s, the parent of the driver %q; choose a dataset outside of it",
			parent, ErrNotOurs, at, local)
	default:
		return fmt.Errorf("%s: %w: it would lie inside a parent of the driver %q (its marker is %s); choose a dataset outside of it",
			parent, ErrNotOurs, marker.value, marker.source)
	}
}

// needPool returns ErrUnavailable unless the pool is imported.
func needPool(ctx context.Context, run Runner, pool string) error {
	command := Command{Name: "zpool", Args: []string{"list", "-Hp", "-o", "name,health", pool}}
	res, err := run.Run(ctx, command)
	if err != nil {
		return err
	}
	if err := res.fault(command, pool); err != nil {
		return fmt.Errorf("%w; import it (zpool import %s) or make it", err, pool)
	}
	name, health, _ := strings.Cut(strings.TrimSpace(string(res.Stdout)), "\t")
	if name != pool || health == "" {
		return fmt.Errorf("zpool list of pool %s: cannot understand %q", pool, res.Stdout)
	}
	if health == "SUSPENDED" || health == "FAULTED" || health == "UNAVAIL" {
		return fmt.Errorf("pool %s: %w: it is %s; see zpool status %s", pool, ErrUnavailable, health, pool)
	}
	return nil
}

// readRow reads properties of a dataset. Errors: ErrNotFound when it is not there, its pool being
// known to be imported.
func readRow(ctx context.Context, run Runner, d Dataset, properties string) (row, error) {
	command := getCommand(properties, d.name)
	result, err := run.Run(ctx, command)
	if err != nil {
		return nil, err
	}
	return result.row(command, d.name)
}

// row returns what zfs get or zpool get of one name printed.
func (r Result) row(c Command, name string) (row, error) {
	if err := r.fault(c, name); err != nil {
		return nil, err
	}
	rows, _, err := parseGet(r.Stdout)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c, err)
	}
	if rows[name] == nil {
		return nil, fmt.Errorf("%s told nothing of %s", c, name)
	}
	return rows[name], nil
}

// changeParent runs zfs and returns an error unless it succeeds.
func changeParent(ctx context.Context, run Runner, parent Dataset, args ...string) error {
	command := Command{Name: "zfs", Args: append(args, parent.name)}
	res, err := run.Run(ctx, command)
	if err != nil {
		return err
	}
	return res.fault(command, parent.name)
}

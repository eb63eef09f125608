package zfs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// past is what properties of a volume were, and where they had it from, before a change was begun. It is kept in
// propChanging from the command that sets them until all of the change is made, where that takes several steps or
// ZFS could make only a part of it. So whoever finds it knows that the process has died meanwhile.
type past []former

// former is what one property was; its source is one word of `zfs get`, and the value counts where that is "local" or "temporary".
type former struct{ name, source, value string }

// before returns what the change will change of a volume that has r.
func (c Change) before(r row) past {
	var out past
	for _, name := range slices.Sorted(maps.Keys(c.Properties)) {
		source, _, _ := strings.Cut(r[string(name)].source, " ") // From where it was inherited does not matter.
		out = append(out, former{string(name), source, r[string(name)].value})
	}
	if c.Thick != nil {
		out = append(out, former{"refreservation", "local", r["refreservation"].value})
	}
	return out
}

func (p past) String() string {
	var parts []string
	for _, c := range p {
		parts = append(parts, c.name+":"+c.source+":"+escape(c.value))
	}
	return strings.Join(parts, " ")
}

func parsePast(text string) (past, error) {
	var out past
	for part := range strings.FieldsSeq(text) {
		fields := strings.SplitN(part, ":", 3)
		if len(fields) != 3 {
			return nil, fmt.Errorf("%q has not three parts", part)
		}
		value, err := unescape(fields[2])
		if err != nil {
			return nil, fmt.Errorf("%q: %w", part, err)
		}
		if name := fields[0]; name != "refreservation" && !Mutable(name) {
			return nil, fmt.Errorf("property %q is none that is changed", name)
		}
		out = append(out, former{fields[0], fields[1], value})
	}
	return out, nil
}

// endChange ends a change that a process which died has begun on d, whose properties are r: it is done where its last step
// was, which is that of the reservation, and is undone else.
func (l *Local) endChange(ctx context.Context, d Dataset, r row) error {
	before, err := parsePast(r.local(propChanging))
	if err != nil {
		return fmt.Errorf("%s: property %s: %w", d, propChanging, err)
	}
	undone := before.properties()
	reserved := func(value string) bool { return value != "0" }
	// How much is reserved a growth can have changed since.
	if slices.ContainsFunc(before, func(c former) bool {
		return c.name == "refreservation" && reserved(c.value) != reserved(r[c.name].value)
	}) {
		undone = nil
	}
	l.log.InfoContext(ctx, "end a change that an earlier process has begun", "dataset", d.name, "undone", undone.String())
	return l.putBack(ctx, d, undone, true)
}

// properties are what p has without the reservation.
func (p past) properties() past {
	return slices.DeleteFunc(slices.Clone(p), func(c former) bool { return c.name == "refreservation" })
}

// undo puts back what was before a change that could not be made, and returns why not.
func (l *Local) undo(ctx context.Context, d Dataset, before past, marked bool, why error) error {
	if left := l.putBack(context.WithoutCancel(ctx), d, before, marked); left != nil {
		return fmt.Errorf("%v; and not all is put back: %w", why, left) //nolint:errorlint // what why means holds only where nothing has changed
	}
	return why
}

// putBack gives properties of d what they had, each from where it had it, and takes propChanging away if d is
// marked by it.
func (l *Local) putBack(ctx context.Context, d Dataset, before past, marked bool) error {
	var local []string
	var faults []error
	for _, c := range before {
		switch c.source {
		case "local":
			local = append(local, c.name+"="+c.value)
		case "temporary":
			// A mount option hides the property, which then is the other of on and off; where it
			// has that from is not told.
			local = append(local, c.name+"="+map[string]string{"on": "off", "off": "on"}[c.value])
		case "received":
			faults = append(faults, l.zfs(ctx, d.name, "inherit", "-S", c.name, d.name))
		default:
			faults = append(faults, l.zfs(ctx, d.name, "inherit", c.name, d.name))
		}
	}
	faults = append(faults, l.set(ctx, d, local))
	if err := errors.Join(faults...); err != nil || !marked {
		return err
	}
	return l.zfs(ctx, d.name, "inherit", propChanging, d.name)
}

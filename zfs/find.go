package zfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// cell is a property's value and where it comes from.
type cell struct{ value, source string }

// row is what `zfs get` says of one dataset or snapshot, by property.
type row map[string]cell

// local returns the value of a user property that was set on the dataset itself.
func (r row) local(name string) string {
	if c := r[name]; c.source == "local" {
		return c.value
	}
	return ""
}

// origin returns the snapshot that a clone was made of; empty for none.
func (r row) origin() string { return strings.TrimPrefix(r["origin"].value, "-") }

// size returns a property that is a number of bytes; "-" and "none" are 0.
func (r row) size(name string) (int64, error) {
	value := r[name].value
	if value == "-" || value == "none" || value == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("property %s: %w", name, err)
	}
	return n, nil
}

// asked are the properties that looks and lists ask for. Those of a filesystem that are kept in itself (see CreationOnly)
// cost more than all these, so plan asks for them where it needs them.
var asked = []string{
	"type", "guid", "creation", "available", "defer_destroy", "refquota", "refreservation", "volsize", "volblocksize", "origin",
	"volmode", "snapdev",
	propDriver, propVolume, propSize, propKind, propFSType, propFormatted, propSource, propParameters, propLabels,
	propSnapshot, propSources, propGroup, propDeleted,
}

// getCommand returns `zfs get` of properties, with exact numbers, with extra arguments and names.
func getCommand(properties string, extra ...string) Command {
	return Command{Name: "zfs", Args: append([]string{"get", "-Hp", "-o", "name,property,value,source", properties}, extra...)}
}

// parseGet parses what getCommand prints. It returns the names in their order.
func parseGet(out []byte) (rows map[string]row, order []string, err error) {
	rows = map[string]row{}
	p := getParser{take: func(name string, r row) error {
		rows[name], order = r, append(order, name)
		return nil
	}}
	_, _ = p.Write(out) // What is wrong, end tells.
	return rows, order, p.end()
}

// getParser parses what getCommand prints while it is written: a line a property, tabs between the four
// fields, and the lines of each dataset or snapshot one after the other. It hands on what it keeps no longer.
type getParser struct {
	take func(name string, r row) error
	// rest is the beginning of a line.
	rest []byte
	name string
	row  row
	err  error
}

// Write implements io.Writer. What is wrong is for end to tell: a command whose output ends early fails as well.
func (p *getParser) Write(b []byte) (int, error) {
	written := len(b)
	for p.err == nil {
		line, after, whole := bytes.Cut(b, []byte("\n"))
		p.rest = append(p.rest, line...)
		if !whole {
			break
		}
		p.err = p.line(string(p.rest))
		p.rest, b = p.rest[:0], after
	}
	return written, nil
}

func (p *getParser) line(line string) error {
	fields := strings.Split(line, "\t")
	if len(fields) != 4 {
		return fmt.Errorf("line of zfs get has %d fields, not 4: %q", len(fields), line)
	}
	if fields[0] != p.name {
		if err := p.handOn(); err != nil {
			return err
		}
		p.name, p.row = fields[0], row{}
	}
	p.row[fields[1]] = cell{fields[2], fields[3]}
	return nil
}

// handOn hands on what the lines before told.
func (p *getParser) handOn() error {
	if p.row == nil {
		return nil
	}
	return p.take(p.name, p.row)
}

// end hands on the last one, and tells what was wrong.
func (p *getParser) end() error {
	switch {
	case p.err != nil:
		return p.err
	case len(p.rest) > 0:
		return errors.New("output of zfs get ends inside a line")
	}
	return p.handOn()
}

// findings are what one look at the parents and some volumes showed.
type findings struct {
	store *Local
	rows  map[string]row
	// faults has an entry for each parent that cannot be used.
	faults []error
	fault  map[Dataset]error
}

// find looks at the parents, and below each at the volumes of these IDs, all in one
// command. It is an error only when the look itself failed.
func (l *Local) find(ctx context.Context, ids ...VolumeID) (*findings, error) {
	return l.look(ctx, below(ids...))
}

// below returns where volumes of these IDs can be below a parent.
func below(ids ...VolumeID) func(parent Dataset) []string {
	return func(parent Dataset) []string {
		var names []string
		for _, id := range ids {
			names = append(names, parent.volume(id).name)
		}
		return names
	}
}

func (f *findings) checkMarker(p Dataset) {
	r, there := f.rows[p.name]
	switch marker := r.local(propDriver); {
	case !there:
		f.fail(p, fmt.Errorf("parent %s does not exist in pool %s; make it with `zfs-csi init %s`: %w", p, p.Pool(), p, ErrUnavailable))
	case marker == "":
		f.fail(p, fmt.Errorf("parent %s has no marker (%s) of its own, so it may be another pool's; "+
			"if it is the right one, mark it with `zfs-csi init %s`: %w", p, propDriver, p, ErrUnavailable))
	case marker != f.store.driver:
		f.fail(p, fmt.Errorf("parent %s belongs to driver %q, not to %q: %w", p, marker, f.store.driver, ErrUnavailable))
	}
}

func (f *findings) fail(p Dataset, err error) {
	f.fault[p] = err
	f.store.entries[p].changed()
	f.faults = append(f.faults, err)
}

// usable returns nil when p is a parent that can be used.
func (f *findings) usable(p Dataset) error {
	for _, known := range f.store.parents {
		if known == p {
			return f.fault[p]
		}
	}
	return fmt.Errorf("%s is not one of the configured parents: %w", p, ErrInvalid)
}

// place returns where there is a dataset of a volume's name; the zero Dataset for nowhere.
func (f *findings) place(id VolumeID) Dataset {
	for _, p := range f.store.parents {
		if _, there := f.rows[p.volume(id).name]; there && f.fault[p] == nil {
			return p.volume(id)
		}
	}
	return Dataset{}
}

// volume returns the volume of an ID. ErrNotFound means that all parents were seen
// and none has it; where one could not be seen it is ErrUnavailable.
func (f *findings) volume(id VolumeID) (*Volume, error) {
	if d := f.place(id); !d.isZero() && f.rows[d.name].local(propDeleted) == "" {
		return decode(d.parent(), id, f.rows[d.name])
	}
	if len(f.faults) > 0 {
		return nil, fmt.Errorf("volume %s: %w", id, errors.Join(f.faults...))
	}
	return nil, fmt.Errorf("volume %s: %w", id, ErrNotFound)
}

// decode makes a Volume of what ZFS says.
func decode(parent Dataset, id VolumeID, r row) (*Volume, error) {
	v := &Volume{ID: id, Parent: parent, Dataset: parent.volume(id)}
	if r.local(propVolume) == "" {
		return nil, fmt.Errorf("%s has no %s property of its own: %w", v.Dataset, propVolume, ErrNotOurs)
	}
	var err error
	if v.Attributes, err = attributes(r.local); err != nil {
		return nil, fmt.Errorf("%s: %w", v.Dataset, err)
	}
	sizeProperty := "refquota"
	switch r["type"].value {
	case "filesystem":
		v.Kind = Filesystem
	case "volume":
		v.Kind = Block
		sizeProperty = "volsize"
	default:
		return nil, fmt.Errorf("%s is a %q: %w", v.Dataset, r["type"].value, ErrNotOurs)
	}
	var reserved int64
	for name, field := range map[string]*int64{
		sizeProperty: &v.Size, propVolblocksize: &v.BlockSize, "refreservation": &reserved,
	} {
		if *field, err = r.size(name); err != nil {
			return nil, fmt.Errorf("%s: %w", v.Dataset, err)
		}
	}
	if size, quota, noted := strings.Cut(r.local(propSize), "/"); noted && quota == r["refquota"].value {
		if v.Size, err = strconv.ParseInt(size, 10, 64); err != nil {
			return nil, fmt.Errorf("%s: property %s: %w", v.Dataset, propSize, err)
		}
	}
	v.Thick = reserved > 0
	v.Origin = r.origin()
	return v, nil
}

// Get implements Store.
func (l *Local) Get(ctx context.Context, id VolumeID) (*Volume, error) {
	f, err := l.find(ctx, id)
	if err != nil {
		return nil, err
	}
	return f.volume(id)
}

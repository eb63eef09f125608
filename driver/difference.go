package driver

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/zfs-csi/zfs-csi/zfs"
)

// compare returns nil when the volume is what the creation asks for, else
// ALREADY_EXISTS with all that differs.
func (c creation) compare(v *zfs.Volume) error {
	var all differences
	all = all.note(v.Name == c.name, "its name is %q, not %q", v.Name, c.name)
	all = all.note(useOf(v) == c.use, "it is a %s, not a %s", useOf(v), c.use)
	all = all.note(c.sizes.holds(v.Size), "it has %d bytes, not %s", v.Size, c.sizes)
	all = all.note(v.Source == c.source.String(), "its source is %q, not %q", v.Source, c.source)
	if err := all.parameters(v, c.parameters).err(); err != nil {
		return status.Errorf(codes.AlreadyExists, "volume %q exists already, but %v", v.ID, err)
	}
	return nil
}

// differences are what sets a volume apart from one that is asked for, in words.
type differences []string

// note adds a difference unless there is none.
func (d differences) note(same bool, format string, args ...any) differences {
	if same {
		return d
	}
	return append(d, fmt.Sprintf(format, args...))
}

// parameters adds what the volume's parameters differ in.
func (d differences) parameters(v *zfs.Volume, p parameters) differences {
	d = d.note(v.Parent == p.parent, "its parent is %s, not %s", v.Parent, p.parent)
	return d.note(v.Parameters == p.String(), "its parameters are %q, not %q", v.Parameters, p)
}

func (d differences) err() error {
	if len(d) == 0 {
		return nil
	}
	return errors.New(strings.Join(d, "; "))
}

package zfs

import (
	"maps"
	"slices"
)

// Properties are native ZFS properties and their values, each parsed by ParseProperty.
type Properties map[Property]string

// Property is the name of a native ZFS property on the allow-list; see zfsprops(7).
type Property string

// sorted returns "name=value" for each property, in order.
func (p Properties) sorted() []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(p)) {
		out = append(out, string(name)+"="+p[name])
	}
	return out
}

// ParseProperty checks the name and value of a native property for volumes of a
// kind. It returns the value in the form that ZFS prints it. The error names
// the property, the value and what would be allowed.
func ParseProperty(kind Kind, name, value string) (Property, string, error) {
	panic("being written")
}

// AllowedProperties returns the names on the allow-list for a kind, sorted.
func AllowedProperties(kind Kind) []string { panic("being written") }

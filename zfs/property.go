package zfs

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// DefaultVolblocksize is the volblocksize in bytes of a zvol for which none was
// asked. It is always set, because ZFS's own default differs: 8 KiB in OpenZFS
// 2.1, 16 KiB since 2.2. A zvol's size is a multiple of its volblocksize.
const DefaultVolblocksize = 16 << 10

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
// kind. It returns the value in the form that ZFS prints it ("128K" as "131072").
// The error names the property, the value and what would be allowed. A value that
// passes can still be one that the pool has no feature or vdev for.
func ParseProperty(kind Kind, name, value string) (Property, string, error) {
	r, ok := allowList[Property(name)]
	if !ok {
		why := refused[name]
		if why != "" {
			why = ": " + why
		}
		return "", "", fmt.Errorf("property %q cannot be set%s; allowed for a %s: %s",
			name, why, kind, strings.Join(AllowedProperties(kind), ", "))
	}
	if !slices.Contains(r.kinds, kind) {
		return "", "", fmt.Errorf("property %q does not exist for a %s; allowed: %s",
			name, kind, strings.Join(AllowedProperties(kind), ", "))
	}
	parsed, ok := r.parse(value)
	if !ok {
		return "", "", fmt.Errorf("property %q cannot be %q; allowed: %s", name, value, r.allowed())
	}
	return Property(name), parsed, nil
}

// AllowedProperties returns the names on the allow-list for a kind, sorted.
func AllowedProperties(kind Kind) []string {
	var names []string
	for name, r := range allowList {
		if slices.Contains(r.kinds, kind) {
			names = append(names, string(name))
		}
	}
	slices.Sort(names)
	return names
}

// Mutable tells whether a property of a volume that exists can be set anew. Most
// then apply only to what is written from then on.
func Mutable(name string) bool {
	r, ok := allowList[Property(name)]
	return ok && !r.creationOnly
}

// CreationOnly tells whether a property is fixed when a volume is created empty: a
// clone has its source's value, also when it is copied by send and receive.
func CreationOnly(name string) bool { return allowList[Property(name)].creationOnly }

// rule says which values a property takes: either words, or sizes up to max.
type rule struct {
	kinds        []Kind
	creationOnly bool
	// words are the values as ZFS prints them.
	words []string
	// aliases are further spellings of a word; ZFS prints the word.
	aliases map[string]string
	// text describes the words where listing them would be too long.
	text string
	// min and max bound a size in bytes, a power of two; zero tells whether 0 is allowed too.
	min, max int64
	zero     bool
}

// parse returns value as ZFS prints it, and whether the rule allows it.
func (r rule) parse(value string) (string, bool) {
	if r.max > 0 {
		size, ok := parseSize(value)
		ok = ok && (size == 0 && r.zero || r.min <= size && size <= r.max && size&(size-1) == 0)
		return strconv.FormatInt(size, 10), ok
	}
	for _, word := range r.words {
		if strings.EqualFold(word, value) {
			return word, true
		}
	}
	word, ok := r.aliases[strings.ToLower(value)]
	return word, ok
}

// allowed describes the values the rule allows.
func (r rule) allowed() string {
	switch {
	case r.text != "":
		return r.text
	case r.max > 0 && r.zero:
		return fmt.Sprintf("0, or a power of two from %s to %s", formatSize(r.min), formatSize(r.max))
	case r.max > 0:
		return fmt.Sprintf("a power of two from %s to %s", formatSize(r.min), formatSize(r.max))
	}
	return strings.Join(r.words, ", ")
}

// parseSize parses a whole number of bytes with an optional suffix, in binary
// units as everywhere in ZFS: "131072", "128k", "128KB" and "128KiB" are the same.
func parseSize(s string) (int64, bool) {
	digits := strings.TrimRight(s, "kKmMgGiIbB")
	shift, ok := map[string]uint{
		"": 0, "b": 0, "k": 10, "kb": 10, "ki": 10, "kib": 10,
		"m": 20, "mb": 20, "mi": 20, "mib": 20, "g": 30, "gb": 30, "gi": 30, "gib": 30,
	}[strings.ToLower(s[len(digits):])]
	// 31 bits hold every size on the list, and with the suffix cannot overflow.
	n, err := strconv.ParseUint(digits, 10, 31)
	return int64(n) << shift, ok && err == nil
}

// formatSize writes a size as short as zfsprops(7) does: "512", "128K", "16M".
func formatSize(size int64) string {
	switch {
	case size >= 1<<20 && size%(1<<20) == 0:
		return strconv.FormatInt(size>>20, 10) + "M"
	case size >= 1<<10 && size%(1<<10) == 0:
		return strconv.FormatInt(size>>10, 10) + "K"
	}
	return strconv.FormatInt(size, 10)
}

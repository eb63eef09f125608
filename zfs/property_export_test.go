package zfs

import (
	"os"
	"strconv"
)

// ValuesOf returns every value that ParseProperty gives for a property.
func ValuesOf(name string) []string {
	r := allowList[Property(name)]
	values := r.words
	if r.zero {
		values = append(values, "0")
	}
	for size := r.min; size > 0 && size <= r.max; size *= 2 {
		values = append(values, strconv.FormatInt(size, 10))
	}
	return values
}

// LoadedBefore tells whether the module that is loaded is older than a release; false when there is no telling.
func LoadedBefore(major, minor int) bool {
	text, _ := os.ReadFile("/sys/module/zfs/version")
	loaded, ok := parseRelease(string(text))
	return ok && loaded.before(release{major, minor})
}

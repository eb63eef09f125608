package zfs

import (
	"strconv"
	"strings"
)

// numbers are what the words of a property are to the kernel, by the property: zfs_prop.c and the enumerations of
// include/sys/fs/zfs.h and zio_compress.h of OpenZFS, which are the same from 2.1 to 2.4. What is not among them is told in
// words, by a command.
var numbers = map[string]map[string]uint64{
	"atime":          {"off": 0, "on": 1},
	"canmount":       {"off": 0, "on": 1},
	"compression":    {"on": 1, "off": 2, "lzjb": 3, "zle": 14, "lz4": 15, "zstd": 16},
	"defer_destroy":  {"off": 0, "on": 1},
	"logbias":        {"latency": 0, "throughput": 1},
	"primarycache":   {"none": 0, "metadata": 1, "all": 2},
	"relatime":       {"off": 0, "on": 1},
	"secondarycache": {"none": 0, "metadata": 1, "all": 2},
	"snapdev":        {"hidden": 0, "visible": 1},
	"sync":           {"standard": 0, "always": 1, "disabled": 2},
	"volmode":        {"default": 0, "full": 1, "dev": 2, "none": 3},
	"xattr":          {"off": 0, "dir": 1, "sa": 2},
}

// counts are the properties that are numbers to people too.
var counts = map[string]bool{
	"copies": true, "recordsize": true, "refquota": true, "refreservation": true, propVolblocksize: true, "volsize": true,
}

// callProperties returns properties, each "name=value", as calls take them; ok is false where one of them takes a command.
func callProperties(properties []string) (pairs []pair, ok bool) {
	for _, p := range properties {
		name, value, _ := strings.Cut(p, "=")
		number, known := numbers[name][value]
		if counts[name] {
			n, err := strconv.ParseUint(value, 10, 64)
			number, known = n, err == nil
		}
		switch {
		case known:
			pairs = append(pairs, pair{name, number})
		case strings.Contains(name, ":") || name == "mountpoint":
			pairs = append(pairs, pair{name, value})
		default:
			return nil, false
		}
	}
	return pairs, true
}

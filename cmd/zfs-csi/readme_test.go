package main

import (
	"os"
	"strings"
	"testing"

	"github.com/zfs-csi/zfs-csi/zfs"
)

// TestREADME holds the README's table of properties to what is allowed.
func TestREADME(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if os.IsNotExist(err) {
		t.Skip("the README is not beside this test")
	}
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		if cells := strings.Split(line, "|"); len(cells) == 6 {
			for name := range strings.SplitSeq(cells[1], ",") {
				name, isProperty := strings.CutPrefix(strings.Trim(name, " `¹"), "zfs.")
				for i, kind := range []zfs.Kind{zfs.Filesystem, zfs.Block} {
					if isProperty && strings.Contains(cells[2+i], "✓") {
						documented[kind.String()+" "+name] = true
					}
				}
			}
		}
	}
	for _, kind := range []zfs.Kind{zfs.Filesystem, zfs.Block} {
		for _, name := range zfs.AllowedProperties(kind) {
			if !documented[kind.String()+" "+name] {
				t.Errorf("README.md does not tell of zfs.%s for a %s", name, kind)
			}
			delete(documented, kind.String()+" "+name)
		}
	}
	for property := range documented {
		t.Errorf("README.md tells of a property that is not allowed: %s", property)
	}
}

package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/zfs-csi/zfs-csi/zfs"
)

func TestWriteTree(t *testing.T) {
	root := &zfs.Node{Dataset: "tank/csi", Role: zfs.RoleParent, Used: 5 << 20, Children: []*zfs.Node{
		{Dataset: "tank/csi/a", Role: zfs.RoleVolume, Name: "a", Used: 1536, Children: []*zfs.Node{
			{Dataset: "tank/csi/a@s", Role: zfs.RoleSnapshot, Name: "s", Children: []*zfs.Node{
				{Dataset: "tank/csi/b", Role: zfs.RoleVolume, Name: "long name", Origin: "tank/csi/a@s"},
			}},
			{Dataset: "tank/csi/a@t", Role: zfs.RoleForeign},
		}},
		{Dataset: "tank/csi/d", Role: zfs.RoleVolume, Name: "d", Origin: "tank/other/a@t"},
		{Dataset: "tank/csi/.deleted-7", Role: zfs.RoleTombstone, Name: "c", Used: 200 << 30, Pinned: 200 << 30},
	}}
	var out bytes.Buffer
	if err := writeTree(&out, "text", []*zfs.Node{root}); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"DATASET ROLE USED REFERENCED UNIQUE PINNED NAME",
		"tank/csi parent 5.0M - - -",
		"├─ a volume 1.5K - - -",
		"│ ├─ @s snapshot - - - -",
		"│ │ └─ b volume - - - - long name",
		"│ └─ @t foreign - - - -",
		"├─ d volume - - - - (clone of tank/other/a@t)",
		"└─ .deleted-7 tombstone 200G - - 200G c",
	}
	var got []string
	for line := range strings.Lines(out.String()) {
		got = append(got, strings.Join(strings.Fields(line), " "))
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("the tree is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	out.Reset()
	if err := writeTree(&out, "json", []*zfs.Node{root}); err != nil || !strings.Contains(out.String(), `"pinned": 214748364800`) {
		t.Errorf("as JSON: %s, %v", out.String(), err)
	}
}

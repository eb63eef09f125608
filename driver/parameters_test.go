package driver

import (
	"maps"
	"strings"
	"testing"

	"github.com/zfs-csi/zfs-csi/zfs"
)

var testParents = []zfs.Dataset{zfs.MustParseDataset("tank/csi"), zfs.MustParseDataset("fast/csi")}

func TestParseParameters(t *testing.T) {
	p, err := parseParameters(map[string]string{
		"parent":                              "fast/csi",
		"provisioning":                        "thick",
		"cloneMode":                           "copy",
		"zfs.compression":                     "ZSTD",
		"zfs.recordsize":                      "16K",
		"csi.storage.k8s.io/pvc/name":         "data",
		"csi.storage.k8s.io/pvc/namespace":    "team",
		"csi.storage.k8s.io/pv/name":          "pvc-1",
		"csi.storage.k8s.io/Some Thing/else_": "x",
	}, zfs.Filesystem, testParents)
	if err != nil {
		t.Fatal(err)
	}
	if p.parent != testParents[1] || !p.thick || !p.copy {
		t.Errorf("parent %s, thick %v, copy %v", p.parent, p.thick, p.copy)
	}
	if got, want := p.String(), "cloneMode=copy provisioning=thick zfs.compression=zstd zfs.recordsize=16384"; got != want {
		t.Errorf("canonical text %q; want %q", got, want)
	}
	want := map[string]string{"pvc.name": "data", "pvc.namespace": "team", "pv.name": "pvc-1", "some-thing.else_": "x"}
	if !maps.Equal(p.labels, want) {
		t.Errorf("labels %v; want %v", p.labels, want)
	}
}

func TestParametersDefaults(t *testing.T) {
	for _, given := range []map[string]string{
		nil,
		{"parent": "tank/csi", "provisioning": "thin", "cloneMode": "cow", "csi.storage.k8s.io/pv/name": "pvc-1"},
	} {
		p, err := parseParameters(given, zfs.Block, testParents)
		if err != nil || p.parent != testParents[0] || p.thick || p.copy || p.String() != "" {
			t.Errorf("parseParameters(%v) = %+v, %v; want the defaults", given, p, err)
		}
	}
}

func TestParseParametersRefuses(t *testing.T) {
	for _, test := range []struct {
		kind       zfs.Kind
		key, value string
		want       []string // parts of the error
	}{
		{zfs.Filesystem, "fsType", "ext4", []string{`"fsType"`, "parent", "provisioning", "cloneMode", "zfs.<property>", "recordsize"}},
		{zfs.Filesystem, "Parent", "tank/csi", []string{`"Parent"`, "parent"}},
		{zfs.Filesystem, "parent", "tank", []string{`"parent"`, `"tank"`, "tank/csi, fast/csi"}},
		{zfs.Filesystem, "provisioning", "Thick", []string{`"provisioning"`, "thin, thick"}},
		{zfs.Filesystem, "cloneMode", "", []string{`"cloneMode"`, "cow, copy"}},
		{zfs.Block, "zfs.recordsize", "16K", []string{`"zfs.recordsize"`, "volblocksize"}},
		{zfs.Filesystem, "zfs.compression", "lz5", []string{`"zfs.compression"`, `"lz5"`, "lz4"}},
		{zfs.Filesystem, "zfs.quota", "1G", []string{`"zfs.quota"`, "refquota"}},
	} {
		_, err := parseParameters(map[string]string{test.key: test.value}, test.kind, testParents)
		for _, part := range test.want {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("%s=%s for a %s: error %v; want it to say %s", test.key, test.value, test.kind, err, part)
			}
		}
	}
}

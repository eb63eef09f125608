package zfs_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/zfs-csi/zfs-csi/zfs"
)

func TestParseProperty(t *testing.T) {
	for _, test := range []struct {
		kind        zfs.Kind
		name, value string
		want        string
	}{
		{zfs.Filesystem, "compression", "LZ4", "lz4"},
		{zfs.Block, "compression", "gzip-6", "gzip"},
		{zfs.Block, "compression", "gzip-9", "gzip-9"},
		{zfs.Filesystem, "compression", "zstd-19", "zstd-19"},
		{zfs.Filesystem, "compression", "zstd-fast-1", "zstd-fast"},
		{zfs.Filesystem, "compression", "zstd-fast-100", "zstd-fast-100"},
		{zfs.Filesystem, "recordsize", "128k", "131072"},
		{zfs.Filesystem, "recordsize", "128KiB", "131072"},
		{zfs.Filesystem, "recordsize", "16M", "16777216"},
		{zfs.Filesystem, "recordsize", "512", "512"},
		{zfs.Block, "volblocksize", "16Ki", "16384"},
		{zfs.Block, "volblocksize", "131072", "131072"},
		{zfs.Filesystem, "special_small_blocks", "0", "0"},
		{zfs.Filesystem, "special_small_blocks", "32K", "32768"},
		{zfs.Filesystem, "atime", "OFF", "off"},
		{zfs.Filesystem, "acltype", "posixacl", "posix"},
		{zfs.Filesystem, "aclinherit", "secure", "restricted"},
		{zfs.Filesystem, "normalization", "formkd", "formKD"},
		{zfs.Block, "dedup", "sha256,verify", "sha256,verify"},
		{zfs.Block, "copies", "2", "2"},
		{zfs.Filesystem, "dnodesize", "16K", "16k"},
	} {
		name, value, err := zfs.ParseProperty(test.kind, test.name, test.value)
		if err != nil || string(name) != test.name || value != test.want {
			t.Errorf("ParseProperty(%v, %q, %q) = %q, %q, %v; want value %q", test.kind, test.name, test.value, name, value, err, test.want)
		}
	}
}

func TestParsePropertyRefuses(t *testing.T) {
	for _, test := range []struct {
		kind        zfs.Kind
		name, value string
		wants       []string // parts of the error's text
	}{
		{zfs.Filesystem, "compression", "lz5", []string{`"compression"`, `"lz5"`, "lz4, lzjb", "zstd-1 to -19"}},
		{zfs.Filesystem, "compression", "zstd-20", []string{`"zstd-20"`}},
		{zfs.Filesystem, "compression", "gzip-0", []string{`"gzip-0"`}},
		{zfs.Filesystem, "compression", "", []string{`""`, "lz4"}},
		{zfs.Filesystem, "recordsize", "100K", []string{`"recordsize"`, `"100K"`, "a power of two from 512 to 16M"}},
		{zfs.Filesystem, "recordsize", "32M", []string{`"32M"`}},
		{zfs.Filesystem, "recordsize", "256", []string{`"256"`}},
		{zfs.Filesystem, "recordsize", "0", []string{`"0"`}},
		{zfs.Filesystem, "recordsize", "-1", []string{`"-1"`}},
		{zfs.Filesystem, "recordsize", "128KK", []string{`"128KK"`}},
		{zfs.Filesystem, "recordsize", "k", []string{`"k"`}},
		{zfs.Filesystem, "recordsize", "99999999999999999999", []string{"512 to 16M"}},
		{zfs.Filesystem, "special_small_blocks", "3", []string{"0, or a power of two from 512 to 1M"}},
		{zfs.Block, "recordsize", "128K", []string{`"recordsize"`, "does not exist for a volume", "volblocksize"}},
		{zfs.Filesystem, "volblocksize", "16K", []string{`"volblocksize"`, "does not exist for a filesystem", "recordsize"}},
		{zfs.Block, "volblocksize", "256K", []string{"512 to 128K"}},
		{zfs.Filesystem, "xattr", "on", []string{"off, dir, sa"}},
		{zfs.Filesystem, "acltype", "nfsv4", []string{"off, posix"}},
		{zfs.Filesystem, "nonsense", "on", []string{`"nonsense"`, "allowed for a filesystem", "atime"}},
		{zfs.Filesystem, "Compression", "on", []string{`"Compression"`}},
		{zfs.Filesystem, "quota", "1G", []string{`"quota"`, "refquota"}},
		{zfs.Filesystem, "exec", "off", []string{"noexec"}},
		{zfs.Kind(0), "compression", "on", []string{"unknown"}},
	} {
		_, _, err := zfs.ParseProperty(test.kind, test.name, test.value)
		if err == nil {
			t.Errorf("ParseProperty(%v, %q, %q) succeeded", test.kind, test.name, test.value)
			continue
		}
		for _, want := range test.wants {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("ParseProperty(%v, %q, %q): error %q does not say %q", test.kind, test.name, test.value, err, want)
			}
		}
	}
}

func TestPropertyTraits(t *testing.T) {
	creationOnly := []string{"casesensitivity", "normalization", "utf8only", "volblocksize"}
	for _, kind := range []zfs.Kind{zfs.Filesystem, zfs.Block} {
		names := zfs.AllowedProperties(kind)
		if !slices.IsSorted(names) || len(names) < 10 {
			t.Errorf("AllowedProperties(%v) = %v", kind, names)
		}
		for _, name := range names {
			want := slices.Contains(creationOnly, name)
			if zfs.CreationOnly(name) != want || zfs.Mutable(name) == want {
				t.Errorf("%s: CreationOnly %v, Mutable %v; want CreationOnly %v and the other not",
					name, zfs.CreationOnly(name), zfs.Mutable(name), want)
			}
		}
	}
	if zfs.Mutable("mountpoint") || zfs.CreationOnly("mountpoint") {
		t.Error("a property that is not on the list is mutable or creation-only")
	}
}

// FuzzParseProperty: what is accepted is safe in a command, and parsing it again changes nothing.
func FuzzParseProperty(f *testing.F) {
	f.Add(true, "compression", "GZIP-6")
	f.Add(true, "recordsize", "1MiB")
	f.Add(false, "volblocksize", "16k")
	f.Add(false, "dedup", "Sha256,Verify")
	f.Fuzz(func(t *testing.T, filesystem bool, name, value string) {
		kind := zfs.Block
		if filesystem {
			kind = zfs.Filesystem
		}
		property, parsed, err := zfs.ParseProperty(kind, name, value)
		if err != nil {
			return
		}
		if parsed == "" || strings.ContainsFunc(parsed, func(c rune) bool {
			return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzCDK0123456789-,", c)
		}) || parsed[0] == '-' {
			t.Errorf("%s=%q was parsed as %q", name, value, parsed)
		}
		if again, same, err := zfs.ParseProperty(kind, string(property), parsed); err != nil || again != property || same != parsed {
			t.Errorf("%s=%q was parsed as %q, and that as %q, %v", name, value, parsed, same, err)
		}
	})
}

package zfs_test

import (
	"maps"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/zfs-csi/zfs-csi/zfs"
	"github.com/zfs-csi/zfs-csi/zfs/zfstest"
)

// TestPropertiesOfZFS: what is on the allow-list is what ZFS takes, and prints so.
func TestPropertiesOfZFS(t *testing.T) {
	pool := zfstest.NewPool(t, 256<<20)
	for kind, create := range map[zfs.Kind][]string{
		zfs.Filesystem: {"create", "-u"},
		zfs.Block:      {"create", "-s", "-V", "16M", "-o", "volmode=none"},
	} {
		dataset := pool.Name + "/" + kind.String()
		zfstest.Run(t, "zfs", append(create, dataset)...)
		// Each round sets the next value of each property, all in one command.
		for round := range 60 {
			set := map[string]string{}
			for _, name := range zfs.AllowedProperties(kind) {
				values := zfs.ValuesOf(name)
				if len(values) == 0 {
					t.Fatalf("property %s has no values", name)
				}
				if zfs.Mutable(name) && round < len(values) {
					set[name] = values[round]
				}
			}
			if len(set) == 0 {
				break
			}
			setAll(t, dataset, set)
			names := slices.Collect(maps.Keys(set))
			printed := strings.Split(zfstest.Run(t, "zfs", "get", "-Hp", "-o", "property,value", strings.Join(names, ","), dataset), "\n")
			if len(printed) != len(set) {
				t.Fatalf("of %v ZFS prints %q", names, printed)
			}
			for _, line := range printed {
				name, got, _ := strings.Cut(line, "\t")
				// Each version prints as "on" what it takes "on" for.
				if got != set[name] && (name != "xattr" || got != "on") {
					t.Errorf("%s=%s is printed as %q", name, set[name], got)
				}
			}
		}
		for _, name := range zfs.AllowedProperties(kind) {
			if zfs.Mutable(name) {
				continue
			}
			for _, value := range zfs.ValuesOf(name) {
				dataset := pool.Name + "/" + name + "-" + value
				zfstest.Run(t, "zfs", append(create, "-o", name+"="+value, dataset)...)
				if got := zfstest.Run(t, "zfs", "get", "-Hp", "-o", "value", name, dataset); got != value {
					t.Errorf("%s=%s is printed as %q", name, value, got)
				}
			}
		}
	}
}

// setAll sets properties, and takes those out of set that this version of ZFS does not know.
func setAll(t *testing.T, dataset string, set map[string]string) {
	t.Helper()
	args := []string{"set"}
	for name, value := range set {
		args = append(args, name+"="+value)
	}
	if exec.CommandContext(t.Context(), "zfs", append(args, dataset)...).Run() == nil {
		return
	}
	for name, value := range set {
		if out, err := exec.CommandContext(t.Context(), "zfs", "set", name+"="+value, dataset).CombinedOutput(); err != nil {
			if since := known(name, value); since == 0 || !zfs.LoadedBefore(2, since) {
				t.Errorf("this version refuses %s=%s: %s", name, value, out)
			}
			delete(set, name)
		}
	}
}

// known returns n where OpenZFS takes a value only from 2.n on; 0 where it always does.
func known(name, value string) int {
	switch size, _ := strconv.Atoi(value); {
	case name == "direct", name == "prefetch", name == "snapdir" && value == "disabled":
		return 3
	case strings.HasPrefix(value, "blake3"), name == "redundant_metadata" && (value == "some" || value == "none"):
		return 2
	case name == "recordsize" && size > 1<<20: // As zfs_max_recordsize was until then.
		return 2
	}
	return 0
}

package zfs

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// inTheEnd has a shell repeat a command for a minute until it succeeds: udev has each new zvol open for a moment.
func inTheEnd(command string) string {
	return "timeout 60 sh -c 'until " + command + "; do sleep 0.1; done'"
}

// newProgramPool makes a pool on real ZFS with a parent and some volumes, and a store on it.
func newProgramPool(t *testing.T) (*Local, func(script string) string) {
	t.Helper()
	dir := os.Getenv("ZFS_CSI_TEST_DIR")
	if dir == "" {
		t.Skip("needs real ZFS: run by `make test`")
	}
	pool := "zfscsitest-" + os.Getenv("ZFS_CSI_TEST_TOKEN") + "-" + strings.ToLower(t.Name())
	shell := func(script string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), "sh", "-ec", strings.ReplaceAll(script, "POOL", pool)).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", script, err, out)
		}
		return string(out)
	}
	file := filepath.Join(dir, pool)
	shell("truncate -s 1G " + file + " && zpool create -o cachefile=none -O mountpoint=none POOL " + file)
	t.Cleanup(func() {
		if out, err := exec.Command("sh", "-ec", inTheEnd("zpool destroy "+pool)).CombinedOutput(); err != nil { //nolint:noctx // The test's context has ended.
			t.Errorf("destroy the pool: %v: %s", err, out)
		}
	})
	shell(`zfs create -o mountpoint=none -o zfs-csi:driver=d -o volmode=dev -o snapdev=hidden POOL/csi
		zfs create -o mountpoint=legacy -o refquota=10m -o refreservation=5m -o zfs-csi:volume=a%20b -o zfs-csi:labels=pvc.name=x POOL/csi/f
		zfs create -s -V 16m -b 8192 -o zfs-csi:volume=z -o zfs-csi:fstype=xfs -o zfs-csi:formatted=yes POOL/csi/z 2>/dev/null
		zfs snapshot -o zfs-csi:snapshot=s -o zfs-csi:sources=1:2:-:f POOL/csi/f@s POOL/csi/z@s POOL/csi@s
		zfs clone -o mountpoint=legacy POOL/csi/f@s POOL/csi/c
		zfs destroy -d POOL/csi/f@s`)
	store, err := NewLocal(LocalConfig{
		Driver: "d", Parents: []Dataset{{pool + "/csi"}}, DeviceDir: t.TempDir(),
		Runner: Exec{Log: slog.New(slog.DiscardHandler)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return store, shell
}

// TestLookAsGet: the kernel tells of what is there the same as `zfs get`.
func TestLookAsGet(t *testing.T) {
	store, _ := newProgramPool(t)
	parent := store.parents[0]
	names := map[string][]string{parent.Pool(): nil}
	for _, below := range []string{"/f", "/z", "/c", "/f@s", "/z@s", "@s", "/absent", "/f@absent", ""} {
		names[parent.Pool()] = append(names[parent.Pool()], parent.name+below)
	}
	told, got := &findings{store: store}, &findings{store: store}
	if err := told.ask(t.Context(), names); err != nil {
		t.Fatal(err)
	}
	if err := got.get(t.Context(), strings.Join(asked, ","), names); err != nil {
		t.Fatal(err)
	}
	if len(told.rows) != 7 || len(got.rows) != 7 {
		t.Errorf("%d and %d names are there, want 7", len(told.rows), len(got.rows))
	}
	for name, r := range told.rows {
		if len(r) < 4 {
			t.Errorf("of %s only %v is told", name, r)
		}
		for property, c := range r {
			want := got.rows[name][property]
			switch {
			case property == "available" && c.value != "" && want.value != "":
				continue // It changes.
			case property == "volblocksize" && want.value == "-" && c.value == "8192":
				continue // To zfs get the snapshot of a zvol has none.
			case want.value == "-" && (c.value == "0" || c.value == "off"):
				continue // To the kernel a property that does not apply has no value.
			}
			if c.value != want.value || strings.Contains(property, ":") && c.source != want.source {
				t.Errorf("%s of %s is %+v, and to zfs get %+v", property, name, c, want)
			}
		}
	}
	for name, properties := range map[string][]string{
		"":     {propDriver, "available", "volmode", "snapdev"},
		"/f":   {"type", "guid", "refquota", "refreservation", propVolume, propLabels},
		"/z":   {"type", "guid", "volsize", "volblocksize", propFSType, propFormatted},
		"/c":   {"origin"},
		"/f@s": {"creation", "defer_destroy", propSnapshot, propSources},
		"/z@s": {"volsize", "volblocksize", propFSType},
	} {
		for _, property := range properties {
			if told.rows[parent.name+name][property].value == "" {
				t.Errorf("%s of %q is not told", property, name)
			}
		}
	}
}

// TestNumbers: each number means to the kernel what its word means to `zfs get`.
func TestNumbers(t *testing.T) {
	store, shell := newProgramPool(t)
	for _, kind := range []Kind{Filesystem, Block} {
		size := []string{"volsize=16777216", "volblocksize=8192"}
		if kind == Filesystem {
			size = []string{"mountpoint=none", "refquota=16777216", "refreservation=1048576", "recordsize=4096", "copies=2"}
		}
		for i := range 6 {
			d := fmt.Sprintf("%s/%s-%d", store.parents[0], kind, i)
			properties := slices.Clone(size)
			for property, words := range numbers {
				rule, listed := allowList[Property(property)]
				if property == "defer_destroy" || listed && !slices.Contains(rule.kinds, kind) || !listed && (property == "canmount") != (kind == Filesystem) {
					continue
				}
				properties = append(properties, property+"="+slices.Sorted(maps.Keys(words))[i%len(words)])
			}
			pairs, ok := callProperties(append(properties, propVolume+"=a%20b"))
			if !ok {
				t.Fatalf("%v are not known", properties)
			}
			if _, err := store.run(t.Context(), Command{Name: "zfs", Args: []string{"create"}, Call: createCall(d, kind, pairs)}, d); err != nil {
				t.Fatalf("%v: %v", properties, err)
			}
			var names []string
			for _, p := range properties {
				names = append(names, p[:strings.IndexByte(p, '=')])
			}
			got := strings.Fields(shell("zfs get -Hpo property,value " + strings.Join(names, ",") + " " + d))
			want := strings.FieldsFunc(strings.Join(properties, "="), func(r rune) bool { return r == '=' })
			if !slices.EqualFunc(got, want, func(got, want string) bool {
				return got == want || got == "on" && (want == "sa" || want == "dir") // So ZFS prints that of xattr which "on" stands for.
			}) {
				t.Errorf("%s has %v, want %v", d, got, want)
			}
		}
	}
}

// TestProgramRefused: a program that ZFS does not carry out is an error that says why, and of a pool that is not there, unavailable.
func TestProgramRefused(t *testing.T) {
	store, shell := newProgramPool(t)
	pool := store.parents[0].Pool()
	for text, want := range map[string]string{
		"return {":          "unexpected symbol",
		"error('so it is')": "so it is",
		"while true do end": "timed out",
	} {
		var result any
		err := store.execute(t.Context(), pool, false, text, &result)
		if err == nil || !strings.Contains(strings.ToLower(err.Error()), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
		for _, known := range []error{ErrNoSpace, ErrUnavailable, ErrInvalid} {
			if errors.Is(err, known) {
				t.Errorf("%q: %v is %v", text, err, known)
			}
		}
	}
	var result any
	if err := store.execute(t.Context(), "zfscsinopool", true, "return 1", &result); !errors.Is(err, ErrUnavailable) {
		t.Errorf("a pool that is not there: %v, want %v", err, ErrUnavailable)
	}
	shell(inTheEnd("zpool export POOL") + " && zpool import -o cachefile=none -o readonly=on -d $ZFS_CSI_TEST_DIR POOL")
	if err := store.execute(t.Context(), pool, true, "return 1", &result); !errors.Is(err, ErrReadOnly) {
		t.Errorf("a pool that is read-only: %v, want %v", err, ErrReadOnly)
	}
}

// TestProgramReturns: what a program returns arrives as it is.
func TestProgramReturns(t *testing.T) {
	store, _ := newProgramPool(t)
	long := strings.Repeat("0123456789", 100_000)
	for text, want := range map[string]any{
		"return 'a \"b\" \\226\\130\\172'": "a \"b\" €",
		"return ''":                        "",
		"return -5":                        -5.0,
		"return true":                      true,
		"return {}":                        map[string]any{},
		"return {1, {x = {y = 'z'}, [7] = false}, 'end'}":                               map[string]any{"1": 1.0, "2": map[string]any{"x": map[string]any{"y": "z"}, "7": false}, "3": "end"},
		"return string.rep('0123456789', 100000)":                                       long,
		"local t = {}\nfor i = 1, 5 do t[i] = {a = {}, b = i} end\nreturn {t[1], t[5]}": map[string]any{"1": map[string]any{"a": map[string]any{}, "b": 1.0}, "2": map[string]any{"a": map[string]any{}, "b": 5.0}},
	} {
		var got any
		if err := store.execute(t.Context(), store.parents[0].Pool(), true, text, &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%.60q returns %.60v, %v; want %.60v", text, got, err, want)
		}
	}
}

// TestSnapshotsAtOnce: ZFS takes one snapshot of a dataset in a transaction group, and all that are asked
// for at once are taken.
func TestSnapshotsAtOnce(t *testing.T) {
	store, shell := newProgramPool(t)
	f := store.parents[0].name + "/f"
	faults := make(chan error)
	const n = 5
	for i := range n {
		go func() {
			err := store.snapshots(t.Context(), []string{propKind + "=x"}, fmt.Sprintf("%s@at-once-%d", f, i))
			faults <- err
		}()
	}
	for range n {
		if err := <-faults; err != nil {
			t.Error(err)
		}
	}
	if got := strings.Count(shell("zfs list -Hro name -t snapshot "+store.parents[0].name), "@at-once"); got != n {
		t.Errorf("%d snapshots were taken, want %d", got, n)
	}
}

// TestMark: a snapshot for a clone is marked for removal wherever promotion has brought it.
func TestMark(t *testing.T) {
	store, shell := newProgramPool(t)
	parent := store.parents[0]
	f := parent.name + "/f"
	for _, moved := range []bool{false, true} {
		leaf := fmt.Sprintf("clone-%t", moved)
		clone := Dataset{parent.name + "/of-" + leaf}
		if err := store.snapshots(t.Context(), []string{propKind + "=" + leaf}, f+"@"+leaf); err != nil {
			t.Fatal(err)
		}
		shell("zfs clone -o mountpoint=legacy " + f + "@" + leaf + " " + clone.name)
		at := f
		if moved {
			shell("zfs promote " + clone.name)
			at = clone.name
		}
		store.mark(f+"@"+leaf, clone)
		store.Flush(t.Context())
		if got := shell("zfs get -Ho value defer_destroy " + at + "@" + leaf); strings.TrimSpace(got) != "on" {
			t.Errorf("moved %t: the mark is %q", moved, got)
		}
	}
}

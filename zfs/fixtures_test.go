package zfs

import (
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// The fixtures are what ZFS said to the commands below, recorded from each version
// under testdata/openzfs-VERSION/faults.json. On a machine with ZFS the test gives the
// commands to it and checks the same of its answers. To record a version anew:
//
//	ZFS_CSI_RECORD=1 go test -exec … -run TestFaults -v ./zfs | sed -n 's/^RECORD //p' >zfs/testdata/openzfs-VERSION/faults.json
//
// In commands and answers, POOL stands for the pool's name.

// said is one recorded answer.
type said struct {
	Name     string `json:"name"`
	Stdout   string `json:"stdout,omitempty"`
	Stderr   string `json:"stderr,omitempty"`
	ExitCode int    `json:"exit"`
}

// checkVolumes checks what get-volumes recorded.
func checkVolumes(t *testing.T, out string) {
	t.Helper()
	rows, order, err := parseGet([]byte(out))
	if err != nil || len(order) != 4 {
		t.Fatalf("parsed %v: %v", order, err)
	}
	for _, name := range order {
		for _, property := range asked {
			if _, there := rows[name][property]; !there {
				t.Errorf("%s of %s is asked for and was not when get-volumes was recorded: record this version anew", property, name)
			}
		}
	}
	parent := Dataset{"POOL/csi"}
	if got := rows[parent.name].local(propDriver); got != "d" {
		t.Errorf("marker %q, want d", got)
	}
	if got := rows["POOL/csi/f"].local(propDriver); got != "" {
		t.Errorf("an inherited marker counts as local: %q", got)
	}
	f, err := decode(parent, VolumeID{"f"}, rows["POOL/csi/f"])
	if err != nil {
		t.Fatal(err)
	}
	if f.Kind != Filesystem || f.Size != 10<<20 || !f.Thick || f.Name != "a b" || f.Labels["pvc.name"] != "x" || f.Origin != "" {
		t.Errorf("dataset decoded as %+v", f)
	}
	z, err := decode(parent, VolumeID{"z"}, rows["POOL/csi/z"])
	if err != nil {
		t.Fatal(err)
	}
	if z.Kind != Block || z.Size != 16<<20 || z.Thick || z.FSType != "xfs" || z.BlockSize != 8192 {
		t.Errorf("zvol decoded as %+v", z)
	}
	if c, err := decode(parent, VolumeID{"c"}, rows["POOL/csi/c"]); !errors.Is(err, ErrNotOurs) {
		t.Errorf("a clone without properties of its own decoded as %+v, %v", c, err)
	}
	if _, _, err := parseGet([]byte(out[:len(out)-3])); err == nil {
		t.Error("an output cut short was parsed")
	}

	inPieces := map[string]row{}
	p := getParser{take: func(name string, r row) error {
		if inPieces[name] != nil {
			t.Errorf("%s is handed on twice", name)
		}
		inPieces[name] = r
		return nil
	}}
	for i := range len(out) {
		if _, err := p.Write([]byte{out[i]}); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.end(); err != nil || !reflect.DeepEqual(inPieces, rows) {
		t.Errorf("parsed byte by byte as %v, %v, want %v", inPieces, err, rows)
	}
}

// faults are commands that fail and what their failure means. prepare is run by a shell before, and while the
// command runs the zvol open is held open, and input, a file in $ZFS_CSI_TEST_DIR, is what it reads.
var faults = []struct {
	name, prepare, command, asked string
	open, input                   string
	want                          error
}{
	{name: "get-absent", command: "zfs get -Hp type POOL/absent", asked: "POOL/absent", want: ErrNotFound},
	{name: "get-absent-pool", command: "zfs get -Hp type zfscsinopool/x", asked: "zfscsinopool/x", want: ErrNotFound},
	{name: "create-absent-pool", command: "zfs create zfscsinopool/x", asked: "zfscsinopool/x", want: ErrUnavailable},
	{name: "create-absent-parent", command: "zfs create POOL/absent/x", asked: "POOL/absent/x", want: ErrUnavailable},
	{name: "create-exists", prepare: "zfs create -o mountpoint=legacy POOL/f && zfs create -s -V 16m POOL/z", command: "zfs create POOL/f", asked: "POOL/f", want: ErrExists},
	{name: "create-no-space", command: "zfs create -V 100g POOL/x", asked: "POOL/x", want: ErrNoSpace},
	{name: "create-reservation-no-space", command: "zfs create -o refreservation=100g POOL/x", asked: "POOL/x", want: ErrNoSpace},
	{name: "create-bad-value", command: "zfs create -o compression=nope POOL/x", asked: "POOL/x", want: ErrInvalid},
	{name: "set-no-space", command: "zfs set refreservation=100g POOL/f", asked: "POOL/f", want: ErrNoSpace},
	{name: "set-unknown-property", command: "zfs set sync=always zfscsinone=1 POOL/f", asked: "POOL/f", want: ErrInvalid},
	{name: "set-feature-disabled", command: "zfs set sync=always compression=zstd POOL/f", asked: "POOL/f", want: ErrInvalid},
	{name: "snapshot-absent", command: "zfs snapshot POOL/absent@s", asked: "POOL/absent", want: ErrNotFound},
	{name: "snapshot-exists", prepare: "zfs snapshot POOL/f@s && zfs clone -o mountpoint=legacy POOL/f@s POOL/c", command: "zfs snapshot POOL/f@s", asked: "POOL/f@s", want: ErrExists},
	{name: "clone-exists", command: "zfs clone POOL/f@s POOL/c", asked: "POOL/c", want: ErrExists},
	{name: "clone-absent", command: "zfs clone POOL/f@absent POOL/x", asked: "POOL/f@absent", want: ErrNotFound},
	{name: "destroy-snapshot-absent", command: "zfs destroy POOL/f@absent", asked: "POOL/f@absent", want: ErrNotFound},
	{name: "destroy-snapshots-none", command: "zfs destroy POOL/z@%", asked: "POOL/z", want: ErrNotFound},
	{name: "destroy-snapshot-clones", command: "zfs destroy POOL/f@s", asked: "POOL/f@s", want: ErrDependents},
	{name: "destroy-children", command: "zfs destroy POOL/f", asked: "POOL/f", want: ErrDependents},
	{name: "destroy-open", command: "zfs destroy POOL/z", open: "POOL/z", asked: "POOL/z", want: ErrBusy},
	{name: "destroy-held", prepare: "zfs snapshot POOL/f@h && zfs hold h POOL/f@h", command: "zfs destroy POOL/f@h", asked: "POOL/f@h", want: ErrBusy},
	{name: "rename-exists", command: "zfs rename POOL/c POOL/f", asked: "POOL/c", want: ErrExists},
	{name: "create-permission", command: "setpriv --reuid=65534 --clear-groups zfs create POOL/x", asked: "POOL/x", want: ErrPermission},
	{name: "set-permission", command: "setpriv --reuid=65534 --clear-groups zfs set refquota=20m POOL/f", asked: "POOL/f", want: ErrPermission},
	{name: "send-absent", command: "zfs send -L POOL/f@absent", asked: "POOL/f@absent", want: ErrNotFound},
	{name: "receive-exists", prepare: "zfs send -L POOL/f@s >$ZFS_CSI_TEST_DIR/stream", command: "zfs receive -u POOL/c", input: "stream", asked: "POOL/c", want: ErrExists},
	{name: "receive-absent-parent", command: "zfs receive -u POOL/absent/x", input: "stream", asked: "POOL/absent/x", want: ErrUnavailable},
	{name: "receive-absent-pool", command: "zfs receive -u zfscsinopool/x", input: "stream", asked: "zfscsinopool/x", want: ErrUnavailable},
	{name: "receive-bad-value", command: "zfs receive -u -o compression=nope POOL/x", input: "stream", asked: "POOL/x", want: ErrInvalid},
	{name: "get-volumes", prepare: `zfs create -o zfs-csi:driver=d -o mountpoint=none POOL/csi
		zfs create -o mountpoint=legacy -o refquota=10m -o refreservation=10m -o zfs-csi:volume=a%20b -o zfs-csi:labels=pvc.name=x POOL/csi/f
		zfs snapshot POOL/csi/f@s
		zfs clone -o mountpoint=legacy POOL/csi/f@s POOL/csi/c
		zfs create -s -V 16m -b 8192 -o zfs-csi:volume=z -o zfs-csi:fstype=xfs POOL/csi/z`,
		command: "zfs get -Hp -o name,property,value,source ASKED POOL/csi POOL/csi/f POOL/csi/c POOL/csi/z"},
	{name: "create-full", prepare: `zfs create -o mountpoint=none POOL/filler
		for i in 1 2 3; do
			zpool sync POOL
			zfs set refreservation=$(($(zfs get -Hpo value refreservation POOL/filler) + $(zfs get -Hpo value available POOL))) POOL/filler
		done`,
		command: "zfs create POOL/x", asked: "POOL/x", want: ErrNoSpace},
	{name: "snapshot-full", command: "zfs snapshot POOL/f@t POOL/c@t", asked: "POOL/f@t", want: ErrNoSpace},
	{name: "clone-full", command: "zfs clone POOL/f@s POOL/x", asked: "POOL/x", want: ErrNoSpace},
	{name: "receive-full", command: "zfs receive -u POOL/x", input: "stream", asked: "POOL/x", want: ErrNoSpace},
	{name: "create-read-only", prepare: "zfs destroy POOL/filler && " + inTheEnd("zpool export POOL") + " && zpool import -N -o cachefile=none -o readonly=on -d $ZFS_CSI_TEST_DIR POOL",
		command: "zfs create POOL/x", asked: "POOL/x", want: ErrReadOnly},
	{name: "snapshot-read-only", command: "zfs snapshot POOL/f@t POOL/c@t", asked: "POOL/f@t", want: ErrReadOnly},
	{name: "clone-read-only", command: "zfs clone POOL/f@s POOL/x", asked: "POOL/x", want: ErrReadOnly},
	{name: "set-read-only", command: "zfs set refquota=20m POOL/csi/f", asked: "POOL/csi/f", want: ErrReadOnly},
	{name: "inherit-read-only", command: "zfs inherit zfs-csi:volume POOL/csi/f", asked: "POOL/csi/f", want: ErrReadOnly},
	{name: "destroy-read-only", command: "zfs destroy POOL/csi/z", asked: "POOL/csi/z", want: ErrReadOnly},
	{name: "rename-read-only", command: "zfs rename POOL/csi/z POOL/csi/y", asked: "POOL/csi/z", want: ErrReadOnly},
	{name: "receive-read-only", command: "zfs receive -u POOL/x", input: "stream", asked: "POOL/x", want: ErrReadOnly},
	{name: "get-suspended", prepare: suspendedPool, command: "zfs get -Hp type POOL-frail/f", asked: "POOL-frail/f", want: ErrUnavailable},
	{name: "create-suspended", command: "zfs create POOL-frail/x", asked: "POOL-frail/x", want: ErrUnavailable},
	{name: "set-suspended", command: "zfs set refquota=20m POOL-frail/f", asked: "POOL-frail/f", want: ErrUnavailable},
	{name: "snapshot-suspended", command: "zfs snapshot POOL-frail/f@t", asked: "POOL-frail/f@t", want: ErrUnavailable},
	{name: "clone-suspended", command: "zfs clone POOL-frail/f@s POOL-frail/x", asked: "POOL-frail/x", want: ErrUnavailable},
	{name: "destroy-suspended", command: "zfs destroy POOL-frail/f@s", asked: "POOL-frail/f@s", want: ErrUnavailable},
	{name: "rename-suspended", command: "zfs rename POOL-frail/f POOL-frail/g", asked: "POOL-frail/f", want: ErrUnavailable},
	{name: "receive-suspended", command: "zfs receive -u POOL-frail/x", input: "stream", asked: "POOL-frail/x", want: ErrUnavailable},
}

// suspendedPool makes the pool POOL-frail and takes its device away: the folder that its file is in gets full. It ends
// when the pool has noticed, which is with a write that does not come to its end.
var suspendedPool = `mkdir $ZFS_CSI_TEST_DIR/frail && mount -t tmpfs -o size=96m tmpfs $ZFS_CSI_TEST_DIR/frail
	truncate -s 1G $ZFS_CSI_TEST_DIR/frail/file
	zpool create -o cachefile=none -o failmode=wait -O mountpoint=none POOL-frail $ZFS_CSI_TEST_DIR/frail/file
	zfs create POOL-frail/f && zfs snapshot POOL-frail/f@s
	head -c 96M /dev/zero >$ZFS_CSI_TEST_DIR/frail/filler 2>/dev/null || true
	zfs set zfs-csi:x=y POOL-frail/f >/dev/null 2>&1 &
	` + inTheEnd("zpool list -H -o health POOL-frail | grep -q SUSPENDED")

// wellPool ends what suspendedPool has begun.
var wellPool = `[ -d $ZFS_CSI_TEST_DIR/frail ] || exit 0
	rm $ZFS_CSI_TEST_DIR/frail/filler && zpool clear POOL-frail
	` + inTheEnd("zpool destroy POOL-frail") + `
	umount $ZFS_CSI_TEST_DIR/frail`

func TestFaultsRecorded(t *testing.T) {
	files, err := filepath.Glob("testdata/openzfs-*/faults.json")
	if err != nil || len(files) < 2 {
		t.Fatalf("recordings of %d versions, want at least 2: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(filepath.Dir(file)), func(t *testing.T) {
			f, err := os.Open(file)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			answers := map[string]said{}
			for d := json.NewDecoder(f); d.More(); {
				var s said
				if err := d.Decode(&s); err != nil {
					t.Fatal(err)
				}
				answers[s.Name] = s
			}
			for _, c := range faults {
				s, ok := answers[c.name]
				if !ok {
					t.Errorf("%s is not recorded", c.name)
					continue
				}
				checkFault(t, c.name, c.command, c.asked, c.want, Result{Stdout: []byte(s.Stdout), Stderr: []byte(s.Stderr), ExitCode: s.ExitCode})
			}
			checkVolumes(t, answers["get-volumes"].Stdout)
		})
	}
}

func TestFaults(t *testing.T) {
	dir := os.Getenv("ZFS_CSI_TEST_DIR")
	if dir == "" {
		t.Skip("needs real ZFS: run by `make test`")
	}
	pool := "zfscsitest-" + os.Getenv("ZFS_CSI_TEST_TOKEN") + "-faults"
	shell := func(script string) {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), "sh", "-ec", script).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", script, err, out)
		}
	}
	file := filepath.Join(dir, pool)
	shell("truncate -s 1G " + file + " && zpool create -o cachefile=none -o feature@zstd_compress=disabled -O mountpoint=none " + pool + " " + file)
	defer shell(inTheEnd("zpool destroy " + pool))
	defer shell(strings.ReplaceAll(wellPool, "POOL", pool))

	run := Exec{Log: slog.New(slog.DiscardHandler)}
	for _, c := range faults {
		if c.prepare != "" {
			shell(strings.ReplaceAll(c.prepare, "POOL", pool))
		}
		words := strings.Fields(strings.NewReplacer("POOL", pool, "ASKED", strings.Join(asked, ",")).Replace(c.command))
		command := Command{Name: words[0], Args: words[1:]}
		if c.input != "" {
			input, err := os.Open(filepath.Join(dir, c.input))
			if err != nil {
				t.Fatal(err)
			}
			defer input.Close()
			command.Stdin = input
		}
		release := func() {}
		if c.open != "" {
			release = held(t, strings.ReplaceAll(c.open, "POOL", pool))
		}
		r, err := run.Run(t.Context(), command)
		release()
		if err != nil {
			t.Fatal(err)
		}
		checkFault(t, c.name, strings.Join(words, " "), strings.ReplaceAll(c.asked, "POOL", pool), c.want, r)
		if os.Getenv("ZFS_CSI_RECORD") != "" {
			plain := func(b []byte) string { return strings.ReplaceAll(string(b), pool, "POOL") }
			line, err := json.Marshal(said{c.name, plain(r.Stdout), plain(r.Stderr), r.ExitCode})
			if err != nil {
				t.Fatal(err)
			}
			os.Stdout.WriteString("RECORD " + string(line) + "\n")
		}
	}
}

// held opens the device of a zvol as soon as ZFS lets it: zfstest, which has that too, cannot be imported here.
func held(t *testing.T, zvol string) (release func()) {
	t.Helper()
	device, err := newDevices(t.TempDir()).wait(t.Context(), zvol, func() error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(device)
	for deadline := time.Now().Add(time.Minute); errors.Is(err, ErrRestart) && time.Now().Before(deadline); {
		time.Sleep(RestartPause)
		file, err = os.Open(device)
	}
	if err != nil {
		t.Fatal(err)
	}
	return func() { _ = file.Close() } // nothing was written
}

func checkFault(t *testing.T, name, command, asked string, want error, r Result) {
	t.Helper()
	words := strings.Fields(command)
	err := r.fault(Command{Name: words[0], Args: words[1:]}, asked)
	if !errors.Is(err, want) {
		t.Errorf("%s: %v; want one that is: %v", name, err, want)
	}
}

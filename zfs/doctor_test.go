package zfs

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The commands of a Doctor with the parent tank/csi.
const (
	askVersion = "zfs version"
	askPool    = "zpool get -Hp -o name,property,value,source all tank"
	askStatus  = "zpool status -x tank"
	askProgram = "zfs program -jn tank -"
	askParent  = "zfs get -Hp -o name,property,value,source type,readonly,available,keystatus,zfs-csi:driver tank/csi"
)

// patient is a machine in good health that a test makes ill.
type patient struct {
	files map[string]string
	mknod error
	// patience is how long each command may take.
	patience time.Duration
	recorded
}

func newPatient() *patient {
	return &patient{
		patience: time.Minute,
		files: map[string]string{
			"sys/module/zfs/version":              "2.3.9-0+deb13u1\n",
			"dev/zfs":                             "",
			"dev/zd0":                             "",
			"sys/block/zd0/dev":                   "230:0\n",
			"proc/spl/kstat/zfs/tank/state":       "ONLINE\n",
			"proc/spl/kstat/zfs/arcstats":         "",
			"proc/spl/kstat/zfs/backup/state":     "ONLINE\n",
			"proc/spl/kstat/zfs/import_progress":  "",
			"proc/spl/kstat/zfs/tank/objset-0x36": "",
		},
		recorded: recorded{answers: map[string]Result{
			askVersion: says("zfs-2.3.9-0+deb13u1", "zfs-kmod-2.3.9-0+deb13u1"),
			askPool:    {Stdout: mustRead("testdata/doctor/zpool-get-2.3")},
			askStatus:  says("pool 'tank' is healthy"),
			askProgram: {Answers: map[string]map[string]any{"tank": {"return": int64(0)}}},
			askParent:  says(parentLines("filesystem", "off", "4294967296", "-", "ours\tlocal")...),
		}},
	}
}

func parentLines(kind, readonly, available, keystatus, marker string) []string {
	return []string{
		"tank/csi\ttype\t" + kind + "\t-", "tank/csi\treadonly\t" + readonly + "\tdefault", "tank/csi\tavailable\t" + available + "\t-",
		"tank/csi\tkeystatus\t" + keystatus + "\t-", "tank/csi\tzfs-csi:driver\t" + marker,
	}
}

func (p *patient) examine(t *testing.T) []Finding {
	t.Helper()
	root := t.TempDir()
	for name, text := range p.files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	doctor := Doctor{
		Runner: &p.recorded, Root: root, Driver: "ours",
		Parents: []Dataset{MustParseDataset("tank/csi")}, Patience: p.patience,
		mknod: func(path string, _ uint32, _ int) error {
			if p.mknod != nil {
				return p.mknod
			}
			return os.WriteFile(path, nil, 0o600)
		},
	}
	return doctor.Examine(t.Context())
}

func TestDoctorOfAHealthyMachine(t *testing.T) {
	older := newPatient()
	older.files["sys/module/zfs/version"] = "2.1.11-1+deb12u1\n"
	older.answers[askVersion] = says("zfs-2.1.11-1+deb12u1", "zfs-kmod-2.1.11-1+deb12u1")
	older.answers[askPool] = Result{Stdout: mustRead("testdata/doctor/zpool-get-2.1")}
	for version, patient := range map[string]*patient{"2.1": older, "2.3": newPatient()} {
		t.Run(version, func(t *testing.T) {
			findings := patient.examine(t)
			if len(findings) != 11 {
				t.Errorf("%d findings, want 11", len(findings))
			}
			for _, f := range findings {
				if f.Severity != Fine || f.Advice != "" {
					t.Errorf("%s: %s: %s (%s)", f.Severity, f.Check, f.Message, f.Advice)
				}
			}
		})
	}
}

func TestDoctorOfAnIllMachine(t *testing.T) {
	for name, test := range map[string]struct {
		illness  func(*patient)
		severity Severity
		check    string
		says     string
		advises  string
	}{
		"no module":    {func(p *patient) { delete(p.files, "sys/module/zfs/version") }, Fault, "module", "not loaded", "modprobe zfs"},
		"old module":   {func(p *patient) { p.files["sys/module/zfs/version"] = "0.8.6-1" }, Warning, "module", "older than 2.1", "update"},
		"no device":    {func(p *patient) { delete(p.files, "dev/zfs") }, Fault, "device /dev/zfs", "there is none", "/dev"},
		"no tools":     {func(p *patient) { delete(p.answers, askVersion) }, Fault, "tools of ZFS", "could not be run", "zfsutils-linux"},
		"newer tools":  {tools("zfs-2.4.0-1", "zfs-kmod-2.3.9-1"), Warning, "tools of ZFS", "2.4.0-1, and the module is 2.3.9-1", "2.3"},
		"alien tools":  {tools("zfs-0.8.6-1", "zfs-kmod-2.3.9-1"), Fault, "tools of ZFS", "does not go with", "2.3"},
		"half a tool":  {tools("zfs-2.3.9-1"), Fault, "tools of ZFS", "does not tell both", "2.1"},
		"no kstats":    {noKstats, Fault, "pool states in /proc/spl", "cannot be read", "/proc/spl"},
		"no nodes":     {func(p *patient) { p.mknod = os.ErrPermission }, Warning, "devices of zvols", "permission denied", "privileged"},
		"bare zvol":    {bareZvol, Fault, "devices of zvols", "1 of 1 have no node", "privileged"},
		"exported":     {func(p *patient) { delete(p.files, "proc/spl/kstat/zfs/tank/state") }, Fault, "pool tank", "not imported", "zpool import tank"},
		"suspended":    {func(p *patient) { p.files["proc/spl/kstat/zfs/tank/state"] = "SUSPENDED\n" }, Fault, "pool tank", "suspended", "zpool clear tank"},
		"hanging":      {hanging, Fault, "pool tank", "no answer in 100ms", "dmesg"},
		"degraded":     {degraded, Warning, "pool tank", "DEGRADED: One or more devices has been taken offline by the administrator. Sufficient", "'zpool online' or replace"},
		"read-only":    {poolWith("readonly\toff", "readonly\ton"), Fault, "pool tank", "imported read-only", "zpool export tank"},
		"failmode":     {poolWith("failmode\twait", "failmode\tpanic"), Warning, "pool tank", "halts the node", "failmode=wait"},
		"full":         {poolWith("capacity\t0", "capacity\t93"), Warning, "pool tank", "93% full", "add devices"},
		"fragmented":   {poolWith("fragmentation\t5", "fragmentation\t80"), Warning, "pool tank", "80% fragmented", "add devices"},
		"feature":      {poolWith("zstd_compress\tenabled", "zstd_compress\tdisabled"), Warning, "features of pool tank", "compression=zstd", "zpool upgrade tank"},
		"no programs":  {func(p *patient) { p.answers[askProgram] = Result{Errno: unix.EPERM} }, Fault, "channel programs on pool tank", "permission denied", "root"},
		"no parent":    {func(p *patient) { p.answers[askParent] = refuses("cannot open 'tank/csi': dataset does not exist") }, Fault, "parent tank/csi", "not there", "zfs-csi init tank/csi"},
		"unmarked":     {parentWith("filesystem", "off", "4294967296", "-", "-\t-"), Fault, "parent tank/csi", "no marker", "zfs-csi init tank/csi"},
		"inherited":    {parentWith("filesystem", "off", "4294967296", "-", "ours\tinherited from tank"), Fault, "parent tank/csi", "no marker of its own", "zfs-csi init tank/csi"},
		"another's":    {parentWith("filesystem", "off", "4294967296", "-", "theirs\tlocal"), Fault, "parent tank/csi", `another driver, "theirs"`, "--driver-name"},
		"a zvol":       {parentWith("volume", "off", "4294967296", "-", "ours\tlocal"), Fault, "parent tank/csi", "it is a volume", "another dataset"},
		"readonly=on":  {parentWith("filesystem", "on", "4294967296", "-", "ours\tlocal"), Fault, "parent tank/csi", "readonly=on", "zfs set readonly=off tank/csi"},
		"locked":       {parentWith("filesystem", "off", "4294967296", "unavailable", "ours\tlocal"), Fault, "parent tank/csi", "key is not loaded", "zfs load-key tank/csi"},
		"little space": {parentWith("filesystem", "off", "104857600", "-", "ours\tlocal"), Warning, "parent tank/csi", "0.1 GiB", "quota"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPatient()
			test.illness(p)
			var bad []Finding
			for _, f := range p.examine(t) {
				if f.Severity != Fine {
					bad = append(bad, f)
				}
			}
			if len(bad) == 0 {
				t.Fatal("nothing found")
			}
			got := bad[0]
			if got.Severity != test.severity || got.Check != test.check {
				t.Errorf("found %s of %q, want %s of %q", got.Severity, got.Check, test.severity, test.check)
			}
			if !strings.Contains(got.Message, test.says) {
				t.Errorf("message %q does not say %q", got.Message, test.says)
			}
			if !strings.Contains(got.Advice, test.advises) {
				t.Errorf("advice %q does not say %q", got.Advice, test.advises)
			}
		})
	}
}

func TestDoctorLooksAtAPoolOnce(t *testing.T) {
	p := newPatient()
	p.examine(t)
	seen := map[string]int{}
	for _, c := range p.asked {
		seen[c]++
	}
	for c := range maps.Keys(seen) {
		if seen[c] > 1 {
			t.Errorf("%s was run %d times", c, seen[c])
		}
	}
}

func tools(lines ...string) func(*patient) {
	return func(p *patient) { p.answers[askVersion] = says(lines...) }
}

func noKstats(p *patient) {
	maps.DeleteFunc(p.files, func(name, _ string) bool { return strings.HasPrefix(name, "proc/") })
}

func bareZvol(p *patient) {
	delete(p.files, "dev/zd0")
	p.mknod = os.ErrPermission
}

func hanging(p *patient) {
	p.hang, p.patience = []string{askPool}, 100*time.Millisecond
}

func degraded(p *patient) {
	p.files["proc/spl/kstat/zfs/tank/state"] = "DEGRADED\n"
	p.answers[askStatus] = Result{Stdout: mustRead("testdata/doctor/zpool-status-degraded")}
}

func mustRead(path string) []byte {
	text, err := os.ReadFile(path)
	if err != nil {
		panic(err)
	}
	return text
}

func poolWith(old, new string) func(*patient) {
	return func(p *patient) {
		p.answers[askPool] = Result{Stdout: bytes.ReplaceAll(p.answers[askPool].Stdout, []byte(old), []byte(new))}
	}
}

func parentWith(kind, readonly, available, keystatus, marker string) func(*patient) {
	return func(p *patient) {
		p.answers[askParent] = says(parentLines(kind, readonly, available, keystatus, marker)...)
	}
}

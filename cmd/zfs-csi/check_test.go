package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/zfs-csi/zfs-csi/zfs"
)

const (
	sharedRoot  = "25 1 254:0 / / rw,noatime shared:1 - ext4 /dev/vda rw\n"
	privateRoot = "25 1 254:0 / / rw,noatime - ext4 /dev/vda rw\n"
	kubeMount   = "40 25 0:33 / /var/lib/kube rw - tmpfs tmpfs rw\n" // its name only begins as the kubelet's
	kubelet     = "41 25 0:34 / /var/lib/kubelet rw shared:7 master:1 - tmpfs tmpfs rw\n"
	kubeletSlav = "41 25 0:34 / /var/lib/kubelet rw master:1 - tmpfs tmpfs rw\n"
)

func TestPropagation(t *testing.T) {
	for name, test := range map[string]struct {
		mounts   string
		kubelet  bool
		severity zfs.Severity
		says     string
	}{
		"no kubelet":         {sharedRoot, false, zfs.Fine, "nothing to look at"},
		"on a shared root":   {sharedRoot + kubeMount, true, zfs.Fine, "/, which holds /var/lib/kubelet, is shared"},
		"on a private root":  {privateRoot, true, zfs.Fault, "/, which holds /var/lib/kubelet, is not shared"},
		"a shared mount":     {privateRoot + kubelet, true, zfs.Fine, "/var/lib/kubelet, which holds"},
		"only a slave mount": {sharedRoot + kubeletSlav, true, zfs.Fault, "is not shared"},
		"no mounts":          {"", true, zfs.Warning, "no mount holds"},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			if test.kubelet {
				makeFolder(t, filepath.Join(root, "var/lib/kubelet"))
			}
			makeFolder(t, filepath.Join(root, "proc/self"))
			if err := os.WriteFile(filepath.Join(root, "proc/self/mountinfo"), []byte(test.mounts), 0o600); err != nil {
				t.Fatal(err)
			}
			got := node{root: root, kubelet: "/var/lib/kubelet"}.checkPropagation()
			if got.Severity != test.severity || !strings.Contains(got.Message, test.says) {
				t.Errorf("%s: %s, want %s: %s", got.Severity, got.Message, test.severity, test.says)
			}
		})
	}
}

func TestHostRoot(t *testing.T) {
	for mounts, test := range map[string]struct {
		severity zfs.Severity
		says     string
	}{
		sharedRoot + "42 25 254:0 / /host rw - ext4 /dev/vda rw\n":                    {zfs.Fault, "/host, which holds /host, does not follow"},
		privateRoot + "42 25 254:0 / /host rw master:1 - ext4 /dev/vda rw\n":          {zfs.Fine, "/host, which holds /host, follows"},
		privateRoot + "42 25 254:0 / /host rw shared:3 master:1 - ext4 /dev/vda rw\n": {zfs.Fine, "follows"},
		"": {zfs.Warning, "no mount holds"},
	} {
		root := t.TempDir()
		makeFolder(t, filepath.Join(root, "proc/self"))
		if err := os.WriteFile(filepath.Join(root, "proc/self/mountinfo"), []byte(mounts), 0o600); err != nil {
			t.Fatal(err)
		}
		n := node{root: root, hostRoot: "/host", look: exec.LookPath, find: exec.LookPath}
		findings := n.examine()
		got := findings[len(findings)-1]
		if got.Check != "host root" || got.Severity != test.severity || !strings.Contains(got.Message, test.says) {
			t.Errorf("%s: %s: %s, want %s: %s of\n%s", got.Severity, got.Check, got.Message, test.severity, test.says, mounts)
		}
	}
}

func makeFolder(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestProgramsAndUser(t *testing.T) {
	allBut := func(missing string) func(string) (string, error) {
		return func(name string) (string, error) {
			if name == missing {
				return "", errors.New("not in PATH")
			}
			return "/sbin/" + name, nil
		}
	}
	n := node{root: t.TempDir(), user: 1000, kubelet: "/var/lib/kubelet", look: allBut("mkfs.xfs"), find: allBut("zpool")}
	var lines []string
	for _, f := range n.examine() {
		lines = append(lines, f.Severity.String()+" "+f.Check+": "+f.Message)
	}
	want := []string{
		"fail user: this runs as user 1000",
		"fail programs: missing: zpool",
		"warn programs for fsType ext4 and xfs: missing: mkfs.xfs",
		"ok mount propagation: there is no kubelet's folder at /var/lib/kubelet, so nothing to look at",
	}
	if !slices.Equal(lines, want) {
		t.Errorf("findings\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
}

func TestWriteFindings(t *testing.T) {
	findings := []zfs.Finding{
		{Check: "module", Message: "it is loaded"},
		{Check: "pool tank", Severity: zfs.Fault, Message: "it is not imported", Advice: "zpool import tank"},
	}
	var text, object bytes.Buffer
	if err := errors.Join(writeFindings(&text, "text", findings), writeFindings(&object, "json", findings)); err != nil {
		t.Fatal(err)
	}
	want := "[ok]   module: it is loaded\n[fail] pool tank: it is not imported\n       -> zpool import tank\n2 looked at, 0 warnings, 1 faults\n"
	if text.String() != want {
		t.Errorf("text %q, want %q", text.String(), want)
	}
	var read struct {
		Faults   int
		Findings []struct{ Check, Severity, Message, Advice string }
	}
	if err := json.Unmarshal(object.Bytes(), &read); err != nil {
		t.Fatal(err)
	}
	if read.Faults != 1 || len(read.Findings) != 2 || read.Findings[1].Severity != "fail" || read.Findings[1].Advice != "zpool import tank" {
		t.Errorf("JSON %s", object.String())
	}
}

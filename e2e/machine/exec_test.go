package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func TestPackTakesTestdataAlong(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for name, text := range map[string]string{"a.test": "program", "driver": "driver", "testdata/deep/x.json": "{}", "other": ""} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var packed bytes.Buffer
	p := program{binary: filepath.Join(dir, "a.test"), with: filepath.Join(dir, "driver")}
	if err := p.pack(&packed); err != nil {
		t.Fatal(err)
	}
	var names []string
	for archive := tar.NewReader(&packed); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, header.Name)
	}
	want := []string{"exec.sh", "clean.sh", "program", "with", "work/testdata/deep/x.json"}
	if !slices.Equal(names, want) {
		t.Errorf("packed %q, not %q", names, want)
	}
}

func TestEnvironmentIsThePrefixOnly(t *testing.T) {
	t.Setenv("ZFS_CSI_WISH", "a 'b'")
	t.Setenv(machineVariable, "/here")
	t.Setenv(tokenVariable, "stale")
	t.Setenv("HOME", "/home")
	got := program{token: "t", dir: "/d", with: "/host/driver"}.environment("/d/with")
	slices.Sort(got)
	want := []string{"ZFS_CSI_BINARY=/d/with", "ZFS_CSI_TEST_DIR=/d/pool", "ZFS_CSI_TEST_TOKEN=t", "ZFS_CSI_WISH=a 'b'"}
	for _, entry := range want {
		if !slices.Contains(got, entry) {
			t.Errorf("%q lacks %q", got, entry)
		}
	}
	for _, entry := range got {
		if entry == "HOME=/home" || entry == machineVariable+"=/here" || entry == tokenVariable+"=stale" {
			t.Errorf("%q was handed on", entry)
		}
	}
}

func TestWatchEndsAProgramPastItsDeadline(t *testing.T) {
	p := program{binary: "sleep", deadline: 50 * time.Millisecond}
	cmd := exec.CommandContext(t.Context(), "sleep", "60")
	code, err := p.watch(t.Context(), cmd, func(string) error { return cmd.Process.Kill() })
	if code != codeDeadline || err == nil {
		t.Errorf("got %d, %v", code, err)
	}
}

func TestExitCodes(t *testing.T) {
	for script, want := range map[string]int{"true": 0, "exit 3": 3, "kill -9 $$": 137} {
		err := exec.CommandContext(t.Context(), "sh", "-c", script).Run()
		if got := exitCode(err); got != want || notExit(err) != nil {
			t.Errorf("%s: %d, %v", script, got, notExit(err))
		}
	}
}

func TestQuoteSurvivesTheShell(t *testing.T) {
	for _, word := range []string{"", "plain", "a b", "it's", `$HOME "x" \`, "two\nlines"} {
		out, err := exec.CommandContext(t.Context(), "sh", "-c", "printf %s "+quote(word)).Output()
		if err != nil || string(out) != word {
			t.Errorf("%q became %q, %v", word, out, err)
		}
	}
}

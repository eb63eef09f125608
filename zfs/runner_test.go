package zfs

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	// asTool is set where this test is run as if it were a tool.
	asTool = "ZFS_CSI_TEST_AS_TOOL"
	// asCall is set where it only makes the call that takes snapshots, with the arguments of zfs snapshot that it reads.
	asCall = "ZFS_CSI_TEST_AS_CALL"
)

func TestMain(m *testing.M) {
	if os.Getenv(asTool)+os.Getenv(asCall) == "" {
		os.Exit(m.Run())
	}
	input, err := io.ReadAll(os.Stdin)
	if err != nil {
		panic(err)
	}
	if os.Getenv(asCall) != "" {
		var names, properties []string
		for args := strings.Split(string(input), "\n"); len(args) > 0; args = args[1:] {
			if args[0] != "-o" {
				names = append(names, args[0])
				continue
			}
			args = args[1:]
			properties = append(properties, args[0])
		}
		pairs, _ := callProperties(properties)
		result, err := snapshotCall(names, pairs).run("/dev/zfs")
		if err != nil {
			panic(err)
		}
		os.Exit(int(result.Errno))
	}
	folder, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	marker, err := os.ReadFile("/marker")
	fmt.Printf("%q in %s, marker %q %v, input %q, locale %s\n", os.Args, folder, marker, err, input, os.Getenv("LC_ALL"))
	fmt.Fprintln(os.Stderr, "a word of warning")
	os.Exit(3)
}

// layRoot makes the root of another system with this test as a tool.
func layRoot(t *testing.T, tool string) string {
	t.Helper()
	root := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	copyTo(t, self, root, tool)
	// What it is linked with, if anything, is mapped.
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(maps)) {
		if _, path, found := strings.Cut(strings.TrimSpace(line), "/"); found && strings.Contains(path, ".so") {
			for _, folder := range []string{filepath.Dir(path), "lib", "lib64"} {
				copyTo(t, "/"+path, root, filepath.Join(folder, filepath.Base(path)))
			}
		}
	}
	return root
}

func copyTo(t *testing.T, from, root, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	to = filepath.Join(root, to)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestExecInAnotherRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("chroot(2) is for root alone")
	}
	t.Setenv(asTool, "1")
	root := layRoot(t, "usr/sbin/zfs")
	if err := os.WriteFile(filepath.Join(root, "marker"), []byte("another system"), 0o600); err != nil {
		t.Fatal(err)
	}
	run := Exec{Log: slog.New(slog.DiscardHandler), Root: root}
	result, err := run.Run(t.Context(), Command{Name: "zfs", Args: []string{"list", "a b"}, Stdin: strings.NewReader("from the driver")})
	want := `["/usr/sbin/zfs" "list" "a b"] in /, marker "another system" <nil>, input "from the driver", locale C` + "\n"
	if err != nil || string(result.Stdout) != want || result.ExitCode != 3 || !bytes.Contains(result.Stderr, []byte("warning")) {
		t.Errorf("exit code %d, %v, stderr %q, stdout\n%s\nwant\n%s", result.ExitCode, err, result.Stderr, result.Stdout, want)
	}
	// This process stays where it is.
	if _, err := os.Stat(root); err != nil {
		t.Error(err)
	}
	if _, err := run.Run(t.Context(), Command{Name: "zpool"}); err == nil || !strings.Contains(err.Error(), root) || !strings.Contains(err.Error(), "/usr/sbin") {
		t.Errorf("a tool that is not there: %v; want it to say where it was looked for", err)
	}
}

func TestFindInAnotherRoot(t *testing.T) {
	write := func(path string, mode os.FileMode) func(root string) error {
		return func(root string) error {
			path := filepath.Join(root, path)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				return err
			}
			return os.WriteFile(path, nil, mode)
		}
	}
	link := func(to, path string) func(root string) error {
		return func(root string) error {
			path := filepath.Join(root, path)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				return err
			}
			return os.Symlink(to, path)
		}
	}
	for name, test := range map[string]struct {
		lay  []func(root string) error
		want string
	}{
		"Debian":            {[]func(string) error{write("usr/sbin/zfs", 0o755), link("usr/sbin", "sbin")}, "/usr/sbin/zfs"},
		"built by hand":     {[]func(string) error{write("usr/local/sbin/zfs", 0o755), write("usr/sbin/zfs", 0o755)}, "/usr/local/sbin/zfs"},
		"an absolute link":  {[]func(string) error{write("nix/store/zfs/bin/zfs", 0o555), link("/nix/store/zfs", "run/current-system/sw")}, "/run/current-system/sw/bin/zfs"},
		"no program":        {[]func(string) error{write("usr/local/sbin/zfs", 0o644), write("sbin/zfs", 0o755)}, "/sbin/zfs"},
		"a folder":          {[]func(string) error{write("usr/sbin/zfs/file", 0o755)}, ""},
		"a link to nothing": {[]func(string) error{link("/nowhere", "usr/sbin/zfs")}, ""},
		"a way out":         {[]func(string) error{link("../../../../../../../../../../../../../../bin/sh", "usr/sbin/zfs")}, ""},
		"nothing":           {nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			for _, lay := range test.lay {
				if err := lay(root); err != nil {
					t.Fatal(err)
				}
			}
			got, err := Exec{Root: root}.Find("zfs")
			if got != test.want || (err == nil) != (test.want != "") {
				t.Errorf("found %q, %v; want %q", got, err, test.want)
			}
		})
	}
	if _, err := (Exec{Root: filepath.Join(t.TempDir(), "nowhere")}).Find("zfs"); err == nil || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("a root that is not there: %v", err)
	}
}

// A command that is not there is an error like any other that was not run.
func TestExecOfNothing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := Exec{Log: slog.New(slog.DiscardHandler)}.Run(context.Background(), Command{Name: "zfs", Args: []string{"list"}})
	if err == nil || !strings.Contains(err.Error(), "zfs list") {
		t.Errorf("a tool that is not in PATH: %v", err)
	}
}

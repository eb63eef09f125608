package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/zfs-csi/zfs-csi/zfs"
)

// outcome is what a run of the program left.
type outcome struct {
	code           int
	stdout, stderr string
}

func runWith(ctx context.Context, env map[string]string, args ...string) outcome {
	var stdout, stderr bytes.Buffer
	code := run(ctx, args, func(name string) string { return env[name] }, &stdout, &stderr)
	return outcome{code, stdout.String(), stderr.String()}
}

func TestCommandLine(t *testing.T) {
	for name, test := range map[string]struct {
		args           []string
		env            map[string]string
		code           int
		stdout, stderr string
	}{
		"nothing":           {code: exitUsage, stderr: "Commands:"},
		"help":              {args: []string{"--help"}, stdout: "zfs-csi init tank/csi"},
		"help of serve":     {args: []string{"serve", "--help"}, stdout: "ZFS_CSI_ENDPOINT or CSI_ENDPOINT"},
		"help of check":     {args: []string{"check", "-h"}, stdout: "--kubelet-dir FOLDER"},
		"help of init":      {args: []string{"init", "--help"}, stdout: "refused"},
		"version":           {args: []string{"version"}, stdout: "zfs-csi "},
		"--version":         {args: []string{"--version"}, stdout: "zfs-csi "},
		"version --help":    {args: []string{"version", "--help"}, stdout: "Prints the version"},
		"unknown":           {args: []string{"surf"}, code: exitUsage, stderr: `no command "surf"`},
		"unknown flag":      {args: []string{"serve", "--surf"}, code: exitUsage, stderr: "-surf"},
		"no parent":         {args: []string{"serve"}, code: exitUsage, stderr: "no --parent is given"},
		"bad parent":        {args: []string{"serve", "--parent", "tank/a@b"}, code: exitUsage, stderr: "'@' is not allowed"},
		"twice a parent":    {args: []string{"serve", "--parent", "tank/a,tank/b", "--parent", "tank/a"}, code: exitUsage, stderr: "named twice"},
		"bad environment":   {args: []string{"serve"}, env: map[string]string{"ZFS_CSI_STOP_TIMEOUT": "soon"}, code: exitUsage, stderr: `ZFS_CSI_STOP_TIMEOUT="soon"`},
		"bad format":        {args: []string{"check", "-o", "yaml"}, code: exitUsage, stderr: "neither text nor json"},
		"no such address":   {args: []string{"serve", "--parent", "tank/a", "--http-address", "127.0.0.1:99999"}, code: exitFailed, stderr: "--http-address"},
		"kubelet of none":   {args: []string{"serve", "--parent", "tank/a", "--kubelet-endpoint", "/csi.sock"}, code: exitUsage, stderr: "--kubelet-registration-dir"},
		"no such root":      {args: []string{"tree", "--parent", "tank/a", "--host-root", "/nowhere"}, code: exitFailed, stderr: "/nowhere"},
		"argument too much": {args: []string{"check", "tank"}, code: exitUsage, stderr: `"tank"`},
		"init of nothing":   {args: []string{"init"}, code: exitUsage, stderr: "no dataset is named"},
		"init of no size":   {args: []string{"init", "--pool-file", "/a/b", "--pool-size", "20GB", "tank/csi"}, code: exitUsage, stderr: "such as 20Gi"},
		"init of two pools": {args: []string{"init", "--pool-file", "/a/b", "tank/csi", "fast/csi"}, code: exitUsage, stderr: "there is one dataset"},
		"init in a place":   {args: []string{"init", "--pool-file", "pool.img", "tank/csi"}, code: exitUsage, stderr: "an absolute and plain path"},
		"serve in a place":  {args: []string{"serve", "--parent", "tank/a", "--pool-file", "pool.img"}, code: exitUsage, stderr: "an absolute and plain path"},
		"note by the file":  {args: []string{"serve", "--parent", "tank/a", "--pool-file", "/etc/zfs-csi/pool.img"}, code: exitUsage, stderr: "choose another folder"},
		"init of a dash":    {args: []string{"init", "--", "-r"}, code: exitUsage, stderr: "begins with a dash"},
	} {
		t.Run(name, func(t *testing.T) {
			got := runWith(t.Context(), test.env, test.args...)
			if got.code != test.code {
				t.Errorf("exit code %d, want %d", got.code, test.code)
			}
			if !strings.Contains(got.stdout, test.stdout) || (test.stdout == "") != (got.stdout == "") {
				t.Errorf("stdout %q, want %q in it", got.stdout, test.stdout)
			}
			if !strings.Contains(got.stderr, test.stderr) || (test.stderr == "") != (got.stderr == "") {
				t.Errorf("stderr %q, want %q in it", got.stderr, test.stderr)
			}
		})
	}
}

func TestFlagsWinOverTheEnvironment(t *testing.T) {
	env := map[string]string{"ZFS_CSI_PARENT": "env/a,env/b", "ZFS_CSI_DRIVER_NAME": "from.env", "NODE_ID": "alias"}
	var name, node string
	var parents datasets
	f := newFlags("serve", "", invocation{
		args: []string{"one", "--driver-name", "from.flag", "two"},
		env:  func(name string) string { return env[name] },
	})
	f.driverName(&name)
	f.parents(&parents)
	f.StringVar(&node, "node-id", "default", "")
	f.also["node-id"] = []string{"NODE_ID"}
	if err := f.parse(2); err != nil {
		t.Fatal(err)
	}
	if name != "from.flag" || parents.String() != "env/a,env/b" || node != "alias" || strings.Join(f.Args(), " ") != "one two" {
		t.Errorf("driver name %q, parents %q, node %q, arguments %q", name, parents.String(), node, f.Args())
	}
}

// TestServe starts the driver on a machine without its pool while another one serves the
// same parent: it waits for that to end, tells its name, and is stopped.
func TestServe(t *testing.T) {
	dir, err := os.MkdirTemp("", "serve") // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket, locks := filepath.Join(dir, "own", "csi.sock"), filepath.Join(dir, "locks")
	serving, err := lockParents(t.Context(), locks, []zfs.Dataset{zfs.MustParseDataset("zfscsitestnopool/csi")}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	log, ended := make(lines, 100), make(chan int, 1)
	go func() {
		env := map[string]string{"CSI_ENDPOINT": "unix://" + socket, "ZFS_CSI_LOCK_DIR": locks}
		args := []string{"serve", "--parent", "zfscsitestnopool/csi", "--node-id", "n1", "--log-format", "json"}
		ended <- run(ctx, args, func(name string) string { return env[name] }, io.Discard, log)
	}()
	log.await(t, waiting)
	if _, err := os.Lstat(socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it serves beside another: %v", err)
	}
	serving.release()
	log.await(t, `"msg":"starting"`)

	connection, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		}))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	limited, stop := context.WithTimeout(ctx, 30*time.Second)
	defer stop()
	info, err := csi.NewIdentityClient(connection).GetPluginInfo(limited, &csi.GetPluginInfoRequest{}, grpc.WaitForReady(true))
	if err != nil || info.GetName() != "zfs-csi.github.io" {
		t.Errorf("plugin %v, error %v", info, err)
	}
	if mode, err := os.Stat(socket); err != nil || mode.Mode().Perm() != 0o600 {
		t.Errorf("socket %v, error %v; want mode 0600", mode, err)
	}
	cancel()
	if code := <-ended; code != exitOK {
		t.Errorf("exit code %d", code)
	}
	if _, err := os.Stat(socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
}

package main

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"github.com/zfs-csi/zfs-csi/zfs"
)

// TestServeInAPod starts the driver as its pod does, on a machine without its pool and with
// tools that are not there: all that looks after it is answered, and the log says what is wrong.
func TestServeInAPod(t *testing.T) {
	dir, err := os.MkdirTemp("", "pod") // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	log, ended := make(lines, 100), make(chan int, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		env := map[string]string{
			"ZFS_CSI_KUBELET_REGISTRATION_DIR": dir, "ZFS_CSI_KUBELET_ENDPOINT": "/on/the/node/csi.sock", "ZFS_CSI_HTTP_ADDRESS": "127.0.0.1:0",
			"ZFS_CSI_HOST_ROOT": filepath.Join(dir, "nowhere"), "ZFS_CSI_ENDPOINT": filepath.Join(dir, "csi.sock"), "ZFS_CSI_LOCK_DIR": filepath.Join(dir, "locks"),
		}
		args := []string{"serve", "--parent", "zfscsitestnopool/csi", "--node-id", "n1", "--log-format", "json"}
		ended <- run(ctx, args, func(name string) string { return env[name] }, io.Discard, log)
	}()
	var serving struct{ Address string }
	if err := json.Unmarshal([]byte(log.await(t, "serving health")), &serving); err != nil {
		t.Fatal(err)
	}
	// Which of the two is wrong depends on the machine: the module, or the tools.
	if line := log.await(t, `"advice"`); !strings.Contains(line, `"level":"WARN"`) || !strings.Contains(line, "not loaded") && !strings.Contains(line, "nowhere") {
		t.Errorf("what is wrong with ZFS here is said so: %s", line)
	}
	log.await(t, "waiting for the kubelet")

	conn, err := grpc.NewClient("unix:"+filepath.Join(dir, "zfs-csi.github.io-reg.sock"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	limited, stop := context.WithTimeout(ctx, 30*time.Second)
	defer stop()
	info, err := registration.NewRegistrationClient(conn).GetInfo(limited, &registration.InfoRequest{})
	if err != nil || info.GetEndpoint() != "/on/the/node/csi.sock" || info.GetName() != "zfs-csi.github.io" {
		t.Errorf("the kubelet is told %v, %v", info, err)
	}
	answers(t, serving.Address, map[string]int{"/healthz": http.StatusOK, "/readyz": http.StatusServiceUnavailable})
	cancel()
	if code := <-ended; code != exitOK {
		t.Errorf("exit code %d", code)
	}
}

// TestServeWaits: a driver that waits for another one to end is well, but not ready.
func TestServeWaits(t *testing.T) {
	parent := zfs.MustParseDataset("zfscsitestnopool/csi")
	dir := t.TempDir()
	locks, err := lockParents(t.Context(), dir, []zfs.Dataset{parent}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer locks.release()
	log, ended := make(lines, 100), make(chan int, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		args := []string{
			"serve", "--parent", parent.String(), "--node-id", "n1", "--log-format", "json", "--http-address", "127.0.0.1:0",
			"--endpoint", filepath.Join(dir, "csi.sock"), "--lock-dir", dir,
		}
		ended <- run(ctx, args, func(string) string { return "" }, io.Discard, log)
	}()
	var serving struct{ Address string }
	if err := json.Unmarshal([]byte(log.await(t, "serving health")), &serving); err != nil {
		t.Fatal(err)
	}
	answers(t, serving.Address, map[string]int{"/healthz": http.StatusOK, "/readyz": http.StatusServiceUnavailable})
	cancel()
	if code := <-ended; code != exitOK {
		t.Errorf("exit code %d", code)
	}
}

// answers checks what is answered over HTTP for each path.
func answers(t *testing.T, address string, wants map[string]int) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	for path, want := range wants {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if resp.StatusCode != want || err != nil {
			t.Errorf("%s: %s %q, %v; want %d", path, resp.Status, body, err, want)
		}
		if err := resp.Body.Close(); err != nil {
			t.Error(err)
		}
	}
}

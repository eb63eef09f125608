package driver_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/zfs-csi/zfs-csi/driver"
	"github.com/zfs-csi/zfs-csi/zfs/fake"
)

// healthOf returns what asks for the health behind a socket.
func healthOf(t *testing.T, endpoint string) func(path string) (code int, body string) {
	t.Helper()
	h, err := driver.NewHealth(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	h.Started()
	mux := http.NewServeMux()
	h.Handle(mux)
	server := httptest.NewServer(mux)
	t.Cleanup(func() {
		server.Close()
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return func(path string) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, nil)
		if err != nil {
			t.Error(err)
			return 0, ""
		}
		resp, err := server.Client().Do(req)
		if err != nil {
			t.Error(err)
			return 0, ""
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Error(err)
		}
		return resp.StatusCode, string(body)
	}
}

func TestHealth(t *testing.T) {
	s := serve(t)
	if _, err := s.Probe(s.context(), &csi.ProbeRequest{}); err != nil {
		t.Fatal(err)
	}
	ask := healthOf(t, "unix://"+s.socket)
	want := func(path string, code int, says string) {
		t.Helper()
		if got, body := ask(path); got != code || !strings.Contains(body, says) {
			t.Errorf("%s: %d %q; want %d that says %q", path, got, body, code, says)
		}
	}
	want("/healthz", http.StatusOK, "ok")
	want("/readyz", http.StatusOK, "ok")
	want("/", http.StatusNotFound, "")

	s.store.SetPool(fast.Pool(), fake.Exported)
	want("/readyz", http.StatusOK, "ok")
	s.store.SetPool(tank.Pool(), fake.Exported)
	want("/healthz", http.StatusOK, "ok")
	want("/readyz", http.StatusServiceUnavailable, "pool")
	s.store.SetPool(fast.Pool(), fake.Healthy)
	want("/readyz", http.StatusOK, "ok")

	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	want("/healthz", http.StatusServiceUnavailable, s.socket)
	want("/readyz", http.StatusServiceUnavailable, s.socket)
}

// A pool that hangs is no reason to end the process.
func TestHealthWhileAPoolHangs(t *testing.T) {
	s, g := gated(t, "Check", driver.Config{StopTimeout: deadline})
	if _, err := s.GetPluginInfo(s.context(), &csi.GetPluginInfoRequest{}); err != nil {
		t.Fatal(err)
	}
	ask := healthOf(t, s.socket)
	ready := make(chan int)
	go func() {
		code, _ := ask("/readyz")
		ready <- code
	}()
	<-g.entered
	if code, body := ask("/healthz"); code != http.StatusOK {
		t.Errorf("/healthz: %d %q", code, body)
	}
	close(g.open)
	if code := <-ready; code != http.StatusOK {
		t.Errorf("/readyz after the pool answers again: %d", code)
	}
}

// The driver may begin to serve at any time.
func TestHealthBeforeTheDriver(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "csi.sock")
	ask := healthOf(t, socket)
	if code, body := ask("/healthz"); code != http.StatusServiceUnavailable || !strings.Contains(body, socket) {
		t.Errorf("/healthz without a driver: %d %q", code, body)
	}
	d, err := driver.New(driver.Config{NodeID: "node-1", Store: fake.New(tank), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- d.Serve(ctx, socket) }()
	for end := time.Now().Add(deadline); ; time.Sleep(time.Millisecond) { // between two looks
		code, body := ask("/healthz")
		if code == http.StatusOK {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("/healthz: %d %q", code, body)
		}
	}
	cancel()
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
}

func TestHealthRefuses(t *testing.T) {
	if _, err := driver.NewHealth("tcp://127.0.0.1:1"); err == nil || !strings.Contains(err.Error(), "tcp://127.0.0.1:1") {
		t.Errorf("the health of a driver that is not on a socket: %v", err)
	}
}

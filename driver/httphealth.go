package driver

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// healthTimeout is how long an answer may take at most.
const healthTimeout = 10 * time.Second

// Health tells over HTTP how the driver behind a CSI socket is, as its callers find it.
type Health struct {
	conn     *grpc.ClientConn
	identity csi.IdentityClient
	started  atomic.Bool
}

// NewHealth returns the Health of the driver that serves, now or later, on an endpoint as Serve takes it.
func NewHealth(endpoint string) (*Health, error) {
	path, err := socketPath(endpoint)
	if err != nil {
		return nil, fmt.Errorf("endpoint %q: %w", endpoint, err)
	}
	conn, err := grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()),
		// It is asked rarely, and then has to know.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1, MaxDelay: 100 * time.Millisecond}, MinConnectTimeout: healthTimeout,
		}))
	if err != nil {
		return nil, fmt.Errorf("endpoint %q: %w", endpoint, err)
	}
	return &Health{conn: conn, identity: csi.NewIdentityClient(conn)}, nil
}

// Started says that the driver serves from now on. Until then it waits, for another process to end, say, and is well.
func (h *Health) Started() { h.started.Store(true) }

// Close ends the connection to the socket.
func (h *Health) Close() error { return h.conn.Close() }

// Handle adds /healthz and /readyz, which answer 200 for yes and 503 with the reason for no:
//
//   - /healthz: are calls answered, or was Started not called yet? It does not ask for pools, since no restart brings one back: not even by
//     Probe, which has no answer while a pool hangs.
//   - /readyz: does Probe say that the driver is ready, with a pool and parent that it can use?
func (h *Health) Handle(mux *http.ServeMux) {
	mux.HandleFunc("GET /healthz", answer(func(ctx context.Context) error {
		if !h.started.Load() {
			return nil
		}
		_, err := h.identity.GetPluginInfo(ctx, &csi.GetPluginInfoRequest{})
		return err
	}))
	mux.HandleFunc("GET /readyz", answer(func(ctx context.Context) error {
		resp, err := h.identity.Probe(ctx, &csi.ProbeRequest{})
		if err == nil && !resp.GetReady().GetValue() {
			err = fmt.Errorf("no pool and parent is there; see the driver's log, or zfs-csi check")
		}
		return err
	}))
}

// answer serves what a question is answered with.
func answer(ask func(context.Context) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), healthTimeout)
		defer cancel()
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		if err := ask(ctx); err != nil {
			http.Error(w, status.Convert(err).Message(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	}
}

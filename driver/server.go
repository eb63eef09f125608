package driver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"

	"github.com/zfs-csi/zfs-csi/zfs"
)

// sweepRetry is how long the sweep at start waits for a pool that is not there yet.
const sweepRetry = time.Minute

// Serve serves CSI on a unix socket until ctx ends, then stops gracefully: calls and
// operations under way end first, for at most StopTimeout. The endpoint is the
// socket's path, with or without "unix://" before it. It returns nil after a stop
// in which all ended.
//
// At the start it also sweeps the store, beside the calls.
func (d *Driver) Serve(ctx context.Context, endpoint string) error {
	listener, err := listen(ctx, endpoint)
	if err != nil {
		return fmt.Errorf("listen on %q: %w", endpoint, err)
	}
	server := grpc.NewServer(grpc.UnaryInterceptor(d.intercept))
	csi.RegisterIdentityServer(server, d)
	csi.RegisterControllerServer(server, d)
	csi.RegisterNodeServer(server, d)

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	d.running.Go(func() { d.sweep(ctx) })

	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	d.config.Log.InfoContext(ctx, "serving", "driver", d.config.Name, "version", d.config.Version,
		"node", d.config.NodeID, "endpoint", listener.Addr().String())
	select {
	case err := <-served:
		return fmt.Errorf("serve on %q: %w", endpoint, err)
	case <-ctx.Done():
		return d.stop(server)
	}
}

// stop ends the server when all that is under way has ended, or StopTimeout has passed.
func (d *Driver) stop(server *grpc.Server) error {
	d.config.Log.Info("stopping; waiting for what is under way", "timeout", d.config.StopTimeout)
	done := make(chan struct{})
	go func() {
		defer close(done)
		server.GracefulStop()
		d.running.Wait()
	}()
	timeout := time.NewTimer(d.config.StopTimeout)
	defer timeout.Stop()
	select {
	case <-done:
		d.config.Log.Info("stopped")
		return nil
	case <-timeout.C:
		server.Stop()
		return fmt.Errorf("stopped with operations still under way after %s; the same calls made again, or the sweep at the next start, finish them", d.config.StopTimeout)
	}
}

// sweep finishes what an earlier process left half-done, as soon as the pools are there.
func (d *Driver) sweep(ctx context.Context) {
	log := d.config.Log
	for {
		start := time.Now()
		err := d.guard(ctx, func() error { return d.store.Sweep(ctx) })
		switch {
		case err == nil:
			log.InfoContext(ctx, "swept what an earlier process left", "duration", time.Since(start))
			return
		case ctx.Err() != nil:
			return
		case !errors.Is(err, zfs.ErrUnavailable):
			log.ErrorContext(ctx, "sweep failed; the next start tries again", "error", err)
			return
		}
		log.WarnContext(ctx, "sweep has to wait for the pool", "retry", sweepRetry, "error", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(sweepRetry):
		}
	}
}

// maxSocketPath is the longest path of a unix socket; see unix(7).
const maxSocketPath = 107

// listen makes the socket, for this user alone, and its folder if it is not there.
func listen(ctx context.Context, endpoint string) (net.Listener, error) {
	path, err := socketPath(endpoint)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	if err := removeStale(ctx, path); err != nil {
		return nil, err
	}
	// Set before the socket has a name, so that there is no moment at which others
	// may connect: Linux takes the mode of the file from the socket.
	private := func(_, _ string, c syscall.RawConn) error {
		var chmodErr error
		err := c.Control(func(fd uintptr) { chmodErr = syscall.Fchmod(int(fd), 0o600) })
		return errors.Join(err, chmodErr)
	}
	return (&net.ListenConfig{Control: private}).Listen(ctx, "unix", path)
}

// socketPath returns the path that an endpoint names.
func socketPath(endpoint string) (string, error) {
	path := strings.TrimPrefix(strings.TrimPrefix(endpoint, "unix:"), "//")
	switch {
	case path == "" || strings.Contains(path, "://"):
		return "", errors.New("not the path of a unix socket, such as unix:///csi/csi.sock")
	case len(path) > maxSocketPath:
		return "", fmt.Errorf("the path has %d bytes; a unix socket's has at most %d", len(path), maxSocketPath)
	}
	return path, nil
}

// removeStale removes a socket that nobody listens on any more. Anything else that is
// there is an error.
func removeStale(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errors.New("something that is not a socket is there; remove it or choose another path")
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err == nil {
		return errors.Join(errors.New("another process serves there; end it or choose another path"), conn.Close())
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return os.Remove(path)
}

package driver

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"

	"github.com/zfs-csi/zfs-csi/zfs"
)

const (
	// sweepRetry is how long a sweep waits for a pool that is not there.
	sweepRetry = time.Minute
	// sweepInterval is how often all is swept again, for what could not be removed at once, such as a
	// deleted volume a snapshot of which is being sent somewhere.
	sweepInterval = time.Hour
)

// Serve serves CSI on a unix socket until ctx ends, then stops gracefully: calls and
// operations under way end first, for at most StopTimeout. The endpoint is the
// socket's path, with or without "unix://" before it. It returns nil after a stop
// in which all ended.
//
// As soon as calls are answered, and until ctx ends, it offers the driver to the kubelet, if it is to.
//
// At the start it finishes what an earlier process left: before the first call it lets
// filesystems go on that were at rest for a clone, and beside the calls it sweeps the store, which it repeats now and then.
func (d *Driver) Serve(ctx context.Context, endpoint string) error {
	listener, err := listen(ctx, endpoint)
	if err != nil {
		return fmt.Errorf("listen on %q: %w", endpoint, err)
	}
	server := grpc.NewServer(grpc.UnaryInterceptor(d.intercept))
	csi.RegisterIdentityServer(server, d)
	csi.RegisterControllerServer(server, d)
	csi.RegisterNodeServer(server, d)
	csi.RegisterGroupControllerServer(server, d)

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	d.thawAtStart(ctx)
	d.running.Go(func() { d.sweep(ctx) })

	served := make(chan error, 1)
	var serving sync.WaitGroup
	serving.Go(func() { served <- server.Serve(listener) })
	defer serving.Wait() // It removes the socket, also where it has only begun when the driver stops.
	d.config.Log.InfoContext(ctx, "serving", "driver", d.config.Name, "version", d.config.Version,
		"node", d.config.NodeID, "endpoint", listener.Addr().String())
	if d.config.Registration != nil {
		wait, err := d.register(ctx, listener.Addr().String())
		if err != nil {
			cancel()
			return errors.Join(err, d.stop(server))
		}
		defer func() {
			cancel()
			wait()
		}()
	}
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

// sweeping locks a volume for the sweep; it returns nil when a call has it.
func (d *Driver) sweeping(id zfs.VolumeID) (unlock func()) {
	release, _ := d.locks.try(id.String())
	return release
}

// sweep finishes what an earlier process left half-done, as soon as the pools are there, and
// from then on what could not be finished at once. While a pool is away it tries again soon, but
// below the parents on that alone: a sweep of all takes long where there are many volumes.
func (d *Driver) sweep(ctx context.Context) {
	var away []zfs.Dataset
	var full time.Time
	for {
		if time.Since(full) >= sweepInterval {
			away = d.sweepBelow(ctx, d.store.Parents())
			full = time.Now()
		} else {
			away = d.sweepBelow(ctx, away)
		}
		next := time.Until(full.Add(sweepInterval))
		if len(away) > 0 {
			next = min(next, sweepRetry)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(next):
		}
	}
}

// sweepBelow sweeps below parents, and returns those that are not there.
func (d *Driver) sweepBelow(ctx context.Context, parents []zfs.Dataset) (away []zfs.Dataset) {
	start, log := time.Now(), d.config.Log
	var faults []error
	for _, p := range parents {
		err := d.guard(ctx, func() error { return d.store.Sweep(ctx, d.sweeping, p) })
		if errors.Is(err, zfs.ErrUnavailable) {
			away = append(away, p)
		}
		faults = append(faults, err)
	}
	err := errors.Join(faults...)
	switch {
	case err == nil:
		log.InfoContext(ctx, "swept what was left half-done", "duration", time.Since(start))
	case ctx.Err() != nil:
	case len(away) > 0:
		log.WarnContext(ctx, "sweep has to wait for the pool", "retry", sweepRetry, "error", err)
	default:
		log.ErrorContext(ctx, "sweep failed", "retry", sweepInterval, "error", err)
	}
	return away
}

package driver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// Registration is how the driver makes itself known to the kubelet of its node, which watches
// a folder and asks behind each socket that appears there what plugin it belongs to; see
// the kubelet's pkg/kubelet/pluginmanager.
type Registration struct {
	// Dir is that folder: /var/lib/kubelet/plugins_registry as a rule.
	Dir string
	// Endpoint is the CSI socket as the kubelet sees it, which may be another path than in the
	// driver's container; the one that Serve is given if empty.
	Endpoint string

	// Other times than those below, for tests.
	poll, retry, patience time.Duration
}

const (
	// registrationPoll is how often the socket is looked after.
	registrationPoll = time.Second
	// registrationRetry is how long the driver waits before it asks again after a refusal.
	registrationRetry = 10 * time.Second
	// registrationPatience is how long the kubelet may take before the log tells of it.
	registrationPatience = time.Minute
)

// csiVersion stands for all versions 1 of CSI to the kubelet.
const csiVersion = "1.0.0"

// registrar serves the kubelet's questions on a socket of its own.
type registrar struct {
	registration.UnimplementedRegistrationServer

	config  Registration
	path    string
	info    *registration.PluginInfo
	log     *slog.Logger
	answers chan *registration.RegistrationStatus
}

// register begins to serve the kubelet's questions about the CSI socket of that path, on which
// calls are answered already, until ctx ends. The function it returns waits for that end;
// the socket is gone then.
func (d *Driver) register(ctx context.Context, csiSocket string) (wait func(), err error) {
	c := *d.config.Registration
	c.poll, c.retry, c.patience = cmp.Or(c.poll, registrationPoll), cmp.Or(c.retry, registrationRetry), cmp.Or(c.patience, registrationPatience)
	seen := csiSocket
	if c.Endpoint != "" {
		if seen, err = socketPath(c.Endpoint); err != nil {
			return nil, fmt.Errorf("the kubelet's endpoint %q: %w", c.Endpoint, err)
		}
	}
	if seen, err = filepath.Abs(seen); err != nil {
		return nil, err
	}
	r := &registrar{
		config: c, log: d.config.Log,
		path:    filepath.Join(c.Dir, d.config.Name+"-reg.sock"),
		info:    &registration.PluginInfo{Type: registration.CSIPlugin, Name: d.config.Name, Endpoint: seen, SupportedVersions: []string{csiVersion}},
		answers: make(chan *registration.RegistrationStatus),
	}
	socket, err := r.listen(ctx)
	if err != nil {
		return nil, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.keep(ctx, socket)
	}()
	return func() { <-done }, nil
}

// GetInfo implements registration.RegistrationServer.
func (r *registrar) GetInfo(context.Context, *registration.InfoRequest) (*registration.PluginInfo, error) {
	return r.info, nil
}

// NotifyRegistrationStatus implements registration.RegistrationServer.
func (r *registrar) NotifyRegistrationStatus(ctx context.Context, s *registration.RegistrationStatus) (*registration.RegistrationStatusResponse, error) {
	select {
	case r.answers <- s:
		return &registration.RegistrationStatusResponse{}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// keep keeps a socket in its place until ctx ends. A kubelet asks again only behind a new
// socket; so one that is gone is made anew, and one behind which the kubelet refused the
// driver as well: to end the process would bring no more, and cut off what it is doing.
func (r *registrar) keep(ctx context.Context, socket *registrationSocket) {
	for socket != nil {
		r.await(ctx, socket)
		if err := socket.close(); err != nil {
			r.log.ErrorContext(ctx, "the kubelet's socket is left", "socket", r.path, "error", err)
		}
		socket = r.listenAgain(ctx)
	}
}

// await returns when a new socket is needed, or ctx has ended.
func (r *registrar) await(ctx context.Context, socket *registrationSocket) {
	poll := time.NewTicker(r.config.poll)
	defer poll.Stop()
	patience := time.NewTimer(r.config.patience)
	defer patience.Stop()
	var retry <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-retry:
			return
		case <-poll.C:
			if !socket.there() {
				r.log.WarnContext(ctx, "the kubelet's socket was removed; it is made again", "socket", r.path)
				return
			}
		case <-patience.C:
			r.log.WarnContext(ctx, "the kubelet has not registered the driver yet; it has to see this socket in its folder plugins_registry",
				"socket", r.path, "waited", r.config.patience)
		case s := <-r.answers:
			patience.Stop()
			if s.GetPluginRegistered() {
				retry = nil
				r.log.InfoContext(ctx, "the kubelet has registered the driver")
			} else {
				retry = time.After(r.config.retry)
				r.log.ErrorContext(ctx, "the kubelet does not register the driver; it is asked again", "error", s.GetError(), "retry", r.config.retry)
			}
		}
	}
}

// listenAgain tries until it has a new socket; it returns nil when ctx has ended.
func (r *registrar) listenAgain(ctx context.Context) *registrationSocket {
	poll := time.NewTicker(r.config.poll)
	defer poll.Stop()
	for said := ""; ctx.Err() == nil; {
		socket, err := r.listen(ctx)
		if err == nil {
			return socket
		}
		if err.Error() != said {
			said = err.Error()
			r.log.ErrorContext(ctx, "the kubelet cannot register the driver", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-poll.C:
		}
	}
	return nil
}

// registrationSocket is a socket that is being served.
type registrationSocket struct {
	path   string
	made   fs.FileInfo
	server *grpc.Server
}

// listen makes the socket and serves it.
func (r *registrar) listen(ctx context.Context) (*registrationSocket, error) {
	listener, err := listen(ctx, r.path)
	if err != nil {
		return nil, fmt.Errorf("listen for the kubelet on %q: %w", r.path, err)
	}
	// By that time the path may be another's.
	listener.(*net.UnixListener).SetUnlinkOnClose(false)
	made, err := os.Lstat(r.path)
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	s := &registrationSocket{path: r.path, made: made, server: grpc.NewServer()}
	registration.RegisterRegistrationServer(s.server, r)
	r.log.InfoContext(ctx, "waiting for the kubelet to register the driver", "socket", r.path, "endpoint", r.info.GetEndpoint())
	go func() {
		if err := s.server.Serve(listener); err != nil {
			r.log.ErrorContext(ctx, "the kubelet's socket is no longer served", "error", err)
		}
	}()
	return s, nil
}

// there tells whether the socket is where it was made. While it is served no other file
// can have its inode.
func (s *registrationSocket) there() bool {
	now, err := os.Lstat(s.path)
	return err == nil && os.SameFile(now, s.made)
}

// close removes the socket, if it still is this one, and ends its server, once it has answered what it was told.
func (s *registrationSocket) close() error {
	defer func() {
		// What nobody takes any more is not waited for.
		stop := time.AfterFunc(time.Second, s.server.Stop)
		s.server.GracefulStop()
		stop.Stop()
	}()
	if !s.there() {
		return nil
	}
	return os.Remove(s.path)
}

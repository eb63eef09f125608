// Package service starts the driver and calls it through its socket, as an orchestrator does,
// for the tests that do.
package service

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/zfs-csi/zfs-csi/driver"
)

// Service is a driver that serves on a socket, and its clients.
type Service struct {
	csi.IdentityClient
	csi.ControllerClient
	csi.GroupControllerClient
	csi.NodeClient

	// MakeFolder makes a folder, with those it is in, where the driver runs.
	MakeFolder func(path string) error

	stop func() error
}

// Start starts a driver that serves on the socket of that path until Stop is called. It returns
// when the driver has answered.
func Start(c driver.Config, socket string) (*Service, error) {
	d, err := driver.New(c)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() {
		served <- d.Serve(ctx, socket)
		cancel()
	}()
	return Connect(ctx, socket, func() error {
		cancel()
		return <-served
	})
}

// Connect connects to a driver that was started elsewhere, and returns when it has answered, or
// ctx has ended. Stop calls end, once; so does Connect when it fails.
func Connect(ctx context.Context, socket string, end func() error) (*Service, error) {
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.WaitForReady(true)),
		// The socket is there in a moment; what answers there may take its time.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: time.Millisecond, Multiplier: 2, MaxDelay: time.Second},
			MinConnectTimeout: 20 * time.Second,
		}))
	if err != nil {
		return nil, errors.Join(err, end())
	}
	s := &Service{
		IdentityClient: csi.NewIdentityClient(conn), ControllerClient: csi.NewControllerClient(conn),
		GroupControllerClient: csi.NewGroupControllerClient(conn), NodeClient: csi.NewNodeClient(conn),
		MakeFolder: func(path string) error { return os.MkdirAll(path, 0o755) },
		stop:       sync.OnceValue(func() error { return errors.Join(conn.Close(), end()) }),
	}
	if _, err := s.Probe(ctx, &csi.ProbeRequest{}); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// Stop ends the driver and returns what its Serve returned, also when it is called again.
func (s *Service) Stop() error { return s.stop() }

// Package service starts the driver and calls it through its socket, as an orchestrator does,
// for the tests that do.
package service

import (
	"context"
	"errors"
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

	stop func() error
}

// Start starts a driver that serves on the socket of that path until Stop is called. It returns
// when the driver has answered.
func Start(c driver.Config, socket string) (*Service, error) {
	d, err := driver.New(c)
	if err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.WaitForReady(true)),
		// The socket is there in a moment; what answers there may take its time.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: time.Millisecond, Multiplier: 2, MaxDelay: time.Second},
			MinConnectTimeout: 20 * time.Second,
		}))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Service{
		IdentityClient: csi.NewIdentityClient(conn), ControllerClient: csi.NewControllerClient(conn),
		GroupControllerClient: csi.NewGroupControllerClient(conn), NodeClient: csi.NewNodeClient(conn),
	}
	served := make(chan error, 1)
	go func() {
		served <- d.Serve(ctx, socket)
		cancel()
	}()
	s.stop = sync.OnceValue(func() error {
		err := conn.Close()
		cancel()
		return errors.Join(err, <-served)
	})
	if _, err := s.Probe(ctx, &csi.ProbeRequest{}); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// Stop ends the driver and returns what its Serve returned, also when it is called again.
func (s *Service) Stop() error { return s.stop() }

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/zfs-csi/zfs-csi/driver"
)

// httpPatience is how long a caller over HTTP may take to ask.
const httpPatience = 5 * time.Second

// serveHealth serves over HTTP how the driver behind the endpoint is, which serves from the call of started on, until stop is called.
func serveHealth(ctx context.Context, address, endpoint string, log *slog.Logger) (started, stop func(), err error) {
	health, err := driver.NewHealth(endpoint)
	if err != nil {
		return nil, nil, err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("serve HTTP: %w; another --http-address may be free", err), health.Close())
	}
	mux := http.NewServeMux()
	health.Handle(mux)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: httpPatience, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.ErrorContext(ctx, "HTTP is no longer served", "address", address, "error", err)
		}
	}()
	log.InfoContext(ctx, "serving health over HTTP", "address", listener.Addr().String())
	return health.Started, func() {
		if err := errors.Join(server.Close(), health.Close()); err != nil {
			log.ErrorContext(ctx, "HTTP did not stop well", "error", err)
		}
		<-done
	}, nil
}

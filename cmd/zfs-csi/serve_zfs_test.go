package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/zfs-csi/zfs-csi/zfs/zfstest"
)

// TestServePoolFileOnZFS: while the pool in the file cannot be made the driver serves, and it makes the pool when it can.
func TestServePoolFileOnZFS(t *testing.T) {
	pool, dir := zfstest.NoPool(t)
	folder, socket := filepath.Join(dir, "disk"), filepath.Join(dir, "csi.sock")
	inTheWay := []byte("no folder")
	if err := os.WriteFile(folder, inTheWay, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	log, ended := make(lines, 1000), make(chan int, 1)
	go func() {
		args := []string{
			"serve", "--parent", pool + "/csi", "--node-id", "n1", "--endpoint", "unix://" + socket, "--lock-dir", filepath.Join(dir, "locks"),
			"--pool-file", filepath.Join(folder, "pool.img"), "--pool-size", "96Mi", "--pool-note-dir", filepath.Join(dir, "notes"),
		}
		ended <- run(ctx, args, func(string) string { return "" }, io.Discard, log)
	}()
	defer func() {
		cancel()
		if code := <-ended; code != exitOK {
			t.Errorf("exit code %d", code)
		}
	}()
	log.await(t, "the pool in the file cannot be used")

	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	limited, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	ready := func() bool {
		t.Helper()
		resp, err := csi.NewIdentityClient(conn).Probe(limited, &csi.ProbeRequest{}, grpc.WaitForReady(true))
		if err != nil {
			t.Fatal(err)
		}
		return resp.GetReady().GetValue()
	}
	if ready() {
		t.Error("it is ready without its pool")
	}
	if err := os.Remove(folder); err != nil {
		t.Fatal(err)
	}
	log.await(t, "pool "+pool+" is made")
	if !ready() {
		t.Error("it is not ready with its pool")
	}
}

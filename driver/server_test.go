package driver_test

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"

	"github.com/zfs-csi/zfs-csi/driver"
	"github.com/zfs-csi/zfs-csi/zfs/fake"
)

func TestStopWaits(t *testing.T) {
	s, g := gated(t, "Create", driver.Config{StopTimeout: deadline})
	done := make(chan error)
	go func() {
		_, err := s.CreateVolume(s.context(), request("pvc-1", mib, mount("")))
		done <- err
	}()
	<-g.entered
	stopped := make(chan error)
	go func() { stopped <- s.stop() }()
	for end := time.Now().Add(deadline); !strings.Contains(s.log.String(), "stopping"); time.Sleep(time.Millisecond) { // between two looks
		if time.Now().After(end) {
			t.Fatal("does not stop")
		}
	}
	close(g.open)
	if err := <-done; err != nil {
		t.Errorf("the call under way: %v", err)
	}
	if err := <-stopped; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if _, err := os.Lstat(s.socket); !os.IsNotExist(err) {
		t.Errorf("the socket is still there: %v", err)
	}
}

func TestStopGivesUp(t *testing.T) {
	g := newGate("Create")
	store := fake.New(tank)
	store.Intercept = g.pass
	defer close(g.open)
	d, err := driver.New(driver.Config{NodeID: "node-1", Store: store, Log: slog.New(slog.DiscardHandler), StopTimeout: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		// Never answered: the pool hangs.
		_, _ = d.CreateVolume(t.Context(), request("pvc-1", mib, mount("")))
	}()
	<-g.entered
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err = d.Serve(ctx, filepath.Join(t.TempDir(), "csi.sock"))
	if err == nil || !strings.Contains(err.Error(), "under way") {
		t.Errorf("Serve: %v; want it to tell what it left", err)
	}
}

func TestSocket(t *testing.T) {
	s := serve(t)
	if _, err := s.GetPluginInfo(s.context(), &csi.GetPluginInfoRequest{}); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]os.FileMode{s.socket: os.ModeSocket | 0o600, filepath.Dir(s.socket): os.ModeDir | 0o700} {
		info, err := os.Stat(path)
		if err != nil || info.Mode() != want {
			t.Errorf("%s has mode %s, %v; want %s", path, info.Mode(), err, want)
		}
	}

	refused := func(endpoint, says string) {
		t.Helper()
		d, err := driver.New(driver.Config{NodeID: "node-1", Store: fake.New(tank), Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Serve(s.context(), endpoint); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("Serve on %q: %v; want it to say %s", endpoint, err, says)
		}
	}
	refused(s.socket, "another process")
	refused("unix:"+s.socket, "another process")
	refused("tcp://127.0.0.1:1", "not the path")
	refused("", "not the path")
	refused("/"+strings.Repeat("x", 107), "107")
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	refused(file, "not a socket")
}

func TestStaleSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "csi.sock")
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	if err := stale.Close(); err != nil {
		t.Fatal(err)
	}
	d, err := driver.New(driver.Config{NodeID: "node-1", Store: fake.New(tank), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- d.Serve(ctx, path) }()
	for end := time.Now().Add(deadline); ; time.Sleep(time.Millisecond) { // between two looks
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "unix", path)
		if err == nil {
			err = conn.Close()
		}
		if err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	cancel()
	if err := <-served; err != nil {
		t.Errorf("Serve where a dead process left its socket: %v", err)
	}
}

func TestLog(t *testing.T) {
	s := serve(t)
	req := request("pvc-1", mib, mount(""))
	req.Secrets = map[string]string{"key": "hunter2"}
	s.create(req)
	_, err := s.DeleteVolume(s.context(), &csi.DeleteVolumeRequest{Secrets: map[string]string{"key": "hunter2"}})
	s.want(err, codes.InvalidArgument)
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	log := s.log.String()
	for _, part := range []string{"/csi.v1.Controller/CreateVolume", "code=OK", "pvc-1", "duration=", "code=InvalidArgument", "volume_id is missing", "swept"} {
		if !strings.Contains(log, part) {
			t.Errorf("the log does not tell %q:\n%s", part, log)
		}
	}
	if strings.Contains(log, "hunter2") {
		t.Errorf("the log tells a secret:\n%s", log)
	}
	if n := strings.Count(log, "/csi.v1.Controller/CreateVolume"); n != 1 {
		t.Errorf("the log tells of a call %d times:\n%s", n, log)
	}
}

func TestNewRefuses(t *testing.T) {
	good := driver.Config{NodeID: "node-1", Store: fake.New(tank), Log: slog.New(slog.DiscardHandler)}
	for says, change := range map[string]func(*driver.Config){
		"driver name": func(c *driver.Config) { c.Name = "not a domain" },
		"node ID":     func(c *driver.Config) { c.NodeID = strings.Repeat("n", 64) },
		"store":       func(c *driver.Config) { c.Store = nil },
		"log":         func(c *driver.Config) { c.Log = nil },
		"parent":      func(c *driver.Config) { c.Store = fake.New() },
	} {
		c := good
		change(&c)
		if _, err := driver.New(c); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("New(%+v): %v; want it to say %s", c, err, says)
		}
	}
}

func TestIdentity(t *testing.T) {
	s := serve(t)
	info, err := s.GetPluginInfo(s.context(), &csi.GetPluginInfoRequest{})
	if err != nil || info.GetName() != driver.DefaultName || info.GetVendorVersion() != "v1.2.3" {
		t.Errorf("GetPluginInfo: %v, %v", info, err)
	}
	capabilities, err := s.GetPluginCapabilities(s.context(), &csi.GetPluginCapabilitiesRequest{})
	if err != nil || len(capabilities.GetCapabilities()) != 4 {
		t.Errorf("GetPluginCapabilities: %v, %v", capabilities, err)
	}
	controller, err := s.ControllerGetCapabilities(s.context(), &csi.ControllerGetCapabilitiesRequest{})
	if err != nil || len(controller.GetCapabilities()) != 13 {
		t.Errorf("ControllerGetCapabilities: %v, %v", controller, err)
	}
}

// TestMaxVolumes: the orchestrator is told of the limit that was configured, and of none otherwise.
func TestMaxVolumes(t *testing.T) {
	for _, limit := range []int64{0, 12} {
		s := &service{T: t, store: fake.New(tank)}
		s.start(driver.Config{MaxVolumes: limit, StopTimeout: deadline})
		resp, err := s.NodeGetInfo(s.context(), &csi.NodeGetInfoRequest{})
		if err != nil || resp.GetMaxVolumesPerNode() != limit || resp.GetNodeId() != "node-1" {
			t.Errorf("configured %d: NodeGetInfo says %v, %v", limit, resp, err)
		}
	}
	_, err := driver.New(driver.Config{NodeID: "node-1", Store: fake.New(tank), Log: slog.New(slog.DiscardHandler), MaxVolumes: -1})
	if err == nil || !strings.Contains(err.Error(), "-1") {
		t.Errorf("with a limit below zero: %v", err)
	}
}

// TestExpandOnNode: the controller then does not offer to grow volumes, and the node still does.
func TestExpandOnNode(t *testing.T) {
	for _, onNode := range []bool{false, true} {
		s := &service{T: t, store: fake.New(tank)}
		s.start(driver.Config{ExpandOnNode: onNode, StopTimeout: deadline})
		controller, err := s.ControllerGetCapabilities(s.context(), &csi.ControllerGetCapabilitiesRequest{})
		if err != nil {
			t.Fatal(err)
		}
		offered := slices.ContainsFunc(controller.GetCapabilities(), func(c *csi.ControllerServiceCapability) bool {
			return c.GetRpc().GetType() == csi.ControllerServiceCapability_RPC_EXPAND_VOLUME
		})
		node, err := s.NodeGetCapabilities(s.context(), &csi.NodeGetCapabilitiesRequest{})
		if err != nil {
			t.Fatal(err)
		}
		onTheNode := slices.ContainsFunc(node.GetCapabilities(), func(c *csi.NodeServiceCapability) bool {
			return c.GetRpc().GetType() == csi.NodeServiceCapability_RPC_EXPAND_VOLUME
		})
		if offered == onNode || !onTheNode {
			t.Errorf("ExpandOnNode %t: the controller offers it: %t, the node: %t", onNode, offered, onTheNode)
		}
	}
}

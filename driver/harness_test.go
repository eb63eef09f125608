package driver_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/moby/sys/mountinfo"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/zfs-csi/zfs-csi/driver"
	"github.com/zfs-csi/zfs-csi/zfs"
	"github.com/zfs-csi/zfs-csi/zfs/fake"
	"github.com/zfs-csi/zfs-csi/zfs/zfstest"
)

const (
	mib = 1 << 20
	gib = 1 << 30

	// deadline is how long a test waits for what must happen.
	deadline = 30 * time.Second
)

var (
	tank = zfs.MustParseDataset("tank/csi")
	fast = zfs.MustParseDataset("fast/csi")
)

// service is a driver on a store in memory, called through its socket.
type service struct {
	*testing.T
	csi.ControllerClient
	csi.GroupControllerClient
	csi.IdentityClient
	csi.NodeClient
	store  *fake.Store
	log    *zfstest.Log
	socket string
	// stop ends the service and returns what Serve did.
	stop func() error

	mu    sync.Mutex
	calls []string
}

// serve starts a driver on two parents in two pools.
func serve(t *testing.T) *service {
	s := &service{T: t, store: fake.New(tank, fast)}
	s.store.Intercept = s.note
	s.start(driver.Config{StopTimeout: deadline})
	return s
}

// start starts the driver with what the config leaves open filled in.
func (s *service) start(c driver.Config) {
	s.Helper()
	s.log = &zfstest.Log{}
	c.Version, c.NodeID, c.Store, c.Mounter = "v1.2.3", "node-1", s.store, bare{}
	c.Log = slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	d, err := driver.New(c)
	if err != nil {
		s.Fatal(err)
	}
	s.socket = filepath.Join(s.TempDir(), "csi", "csi.sock")
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- d.Serve(ctx, "unix://"+s.socket) }()
	s.stop = sync.OnceValue(func() error {
		cancel()
		return <-served
	})
	conn, err := grpc.NewClient("unix://"+s.socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		if err := conn.Close(); err != nil {
			s.Error(err)
		}
		if err := s.stop(); err != nil {
			s.Error(err)
		}
	})
	s.ControllerClient, s.IdentityClient, s.NodeClient = csi.NewControllerClient(conn), csi.NewIdentityClient(conn), csi.NewNodeClient(conn)
	s.GroupControllerClient = csi.NewGroupControllerClient(conn)
}

// bare is a machine without mounts: what others test on this one at the same time does not show.
type bare struct{ driver.Mounter }

// Mounts implements driver.Mounter.
func (bare) Mounts() ([]*mountinfo.Info, error) { return nil, nil }

// note remembers the calls to the store, the sweep at start aside.
func (s *service) note(op string, _ zfs.VolumeID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if op != "Sweep" {
		s.calls = append(s.calls, op)
	}
	return nil
}

// asked returns the calls to the store since it was last asked.
func (s *service) asked() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() { s.calls = nil }()
	return strings.Join(s.calls, " ")
}

// context returns the context of one call.
func (s *service) context() context.Context {
	ctx, cancel := context.WithTimeout(s.Context(), deadline)
	s.Cleanup(cancel)
	return ctx
}

// create makes a volume, which must work.
func (s *service) create(req *csi.CreateVolumeRequest) *csi.Volume {
	s.Helper()
	resp, err := s.CreateVolume(s.context(), req)
	if err != nil {
		s.Fatalf("create %s: %v", req.GetName(), err)
	}
	return resp.GetVolume()
}

func (s *service) delete(id string) {
	s.Helper()
	if _, err := s.DeleteVolume(s.context(), &csi.DeleteVolumeRequest{VolumeId: id}); err != nil {
		s.Fatalf("delete %s: %v", id, err)
	}
}

// get returns a volume as the store has it.
func (s *service) get(id string) *zfs.Volume {
	s.Helper()
	parsed, err := zfs.ParseVolumeID(id)
	if err != nil {
		s.Fatal(err)
	}
	v, err := s.store.Get(s.context(), parsed)
	if err != nil {
		s.Fatal(err)
	}
	return v
}

// want checks that an error has a code and says all the parts.
func (s *service) want(err error, code codes.Code, parts ...string) {
	s.Helper()
	if status.Code(err) != code {
		s.Errorf("error %v; want code %s", err, code)
	}
	for _, part := range parts {
		if !strings.Contains(status.Convert(err).Message(), part) {
			s.Errorf("error %v; want it to say %s", err, part)
		}
	}
}

// mount returns the capability of a mounted filesystem.
func mount(fsType string) *csi.VolumeCapability {
	return &csi.VolumeCapability{
		AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{FsType: fsType}},
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER},
	}
}

// block returns the capability of a raw device.
func block() *csi.VolumeCapability {
	return &csi.VolumeCapability{
		AccessType: &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}},
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER},
	}
}

// request returns a request for a volume, of so many bytes if not 0.
func request(name string, size int64, capabilities ...*csi.VolumeCapability) *csi.CreateVolumeRequest {
	req := &csi.CreateVolumeRequest{Name: name, VolumeCapabilities: capabilities}
	if size > 0 {
		req.CapacityRange = &csi.CapacityRange{RequiredBytes: size}
	}
	return req
}

// cloneRequest returns a request for a clone.
func cloneRequest(name, source string, size int64, capabilities ...*csi.VolumeCapability) *csi.CreateVolumeRequest {
	req := request(name, size, capabilities...)
	req.VolumeContentSource = &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Volume{
		Volume: &csi.VolumeContentSource_VolumeSource{VolumeId: source},
	}}
	return req
}

package driver

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"github.com/zfs-csi/zfs-csi/zfs"
	"github.com/zfs-csi/zfs-csi/zfs/fake"
	"github.com/zfs-csi/zfs-csi/zfs/zfstest"
)

// eventually is how long a test waits for what must happen.
const eventually = 30 * time.Second

// registering is a driver that offers itself to a kubelet, which is the test.
type registering struct {
	*testing.T
	dir, csi, socket string
	log              *zfstest.Log
	// stop ends the driver and returns what Serve did.
	stop func() error
}

// startRegistering starts a driver whose socket for the kubelet is in a folder of the test; prepare
// is called before.
func startRegistering(t *testing.T, r Registration, prepare func(socket string)) *registering {
	dir, err := os.MkdirTemp("", "reg") // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := &registering{T: t, dir: filepath.Join(dir, "registry"), csi: filepath.Join(dir, "csi.sock"), log: &zfstest.Log{}}
	s.socket = filepath.Join(s.dir, DefaultName+"-reg.sock")
	if err := os.Mkdir(s.dir, 0o750); err != nil {
		t.Fatal(err)
	}
	if prepare != nil {
		prepare(s.socket)
	}
	r.Dir = s.dir
	d, err := New(Config{NodeID: "node-1", Store: fake.New(zfs.MustParseDataset("tank/csi")), Log: slog.New(slog.NewTextHandler(s.log, nil)), Registration: &r})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- d.Serve(ctx, "unix://"+s.csi) }()
	s.stop = sync.OnceValue(func() error {
		cancel()
		return <-served
	})
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// kubelet connects to the socket, as a kubelet does for each question.
func (s *registering) kubelet() registration.RegistrationClient {
	s.Helper()
	conn, err := grpc.NewClient("unix:"+s.socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = conn.Close() })
	return registration.NewRegistrationClient(conn)
}

// await waits until the driver has made so many sockets.
func (s *registering) await(sockets int) {
	s.Helper()
	s.awaitCount(sockets, "waiting for the kubelet")
}

func (s *registering) awaitLog(says string) {
	s.Helper()
	s.awaitCount(1, says)
}

func (s *registering) awaitCount(n int, says string) {
	s.Helper()
	for end := time.Now().Add(eventually); strings.Count(s.log.String(), says) < n; time.Sleep(time.Millisecond) { // between two looks
		if time.Now().After(end) {
			s.Fatalf("the log does not say %d times %q:\n%s", n, says, s.log)
		}
	}
}

// within is the context of one of the kubelet's questions.
func (s *registering) within() context.Context {
	ctx, cancel := context.WithTimeout(s.Context(), eventually)
	s.Cleanup(cancel)
	return ctx
}

func (s *registering) tell(registered bool, why string) {
	s.Helper()
	_, err := s.kubelet().NotifyRegistrationStatus(s.within(), &registration.RegistrationStatus{PluginRegistered: registered, Error: why})
	if err != nil {
		s.Errorf("tell the driver: %v", err)
	}
}

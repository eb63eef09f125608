package driver

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"github.com/zfs-csi/zfs-csi/zfs"
	"github.com/zfs-csi/zfs-csi/zfs/fake"
)

func TestRegistration(t *testing.T) {
	s := startRegistering(t, Registration{}, nil)
	s.await(1)
	info, err := s.kubelet().GetInfo(s.within(), &registration.InfoRequest{})
	if err != nil || info.GetType() != "CSIPlugin" || info.GetName() != DefaultName || info.GetEndpoint() != s.csi ||
		strings.Join(info.GetSupportedVersions(), " ") != "1.0.0" {
		t.Errorf("GetInfo: %v, %v", info, err)
	}
	// The kubelet calls the driver at once.
	conn, err := (&net.Dialer{}).DialContext(s.within(), "unix", info.GetEndpoint())
	if err != nil {
		t.Fatalf("the CSI socket that the kubelet was told: %v", err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	if file, err := os.Stat(s.socket); err != nil || file.Mode().Perm() != 0o600 {
		t.Errorf("the kubelet's socket has mode %v, %v; want that nobody else can connect", file.Mode(), err)
	}
	s.tell(true, "")
	s.awaitLog("has registered the driver")

	if err := s.stop(); err != nil {
		t.Errorf("Serve: %v", err)
	}
	if left, err := os.ReadDir(s.dir); err != nil || len(left) > 0 {
		t.Errorf("left in the kubelet's folder: %v, %v", left, err)
	}
}

func TestRegistrationOfAContainer(t *testing.T) {
	s := startRegistering(t, Registration{Endpoint: "unix:///var/lib/kubelet/plugins/zfs/csi.sock"}, nil)
	s.await(1)
	info, err := s.kubelet().GetInfo(s.within(), &registration.InfoRequest{})
	if err != nil || info.GetEndpoint() != "/var/lib/kubelet/plugins/zfs/csi.sock" {
		t.Errorf("GetInfo: %v, %v; want the path on the node", info, err)
	}
}

func TestRegistrationRefused(t *testing.T) {
	s := startRegistering(t, Registration{retry: time.Millisecond}, nil)
	s.await(1)
	s.tell(false, "the node is full")
	s.awaitLog("the node is full")
	s.await(2)
	// Then there is nothing to ask for any more.
	s.tell(true, "")
	s.awaitLog("has registered the driver")
	if err := s.stop(); err != nil {
		t.Errorf("Serve: %v", err)
	}
	if n := strings.Count(s.log.String(), "waiting for the kubelet"); n != 2 {
		t.Errorf("%d sockets were made, one of them after the kubelet had registered the driver:\n%s", n, s.log)
	}
}

// A refusal that the kubelet takes back by itself, as it tries again too, needs no new socket.
func TestRegistrationRefusedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &registrar{
			config:  Registration{poll: 24 * time.Hour, retry: registrationRetry, patience: registrationPatience},
			log:     slog.New(slog.DiscardHandler),
			answers: make(chan *registration.RegistrationStatus),
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			r.await(ctx, &registrationSocket{})
		}()
		r.answers <- &registration.RegistrationStatus{Error: "not now"}
		r.answers <- &registration.RegistrationStatus{PluginRegistered: true}
		time.Sleep(2 * registrationRetry) // no time passes in a synctest
		select {
		case <-done:
			t.Error("a registered driver is offered again")
		default:
		}
		cancel()
		<-done
	})
}

func TestRegistrationSocketRemoved(t *testing.T) {
	for name, remove := range map[string]func(*registering) error{
		// Each in one step, lest the driver makes its socket anew in between.
		"the socket": func(s *registering) error { return os.Remove(s.socket) },
		"the folder": func(s *registering) error { return os.Rename(s.dir, s.dir+".gone") },
		"for a folder's while": func(s *registering) error {
			folder := s.dir + ".folder"
			return errors.Join(os.Mkdir(folder, 0o700), unix.Renameat2(unix.AT_FDCWD, folder, unix.AT_FDCWD, s.socket, unix.RENAME_EXCHANGE), os.Remove(folder))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := startRegistering(t, Registration{poll: time.Millisecond}, nil)
			s.await(1)
			if err := remove(s); err != nil {
				t.Fatal(err)
			}
			if info, err := os.Lstat(s.socket); err == nil && info.IsDir() {
				s.awaitLog("not a socket")
				if err := os.Remove(s.socket); err != nil {
					t.Fatal(err)
				}
			}
			s.await(2)
			if _, err := s.kubelet().GetInfo(s.within(), &registration.InfoRequest{}); err != nil {
				t.Errorf("GetInfo on the new socket: %v", err)
			}
		})
	}
}

func TestRegistrationSocketLeft(t *testing.T) {
	s := startRegistering(t, Registration{}, func(socket string) {
		stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		stale.SetUnlinkOnClose(false)
		if err := stale.Close(); err != nil {
			t.Fatal(err)
		}
	})
	s.await(1)
	if _, err := s.kubelet().GetInfo(s.within(), &registration.InfoRequest{}); err != nil {
		t.Errorf("GetInfo where a dead process left its socket: %v", err)
	}
}

// Another registrar for the same driver would take turns with this one.
func TestRegistrationOfTwo(t *testing.T) {
	s := startRegistering(t, Registration{}, nil)
	s.await(1)
	d, err := New(Config{NodeID: "node-1", Store: fake.New(zfs.MustParseDataset("fast/csi")), Log: slog.New(slog.DiscardHandler),
		Registration: &Registration{Dir: s.dir}})
	if err != nil {
		t.Fatal(err)
	}
	err = d.Serve(t.Context(), s.csi+"2")
	if err == nil || !strings.Contains(err.Error(), "another process") || !strings.Contains(err.Error(), s.socket) {
		t.Errorf("Serve: %v; want it to say that another process registers the driver", err)
	}
	if _, err := os.Lstat(s.csi + "2"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the CSI socket is left: %v", err)
	}
	if _, err := s.kubelet().GetInfo(s.within(), &registration.InfoRequest{}); err != nil {
		t.Errorf("GetInfo of the first: %v", err)
	}
}

// What came to be in the socket's place is another's.
func TestRegistrationSocketReplaced(t *testing.T) {
	s := startRegistering(t, Registration{poll: time.Hour}, nil)
	s.await(1)
	if err := os.Remove(s.socket); err != nil {
		t.Fatal(err)
	}
	other, err := net.ListenUnix("unix", &net.UnixAddr{Name: s.socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := s.stop(); err != nil {
		t.Errorf("Serve: %v", err)
	}
	if _, err := os.Lstat(s.socket); err != nil {
		t.Errorf("the socket of another was removed: %v", err)
	}
}

func TestRegistrationUnheard(t *testing.T) {
	s := startRegistering(t, Registration{patience: time.Millisecond}, nil)
	s.awaitLog("has not registered the driver yet")
	s.awaitLog(s.socket)
}

func TestRegistrationEndpointRefused(t *testing.T) {
	d, err := New(Config{NodeID: "node-1", Store: fake.New(zfs.MustParseDataset("tank/csi")), Log: slog.New(slog.DiscardHandler),
		Registration: &Registration{Dir: t.TempDir(), Endpoint: "tcp://127.0.0.1:1"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Serve(t.Context(), filepath.Join(t.TempDir(), "csi.sock")); err == nil || !strings.Contains(err.Error(), "tcp://127.0.0.1:1") {
		t.Errorf("Serve: %v; want it to name the endpoint", err)
	}
}

// A kubelet that goes away while it tells something does not keep a call.
func TestRegistrationAnswerGivenUp(t *testing.T) {
	r := &registrar{answers: make(chan *registration.RegistrationStatus)}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.NotifyRegistrationStatus(ctx, &registration.RegistrationStatus{}); !errors.Is(err, context.Canceled) {
		t.Errorf("an answer that nobody took: %v", err)
	}
}

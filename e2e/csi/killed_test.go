package csi_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zfs-csi/zfs-csi/driver"
	"github.com/zfs-csi/zfs-csi/driver/filesystem"
	"github.com/zfs-csi/zfs-csi/e2e/service"
	"github.com/zfs-csi/zfs-csi/zfs"
)

// asDriver is set where this test is run as a driver in a process of its own, to a stack's folder and parents.
const asDriver = "ZFS_CSI_TEST_AS_DRIVER"

// atRest is what such a driver prints when it has brought a filesystem to rest.
const atRest = "at rest"

// serveUntilKilled is a driver that comes as far as the first snapshot, which it never takes.
func serveUntilKilled(config string) error {
	dir, names, _ := strings.Cut(config, "\n")
	var parents []zfs.Dataset
	for _, name := range strings.Split(names, "\n") {
		parents = append(parents, zfs.MustParseDataset(name))
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	r := &runner{Runner: zfs.Exec{Log: log}}
	r.at(func(c zfs.Command) error {
		if takes(c) {
			fmt.Println(atRest)
			select {}
		}
		return nil
	})
	store, err := zfs.NewLocal(zfs.LocalConfig{Driver: driverName, Parents: parents, Runner: r, Log: log, DeviceDir: filepath.Join(dir, "dev")})
	if err != nil {
		return err
	}
	d, err := driver.New(driver.Config{Name: driverName, Version: "test", NodeID: nodeID, Store: store, Log: log})
	if err != nil {
		return err
	}
	return d.Serve(context.Background(), filepath.Join(dir, "apart.sock"))
}

// takes tells whether a command takes a snapshot.
func takes(c zfs.Command) bool { return c.Args[0] == "snapshot" }

// apart starts such a driver, and returns its clients, a function that waits until it has brought a filesystem to
// rest, and one that kills it.
func (s *stack) apart() (clients *service.Service, rests, kill func()) {
	s.Helper()
	self, err := os.Executable()
	s.must(err)
	config := s.dir
	for _, p := range s.parents {
		config += "\n" + p.String()
	}
	cmd := exec.CommandContext(s.Context(), self)
	cmd.Env = append(os.Environ(), asDriver+"="+config)
	cmd.Stderr = s.logs
	out, err := cmd.StdoutPipe()
	s.must(err)
	s.must(cmd.Start())
	told := make(chan error, 1)
	go func() {
		line, err := bufio.NewReader(out).ReadString('\n')
		if line != atRest+"\n" {
			told <- fmt.Errorf("the driver says %q (%w)", line, err)
		}
		close(told)
	}()
	kill = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // That it was killed.
	}
	clients, err = service.Connect(s.ctx(), filepath.Join(s.dir, "apart.sock"), func() error { return nil })
	if err != nil {
		kill()
		s.Fatal(err)
	}
	return clients, func() {
		s.Helper()
		select {
		case err := <-told:
			s.must(err)
		case <-time.After(time.Minute):
			s.Fatal("the driver does not come to a snapshot")
		}
	}, kill
}

// rests tells whether a filesystem is at rest.
func (s *stack) rests(path string) bool {
	s.Helper()
	dir, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	s.must(err)
	defer unix.Close(dir)
	err = filesystem.Freeze(dir)
	if errors.Is(err, unix.EBUSY) {
		return true
	}
	s.must(err)
	s.must(filesystem.Thaw(dir))
	return false
}

// letGo thaws a filesystem that a test which failed has left at rest, else nothing of it could be taken away.
func letGo(path string) {
	if dir, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err == nil {
		_ = filesystem.Thaw(dir)
		_ = unix.Close(dir)
	}
}

// TestKilledAtRest: a process that is killed after it has brought a filesystem to rest leaves that so, and whoever writes to it
// waits until the next one starts, and no longer, although the other pool is away meanwhile.
func TestKilledAtRest(t *testing.T) {
	for _, k := range []kind{ext4, xfs} {
		t.Run(k.name, func(t *testing.T) {
			s := newStackOn(t, 2)
			a := s.create(k.request("a"))
			path := s.publish(a, k)
			defer letGo(path)
			s.write(path, "before")
			s.stop()

			clients, rests, kill := s.apart()
			defer kill()
			go func() { _, _ = clients.CreateVolume(s.ctx(), k.cloneRequest("n", a)) }() // It never returns.
			rests()
			kill()
			s.must(clients.Stop())
			if !s.rests(path) {
				t.Fatal("the filesystem is not at rest after its driver was killed")
			}
			imports := s.pools[1].Export(t)
			written := make(chan error, 1)
			go func() { written <- os.WriteFile(filepath.Join(path, "later"), nil, 0o600) }()
			s.start()
			select {
			case err := <-written:
				s.must(err)
			case <-time.After(time.Minute):
				t.Error("whoever writes still waits after another driver was started")
			}
			imports()
			letGo(path)
			s.holds(path, "before")
			s.unpublish(a)
			s.delete(a)
		})
	}
}

package history_test

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zfs-csi/zfs-csi/e2e/service"
	"github.com/zfs-csi/zfs-csi/zfs"
	"github.com/zfs-csi/zfs-csi/zfs/zfstest"
)

const driverName = zfstest.Driver

// pools are two pools of real ZFS.
type pools struct {
	*zfstest.Backend
	t       *testing.T
	parents []zfs.Dataset
	devices string
	// published are the targets of the volumes in use.
	published map[zfs.VolumeID]string
}

func newPools(t *testing.T) *pools {
	p := &pools{t: t, devices: filepath.Join(t.TempDir(), "dev"), published: map[zfs.VolumeID]string{}}
	p.Backend = zfstest.NewBackend(t, 2, func(parents ...zfs.Dataset) zfs.Store {
		p.parents = parents
		return p.store(t)
	})
	return p
}

func (p *pools) store(t testing.TB) zfs.Store {
	store, err := zfs.NewLocal(zfs.LocalConfig{
		Driver: driverName, Parents: p.parents, Runner: zfs.Exec{Log: warnings}, Log: warnings, DeviceDir: p.devices,
	})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func (p *pools) test() testing.TB        { return p.t }
func (p *pools) dear() bool              { return true }
func (p *pools) foreign() bool           { return true }
func (p *pools) patience() time.Duration { return 2 * time.Minute }
func (p *pools) fresh(t testing.TB)      { p.Fresh(t) }
func (p *pools) elsewhere() string       { return p.parents[1].String() }

// volumes implements shared.
func (p *pools) volumes(t testing.TB) []*zfs.Volume {
	volumes, err := p.store(t).List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return volumes
}

func (p *pools) serve(t testing.TB, socket string) (*service.Service, error) {
	return service.Start(config(p.store(t)), socket)
}

// listing waits for what answered calls have left to do: the snapshots of clones are marked a moment later.
func (p *pools) listing(t testing.TB) string {
	args := []string{"list", "-Hr", "-t", "all", "-o", "name,origin,defer_destroy"}
	for _, parent := range p.parents {
		args = append(args, parent.String())
	}
	unmarked := func(line string) bool { return strings.Contains(line, "@clone-") && strings.HasSuffix(line, "\toff") }
	for deadline := time.Now().Add(p.patience()); ; {
		out := zfstest.Run(t, "zfs", args...)
		if !slices.ContainsFunc(strings.Split(out, "\n"), unmarked) {
			return out
		}
		if time.Now().After(deadline) {
			t.Logf("a clone's snapshot is not marked:\n%s", out) // Which may be what is told of a failure.
			return out
		}
		time.Sleep(100 * time.Millisecond) // between two looks
	}
}

func (p *pools) properties(t testing.TB) map[string]map[string]string {
	args := []string{"get", "-Hp", "-d", "1", "-t", "filesystem,volume", "-o", "name,property,value", modifiable}
	for _, parent := range p.parents {
		args = append(args, parent.String())
	}
	return parseProperties(zfstest.Run(t, "zfs", args...))
}

// use opens the volume: a device is in use by that alone.
func (p *pools) use(t testing.TB, id zfs.VolumeID, at service.Place) (release func()) {
	f, err := zfstest.Open(at.Target, os.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	p.published[id] = at.Target
	return func() {
		delete(p.published, id)
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// Write writes to a published volume as its pod does.
func (p *pools) Write(t testing.TB, id zfs.VolumeID, text string) error {
	target, published := p.published[id]
	if !published {
		p.Backend.Write(t, id, text)
		return nil
	}
	f, err := os.OpenFile(file(target), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
	return nil
}

// Read reads a published volume as its pod does.
func (p *pools) Read(t testing.TB, id zfs.VolumeID) string {
	target, published := p.published[id]
	if !published {
		return p.Backend.Read(t, id)
	}
	f, err := os.Open(file(target))
	if errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, contentSize))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimRight(string(text), "\x00")
}

// put implements shared. A file is replaced, and of a device one block is written: a snapshot holds either
// what was there before or what is there now.
func (p *pools) put(_ zfs.VolumeID, at service.Place, text string) (before string, err error) {
	path := file(at.Target)
	if path == at.Target {
		return overwrite(path, text)
	}
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if err := os.WriteFile(path+"-new", []byte(text), 0o600); err != nil {
		return "", err
	}
	return string(old), os.Rename(path+"-new", path)
}

// overwrite replaces what the first block of a device holds.
func overwrite(device, text string) (before string, err error) {
	f, err := zfstest.Open(device, os.O_RDWR)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	old, block := make([]byte, contentSize), make([]byte, contentSize)
	copy(block, text)
	if _, err := f.ReadAt(old, 0); err != nil {
		return "", err
	}
	_, err = f.WriteAt(block, 0)
	return strings.TrimRight(string(old), "\x00"), errors.Join(err, f.Sync())
}

// guards implements shared.
func (p *pools) guards(kind) bool { return true }

// file returns what holds the content of a volume that is published at target, as Backend has it.
func file(target string) string {
	if info, err := os.Stat(target); err == nil && info.IsDir() {
		return filepath.Join(target, "content")
	}
	return target
}

func (p *pools) unmount(at service.Place) {
	for _, path := range []string{at.Target, at.Staging} {
		_ = unix.Unmount(path, unix.MNT_DETACH) // It may not be mounted: a device is not staged.
	}
}

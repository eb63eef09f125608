package history_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/sys/mountinfo"

	"github.com/zfs-csi/zfs-csi/driver"
	"github.com/zfs-csi/zfs-csi/e2e/service"
	"github.com/zfs-csi/zfs-csi/zfs"
	"github.com/zfs-csi/zfs-csi/zfs/fake"
)

// memory is a store in memory, on a machine whose mounts are in memory too.
type memory struct {
	t      *testing.T
	store  *fake.Store
	mounts *mounts
}

func newMemory(t *testing.T) *memory { return &memory{t: t} }

func (m *memory) fresh(testing.TB) {
	m.store, m.mounts = fake.New(zfs.MustParseDataset("tank/csi"), zfs.MustParseDataset("other/csi")), &mounts{}
	m.store.DeviceDir = m.t.TempDir()
}

func (m *memory) serve(_ testing.TB, socket string) (*service.Service, error) {
	c := config(m.store)
	c.Mounter, c.StopTimeout = m.mounts, m.patience()
	return service.Start(c, socket)
}

func (m *memory) test() testing.TB        { return m.t }
func (m *memory) dear() bool              { return false }
func (m *memory) foreign() bool           { return false }
func (m *memory) patience() time.Duration { return time.Minute }
func (m *memory) elsewhere() string       { return m.store.Parents()[1].String() }
func (m *memory) unmount(service.Place)   {}

func (m *memory) listing(t testing.TB) string { return strings.Join(m.Contents(t), "\n") }

func (m *memory) use(t testing.TB, id zfs.VolumeID, at service.Place) (release func()) {
	m.must(t, m.store.SetBusy(id, at.Target))
	return func() { _ = m.store.SetBusy(id, "") } // Where the volume is gone the history fails for that.
}

func (m *memory) must(t testing.TB, err error) {
	if err != nil {
		t.Fatal(err)
	}
}

// volumes implements shared.
func (m *memory) volumes(t testing.TB) []*zfs.Volume {
	volumes, err := m.store.List(t.Context())
	m.must(t, err)
	return volumes
}

// Contents returns the volumes, which is all that the store tells of; what is held besides shows in Settled.
func (m *memory) Contents(t testing.TB) (names []string) {
	for _, v := range m.volumes(t) {
		names = append(names, v.Dataset.String()+"\t"+v.Origin)
	}
	return names
}

func (m *memory) Settled(t testing.TB) {
	for _, parent := range m.store.Parents() {
		room, err := m.store.Capacity(t.Context(), parent)
		m.must(t, err)
		if room.Available != fake.DefaultPoolSize {
			t.Errorf("%s has %d bytes left in the end, not %d", parent, room.Available, int64(fake.DefaultPoolSize))
		}
	}
}

func (m *memory) Write(t testing.TB, id zfs.VolumeID, text string) error {
	m.must(t, m.store.Write(id, []byte(text)))
	return nil
}

func (m *memory) Read(t testing.TB, id zfs.VolumeID) string {
	text, err := m.store.Read(id)
	m.must(t, err)
	return string(text)
}

func (m *memory) Property(t testing.TB, id zfs.VolumeID, name string) string {
	value, err := m.store.Property(id, zfs.Property(name))
	m.must(t, err)
	return value
}

func (m *memory) properties(t testing.TB) map[string]map[string]string {
	all := map[string]map[string]string{}
	for _, v := range m.volumes(t) {
		of := map[string]string{"refreservation": "0"}
		if v.Thick {
			of["refreservation"] = strconv.FormatInt(v.Size, 10)
		}
		for _, name := range []string{"compression", "atime"} {
			of[name] = m.Property(t, v.ID, name)
		}
		all[v.ID.String()] = of
	}
	return all
}

func (m *memory) ForeignSnapshot(t testing.TB, _ zfs.VolumeID, _ string) {
	t.Fatal("nobody else has a hand in this store")
}

// put implements shared.
func (m *memory) put(id zfs.VolumeID, _ service.Place, text string) (before string, err error) {
	old, err := m.store.Read(id)
	return string(old), errors.Join(err, m.store.Write(id, []byte(text)))
}

// guards implements shared: this store knows nothing of the mounts.
func (m *memory) guards(kind) bool { return false }

// mounts are a mount table in memory. The mount of a device is played by a link to its file.
type mounts struct {
	mu    sync.Mutex
	table []*mountinfo.Info
}

var _ driver.Mounter = (*mounts)(nil)

// Mounts implements driver.Mounter.
func (m *mounts) Mounts() ([]*mountinfo.Info, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.table), nil
}

func (m *mounts) add(info mountinfo.Info) {
	m.mu.Lock()
	defer m.mu.Unlock()
	info.ID = len(m.table) + 1
	m.table = append(m.table, &info)
}

// Mount implements driver.Mounter.
func (m *mounts) Mount(source, target, fsType string, _ uintptr, data string) error {
	m.add(mountinfo.Info{Source: source, Mountpoint: target, FSType: fsType, Root: "/", Options: "rw", VFSOptions: data})
	return nil
}

// Bind implements driver.Mounter.
func (m *mounts) Bind(source, target string, readOnly bool) error {
	options := map[bool]string{true: "ro", false: "rw"}[readOnly]
	table, _ := m.Mounts()
	for _, at := range table {
		if at.Mountpoint == source {
			m.add(mountinfo.Info{Source: at.Source, Mountpoint: target, FSType: at.FSType, Root: at.Root, Options: options})
			return nil
		}
	}
	m.add(mountinfo.Info{Source: "devtmpfs", Mountpoint: target, FSType: "devtmpfs", Root: "/" + filepath.Base(source), Options: options})
	return errors.Join(os.Remove(target), os.Link(source, target))
}

// Unmount implements driver.Mounter.
func (m *mounts) Unmount(target string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, at := range slices.Backward(m.table) {
		if at.Mountpoint != target {
			continue
		}
		m.table = slices.Delete(m.table, i, i+1)
		if at.FSType == "devtmpfs" {
			return errors.Join(os.Remove(target), os.WriteFile(target, nil, 0o600))
		}
		return nil
	}
	return os.ErrInvalid
}

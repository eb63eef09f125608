package history_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zfs-csi/zfs-csi/e2e/service"
	"github.com/zfs-csi/zfs-csi/zfs"
)

func (m *machine) test() testing.TB        { return m.t }
func (m *machine) dear() bool              { return true }
func (m *machine) foreign() bool           { return true }
func (m *machine) patience() time.Duration { return 2 * time.Minute }
func (m *machine) elsewhere() string       { return parents[1] }
func (m *machine) fresh(testing.TB)        {} // After a history that failed there is no other.
func (m *machine) unmount(service.Place)   {}

// listing is asked for of a machine that may not answer any more, too.
func (m *machine) listing(testing.TB) string {
	out, err := m.run("", "sh", scriptLine("list"))
	if err != nil {
		return err.Error()
	}
	return out
}

func (m *machine) use(_ testing.TB, id zfs.VolumeID, at service.Place) (release func()) {
	m.published[id] = at.Target
	return func() { delete(m.published, id) }
}

// Contents waits for what the driver sweeps away after its start, beside the first calls.
func (m *machine) Contents(t testing.TB) (names []string) {
	m.eventually(func() bool {
		names = nil
		for line := range strings.Lines(m.script(t, "list")) {
			if name, _, _ := strings.Cut(line, "\t"); !slices.Contains(parents, name) {
				names = append(names, name)
			}
		}
		return len(names) == 0
	})
	return names
}

func (m *machine) Settled(t testing.TB) {
	now := ""
	if !m.eventually(func() bool { now = m.script(t, "space"); return now == m.used }) {
		t.Errorf("the empty parents were at first\n%s\nand are now\n%s", m.used, now)
	}
}

// eventually polls until f is true, or a deadline has passed.
func (m *machine) eventually(f func() bool) bool {
	for deadline := time.Now().Add(30 * time.Second); ; {
		if f() {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
		time.Sleep(100 * time.Millisecond) // between two polls
	}
}

// place returns how machine.sh is told of a volume.
func (m *machine) place(id zfs.VolumeID) string {
	return strings.TrimSpace(id.String() + " " + m.published[id])
}

func (m *machine) Write(_ testing.TB, id zfs.VolumeID, text string) error {
	_, err := m.run(text+strings.Repeat("\x00", contentSize-len(text)), "sh", scriptLine("write", m.place(id)))
	return err
}

func (m *machine) Read(t testing.TB, id zfs.VolumeID) string {
	return strings.TrimRight(m.script(t, "read", m.place(id)), "\x00")
}

func (m *machine) Property(t testing.TB, id zfs.VolumeID, name string) string {
	return m.script(t, "property", name, id.String())
}

func (m *machine) properties(t testing.TB) map[string]map[string]string {
	return parseProperties(m.script(t, "properties", modifiable))
}

func (m *machine) ForeignSnapshot(t testing.TB, id zfs.VolumeID, name string) {
	m.script(t, "snapshot", name, id.String())
}

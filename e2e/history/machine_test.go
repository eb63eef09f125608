package history_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/zfs-csi/zfs-csi/e2e/service"
	"github.com/zfs-csi/zfs-csi/zfs"
)

const (
	// keeperVariable names the program that keeps a machine and cuts its power: e2e/machine.
	keeperVariable = "ZFS_CSI_POWER"
	// binaryVariable names the driver's program.
	binaryVariable = "ZFS_CSI_BINARY"
	// home is where in the machine there is what the test brings, and the files of the pools.
	home = "/var/lib/zfs-csi-power"
	// bootTime is more than the machine needs to be there again.
	bootTime = 6 * time.Minute
)

// machine is a virtual machine with two pools on its disk. The driver is a process of its own
// there, the test looks on from outside, and so the power can be cut of all that it tests.
type machine struct {
	t      *testing.T
	keeper string // the program
	folder string // the machine's name to it
	cutter io.Writer
	said   chan string
	log    *os.File // the driver's
	// served is closed when the driver that was started last has ended.
	served chan struct{}
	// published are the targets of the volumes in use.
	published map[zfs.VolumeID]string
	// used is what space returned at first.
	used string

	// chance is what the moments of the cuts follow from.
	chance *rand.Rand
	// usual is how long the last call of a kind took.
	usual          map[string]time.Duration
	cuts, underWay int
	// ofRound is how many cuts there were when the round began.
	ofRound int
}

var parents = []string{"power-1/csi", "power-2/csi"}

// newMachine starts a machine with empty pools, which ends with the test.
func newMachine(t *testing.T) *machine {
	m := &machine{t: t, keeper: os.Getenv(keeperVariable), said: make(chan string), published: map[zfs.VolumeID]string{}, usual: map[string]time.Duration{}}
	if m.keeper == "" {
		t.Skipf("%s is not set: the power is cut of a virtual machine, from outside of it; see make power-test", keeperVariable)
	}
	if _, err := os.Stat("/dev/zfs"); err == nil {
		t.Skip("this computer has ZFS, so that tests run on it and not in a virtual machine, and its own power cannot be cut; make power-test needs a computer without ZFS")
	}
	m.keep()
	m.openLog()
	for from, to := range map[string]string{os.Getenv(binaryVariable): "zfs-csi", "testdata/machine.sh": "machine.sh"} {
		_, err := m.run("", "push", from, home+"/"+to)
		m.must(err)
	}
	m.script(t, "make")
	m.used = m.script(t, "space")
	return m
}

// keep starts the machine, and ends it with the test. That is by the end of its input, which
// comes however the test ends.
func (m *machine) keep() {
	cmd := exec.CommandContext(context.Background(), m.keeper, "power")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	m.must(err)
	out, err := cmd.StdoutPipe()
	m.must(err)
	m.must(cmd.Start())
	m.cutter = in
	go func() {
		defer close(m.said)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			m.said <- lines.Text()
		}
	}()
	m.t.Cleanup(func() {
		_ = in.Close() // It may have ended by itself, which its exit code tells.
		for range m.said {
		}
		if err := cmd.Wait(); err != nil {
			m.t.Errorf("%s power: %v", m.keeper, err)
		}
	})
	m.folder, err = m.hear()
	m.must(err)
}

// hear returns the next line that the keeper says.
func (m *machine) hear() (string, error) {
	select {
	case line, more := <-m.said:
		if !more {
			return "", errors.New("the machine's keeper has ended")
		}
		return line, nil
	case <-time.After(bootTime):
		return "", fmt.Errorf("the machine is not there after %s", bootTime)
	}
}

// openLog keeps what drivers log, and shows the end of it if the test fails.
func (m *machine) openLog() {
	var err error
	m.log, err = os.Create(filepath.Join(m.t.TempDir(), "driver.log"))
	m.must(err)
	m.t.Cleanup(func() {
		text, err := os.ReadFile(m.log.Name())
		if m.t.Failed() {
			const last = 200
			lines := strings.SplitAfter(string(text), "\n")
			m.t.Logf("the driver's log (%v):\n%s", err, strings.Join(lines[max(0, len(lines)-last):], ""))
		}
		m.must(m.log.Close())
	})
}

func (m *machine) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

// command prepares a run of the keeper for the machine.
func (m *machine) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, m.keeper, args...)
	cmd.Env = append(os.Environ(), "ZFS_CSI_MACHINE="+m.folder)
	return cmd
}

// run runs the keeper to its end and returns its output.
func (m *machine) run(stdin string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), m.patience())
	defer cancel()
	cmd := m.command(ctx, args...)
	var stderr strings.Builder
	cmd.Stdin, cmd.Stderr = strings.NewReader(stdin), &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("in the machine, %s: %w: %s", strings.Join(args, " "), err, stderr.String())
	}
	return strings.TrimSuffix(string(out), "\n"), nil
}

// script runs machine.sh in the machine.
func (m *machine) script(t testing.TB, args ...string) string {
	t.Helper()
	out, err := m.run("", "sh", scriptLine(args...))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func scriptLine(args ...string) string {
	return "sh " + home + "/machine.sh " + strings.Join(args, " ")
}

// cut cuts the power. Nothing runs in the machine when it returns, and nothing is published.
func (m *machine) cut() error {
	if _, err := io.WriteString(m.cutter, "\n"); err != nil {
		return err
	}
	if _, err := m.hear(); err != nil { // "off"
		return err
	}
	<-m.served
	clear(m.published)
	return nil
}

// boot waits until the machine is there again, and imports the pools.
func (m *machine) boot(t testing.TB) {
	if _, err := m.hear(); err != nil { // "on"
		t.Fatal(err)
	}
	m.script(t, "import")
}

// told counts a cut and prints what there is to know of it.
func (m *machine) told(o *outage, booted, served time.Duration) {
	m.cuts++
	if o.cut {
		m.underWay++
	}
	m.t.Logf("cut %d: %s; the pools are back after %.1f s, the driver after %.1f s", m.cuts, o, booted.Seconds(), served.Seconds())
}

// serve starts the driver, with a socket of the machine's that becomes the one here.
func (m *machine) serve(t testing.TB, socket string) (*service.Service, error) {
	if err := os.MkdirAll(filepath.Dir(socket), 0o755); err != nil {
		return nil, err
	}
	const endpoint = "/run/zfs-csi/csi.sock"
	cmd := m.command(context.Background(), "sh", scriptLine("serve", endpoint))
	cmd.Stdout, cmd.Stderr = m.log, m.log
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	served := make(chan error, 1)
	m.served = make(chan struct{})
	go func(ended chan<- struct{}) {
		served <- cmd.Wait()
		close(ended)
	}(m.served)
	ended := m.served
	if _, err := m.run("", "forward", socket, endpoint); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), m.patience())
	defer cancel()
	s, err := service.Connect(ctx, socket, func() error {
		select {
		case <-ended: // with the power
			return nil
		default:
		}
		m.script(t, "stop")
		return <-served
	})
	if err == nil {
		s.MakeFolder = func(path string) error {
			_, err := m.run("", "sh", "mkdir -p "+path)
			return err
		}
	}
	return s, err
}

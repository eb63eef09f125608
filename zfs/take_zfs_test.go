package zfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestTakenAgain: a snapshot is known again also where somebody has removed what stood for its name.
func TestTakenAgain(t *testing.T) {
	store, shell := newProgramPool(t)
	parent := store.parents[0].name
	shell("zfs create -o mountpoint=none -o refquota=10m -o zfs-csi:volume=one " + parent + "/one")
	spec := SnapshotSpec{Name: "again", Sources: []VolumeID{{"one"}}}
	first, err := store.Take(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	shell("zfs destroy " + parent + "@again")
	second, err := store.Take(t.Context(), spec)
	if err != nil || len(second) != 1 || second[0].ID != first[0].ID || !second[0].Created.Equal(first[0].Created) {
		t.Errorf("it was %v and is %v, %v", first, second, err)
	}
	spec.Name, spec.Group = "again", true
	if taken, err := store.Take(t.Context(), spec); !errors.Is(err, ErrExists) {
		t.Errorf("a group of that name is taken: %v, %v", taken, err)
	}
}

// killing has each call made by a process of its own, which it kills a while after its start; never where after is 0.
type killing struct {
	t     *testing.T
	after time.Duration
	// took is how long the last one took.
	took time.Duration
}

func (k *killing) Run(_ context.Context, c Command) (Result, error) {
	self, err := os.Executable()
	if err != nil {
		return Result{}, err
	}
	cmd := exec.Command(self) //nolint:noctx // It is killed.
	cmd.Env = append(os.Environ(), asCall+"=yes")
	cmd.Stdin, cmd.Stderr = strings.NewReader(strings.Join(c.Args[1:], "\n")), k.t.Output()
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return Result{}, err
	}
	if k.after > 0 {
		kill := time.AfterFunc(k.after, func() { _ = cmd.Process.Kill() })
		defer kill.Stop()
	}
	err = cmd.Wait()
	k.took = time.Since(start)
	return Result{}, err
}

// TestTakeKilled: of a call whose process is killed nothing is done, or all.
func TestTakeKilled(t *testing.T) {
	store, shell := newProgramPool(t)
	parent := store.parents[0]
	const volumes = 12
	shell(fmt.Sprintf("for n in $(seq %d); do zfs create -o mountpoint=none POOL/csi/v$n; done", volumes))
	properties := []string{propSnapshot + "=s", propSources + "=1:2:-:one", propLabels + "=x=y", propGroup + "=yes"}
	done := map[int]int{}
	runner := &killing{t: t}
	killed, err := NewLocal(LocalConfig{Driver: "d", Parents: store.parents, DeviceDir: t.TempDir(), Runner: runner})
	if err != nil {
		t.Fatal(err)
	}
	var whole time.Duration
	for i := range 10 {
		runner.after = whole * time.Duration(i*i) / 81 // Most of them early: it is soon begun.
		names := []string{parent.name + "@k"}
		for n := range volumes {
			names = append(names, fmt.Sprintf("%s/v%d@k", parent.name, n+1))
		}
		err = killed.snapshots(t.Context(), properties, names...)
		if i == 0 { // It is not killed.
			if whole = runner.took; err != nil {
				t.Fatal(err)
			}
		}
		// Nobody can wait for what the kernel still does in vain but by a change of his own.
		shell("zpool sync POOL")
		set := strings.Count(shell("zfs get -Hrp -t snapshot -o name,source "+strings.Join([]string{propSnapshot, propSources, propLabels, propGroup}, ",")+" "+parent.name), "@k\tlocal")
		taken := strings.Count(shell("zfs list -Hro name -t snapshot "+parent.name), "@k\n")
		if done[taken]++; set != len(properties)*taken || taken != len(names) && (taken != 0 || i == 0) {
			t.Errorf("killed after %s of %s (%v): there are %d of %d snapshots, with %d properties in all", runner.after, whole, err, taken, len(names), set)
		}
		if taken > 0 {
			shell("zfs destroy -r POOL/csi@k")
		}
	}
	t.Logf("how many snapshots were taken how often: %v", done)
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// Saved is a machine stopped after its boot: a disk that no longer changes and
// the state of everything else. Any number of instances continue it at once,
// each writing to a disk of its own on top; nothing is copied.
type Saved struct {
	dir      string
	image    Image
	hardware Hardware
}

func (s Saved) disk() string  { return filepath.Join(s.dir, "disk.qcow2") }
func (s Saved) state() string { return filepath.Join(s.dir, "state") }

// etcd is the folder with what a cluster knows.
func (s Saved) etcd() string { return filepath.Join(s.dir, etcdData) }

const (
	machineMemory = 3072 // megabytes
	// clusterMemory: of it Kubernetes takes a quarter, and as much is for what runs on it.
	clusterMemory = 4096
)

// findSaved returns the saved machine of a release, with a cluster running on it or
// without, building it, its image and the host's tools as far as they are missing.
func findSaved(ctx context.Context, cache Cache, withCluster bool) (Saved, error) {
	release, err := releaseFromEnv()
	if err != nil {
		return Saved{}, err
	}
	memory := machineMemory
	if withCluster {
		memory = clusterMemory
		if release.Suite != clusterSuite {
			return Saved{}, fmt.Errorf("ZFS=%s is on Debian %s, whose packages are too old for the cluster; 2.3 and 2.4 serve", release.ZFS, release.Suite)
		}
	}
	hardware, err := defaultHardware(memory)
	if err != nil {
		return Saved{}, err
	}
	if runtime.GOARCH != "amd64" {
		return Saved{}, fmt.Errorf("the machine is built for amd64, and this computer is %s", runtime.GOARCH)
	}
	if err := install(ctx, cache, machineTools); err != nil {
		return Saved{}, err
	}
	image, err := findImage(ctx, cache, release)
	if err != nil {
		return Saved{}, err
	}
	qemu, err := qemuVersion(ctx)
	if err != nil {
		return Saved{}, err
	}
	kind := "saved"
	if withCluster {
		cluster, err := findCluster(ctx, cache)
		if err != nil {
			return Saved{}, err
		}
		hardware.Cluster = cluster.dir
		kind = "saved-cluster"
	}
	inputs := []any{image.dir, qemu, hardware.arguments(), assetText("warm.sh")}
	if withCluster {
		inputs = append(inputs, hardware.Cluster, clusterStartText(), toAPIServer(0))
	}
	name := fmt.Sprintf("%s-zfs%s-%s-%s", kind, release.ZFS, release.Suite, key(inputs...))
	saved := Saved{image: image, hardware: hardware}
	saved.dir, err = cache.entry(ctx, name, func(ctx context.Context, dir string) error {
		return save(ctx, cache, Saved{dir: dir, image: image, hardware: hardware})
	})
	return saved, err
}

// save boots an instance of the image, makes it ready and stores it.
func save(ctx context.Context, cache Cache, saved Saved) (err error) {
	instance, err := newInstance(ctx, cache, saved.image, saved.hardware, saved.image.disk())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, instance.remove()) }()
	latest := func() string { return strings.TrimSpace(lastLines(instance.console(), 1)) }
	var control *monitor
	if err := step(ctx, "boot the machine", latest, func(ctx context.Context) error {
		control, err = instance.boot(ctx)
		return err
	}); err != nil {
		return err
	}
	defer control.close()
	if err := step(ctx, "warm it up", latest, func(ctx context.Context) error {
		_, err := instance.output(ctx, assetText("warm.sh"))
		return err
	}); err != nil {
		return fmt.Errorf("%w; the console says:\n%s", err, lastLines(instance.console(), 20))
	}
	if saved.hardware.Cluster != "" {
		if err := instance.startCluster(ctx); err != nil {
			return err
		}
	}
	return step(ctx, "save it", nil, func(ctx context.Context) error {
		return instance.freeze(ctx, control, saved)
	})
}

// freeze stops the machine, writes its state beside its disk and ends QEMU.
func (i *Instance) freeze(ctx context.Context, control *monitor, saved Saved) error {
	if err := i.disconnect(ctx); err != nil {
		return err
	}
	if err := i.suspend(ctx, control, saved.state()); err != nil {
		return err
	}
	if saved.hardware.Cluster != "" {
		if err := i.endControlPlane(); err != nil {
			return err
		}
		if err := os.Rename(filepath.Join(i.dir, etcdData), saved.etcd()); err != nil {
			return fmt.Errorf("keep what the cluster knows: %w", err)
		}
	}
	if err := os.Rename(i.disk(), saved.disk()); err != nil {
		return fmt.Errorf("keep the machine's disk: %w", err)
	}
	about, err := json.Marshal(map[string]any{"image": saved.image.dir, "hardware": saved.hardware})
	if err != nil {
		return fmt.Errorf("describe the saved machine: %w", err)
	}
	return os.WriteFile(filepath.Join(saved.dir, "about.json"), about, 0o600)
}

// suspend stops the machine, writes its state to a file and ends QEMU.
func (i *Instance) suspend(ctx context.Context, control *monitor, state string) error {
	if err := control.do("stop", nil, nil); err != nil {
		return err
	}
	if err := control.mappedRAM(); err != nil {
		return err
	}
	if err := control.do("migrate-set-parameters", map[string]any{"max-bandwidth": int64(1) << 40}, nil); err != nil {
		return err
	}
	if err := control.do("migrate", map[string]any{"uri": "file:" + state}, nil); err != nil {
		return err
	}
	if err := control.migrated(ctx); err != nil {
		return err
	}
	if err := control.do("quit", nil, nil); err != nil {
		return err
	}
	select {
	case <-i.dead: // only now is the disk's file complete
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// resume starts a private instance of the saved machine.
func (s Saved) resume(ctx context.Context, cache Cache, lasting bool) (*Instance, error) {
	instance, err := newInstance(ctx, cache, s.image, s.hardware, s.disk())
	if err != nil {
		return nil, err
	}
	instance.Lasting = lasting
	if s.hardware.Cluster != "" {
		if err := instance.startControlPlane(ctx, s.etcd()); err != nil {
			return nil, errors.Join(err, instance.remove())
		}
	}
	if err := instance.resume(ctx, s.state()); err != nil {
		return nil, errors.Join(fmt.Errorf("resume the machine: %w", err), instance.remove())
	}
	return instance, nil
}

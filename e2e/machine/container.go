package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// imageTools build a container image, and the base of it that others fetch from a registry.
var imageTools = []hostTool{
	{"buildah", "buildah"},
	{"mmdebstrap", "mmdebstrap"},
	{archiveKeyring, "debian-archive-keyring"},
}

// imageSuite is the Debian of the Dockerfile's base.
const imageSuite = "trixie"

// driverInImage is the driver in the image.
const driverInImage = "/usr/local/bin/zfs-csi"

// containers is a store of container images that buildah works on.
type containers struct {
	dir, log string
	base     string // an archive of the Dockerfile's base
}

// openContainers returns the store in the cache folder, for this process alone until release is called.
func openContainers(ctx context.Context, cache Cache) (c containers, release func() error, err error) {
	if err := install(ctx, cache, imageTools); err != nil {
		return c, nil, err
	}
	base, err := findBase(ctx, cache)
	if err != nil {
		return c, nil, err
	}
	c = containers{dir: filepath.Join(cache.root, "containers"), base: base}
	c.log = filepath.Join(c.dir, "build.log")
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return c, nil, fmt.Errorf("make a store of container images: %w", err)
	}
	lock, err := lockFile(ctx, c.dir+".lock", "another run is building a container image")
	if err != nil {
		return c, nil, err
	}
	if err := os.Remove(c.log); err != nil && !errors.Is(err, os.ErrNotExist) {
		return c, nil, errors.Join(err, lock.Close())
	}
	return c, lock.Close, nil
}

// idFile holds the ID of the image that was built last.
func (c containers) idFile() string { return filepath.Join(c.dir, "id") }

// command is a call of buildah. What it mounts is seen by it alone.
func (c containers) command(ctx context.Context, verb string, args ...string) *exec.Cmd {
	global := []string{"--root", filepath.Join(c.dir, "root"), "--runroot", filepath.Join(c.dir, "run"), verb}
	cmd := exec.CommandContext(ctx, "buildah", append(global, args...)...)
	cmd.Env = plainEnvironment()
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	return cmd
}

// run calls buildah, which writes to the log.
func (c containers) run(ctx context.Context, verb string, args ...string) error {
	return tool(ctx, c.log, c.command(ctx, verb, args...))
}

// build builds an image with steps that run in the plainest kind of container, which needs nothing but root.
func (c containers) build(ctx context.Context, args ...string) error {
	return c.run(ctx, "build", append([]string{"--isolation=chroot", "--layers"}, args...)...)
}

// imageVerb builds the driver's image.
func imageVerb(ctx context.Context, args []string) (int, error) {
	if len(args) != 3 || filepath.Base(args[0]) != filepath.Base(driverInImage) {
		return 2, fmt.Errorf("want the driver, which is called %s, the image's name and an archive", filepath.Base(driverInImage))
	}
	binary, name, archive := args[0], args[1], args[2]
	cache, err := openCache()
	if err != nil {
		return 1, err
	}
	c, release, err := openContainers(ctx, cache)
	if err != nil {
		return 1, err
	}
	defer release() //nolint:errcheck // the lock ends with this program at the latest
	if err := step(ctx, "build the image "+name, nil, func(ctx context.Context) error {
		return c.buildDriver(ctx, binary, name, archive)
	}); err != nil {
		return 1, err
	}
	if err := step(ctx, "try it", nil, func(ctx context.Context) error { return c.try(ctx, archive) }); err != nil {
		return 1, errors.Join(err, os.Remove(archive))
	}
	if err := c.tidy(ctx); err != nil {
		return 1, err
	}
	return 0, nil
}

// findBase returns an archive of a small Debian, made if there is none.
func findBase(ctx context.Context, cache Cache) (string, error) {
	name := "base-" + imageSuite + "-" + key(imageSuite, mmdebstrapArgs)
	dir, err := cache.entry(ctx, name, func(ctx context.Context, dir string) error {
		if os.Geteuid() != 0 {
			return errors.New("a base is made as root, in a mount namespace of its own")
		}
		host, err := findHost(ctx)
		if err != nil {
			return err
		}
		source := filepath.Join(dir, "debian.sources")
		if err := host.sources(source, imageSuite); err != nil {
			return err
		}
		cmd := exec.CommandContext(ctx, "mmdebstrap", append(slices.Clone(mmdebstrapArgs), "--format=tar", imageSuite, filepath.Join(dir, "root.tar"), source)...)
		cmd.Env = append(plainEnvironment(), "TMPDIR="+dir)
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Cloneflags: syscall.CLONE_NEWPID}
		return step(ctx, "install Debian "+imageSuite+" as the base of images", nil, func(ctx context.Context) error {
			return tool(ctx, filepath.Join(dir, "build.log"), cmd)
		})
	})
	return filepath.Join(dir, "root.tar"), err
}

const (
	localBase  = "localhost/zfs-csi-base"
	localTools = "localhost/zfs-csi-tools"
)

// buildTools builds what is below the driver, by the Dockerfile in the folder checkout. It keeps a name of its own, so
// that the next build, with another driver, finds it.
func (c containers) buildTools(ctx context.Context, checkout string) error {
	recipe := filepath.Join(c.dir, "Base")
	if err := os.WriteFile(recipe, []byte("FROM scratch\nADD root.tar /\n"), 0o600); err != nil {
		return fmt.Errorf("write how the base is made: %w", err)
	}
	if err := c.build(ctx, "--file", recipe, "--tag", localBase, filepath.Dir(c.base)); err != nil {
		return err
	}
	return c.build(ctx, "--build-arg", "BASE="+localBase, "--target", "tools", "--tag", localTools, checkout)
}

// buildDriver builds the image by the Dockerfile in the current folder.
func (c containers) buildDriver(ctx context.Context, binary, name, archive string) error {
	if err := c.buildTools(ctx, "."); err != nil {
		return err
	}
	_, version, _ := strings.Cut(name, ":")
	if err := c.build(ctx, "--build-arg", "BASE="+localBase, "--build-arg", "VERSION="+version,
		"--build-context", "build="+filepath.Dir(binary), "--iidfile", c.idFile(), "."); err != nil {
		return err
	}
	image, err := os.ReadFile(c.idFile())
	if err != nil {
		return fmt.Errorf("read which image was built: %w", err)
	}
	return c.save(ctx, string(image), name, archive)
}

// save writes an image as name to an archive.
func (c containers) save(ctx context.Context, image, name, archive string) error {
	partial := archive + ".partial"
	if err := os.RemoveAll(partial); err != nil { // left by a run that was killed
		return fmt.Errorf("remove an unfinished archive: %w", err)
	}
	if err := c.run(ctx, "push", image, "docker-archive:"+partial+":"+name); err != nil {
		return err
	}
	return os.Rename(partial, archive)
}

// try runs the driver of an archive in a container of it, and lets it look whether its programs are there.
func (c containers) try(ctx context.Context, archive string) (err error) {
	out, err := c.command(ctx, "from", "docker-archive:"+archive).Output()
	if err != nil {
		return fmt.Errorf("make a container of %s: %w", archive, err)
	}
	container := strings.TrimSpace(string(out))
	defer func() { err = errors.Join(err, c.run(ctx, "rm", "--all")) }()
	// Into a file: what a container writes to its standard output buildah sometimes loses.
	shared := filepath.Join(c.dir, "shared")
	if err := errors.Join(os.RemoveAll(shared), os.Mkdir(shared, 0o700)); err != nil {
		return fmt.Errorf("make a folder for a container: %w", err)
	}
	runErr := c.run(ctx, "run", "--isolation=chroot", "--volume="+shared+":/mnt", container, "--",
		"sh", "-c", driverInImage+" check --output=json >/mnt/findings") // It fails without a module, which nobody wants here.
	var found struct {
		Findings []struct{ Check, Severity, Message string }
	}
	out, err = os.ReadFile(filepath.Join(shared, "findings"))
	if err == nil {
		err = json.Unmarshal(out, &found)
	}
	if err != nil {
		return fmt.Errorf("run %s check in a container of %s: %w", driverInImage, archive, errors.Join(err, runErr))
	}
	looked := 0
	for _, f := range found.Findings {
		if !strings.HasPrefix(f.Check, "programs") {
			continue
		}
		if looked++; f.Severity != "ok" {
			return fmt.Errorf("in a container of %s: %s: %s", archive, f.Check, f.Message)
		}
	}
	if looked == 0 {
		return fmt.Errorf("%s check in a container of %s looks for no programs", driverInImage, archive)
	}
	return nil
}

// tidy removes what the last build has left, but not what is below the driver, which has names of its own.
func (c containers) tidy(ctx context.Context) error {
	image, err := os.ReadFile(c.idFile())
	if err != nil {
		return fmt.Errorf("read which image was built: %w", err)
	}
	return errors.Join(c.run(ctx, "rmi", "--force", string(image)), c.run(ctx, "rmi", "--prune"))
}

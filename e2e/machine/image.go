package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

//go:embed assets
var assets embed.FS

// Image is a disk with Debian and OpenZFS on it, and what boots it from outside.
type Image struct{ dir string }

func (i Image) disk() string       { return filepath.Join(i.dir, "disk.qcow2") }
func (i Image) kernel() string     { return filepath.Join(i.dir, "vmlinuz") }
func (i Image) initrd() string     { return filepath.Join(i.dir, "initrd") }
func (i Image) key() string        { return filepath.Join(i.dir, "id_ed25519") }
func (i Image) knownHosts() string { return filepath.Join(i.dir, "known_hosts") }

const (
	// diskSize is the size the guest sees; the file grows with what is written.
	diskSize = "40G"
	// hostAlias names the machine in known_hosts: its port differs in each instance.
	hostAlias = "zfs-csi-machine"
)

// mmdebstrapArgs are those that do not depend on where the image is built.
var mmdebstrapArgs = []string{
	"--verbose", "--mode=root", "--variant=minbase", "--format=directory",
	"--aptopt=Acquire::Languages \"none\"",
	"--dpkgopt=force-unsafe-io",
	"--dpkgopt=path-exclude=/usr/share/doc/*",
	"--dpkgopt=path-exclude=/usr/share/man/*",
	"--dpkgopt=path-exclude=/usr/share/info/*",
	"--dpkgopt=path-exclude=/usr/share/locale/*",
}

// buildEnvironment leaves debugging information out of the kernel module: it is
// stripped afterwards anyway, and types for BPF (BTF), made from it, serve nobody here.
var buildEnvironment = []string{"MAKEFLAGS=KCFLAGS=-g0 CONFIG_DEBUG_INFO_BTF_MODULES="}

// mkfsArgs keep the file system cheap to make and free of work at first mount.
var mkfsArgs = []string{"-q", "-F", "-L", "machine", "-m", "0", "-N", "400000", "-J", "size=32", "-E", "lazy_itable_init=1,lazy_journal_init=1"}

// findImage returns the image of a release, built if there is none.
func findImage(ctx context.Context, cache Cache, release Release) (Image, error) {
	sum := key(release, machinePackages, moduleBuildPackages, mmdebstrapArgs, buildEnvironment, mkfsArgs, diskSize,
		assetText("prepare.sh"), assetText("backports.sh"), assetText("customise.sh"), assetText("init"))
	name := fmt.Sprintf("image-zfs%s-%s-%s", release.ZFS, release.Suite, sum)
	dir, err := cache.entry(ctx, name, func(ctx context.Context, dir string) error {
		return buildImage(ctx, Image{dir}, release)
	})
	return Image{dir}, err
}

func assetText(name string) string {
	data, err := assets.ReadFile("assets/" + name)
	if err != nil {
		panic(err) // the file is part of this program
	}
	return string(data)
}

func buildImage(ctx context.Context, image Image, release Release) error {
	if os.Geteuid() != 0 {
		return errors.New("an image is built as root, in a mount namespace of its own")
	}
	host, err := findHost(ctx)
	if err != nil {
		return err
	}
	log := filepath.Join(image.dir, "build.log")
	latest := func() string { return strings.TrimSpace(lastLines(log, 1)) }
	root := filepath.Join(image.dir, "root")
	title := fmt.Sprintf("install Debian %s and build OpenZFS %s", release.Suite, release.ZFS)
	if err := step(ctx, title, latest, func(ctx context.Context) error {
		return buildRoot(ctx, image, host, release, root, log)
	}); err != nil {
		return err
	}
	return step(ctx, "make the disk", latest, func(ctx context.Context) error {
		if err := adoptRoot(ctx, image, root, log); err != nil {
			return err
		}
		raw := filepath.Join(image.dir, "disk.raw")
		mkfs := append(append([]string{}, mkfsArgs...), "-d", root, raw, diskSize)
		if err := tool(ctx, log, exec.CommandContext(ctx, "mkfs.ext4", mkfs...)); err != nil {
			return err
		}
		if err := tool(ctx, log, exec.CommandContext(ctx, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, image.disk())); err != nil {
			return err
		}
		return errors.Join(os.Remove(raw), os.RemoveAll(root), os.RemoveAll(filepath.Join(image.dir, "assets")))
	})
}

// buildRoot installs the release into the folder root.
func buildRoot(ctx context.Context, image Image, host Host, release Release, root, log string) error {
	scripts := filepath.Join(image.dir, "assets")
	if err := os.CopyFS(image.dir, assets); err != nil {
		return fmt.Errorf("lay out the build scripts: %w", err)
	}
	if err := filepath.WalkDir(scripts, func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Chmod(path, 0o755))
	}); err != nil {
		return fmt.Errorf("lay out the build scripts: %w", err)
	}
	suites := []string{release.Suite}
	args := append([]string{}, mmdebstrapArgs...)
	if release.Backports {
		suites = append(suites, release.Suite+"-backports")
		args = append(args, "--setup-hook="+filepath.Join(scripts, "backports.sh")+" \"$1\" "+release.Suite)
	}
	source := filepath.Join(image.dir, "debian.sources")
	if err := host.sources(source, suites...); err != nil {
		return err
	}
	args = append(args,
		"--include="+strings.Join(append(append([]string{}, machinePackages...), moduleBuildPackages...), ","),
		"--essential-hook="+filepath.Join(scripts, "prepare.sh"),
		"--customize-hook="+filepath.Join(scripts, "customise.sh"),
		release.Suite, root, source)
	cmd := exec.CommandContext(ctx, "mmdebstrap", args...)
	cmd.Env = append(plainEnvironment(), "TMPDIR="+image.dir)
	cmd.Env = append(cmd.Env, buildEnvironment...)
	isolate(cmd)
	return tool(ctx, log, cmd)
}

// isolate keeps the mounts that cmd makes to itself, and makes its end the end of all it
// started: nothing can be left behind, not even by a kill -9.
func isolate(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Cloneflags: syscall.CLONE_NEWPID}
}

// plainEnvironment is what a build may know of its caller: a make above it, for
// one, would hand down settings that the module's own make obeys.
func plainEnvironment() []string {
	env := []string{"LC_ALL=C", "DEBIAN_FRONTEND=noninteractive"}
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		if name == "PATH" || name == "HOME" || strings.HasSuffix(strings.ToLower(name), "_proxy") {
			env = append(env, entry)
		}
	}
	return env
}

// adoptRoot takes out of root what boots it, and puts in the key that opens it.
func adoptRoot(ctx context.Context, image Image, root, log string) error {
	keygen := exec.CommandContext(ctx, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "zfs-csi-machine", "-f", image.key())
	if err := tool(ctx, log, keygen); err != nil {
		return err
	}
	hostKey, err := os.ReadFile(filepath.Join(root, "etc/ssh/ssh_host_ed25519_key.pub"))
	if err != nil {
		return fmt.Errorf("read the machine's host key: %w", err)
	}
	if err := os.WriteFile(image.knownHosts(), append([]byte(hostAlias+" "), hostKey...), 0o600); err != nil {
		return fmt.Errorf("keep the machine's host key: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(root, "root/.ssh"), 0o700); err != nil {
		return fmt.Errorf("let the key in: %w", err)
	}
	for _, file := range []struct{ from, to string }{
		{image.key() + ".pub", filepath.Join(root, "root/.ssh/authorized_keys")},
		{filepath.Join(root, "boot/vmlinuz.machine"), image.kernel()},
		{filepath.Join(root, "boot/initrd.machine"), image.initrd()},
	} {
		data, err := os.ReadFile(file.from)
		if err != nil {
			return fmt.Errorf("take from the new root: %w", err)
		}
		if err := os.WriteFile(file.to, data, 0o600); err != nil {
			return fmt.Errorf("keep from the new root: %w", err)
		}
	}
	return nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Host is the computer the machine is built and runs on: a Debian whose own apt
// configuration says where packages come from.
type Host struct {
	Suite  string // Debian's code name, "bookworm"
	Mirror string // address of its Debian archive
}

const (
	archiveKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
	qemuProgram    = "qemu-system-x86_64"
	// qemuOldest is the first major version that runs a 6.12 kernel in software
	// emulation: 7.2 crashes it in cmpxchg16b.
	qemuOldest = 10
)

// hostTool is a program, or a file, and the package that brings it.
type hostTool struct{ path, pkg string }

// machineTools make and run the machine.
var machineTools = []hostTool{
	{"qemu-img", "qemu-utils"},
	{"mmdebstrap", "mmdebstrap"},
	{"mkfs.ext4", "e2fsprogs"},
	{"ssh", "openssh-client"},
	{"ssh-keygen", "openssh-client"},
	{archiveKeyring, "debian-archive-keyring"},
}

// findHost asks apt for the archive this computer uses. Sources of third parties
// are passed over: the archive is the one that serves "main" of the host's own suite.
func findHost(ctx context.Context) (Host, error) {
	release, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return Host{}, fmt.Errorf("read which Debian this is: %w", err)
	}
	found := regexp.MustCompile(`(?m)^VERSION_CODENAME="?([a-z]+)"?$`).FindSubmatch(release)
	if found == nil {
		return Host{}, errors.New("/etc/os-release names no VERSION_CODENAME; the machine is built on Debian 12 or 13")
	}
	host := Host{Suite: string(found[1])}
	targets, err := capture(ctx, "apt-get", "indextargets", "--format", "$(CREATED_BY) $(COMPONENT) $(REPO_URI) $(RELEASE) $(CODENAME)")
	if err != nil {
		return Host{}, fmt.Errorf("ask apt for its sources: %w", err)
	}
	for line := range strings.Lines(targets) {
		field := strings.Fields(line)
		if len(field) >= 4 && field[0] == "Packages" && field[1] == "main" && slices.Contains(field[3:], host.Suite) {
			host.Mirror = field[2]
			return host, nil
		}
	}
	return Host{}, fmt.Errorf("apt's sources hold no %s main; the machine's packages come from the archive they name", host.Suite)
}

// sources writes an apt source for suites of the host's archive.
func (h Host) sources(path string, suites ...string) error {
	text := fmt.Sprintf("Types: deb\nURIs: %s\nSuites: %s\nComponents: main contrib\nSigned-By: %s\n",
		h.Mirror, strings.Join(suites, " "), archiveKeyring)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return fmt.Errorf("write an apt source: %w", err)
	}
	return nil
}

// qemuVersion returns the version of the installed QEMU, "" when there is none.
func qemuVersion(ctx context.Context) (string, error) {
	if _, err := exec.LookPath(qemuProgram); err != nil {
		return "", nil
	}
	out, err := capture(ctx, qemuProgram, "--version")
	if err != nil {
		return "", err
	}
	found := regexp.MustCompile(`version (\d+\.[\d.]+\S*(?: \([^)]*\))?)`).FindStringSubmatch(out)
	if found == nil {
		return "", fmt.Errorf("%s --version says %q, which names no version", qemuProgram, out)
	}
	return found[1], nil
}

func qemuServes(version string) bool {
	major, err := strconv.Atoi(strings.SplitN(version, ".", 2)[0])
	return err == nil && major >= qemuOldest
}

// missing lists the packages to install; QEMU is apart, since Debian 12 has a
// new enough one only in its backports.
func missing(ctx context.Context, tools []hostTool) (packages []string, qemu bool, err error) {
	for _, tool := range tools {
		if filepath.IsAbs(tool.path) {
			_, err = os.Stat(tool.path)
		} else {
			_, err = exec.LookPath(tool.path)
		}
		switch {
		case tool.pkg == "qemu-utils":
			version, versionErr := qemuVersion(ctx)
			if versionErr != nil {
				return nil, false, versionErr
			}
			qemu = err != nil || !qemuServes(version)
		case err != nil:
			packages = append(packages, tool.pkg)
		}
	}
	return packages, qemu, nil
}

// install brings the packages of those tools that are missing, from a source and package lists of its
// own, so that other sources of the host can neither fail it nor be changed by it.
func install(ctx context.Context, cache Cache, tools []hostTool) error {
	packages, qemu, err := missing(ctx, tools)
	if err != nil || len(packages) == 0 && !qemu {
		return err
	}
	lock, err := lockFile(ctx, filepath.Join(cache.root, "apt.lock"), "another run is installing packages")
	if err != nil {
		return err
	}
	defer lock.Close()
	if packages, qemu, err = missing(ctx, tools); err != nil || len(packages) == 0 && !qemu {
		return err
	}
	if os.Geteuid() != 0 {
		if qemu {
			packages = append(packages, fmt.Sprintf("QEMU %d or newer", qemuOldest))
		}
		return fmt.Errorf("this computer lacks %s; run as root, or install them", strings.Join(packages, ", "))
	}
	host, err := findHost(ctx)
	if err != nil {
		return err
	}
	return step(ctx, "install what this computer lacks", nil, func(ctx context.Context) error {
		return host.install(ctx, packages, qemu)
	})
}

func (h Host) install(ctx context.Context, packages []string, qemu bool) error {
	suites := []string{h.Suite}
	qemuFrom := h.Suite
	if h.Suite == "bookworm" {
		qemuFrom = "bookworm-backports"
		suites = append(suites, qemuFrom)
	}
	return h.withLists(ctx, suites, func(dir string, options []string) error {
		apt := func(args ...string) error {
			own := append(append([]string{}, options...), "-o", "DPkg::Lock::Timeout=300", "-y", "--no-install-recommends")
			return apt(ctx, dir, filepath.Join(dir, "apt.log"), append(own, args...)...)
		}
		if len(packages) > 0 {
			if err := apt(append([]string{"install", "debian-archive-keyring"}, packages...)...); err != nil {
				return err
			}
		}
		if qemu {
			return apt("install", "-t", qemuFrom, "qemu-system-x86", "qemu-utils")
		}
		return nil
	})
}

// fetch downloads packages of a suite, whichever this computer has installed, into a
// new folder that the caller removes.
func (h Host) fetch(ctx context.Context, suite, log string, packages []string) (archives string, err error) {
	archives, err = os.MkdirTemp("", "zfs-csi-packages-")
	if err != nil {
		return "", fmt.Errorf("make a folder for packages: %w", err)
	}
	err = h.withLists(ctx, []string{suite}, func(dir string, options []string) error {
		status := filepath.Join(dir, "status")
		if err := os.WriteFile(status, nil, 0o644); err != nil {
			return fmt.Errorf("fetch packages: %w", err)
		}
		own := append(append([]string{}, options...), "-o", "Dir::State::status="+status, "-o", "APT::Sandbox::User=root", "download")
		return apt(ctx, archives, log, append(own, packages...)...)
	})
	if err != nil {
		return "", errors.Join(err, os.RemoveAll(archives))
	}
	return archives, nil
}

// withLists calls work with a folder of its own, and with the options that make apt use
// fresh lists of the suites' packages there, and no other source of the host.
func (h Host) withLists(ctx context.Context, suites []string, work func(dir string, options []string) error) (err error) {
	dir, err := os.MkdirTemp("", "zfs-csi-apt-")
	if err != nil {
		return fmt.Errorf("make a folder for package lists: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.MkdirAll(filepath.Join(dir, "lists", "partial"), 0o755); err != nil {
		return fmt.Errorf("make a folder for package lists: %w", err)
	}
	if err := os.Chmod(dir, 0o755); err != nil { // apt reads it as a user of its own
		return fmt.Errorf("open a folder to apt: %w", err)
	}
	source := filepath.Join(dir, "debian.sources")
	if err := h.sources(source, suites...); err != nil {
		return err
	}
	options := []string{"-o", "Dir::Etc::SourceList=" + source, "-o", "Dir::Etc::SourceParts=/dev/null",
		"-o", "Dir::State::Lists=" + filepath.Join(dir, "lists"), "-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache="}
	if err := apt(ctx, dir, filepath.Join(dir, "apt.log"), append(append([]string{}, options...), "update")...); err != nil {
		return err
	}
	return work(dir, options)
}

// apt runs apt-get in dir to its end, with its output in log.
func apt(ctx context.Context, dir, log string, args ...string) error {
	cmd := exec.CommandContext(ctx, "apt-get", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C")
	return tool(ctx, log, cmd)
}

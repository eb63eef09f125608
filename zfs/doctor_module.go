package zfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"
)

// oldest is the oldest release of OpenZFS that the driver is tested with.
var oldest = release{2, 1}

// Tools looks at the module and the tools alone, which starts one command.
func (d Doctor) Tools(ctx context.Context) []Finding {
	findings, loaded := d.module()
	if loaded {
		findings = append(findings, d.versions(ctx))
	}
	return findings
}

// module looks for the kernel module and its control device.
func (d Doctor) module() (findings []Finding, loaded bool) {
	text, err := os.ReadFile(d.path("sys/module/zfs/version"))
	if err != nil {
		return []Finding{{"module", Fault, "the ZFS kernel module is not loaded",
			"load it with modprobe zfs; where that fails, install OpenZFS for this kernel (Debian: zfs-dkms or zfs-modules, Ubuntu: zfsutils-linux)"}}, false
	}
	version := strings.TrimSpace(string(text))
	found := Finding{Check: "module", Message: "OpenZFS " + version + " is loaded"}
	if r, ok := parseRelease(version); ok && r.before(oldest) {
		found.Severity = Warning
		found.Message = fmt.Sprintf("OpenZFS %s is loaded, which is older than %s", version, oldest)
		found.Advice = fmt.Sprintf("update it: the driver is tested with %s and newer", oldest)
	}
	control := Finding{Check: "device /dev/zfs", Message: "it can be opened"}
	file, err := os.OpenFile(d.path("dev/zfs"), os.O_RDWR, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		control = Finding{"device /dev/zfs", Fault, "there is none, though the module is loaded",
			"in a container, give it the node's /dev; elsewhere, start udev"}
	case errors.Is(err, fs.ErrPermission):
		control = Finding{"device /dev/zfs", Fault, "it may not be opened: " + err.Error(),
			"run as root; in a container, as a privileged one"}
	case err != nil:
		control = Finding{"device /dev/zfs", Fault, "it cannot be opened: " + err.Error(), "see the kernel's log (dmesg)"}
	default:
		_ = file.Close() // nothing was written
	}
	return []Finding{found, control}, control.Severity != Fault
}

// versions looks whether the tools and the module go together.
func (d Doctor) versions(ctx context.Context) Finding {
	const check = "tools of ZFS"
	result, err := d.ask(ctx, Command{Name: "zfs", Args: []string{"version"}})
	if err != nil {
		return Finding{check, Fault, "zfs version could not be run: " + err.Error(),
			"install the user tools where they are looked for (Debian and Ubuntu: zfsutils-linux)"}
	}
	var tools, module string
	for line := range strings.Lines(string(result.Stdout)) {
		line = strings.TrimSpace(line)
		if v, ok := strings.CutPrefix(line, "zfs-kmod-"); ok {
			module = v
		} else if v, ok := strings.CutPrefix(line, "zfs-"); ok {
			tools = v
		}
	}
	user, userOK := parseRelease(tools)
	kernel, kernelOK := parseRelease(module)
	switch {
	case result.ExitCode != 0 || !userOK || !kernelOK:
		return Finding{check, Fault, fmt.Sprintf("zfs version does not tell both versions: %s", firstLine(append(result.Stderr, result.Stdout...))),
			"use tools and a module of OpenZFS " + oldest.String() + " or newer"}
	case user == kernel:
		return Finding{Check: check, Message: fmt.Sprintf("%s, which goes with the module's %s", tools, module)}
	case user.major != kernel.major || user.before(oldest):
		return Finding{check, Fault, fmt.Sprintf("%s does not go with the module's %s", tools, module),
			fmt.Sprintf("use tools of version %s, such as the node's own (in a container: --host-root)", kernel)}
	default:
		return Finding{check, Warning, fmt.Sprintf("%s, and the module is %s", tools, module),
			fmt.Sprintf("this works as a rule; tools of version %s, such as the node's own (in a container: --host-root), are the safe choice", kernel)}
	}
}

// kstats looks whether the module's statistics can be read, which is where the driver sees
// the state of a pool without waiting for one that hangs.
func (d Doctor) kstats() Finding {
	const check = "pool states in /proc/spl"
	if _, err := os.ReadDir(d.path(kstatRoot)); err != nil {
		return Finding{check, Fault, "they cannot be read: " + err.Error(),
			"in a container, let it see the node's /proc/spl; elsewhere, see the kernel's log (dmesg)"}
	}
	return Finding{Check: check, Message: "they can be read"}
}

// release is the part of a version that says what works with what.
type release struct{ major, minor int }

var releaseForm = regexp.MustCompile(`^(\d+)\.(\d+)[.-]`)

// parseRelease reads a version such as "2.3.9-1~bpo12+1".
func parseRelease(version string) (release, bool) {
	if !releaseForm.MatchString(version) {
		return release{}, false
	}
	var r release
	_, err := fmt.Sscanf(version, "%d.%d", &r.major, &r.minor)
	return r, err == nil
}

func (r release) before(o release) bool {
	return r.major < o.major || r.major == o.major && r.minor < o.minor
}

func (r release) String() string { return fmt.Sprintf("%d.%d", r.major, r.minor) }

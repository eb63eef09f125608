package driver

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// mountFlags are the mount flags of a volume capability. The kernel's own are kept as
// bits; others are the filesystem's and go to it as they are.
type mountFlags struct {
	bits     uintptr
	data     []string
	readOnly bool
}

// vfsFlags are the options that the kernel keeps for every filesystem, see mount(8):
// the bits they set, or clear.
var vfsFlags = map[string]struct{ set, clear uintptr }{
	"defaults": {}, "rw": {}, "ro": {}, // Read-only is not for the staging mount, see parseMountFlags.
	"nosuid": {set: unix.MS_NOSUID}, "suid": {clear: unix.MS_NOSUID},
	"nodev": {set: unix.MS_NODEV}, "dev": {clear: unix.MS_NODEV},
	"noexec": {set: unix.MS_NOEXEC}, "exec": {clear: unix.MS_NOEXEC},
	"noatime": {set: unix.MS_NOATIME}, "atime": {clear: unix.MS_NOATIME},
	"nodiratime": {set: unix.MS_NODIRATIME}, "diratime": {clear: unix.MS_NODIRATIME},
	"relatime": {set: unix.MS_RELATIME}, "norelatime": {clear: unix.MS_RELATIME},
	"strictatime": {set: unix.MS_STRICTATIME}, "nostrictatime": {clear: unix.MS_STRICTATIME},
	"lazytime": {set: unix.MS_LAZYTIME}, "nolazytime": {clear: unix.MS_LAZYTIME},
	"sync": {set: unix.MS_SYNCHRONOUS}, "async": {clear: unix.MS_SYNCHRONOUS},
	"dirsync": {set: unix.MS_DIRSYNC},
}

// notForVolumes are options of mount(8) and fstab(5) that no filesystem knows, or that
// would make another mount than that of the volume.
var notForVolumes = []string{
	"bind", "rbind", "move", "remount", "shared", "rshared", "slave", "rslave", "private", "rprivate",
	"unbindable", "runbindable", "loop", "auto", "noauto", "user", "nouser", "users", "owner", "group",
	"nofail", "_netdev", "helper", "uhelper", "zfsutil", "mntpoint", "offset", "sizelimit",
}

// parseMountFlags parses the mount_flags of a capability, each of which may be a list
// with commas. The error names the flag.
//
// "ro" is kept apart: the volume is mounted once, for all that use it, and a dataset
// cannot be mounted a second time with other flags. So it is for the publish step.
func parseMountFlags(flags []string) (mountFlags, error) {
	var f mountFlags
	for _, option := range strings.Split(strings.Join(flags, ","), ",") {
		name, _, _ := strings.Cut(option, "=")
		switch known, isVFS := vfsFlags[option]; {
		case option == "":
		case isVFS:
			f.bits = f.bits&^known.clear | known.set
			f.readOnly = (f.readOnly || option == "ro") && option != "rw"
		case slices.Contains(notForVolumes, name), strings.HasPrefix(strings.ToLower(name), "x-"):
			return mountFlags{}, fmt.Errorf("mount flag %q is not one for the mount of a volume", option)
		case strings.ContainsFunc(option, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '"' || r == '\\' }):
			return mountFlags{}, fmt.Errorf("mount flag %q holds a character that no option has", option)
		default:
			f.data = append(f.data, option)
		}
	}
	return f, nil
}

// mounted tells whether a mount with these per-mount options, as mountinfo gives them,
// is what the flags ask for. What a filesystem made of its own options cannot be
// told from outside, so they are not compared.
func (f mountFlags) mounted(options string) bool {
	have := strings.Split(options, ",")
	same := func(option string, bit uintptr) bool {
		return slices.Contains(have, option) == (f.bits&bit != 0)
	}
	return same("nosuid", unix.MS_NOSUID) && same("nodev", unix.MS_NODEV) && same("noexec", unix.MS_NOEXEC) &&
		same("noatime", unix.MS_NOATIME) && same("nodiratime", unix.MS_NODIRATIME)
}

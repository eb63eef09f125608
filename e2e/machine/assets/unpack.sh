# Runs on this computer, in mount and process namespaces of its own:
# unpack.sh PROGRAMS ROOT ARCHIVE… Has containerd unpack archives of images into its
# root folder, as it would in the machine, which would take minutes of emulation.
set -eu
programs=$1 root=$2
shift 2
mount --make-rprivate /
state=$(mktemp -d /tmp/zfs-csi-XXXXXX) # a socket's path has to be short
trap 'rm -rf "$state"' EXIT
printf 'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n' >"$state/containerd.toml"
"$programs/containerd" --config "$state/containerd.toml" --root "$root" --state "$state" --address "$state/sock" &
tries=0
until "$programs/ctr" --address "$state/sock" version >/dev/null 2>&1; do
	tries=$((tries + 1))
	[ "$tries" -lt 300 ] || { echo "containerd does not serve" >&2; exit 1; }
	sleep 0.2 # between two polls
done
for archive; do
	"$programs/ctr" --address "$state/sock" -n k8s.io images import --snapshotter overlayfs "$archive"
done
kill -TERM $!
wait $! || true

# Runs in the machine, as: sh -s. Makes its node one like kind's, which is a container: the kubelet and containerd, and so all
# pods begun from now on, are in a mount namespace of their own, with a /dev that has what was there at its start and
# nothing that comes later, and with no udev. The cluster goes on.
set -eu
modprobe loop max_loop=64 # as manifests/kind/README.md has it
for unit in containerd kubelet; do
	cp "/run/systemd/transient/$unit.service" "/run/$unit.service"
done
systemctl stop kubelet containerd
# A unit of which processes are left, as containerd's shims, would keep its file, which comes before that in /etc.
rm -f /run/systemd/transient/kubelet.service /run/systemd/transient/containerd.service

cat >/run/like-kind <<'END'
set -eu
dev=/run/like-kind-dev
mkdir -p $dev
mount -t tmpfs -o mode=755,nosuid dev $dev
cd /dev
find . -xdev '(' -type b -o -type c -o -type l ')' ! -path './zd*' ! -path './zvol/*' ! -path './disk/*' -exec cp -a --parents {} $dev ';'
cd /
mkdir -p $dev/pts $dev/shm $dev/mqueue /run/udev /run/zfs-csi
mount --bind /dev/pts $dev/pts
mount --bind /dev/mqueue $dev/mqueue
mount -t tmpfs -o nosuid,nodev shm $dev/shm
mount --move $dev /dev
mount -t tmpfs -o nosuid,nodev,noexec none /run/udev
mount -t tmpfs -o nosuid,nodev,noexec none /run/zfs-csi
mount --make-rshared /
echo >/dev/like-kind # the machine's own /dev has no such file
systemd-notify --ready
exec sleep infinity
END
systemd-run --quiet --unit=like-kind --service-type=notify --property=NotifyAccess=all \
	unshare --mount --propagation private sh /run/like-kind
namespace=/proc/$(systemctl show --property=MainPID --value like-kind)/ns/mnt

for unit in containerd kubelet; do
	sed "s|^ExecStart=\"\(.*\)|ExecStart=/usr/bin/nsenter --mount=$namespace -- \"\1|" "/run/$unit.service" >"/etc/systemd/system/$unit.service"
	grep -q "^ExecStart=/usr/bin/nsenter" "/etc/systemd/system/$unit.service"
done
systemctl daemon-reload
systemctl start containerd kubelet
for unit in containerd kubelet; do
	[ "$(readlink "/proc/$(systemctl show --property=MainPID --value $unit)/ns/mnt")" = "$(readlink "$namespace")" ]
done
echo "the node is like one of kind's"

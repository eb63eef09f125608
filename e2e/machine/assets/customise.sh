#!/bin/sh
# Runs on the host with the finished root as $1: leaves what the machine needs
# to boot fast into a state with ZFS loaded, udev running and sshd listening.
set -eu
root=$1
kernel=$(basename "$(ls -d "$root"/lib/modules/*)")

# Keep the modules, drop what built them: removing zfs-dkms would take them along.
mkdir -p "$root/lib/modules/$kernel/extra"
cp "$root/lib/modules/$kernel/updates/dkms/"*.ko* "$root/lib/modules/$kernel/extra/"
chroot "$root" env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --autoremove \
	-o Dpkg::Options::=--force-unsafe-io purge zfs-dkms linux-headers-cloud-amd64
chroot "$root" depmod "$kernel"
rm -rf "$root/usr/src/"* "$root/var/lib/dkms"
chroot "$root" modinfo -k "$kernel" -F version zfs >/dev/null

# ZFS is loaded at boot; the memory it caches in leaves room for the tests.
echo zfs >"$root/etc/modules-load.d/zfs.conf"
echo "options zfs zfs_arc_max=536870912" >"$root/etc/modprobe.d/zfs.conf"

# Pools come and go with the tests: nothing may import, mount or share by itself.
for unit in zfs.target zfs-import.target zfs-import-cache.service zfs-import-scan.service \
	zfs-mount.service zfs-share.service zfs-volume-wait.service zfs-volumes.target zfs-zed.service \
	zfs-load-module.service apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
	e2scrub_reap.service fstrim.timer systemd-tmpfiles-clean.timer systemd-timesyncd.service \
	systemd-random-seed.service systemd-update-utmp.service systemd-update-utmp-runlevel.service \
	systemd-pstore.service systemd-logind.service getty.target ssh.socket; do
	ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
chroot "$root" systemctl --quiet enable ssh.service systemd-networkd.service
chroot "$root" systemctl --quiet disable systemd-networkd-wait-online.service
# Nothing changed since the packages were configured: the first boot need not redo it.
touch "$root/etc/.updated" "$root/var/.updated"
chroot "$root" systemctl --quiet set-default multi-user.target

cat >"$root/etc/systemd/network/10-eth0.network" <<-EOF
	[Match]
	Name=eth0
	[Network]
	Address=10.0.2.15/24
	Gateway=10.0.2.2
	LinkLocalAddressing=no
	IPv6AcceptRA=no
EOF
echo "nameserver 10.0.2.3" >"$root/etc/resolv.conf"
echo zfs-csi-machine >"$root/etc/hostname"
printf '127.0.0.1 localhost zfs-csi-machine\n::1 localhost\n' >"$root/etc/hosts"
printf '/dev/vda / ext4 rw,noatime,noinit_itable 0 0\n' >"$root/etc/fstab"
mkdir -p "$root/etc/systemd/journald.conf.d"
printf '[Journal]\nStorage=volatile\nRuntimeMaxUse=32M\n' >"$root/etc/systemd/journald.conf.d/machine.conf"

# sshd: root by key only, no lookup and no session bookkeeping on the way in.
rm -f "$root"/etc/ssh/ssh_host_*
ssh-keygen -q -t ed25519 -N '' -C zfs-csi-machine -f "$root/etc/ssh/ssh_host_ed25519_key"
cat >"$root/etc/ssh/sshd_config" <<-EOF
	HostKey /etc/ssh/ssh_host_ed25519_key
	PermitRootLogin prohibit-password
	PasswordAuthentication no
	KbdInteractiveAuthentication no
	UsePAM no
	UseDNS no
	PrintMotd no
	PrintLastLog no
	MaxSessions 500
	MaxStartups 500
	Subsystem sftp internal-sftp
EOF
mkdir -p "$root/etc/systemd/system-generators"
ln -sf /dev/null "$root/etc/systemd/system-generators/systemd-ssh-generator"
rm -f "$root/etc/motd" "$root/var/log/lastlog"

# The initrd: a static busybox and what leads to the disk, as far as the kernel
# has it not built in (6.12 has virtio_pci, 6.1 has not).
mkdir -p "$root/tmp/initrd/bin" "$root/tmp/initrd/dev" "$root/tmp/initrd/root" "$root/tmp/initrd/modules"
cp "$root/bin/busybox" "$root/tmp/initrd/bin/busybox"
cp "$(dirname "$0")/init" "$root/tmp/initrd/init"
chmod 755 "$root/tmp/initrd/init"
index=10
for module in virtio_pci virtio_blk ext4; do
	chroot "$root" modprobe --set-version "$kernel" --show-depends "$module"
done | awk '!seen[$0]++' | while read -r verb module _; do
	[ "$verb" = insmod ] || continue
	target="$root/tmp/initrd/modules/$index-$(basename "${module%.xz}")"
	case $module in
	*.xz) chroot "$root" busybox xz -dc "$module" >"$target" ;;
	*) cp "$root$module" "$target" ;;
	esac
	index=$((index + 1))
done
chroot "$root" sh -c 'cd /tmp/initrd && find . | busybox cpio -o -H newc 2>/dev/null | gzip -1 >/boot/initrd.machine'
rm -rf "$root/tmp/initrd"
cp "$root/boot/vmlinuz-$kernel" "$root/boot/vmlinuz.machine"

rm -rf "$root/var/cache/apt/"*.bin "$root/var/lib/apt/lists/"* "$root/var/cache/apt/archives/"*.deb

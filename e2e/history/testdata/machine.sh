#!/bin/sh
# What the test does in the machine, see machine_test.go: sh machine.sh VERB ARGS…
set -eu
home=/var/lib/zfs-csi-power
pools="power-1 power-2"
parents="power-1/csi power-2/csi"

# of prints the name and the type of the dataset of volume $1.
of() {
	names=
	for parent in $parents; do
		names="$names $parent/$1"
	done
	# One of them is not there, and that is an error.
	zfs list -H -o name,type $names 2>/dev/null || true
}

# device prints the device of zvol $1, once udev has seen what became of the last that had its number.
device() {
	tries=0
	until link=$(readlink -e "/dev/zvol/$1") && [ "$(/lib/udev/zvol_id "$link" 2>/dev/null)" = "$1" ]; do
		tries=$((tries + 1))
		[ $tries -lt 200 ] || { echo "zvol $1 has no device after 10 s" >&2; exit 1; }
		sleep 0.05
	done
	echo "$link"
}

# with calls $1 with the file that holds the content of volume $2, which is published at $3 or, with no $3, is not.
with() {
	if [ $# -gt 2 ]; then
		[ -d "$3" ] && "$1" "$3/content" || "$1" "$3"
		return
	fi
	call=$1 volume=$2
	set -- $(of "$volume")
	case ${2-} in
	volume) "$call" "$(device "$1")" ;;
	filesystem)
		dir=$(mktemp -d)
		mount -i -t zfs "$1" "$dir"
		"$call" "$dir/content"
		umount "$dir"
		rmdir "$dir"
		;;
	*) echo "volume $volume is below none of $parents" >&2; exit 1 ;;
	esac
}

# The content is as much as ZFS writes at once: never is one part of it old and the other new.
put() { dd of="$1" bs=4096 count=1 iflag=fullblock conv=notrunc,fsync status=none; }
get() { [ ! -e "$1" ] || dd if="$1" bs=4096 count=1 status=none; }

verb=$1
shift
case $verb in
make) # the pools, in files on the machine's disk: what is in memory is no pool's after a power cut
	for pool in $pools; do
		truncate -s 1G "$home/$pool"
		zpool create -o cachefile=none -O mountpoint=none "$pool" "$home/$pool"
		"$home/zfs-csi" init "$pool/csi"
	done
	sync
	;;
import)
	modprobe zfs # It may be about to be loaded.
	for pool in $pools; do
		zpool import -d "$home" -o cachefile=none "$pool"
	done
	;;
serve)
	echo $$ >/run/zfs-csi-power.pid
	exec "$home/zfs-csi" serve --log-level debug --parent "$(echo "$parents" | tr ' ' ,)" --endpoint "$1"
	;;
stop) kill "$(cat /run/zfs-csi-power.pid)" ;;
write) with put "$@" ;;
read) with get "$@" ;;
property)
	set -- "$1" $(of "$2")
	zfs get -H -p -o value "$1" "$2"
	;;
properties) zfs get -H -p -d 1 -t filesystem,volume -o name,property,value "$1" $parents ;;
snapshot) # by somebody else
	set -- "$1" $(of "$2")
	zfs snapshot "$2@$1"
	;;
list) zfs list -H -r -t all -o name,origin,defer_destroy $parents ;;
space)
	zpool sync $pools
	zfs get -H -p -o name,property,value used $parents
	zpool get -H -p -o name,property,value freeing $pools
	;;
esac

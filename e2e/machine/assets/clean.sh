# Runs after a program, whatever became of it, as: sh clean.sh DIR TOKEN
# Ends its processes, unmounts what it left, destroys its pools, removes DIR.
dir=$1 token=$2
group=/sys/fs/cgroup/zfscsitest-$token
if [ -d "$group" ]; then
	echo 1 >"$group/cgroup.kill"
	tries=0
	until rmdir "$group" 2>/dev/null || [ $tries -ge 100 ]; do
		tries=$((tries + 1))
		sleep 0.05
	done
fi
pools=$(zpool list -H -o name 2>/dev/null | grep "^zfscsitest-$token-")
mounts() { # of the folder and of the pools' volumes, the latest first
	devices=" "
	for pool in $pools; do
		for link in $(find "/dev/zvol/$pool" -type l 2>/dev/null); do
			devices="$devices$(readlink -f "$link") "
		done
	done
	awk -v dir="$dir/" -v devices="$devices" \
		'index($2, dir) == 1 || index(devices, " " $1 " ") { print $2 }' /proc/self/mounts | sort -r
}
mounts | while read -r target; do
	umount -l "$(printf '%b' "$target")"
done
for pool in $pools; do
	echo "machine: pool $pool was left behind; destroying it" >&2
	timeout 60 zpool destroy -f "$pool" || timeout 60 zpool export -f "$pool"
done
rm -rf --one-file-system "$dir"

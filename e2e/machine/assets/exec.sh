# Runs in the machine (or on a host with ZFS) as: sh exec.sh DIR TOKEN PROGRAM ARGS…
# Runs the program in DIR/work in a control group of its own, and ends whatever
# it leaves behind.
dir=$1 token=$2
shift 2
group=/sys/fs/cgroup/zfscsitest-$token
mkdir "$group"
cd "$dir/work" || exit 125
sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$group" "$@" </dev/null &
echo $! >"$dir/pid"
wait $!
code=$?
if read -r left <"$group/cgroup.procs"; then
	echo "machine: processes left behind by the program are killed, $left ($(cat "/proc/$left/comm")) among them" >&2
	echo 1 >"$group/cgroup.kill"
fi
exit $code

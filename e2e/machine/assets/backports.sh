#!/bin/sh
# Runs on the host with the empty root as $1 and its suite as $2: takes OpenZFS,
# and nothing else, from the suite's backports.
set -eu
root=$1
suite=$2
mkdir -p "$root/etc/apt/preferences.d"
cat >"$root/etc/apt/preferences.d/zfs" <<-EOF
	Package: src:zfs-linux
	Pin: release n=$suite-backports
	Pin-Priority: 900
EOF

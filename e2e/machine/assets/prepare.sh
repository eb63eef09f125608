#!/bin/sh
# Runs on the host with the new root as $1, once its essential packages are in
# and before the rest: keeps out work whose result is not wanted.
set -eu
root=$1

# The machine boots with an initrd of its own; dpkg need not generate others.
chroot "$root" dpkg-divert --quiet --local --rename --add /usr/sbin/update-initramfs
ln -s /bin/true "$root/usr/sbin/update-initramfs"

#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Size and build time of the recovery image beside those of two initramfs generators: same Debian tree, same kernel, same run.
# Usage: tests/bench/bench.sh BUILD. Needs root; the tree is made once, in XDG_CACHE_HOME/qmr-tests (default ~/.cache).
# What is compared: dracut without host-only, with network and curl; mkinitramfs with MODULES=most, its default, which has no
# curl. Both run as their packages come, compressors included; caches are warmed first; mkrecovery's time is the median of 3.
set -eu

build=$(realpath "$1")
here=$(dirname "$(realpath "$0")")
cache=${XDG_CACHE_HOME:-$HOME/.cache}/qmr-tests
packages=linux-image-amd64,systemd-sysv,udev,systemd-boot-efi,e2fsprogs,dosfstools,dhcpcd5,kmod,libkmod2,libcurl4,libefivar1
packages=$packages,libefiboot1,libblkid1,libinih1,libjansson4,libssl3,libzstd1,zlib1g,libseccomp2,ca-certificates
packages=$packages,dracut-core,dracut-network,initramfs-tools,curl,zstd,busybox,procps
tree=$cache/bench-$(cksum <<<"$packages" | cut -d ' ' -f 1)
programs="recovery-init recovery-state dhcp-hook crash-collect diag-upload remediation-fetch remediation-apply mkrecovery"

[ "$(id -u)" = 0 ] || { echo "bench.sh: needs root for chroot" >&2; exit 1; }
"$here/../deps.sh" bench

for program in $programs; do
	[ -x "$build/$program" ] || { echo "bench.sh: '$build/$program' is not built; run make first" >&2; exit 1; }
done

if [ ! -e "$tree/.complete" ]; then
	echo "making a Debian tree in '$tree' (once, some minutes)"
	mkdir -p "$cache"
	rm -rf --one-file-system "$tree"
	mmdebstrap --quiet --variant=minbase --include="$packages" bookworm "$tree" >&2
	touch "$tree/.complete"
fi
mkdir -p "$tree/usr/lib/qmr" "$tree/etc/qmr" "$tree/bench"
for program in $programs; do
	install -m 0755 "$build/$program" "$tree/usr/lib/qmr/$program"
done

# The rest runs in a mount namespace of its own, so that nothing stays mounted.
exec unshare -m --propagation private "$here/measure.sh" "$tree"

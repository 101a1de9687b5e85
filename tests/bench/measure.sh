#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The measuring part of bench.sh, which calls it in a mount namespace of its own. Usage: measure.sh TREE
set -eu
tree=$1
release=$(basename "$(ls -d "$tree"/usr/lib/modules/* | sort -V | tail -n 1)")

mount --bind /dev "$tree/dev"
mount -t proc proc "$tree/proc"
mount -t sysfs sys "$tree/sys"
mount -t tmpfs tmp "$tree/tmp"
mount -t tmpfs bench "$tree/bench"
find "$tree/usr/lib/modules/$release" "$tree/usr/lib/x86_64-linux-gnu" -type f -exec cat {} + >/dev/null

seconds() { # runs its arguments in the tree, prints the wall-clock seconds
	local begin

	begin=$(date +%s%N)
	chroot "$tree" /usr/bin/env PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@" >"$tree/bench/log" 2>&1 || {
		tail -n 20 "$tree/bench/log" >&2
		exit 1
	}
	echo $((($(date +%s%N) - begin) / 10000000)) | sed 's/..$/.&/; s/^\./0./'
}
megabytes() {
	stat -c %s "$tree/bench/$1" | awk '{ printf "%.1f", $1 / 1e6 }'
}
modules() {
	chroot "$tree" lsinitramfs "/bench/$1" | grep -c '\.ko'
}
row() { # $1: name, $2: file, $3: seconds
	printf '%-44s %8s MB %8s s %6s modules\n' "$1" "$(megabytes "$2")" "$3" "$(modules "$2")"
}

dracut_s=$(seconds dracut --quiet --no-hostonly --add "network-legacy network url-lib" --force /bench/dracut.img "$release")
mkinitramfs_s=$(seconds mkinitramfs -o /bench/mkinitramfs.img "$release")
for run in 1 2 3; do
	seconds /usr/lib/qmr/mkrecovery --root / --kernel "$release" --output /bench/recovery.efi \
		--initrd /bench/recovery.img >>"$tree/bench/times"
done
qmr_s=$(sort -n "$tree/bench/times" | sed -n 2p)

echo "kernel $release, $(nproc) processors"
row "dracut --no-hostonly, network, curl" dracut.img "$dracut_s"
row "mkinitramfs, MODULES=most" mkinitramfs.img "$mkinitramfs_s"
row "mkrecovery, bare initramfs" recovery.img "$qmr_s"
printf '%-44s %8s MB\n' "mkrecovery, whole image with kernel" "$(megabytes recovery.efi)"
for other in dracut mkinitramfs; do
	other_s=${other}_s
	awk -v name="$other" -v size="$(megabytes recovery.img)" -v other_size="$(megabytes "$other.img")" \
		-v time="$qmr_s" -v other_time="${!other_s}" 'BEGIN {
		printf "mkrecovery against %s: size x %.2f, time x %.3f\n", name, size / other_size, time / other_time }'
done

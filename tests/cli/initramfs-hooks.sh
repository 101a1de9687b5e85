#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The scripts of the initramfs with a boot-guard that is missing, dies or stalls: the boot goes on. Each runs as nobody in a root of its
# own, in which reboot and halt are files that note that they were called. Usage: tests/cli/initramfs-hooks.sh -B BUILD
set -u
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
hooks=boot-hooks/initramfs-tools
root=$work/root
status=0

if [ "$(id -u)" = 0 ]; then
	enter="chroot --userspec=65534:65534"
else
	enter="unshare -r chroot"
fi
# $1: dash or busybox
make_root() {
	rm -rf "$root"
	mkdir -p "$root"/{bin,proc,conf,etc/qmr,usr/lib/qmr,scripts}
	cp "$(command -v busybox)" "$root/bin/busybox"
	ldd "$(command -v dash)" "$(command -v busybox)" 2>/dev/null | grep -o '/[^ :)]*\.so[^ :)]*' | sort -u |
		while read -r library; do cp --parents "$library" "$root"; done
	for name in cat grep echo; do ln -s busybox "$root/bin/$name"; done
	if [ "$1" = dash ]; then cp "$(command -v dash)" "$root/bin/sh"; else ln -s busybox "$root/bin/sh"; fi
	for name in reboot halt sleep; do
		printf '#!/bin/sh\necho %s "$@" >>/called\n' "$name" >"$root/bin/$name"
		chmod 755 "$root/bin/$name"
	done
	cp "$hooks"/{init-top,init-bottom,panic} "$root/scripts"
	echo "root=/dev/vda quiet" >"$root/proc/cmdline"
	: >"$root/called"
	: >"$root/conf/param.conf"
	chmod -R a+rwX "$root"
}
# $1: what boot-guard does, missing, plain (not executable) or lines of a shell
boot_guard() {
	rm -f "$root/usr/lib/qmr/boot-guard"
	[ "$1" = missing ] && return
	printf '#!/bin/sh\necho boot-guard "$@" >>/called\n%s\n' "$1" >"$root/usr/lib/qmr/boot-guard"
	[ "$1" = plain ] || chmod 755 "$root/usr/lib/qmr/boot-guard"
}
# Runs a script as initramfs-tools does, by its first line. Sets took, in seconds.
run() {
	local begin=$SECONDS
	: >"$root/called"
	timeout -s KILL 20 $enter "$root" "/scripts/$@" >"$work/out" 2>&1
	code=$?
	took=$((SECONDS - begin))
}
called() { tr '\n' ',' <"$root/called"; }
check() { # $1: name, $2: is, $3: should be
	if [ "$2" = "$3" ]; then
		echo "ok $1"
	else
		echo "not ok $1: is '$2', should be '$3'"
		cat "$work/out"
		status=1
	fi
}

for shell in dash busybox; do
	make_root $shell
	boot_guard "exit 0"
	run init-top
	check "$shell: init-top" "$code:$(called):$(cat "$root/conf/param.conf")" "0:boot-guard prepare,boot-guard start,boot-guard feed,:panic="
	run init-bottom
	check "$shell: init-bottom" "$code:$(called)" "0:boot-guard root,"
	run panic
	check "$shell: panic" "$code:$(called)" "0:boot-guard --run /run/qmr failed initramfs-shell,"
	for script in init-top init-bottom panic; do
		run $script prereqs
		check "$shell: $script says what it needs" "$code:$(called):$(cat "$work/out")" "0::"
		for bad in missing plain "exit 1" 'kill -SEGV $$' 'kill -KILL $$' "/bin/busybox sleep 2"; do
			boot_guard "$bad"
			run $script
			check "$shell: $script, boot-guard: $bad" "$code:$((took < 9)):$(grep -c -e reboot -e halt "$root/called")" "0:1:0"
		done
	done
	boot_guard "exit 0"
	# Nothing to read and nothing to write: still no reason not to boot.
	rm "$root/proc/cmdline" "$root/conf/param.conf"
	chmod 555 "$root/conf"
	for script in init-top init-bottom panic; do
		run $script
		check "$shell: $script without /proc and /conf" "$code" 0
	done
	make_root $shell
	boot_guard "exit 0"
	echo "quiet qmr=off panic=5" >"$root/proc/cmdline"
	for script in init-top init-bottom panic; do
		run $script
		check "$shell: $script, qmr=off" "$code:$(called):$(cat "$root/conf/param.conf")" "0::"
	done
	# As initramfs-tools would have it: seconds, at once, or a halt; and a shell where qmrctl install has put it there.
	for panic in "5:sleep 5,reboot -f," "-1:reboot -f," "0:halt -f," "x:halt -f," ":"; do
		echo "root=/dev/vda panic=${panic%%:*}" >"$root/proc/cmdline"
		run panic
		check "$shell: panic=${panic%%:*}" "$code:$(called)" "0:boot-guard --run /run/qmr failed initramfs-shell,${panic#*:}"
	done
	echo "ro qmr.panic panic=5" >"$root/proc/cmdline"
	run panic
	check "$shell: panic= of the installation's" "$code:$(called)" "0:boot-guard --run /run/qmr failed initramfs-shell,"
done
exit $status

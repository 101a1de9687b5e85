# SPDX-License-Identifier: LGPL-2.1-or-later
# Read by the tests of qmrctl: a made-up system, which is a root of its own (chroot in a mount namespace) with stand-ins for the
# generator, systemctl and mkrecovery, so that each can fail on demand. What the real ones do is a matter of tests/vm.
# Needs root, or user namespaces. The tests set status to 1 through ok and exit with it.
set -u
build=$(realpath "$2")
# The mounts are gone with the namespace, and only then is the folder removed: rm must never meet the host's files.
if [ -z "${QMR_TEST_FOLDER-}" ]; then
	work=$(mktemp -d)
	trap 'rm -rf --one-file-system "$work"' EXIT
	[ "$(id -u)" = 0 ] && map= || map=--map-root-user
	QMR_TEST_FOLDER=$work unshare --mount --propagation private $map "$0" -B "$build"
	exit $?
fi
work=$QMR_TEST_FOLDER
root=$work/root
status=0
release=6.9-test

ok() { # $1: name, $2: is, $3: should be
	if [ "$2" = "$3" ]; then
		echo "ok $1"
	else
		echo "not ok $1: is '$2', should be '$3'"
		cat "$root/tmp/out"
		status=1
	fi
}
# Runs qmrctl in the root; output in /tmp/out. Prints the exit code.
ctl() {
	env -i PATH=/usr/sbin:/usr/bin LC_ALL=C EFIVARFS_PATH="${variables-/nowhere/}" chroot "$root" /usr/sbin/qmrctl "$@" \
		>"$root/tmp/out" 2>&1
	echo $?
}
said() { # $1: fixed text; prints how many lines have it
	grep -c -F -- "$1" "$root/tmp/out"
}
install_built() {
	ctl --no-variables --esp-path /efi --esp-uuid ABCD-1234 "$@" install
}
mode() { ctl --no-variables --esp-path /efi --esp-uuid ABCD-1234 mode "$1"; }
# What check finds, and what it only warns of: the one thing that is wrong.
finds() { # $1: name, $2: text
	ok "check finds $1" "$(ctl --no-variables --esp-path /efi --esp-uuid ABCD-1234 check) $(said "$2") $(said ': failed: ')" "1 1 1"
}
warns() { # $1: name, $2: text
	ok "check warns of $1" "$(ctl --no-variables --esp-path /efi --esp-uuid ABCD-1234 check) $(said "$2") $(said ': failed: ')" "0 1 0"
}
# Everything that a run may change, content and time of writing.
snapshot() {
	(cd "$root" && find etc boot efi var -xdev -type f ! -path 'var/tmp/*' -printf '%p %s %T@\n' | sort)
}
program() { # $1: path in the root, text on standard input
	rm -f "$root/$1"
	cat >"$root/$1"
	chmod 0755 "$root/$1"
}

make_root() {
	mkdir -p "$root"
	mount -t tmpfs -o mode=0755 tmpfs "$root" || { echo "not ok setup: no mount namespace"; exit 1; }
	mkdir -p "$root"/{host,usr/{bin,sbin,lib},proc,dev,run,tmp,efi,boot,var/{lib,tmp}} "$root"/etc/{qmr/trust,qmr/conf.d}
	# The host's programs and libraries, as links: an overlay could not be written to in a user namespace.
	touch "$root/dev/null" "$root/dev/urandom"
	mount --rbind /usr "$root/host" && mount --rbind /proc "$root/proc" && mount --bind /dev/null "$root/dev/null" &&
		mount --bind /dev/urandom "$root/dev/urandom" || { echo "not ok setup: no bind mounts"; exit 1; }
	for folder in bin sbin lib; do (cd /usr/$folder && ls -A) | sed "s|^|/host/$folder/|" | xargs ln -s -t "$root/usr/$folder"; done
	ln -s /host/lib64 "$root/usr/lib64" && ln -s /host/share "$root/usr/share" && rm -f "$root"/usr/lib/{qmr,modules}
	for name in bin sbin lib lib64; do ln -s usr/$name "$root/$name"; done
	mkdir -p "$root/usr/lib/qmr" "$root/usr/lib/modules/$release"
	mount -t tmpfs -o size=4M tmpfs "$root/efi"
	cp "$build/qmrctl" "$root/usr/sbin/qmrctl"
	cp "$build/boot-guard" "$build/diag-upload" "$build/remediation-apply" "$root/usr/lib/qmr/"
	printf 'ID=debian\n' >"$root/etc/os-release"
	printf 'UUID=5c8b2b4e-0d3c-4d8f-9d55-2f8a4c1b7e01 / ext4 rw 0 1\n' >"$root/etc/fstab"
	echo initrd >"$root/boot/initrd.img-$release"
	stand_ins
}

stand_ins() {
	# The "initramfs" is a tar of what Debian's hook would have put into it.
	program usr/sbin/update-initramfs <<-EOT
	#!/bin/sh -e
	[ ! -e /tmp/fail-initramfs ] || { echo "no space" >&2; exit 1; }
	t=\$(mktemp -d); mkdir -p \$t/scripts/init-top \$t/scripts/local-top \$t/etc/qmr/conf.d \$t/usr/lib/qmr
	m=\$t/usr/lib/modules/$release/kernel; mkdir -p \$m/fs/efivarfs \$m/fs/fat \$m/drivers/firmware/efi
	if [ ! -e /etc/qmr/uninstalled ]; then
		[ -e /tmp/late ] && echo '/scripts/init-top/00-early "\$@"' >\$t/scripts/init-top/ORDER
		echo '/scripts/init-top/00-qmr "\$@"' >>\$t/scripts/init-top/ORDER
		[ -e /tmp/late-local ] && echo '/scripts/local-top/00-early "\$@"' >\$t/scripts/local-top/ORDER
		echo '/scripts/local-top/00-qmr "\$@"' >>\$t/scripts/local-top/ORDER
		cp /usr/lib/qmr/boot-guard \$t/usr/lib/qmr/
		cp /etc/qmr/*.conf \$t/etc/qmr/ 2>/dev/null || :
		cp /etc/qmr/conf.d/*.conf \$t/etc/qmr/conf.d/ 2>/dev/null || :
		: >\$m/fs/efivarfs/efivarfs.ko.xz
		: >\$m/fs/fat/vfat.ko
		[ -e /tmp/no-pstore ] || : >\$m/drivers/firmware/efi/efi-pstore.ko
	fi
	echo '/scripts/init-top/udev "\$@"' >>\$t/scripts/init-top/ORDER
	tar -C \$t -cf /boot/initrd.img-$release .
	rm -rf \$t
	EOT
	program usr/bin/unmkinitramfs <<-'EOT'
	#!/bin/sh
	mkdir -p "$2/main" && exec tar -C "$2/main" -xf "$1" 2>/dev/null
	EOT
	program usr/bin/systemctl <<-'EOT'
	#!/bin/sh
	[ "$1" = -q ] && shift
	verb=$1; shift
	echo "$verb $*" >>/tmp/systemctl.log
	mkdir -p /etc/units
	case $verb in
	enable) for u; do : >/etc/units/$u; done ;;
	disable) for u; do rm -f /etc/units/$u; done ;;
	is-enabled) [ -e "/etc/units/$1" ] ;;
	show) [ "$*" = "-P OnSuccess qmr-healthy.service" ] && cat /tmp/follow ;;
	esac
	EOT
	program usr/lib/qmr/mkrecovery <<-EOT
	#!/usr/bin/env -S python3 -I
	import glob, os, struct, sys
	if os.path.exists("/tmp/fail-mkrecovery"): sys.exit("no program")
	if "--list" in sys.argv: sys.exit(print(open("/tmp/list").read()))
	options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
	open("/tmp/mkrecovery.log", "w").write(" ".join(sys.argv[1:]))
	machine = [options.get("--" + o) for o in ("root-uuid", "root-fstype", "esp-uuid")] + ["--root" not in options]
	content = [b"ID=zz-qmr-recovery\nVERSION_ID=1\n", options.get("--kernel", "$release").encode(), repr(machine).encode()]
	content[2] += b"".join(open(f, "rb").read() for f in sorted(glob.glob("/etc/qmr/**/*.conf", recursive=True)))
	content[2] += bytes(int(open("/tmp/image-bytes").read()) if os.path.exists("/tmp/image-bytes") else 1000)
	image = bytearray(b"MZ" + bytes(58) + struct.pack("<I", 64) + b"PE\0\0" + struct.pack("<HHIIIHH", 0, 3, 0, 0, 0, 0, 0))
	at = len(image) + 3 * 40
	for name, data in zip((b".osrel", b".uname", b".initrd"), content):
	    image += struct.pack("<8sIIIIIIHHI", name, len(data), 0, len(data), at, 0, 0, 0, 0, 0)
	    at += len(data)
	open(options["--output"], "wb").write(image + b"".join(content))
	EOT
}

image=efi/EFI/Linux/qmr-recovery.efi
second=efi/EFI/qmr/qmr-recovery-2.efi
make_root

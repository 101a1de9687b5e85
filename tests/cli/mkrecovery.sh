#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# mkrecovery over a small made-up root: what goes into the image, and what it says when something is missing.
# Usage: tests/cli/mkrecovery.sh -B BUILD. Needs gcc, python3, zstd, kmod and systemd's stub.
set -u
mkrecovery=$(realpath "$2/mkrecovery")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
release=9.9.9-test
modules=$root/usr/lib/modules/$release
stub=usr/lib/systemd/boot/efi/linuxx64.efi.stub
status=0

ok() { # $1: name, $2: is, $3: should be
	if [ "$2" = "$3" ]; then
		echo "ok $1"
	else
		echo "not ok $1: is '$2', should be '$3'"
		cat "$work/out"
		status=1
	fi
}
build() {
	"$mkrecovery" --root "$root" --output "$work/r.efi" --initrd "$work/r.initrd" "$@" >"$work/out" 2>&1
}
# $1: name, $2: exit code, $3: words of the message, rest: options. Nothing may be left behind.
refused() {
	local name=$1 code=$2 words=$3
	shift 3
	rm -f "$work"/r.*
	build "$@"
	ok "$name" "$? $(grep -c -F -- "$words" "$work/out") $(ls "$work" | grep -c '^r\.[ei]')" "$code 1 0"
}
# $1: path in the tree, $2: text of .modinfo, entries separated by '|'
module() {
	mkdir -p "$(dirname "$modules/kernel/$1")"
	printf 'const char modinfo[] __attribute__((section(".modinfo"), used)) = "%s";\n' "${2//|/\\0}" |
		gcc -x c -c -o "$modules/kernel/$1" -
}
program() { # $1: path in the root, rest: options of gcc
	local path=$root/$1
	shift
	mkdir -p "$(dirname "$path")"
	gcc -x c -o "$path" "$work/main.c" "$@"
}

make_root() {
	local library

	echo 'int foo(void); int bar(void); int main(void) { return FOO + BAR; }' >"$work/main.c"
	echo 'int foo(void) { return 1; } int bar(void) { return 2; }' >"$work/lib.c"
	mkdir -p "$root"/{boot,etc/qmr/trust,etc/ld.so.conf.d,usr/lib/x86_64-linux-gnu,usr/lib64,usr/lib/qmr/private} \
		"$root/opt/lib" "$root/$(dirname $stub)" "$modules"
	ln -s usr/lib "$root/lib" && ln -s usr/lib64 "$root/lib64" && ln -s usr/sbin "$root/sbin"
	gcc -shared -fPIC -o "$root/usr/lib/qmr/private/libfoo.so" "$work/lib.c"
	gcc -shared -fPIC -o "$root/opt/lib/libbar.so" "$work/lib.c"
	echo /opt/lib >"$root/etc/ld.so.conf.d/opt.conf"
	for name in recovery-state dhcp-hook crash-collect diag-upload remediation-fetch remediation-apply; do
		program usr/lib/qmr/$name -DFOO=0 -DBAR=0
	done
	# shellcheck disable=SC2016
	program usr/lib/qmr/recovery-init '-DFOO=foo()' '-DBAR=bar()' -Wl,--no-as-needed -Wl,-rpath,'$ORIGIN/private' \
		-L"$root/usr/lib/qmr/private" -L"$root/opt/lib" -lfoo -lbar
	program usr/sbin/e2fsck -DFOO=0 -DBAR=0
	program usr/sbin/dhcpcd -DFOO=0 -DBAR=0
	for library in libc.so.6 libgcc_s.so.1; do
		cp -L "$(gcc -print-file-name=$library)" "$root/usr/lib/x86_64-linux-gnu/$library"
	done
	cp -L /lib64/ld-linux-x86-64.so.2 "$root/usr/lib64/"
	cp -L /lib64/ld-linux-x86-64.so.2 "$root/usr/lib/x86_64-linux-gnu/"
	cp "/$stub" "$root/$stub"
	{ printf MZ; head -c 512 /dev/zero; printf HdrS; head -c 4096 /dev/urandom; } >"$root/boot/vmlinuz-$release"
	printf '[policy]\nmode = collect\n[image]\ncmdline = a.b=c\n' >"$root/etc/qmr/qmr.conf"
	printf -- '-----BEGIN CERTIFICATE-----\n' >"$root/etc/qmr/trust/ca.pem"
}

make_modules() {
	module drivers/scsi/scsi_common.ko 'depends='
	module drivers/scsi/scsi_mod.ko 'license=GPL|depends=scsi_common'
	module drivers/usb/core/usbcore.ko 'depends=|alias=usb:core-[a-z]*'
	module drivers/usb/storage/usb-storage.ko 'depends=scsi_mod,usbcore|alias=usb:v*p*d*dc*dsc*dp*ic08isc06ip50in*'
	module fs/ext4/ext4.ko 'depends=|softdep=pre: crypto-crc32c post: absent'
	module lib/crc/crc32c_soft.ko 'depends=|alias=crypto-crc32c'
	module drivers/net/ethernet/intel/e1000/e1000.ko 'depends=|firmware=intel/have.bin|firmware=intel/lack.bin'
	module sound/core/snd.ko 'depends='
	mkdir -p "$modules/updates" "$root/usr/lib/firmware/intel"
	cp "$modules/kernel/drivers/usb/core/usbcore.ko" "$modules/updates/vendor.ko"
	echo firmware >"$root/usr/lib/firmware/intel/have.bin"
	depmod -b "$root" "$release" 2>"$work/out"
}

# Unpacks $work/r.initrd into $1 by a reader of its own, without device nodes, and prints a line for each entry.
unpack() {
	mkdir -p "$1"
	zstd -q -d -c "$work/r.initrd" | python3 -c '
import os, stat, sys
data, at = sys.stdin.buffer.read(), 0
while True:
    assert data[at:at + 6] == b"070701", at
    f = [int(data[at + 6 + 8 * i:at + 14 + 8 * i], 16) for i in range(13)]
    name = data[at + 110:at + 110 + f[11] - 1].decode()
    at = (at + 110 + f[11] + 3) & ~3
    body, at = data[at:at + f[6]], (at + f[6] + 3) & ~3
    if name == "TRAILER!!!":
        break
    kind, path = stat.S_IFMT(f[1]), os.path.join(sys.argv[1], name)
    print(name, oct(f[1]), f[5], "%d:%d" % (f[9], f[10]))
    if kind == stat.S_IFDIR:
        os.makedirs(path, exist_ok=True)
    elif kind == stat.S_IFLNK:
        os.symlink(body.decode(), path)
    elif kind == stat.S_IFREG:
        open(path, "xb").write(body)
        os.chmod(path, f[1] & 0o777)
' "$1"
}

check_content() {
	local tree=$work/tree list=$work/list

	unpack "$tree" >"$list"
	ok "the archive is complete" "$?" 0
	ok "init" "$(readlink "$tree/init")" usr/lib/qmr/recovery-init
	ok "console" "$(grep '^dev/console' "$list")" "dev/console 0o20600 0 5:1"
	ok "wanted modules and no others" "$(cd "$tree/usr/lib/modules/$release" && find . -name '*.ko' | LC_ALL=C sort | xargs)" \
		"./kernel/drivers/net/ethernet/intel/e1000/e1000.ko ./kernel/drivers/scsi/scsi_common.ko ./kernel/drivers/scsi/scsi_mod.ko ./kernel/drivers/usb/core/usbcore.ko ./kernel/drivers/usb/storage/usb-storage.ko ./kernel/fs/ext4/ext4.ko ./kernel/lib/crc/crc32c_soft.ko"
	ok "order of loading" "$(modprobe -C /dev/null -d "$tree" -S "$release" -n -v usb-storage 2>"$work/out" | xargs -n 1 basename |
		grep -v -e insmod -e usbcore | xargs)" "scsi_common.ko scsi_mod.ko usb-storage.ko"
	ok "an alias with brackets" "$(modprobe -C /dev/null -d "$tree" -S "$release" -R usb:core-q1)" usbcore
	ok "the soft dependency comes first" "$(modprobe -C /dev/null -d "$tree" -S "$release" -n -v ext4 | xargs -n 1 basename |
		grep ko | xargs)" "crc32c_soft.ko ext4.ko"
	ok "firmware that is there" "$(ls "$tree/usr/lib/firmware/intel")" have.bin
	ok "libraries: DT_RUNPATH, ld.so.conf, standard" "$(cd "$tree" && ls usr/lib/qmr/private/libfoo.so \
		usr/lib/x86_64-linux-gnu/* usr/lib64/* | xargs)" "usr/lib/qmr/private/libfoo.so usr/lib/x86_64-linux-gnu/libbar.so \
usr/lib/x86_64-linux-gnu/libc.so.6 usr/lib/x86_64-linux-gnu/libgcc_s.so.1 usr/lib64/ld-linux-x86-64.so.2"
	ok "machine.conf" "$(xargs <"$tree/etc/qmr/machine.conf")" \
		"[machine] root_uuid=1-2 root_fstype=ext4 esp_uuid=AB-CD kernel=$release built=$newest"
	ok "no secrets" "$(ls -d "$tree/etc/qmr/secrets" 2>/dev/null; grep -c s3cret -r "$tree/etc" | grep -v ':0$')" ""
	ok "configuration" "$(grep -c collect "$tree/etc/qmr/qmr.conf"):$(ls "$tree/etc/qmr/trust")" "1:ca.pem"
	if [ "$(id -u)" = 0 ]; then
		# $ORIGIN needs /proc.
		unshare -m sh -c "mount --bind /proc '$tree/proc' && chroot '$tree' /usr/lib/qmr/recovery-init" 2>>"$work/out"
		ok "a program runs on the image's libraries alone" "$?" 3
	fi
}

check_uki() {
	python3 - "$work/r.efi" "$work/r.initrd" "$root/boot/vmlinuz-$release" >"$work/sections" <<-'EOF'
		import struct, sys
		d = open(sys.argv[1], "rb").read()
		pe = struct.unpack_from("<I", d, 60)[0]
		n, opt = struct.unpack_from("<H", d, pe + 6)[0], struct.unpack_from("<H", d, pe + 20)[0]
		s, end = {}, 0
		for i in range(n):
		    name, size, addr, raw_size, raw = struct.unpack_from("<8sIIII", d, pe + 24 + opt + 40 * i)
		    assert addr >= end and raw + raw_size <= len(d), name
		    end = addr + size
		    s[name.rstrip(b"\0").decode()] = d[raw:raw + min(size, raw_size)]
		print(s[".cmdline"].decode())
		print(s[".uname"].decode(), s[".osrel"].decode().split("\n")[0])
		print(s[".initrd"] == open(sys.argv[2], "rb").read(), s[".linux"] == open(sys.argv[3], "rb").read())
	EOF
	ok "command line" "$(sed -n 1p "$work/sections")" "quiet loglevel=4 panic=30 qmr.recovery x=y a.b=c"
	ok "release and id" "$(sed -n 2p "$work/sections")" "$release ID=zz-qmr-recovery"
	ok "kernel and initramfs" "$(sed -n 3p "$work/sections")" "True True"
}

check_errors() {
	local conf=$root/etc/qmr/qmr.conf

	refused "no such kernel" 1 "kernel '1.2.3' is neither '/boot/vmlinuz-1.2.3' nor '/usr/lib/modules/1.2.3/vmlinuz'" --kernel 1.2.3
	refused "a kernel that is a path" 2 "'../x' is no kernel release" --kernel ../x
	mv "$root/usr/lib/qmr/diag-upload" "$work/diag-upload"
	refused "missing program" 1 "'/usr/lib/qmr/diag-upload' is missing in the root; package qmr brings it"
	echo '#!/bin/sh' >"$root/usr/lib/qmr/diag-upload"
	refused "a script for a program" 1 "reading '/usr/lib/qmr/diag-upload': not an ELF file"
	head -c 600 "$work/diag-upload" >"$root/usr/lib/qmr/diag-upload"
	refused "a damaged program" 1 "reading '/usr/lib/qmr/diag-upload': damaged ELF file"
	mv "$work/diag-upload" "$root/usr/lib/qmr/diag-upload"
	mv "$root/opt/lib/libbar.so" "$work/"
	refused "missing library" 1 "library 'libbar.so', which '/usr/lib/qmr/recovery-init' needs, is not in the root"
	mv "$work/libbar.so" "$root/opt/lib/"
	mv "$root/$stub" "$work/stub"
	refused "missing stub" 1 "package systemd-boot-efi brings"
	echo MZ >"$root/$stub"
	refused "damaged stub" 1 "not a PE file"
	mv "$work/stub" "$root/$stub"
	printf 'x\n-----BEGIN EC PRIVATE KEY-----\n' >"$root/etc/qmr/trust/key.pem"
	refused "a private key" 1 "'/etc/qmr/trust/key.pem' holds a private key"
	rm "$root/etc/qmr/trust/key.pem"
	ln -s /etc/shadow "$root/etc/qmr/trust/link.pem"
	refused "a link that leads outside the root" 1 "opening 'etc/qmr/trust/link.pem' inside the root"
	rm "$root/etc/qmr/trust/link.pem"
	cp "$conf" "$work/conf"
	echo 'mode = always' >>"$conf"
	refused "malformed configuration" 2 "qmr.conf:"
	cp "$work/conf" "$conf"
	refused "a UUID with a line break" 2 "[machine] root_uuid" --root-uuid $'x\n[policy]'
	refused "level out of range" 2 "not a number from 1 to 19" --level 20
	mv "$modules/kernel/drivers/scsi/scsi_mod.ko" "$work/"
	refused "a module's dependency is missing" 1 "needs 'scsi_mod', which the kernel's tree lacks"
	mv "$work/scsi_mod.ko" "$modules/kernel/drivers/scsi/"
	"$mkrecovery" --root "$root" --output "$work/absent/r.efi" >"$work/out" 2>&1
	ok "no folder to write to" "$? $(grep -c "absent': No such file" "$work/out")" "1 1"
}

# The old image survives a full disk. Needs a mount of its own.
check_full_disk() {
	if ! unshare -rm true 2>/dev/null; then
		echo "# no mount namespace here: full disk is not tried"
		return
	fi
	mkdir "$work/disk"
	unshare -rm sh -c "mount -t tmpfs -o size=64k x '$work/disk' && echo old >'$work/disk/r.efi' &&
		'$mkrecovery' --root '$root' --output '$work/disk/r.efi' >'$work/out' 2>&1
		echo \$? \$(cat '$work/disk/r.efi') \$(ls '$work/disk' | wc -l)" >"$work/disk.out"
	ok "full disk" "$(cat "$work/disk.out") $(grep -c 'KiB free' "$work/out")" "1 old 1 1"
}

make_root
make_modules
mkdir -m 0700 "$root/etc/qmr/secrets" "$root/etc/qmr/conf.d" "$root/etc/qmr/other"
# A secret that is kept elsewhere, behind a link.
printf '[network]\nproxy_user = /etc/qmr/other/link\n' >"$root/etc/qmr/conf.d/proxy.conf"
echo "user:s3cret-too" >"$root/etc/qmr/other/user"
ln -s user "$root/etc/qmr/other/link"
echo "user:s3cret" >"$root/etc/qmr/secrets/proxy-user"
printf -- '-----BEGIN PRIVATE KEY-----\n' >"$root/etc/qmr/secrets/client.pem"
touch -d '1 hour ago' "$root/etc/qmr/trust/ca.pem"
find "$root" -type f ! -path "$root/etc/qmr/trust/ca.pem" -exec touch -d '2 hours ago' {} +
newest=$(stat -c %Y "$root/etc/qmr/trust/ca.pem")
build --cmdline x=y --root-uuid 1-2 --root-fstype ext4 --esp-uuid AB-CD
ok "builds, newest kernel by default" "$? $(grep -c "kernel $release, 7 modules, 1 firmware files" "$work/out")" "0 1"
check_content
check_uki
cp "$work/r.efi" "$work/first.efi"
build --cmdline x=y --root-uuid 1-2 --root-fstype ext4 --esp-uuid AB-CD
ok "the same input gives the same bytes" "$(cmp "$work/r.efi" "$work/first.efi" && echo same)" same
"$mkrecovery" --root "$root" --list >"$work/list.out" 2>"$work/out"
ok "--list: each path that is in it, and no other but devices" \
	"$? $(diff <(grep -v '^/dev/' "$work/list.out" | sort) <(cd "$work/tree" && find . -mindepth 1 ! -path './dev/*' | sed 's/^\.//' | sort) | head -3)" "0 "
ok "--list builds nothing" "$("$mkrecovery" --root "$root" --list --output "$work/x.efi" >/dev/null 2>&1; echo $?) $(ls "$work" | grep -c x.efi)" "2 0"
mkdir "$work/conf.d"
printf '[policy]\nmode = ask\n' >"$work/own.conf"
printf '[upload]\nurl = https://x\n' >"$work/conf.d/10.conf"
build --config "$work/own.conf"
rm -rf "$work/tree" && unpack "$work/tree" >/dev/null
ok "--config" "$(cat "$work"/tree/etc/qmr/{qmr.conf,conf.d/10.conf} | xargs):$(ls "$work/tree/etc/qmr/trust")" \
	"[policy] mode = ask [upload] url = https://x:ca.pem"
check_errors
check_full_disk
exit $status

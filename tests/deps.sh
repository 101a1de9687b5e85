#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Installs what is missing through apt, and says so. Usage: tests/deps.sh build|cli|net|vm|bench|fuzz ...
set -eu

build="gcc make pkg-config libc6-dev libefivar-dev libefiboot-dev libblkid-dev libcurl4-openssl-dev libssl-dev
	libjansson-dev libkmod-dev libzstd-dev zlib1g-dev libinih-dev libseccomp-dev libcmocka-dev"
cli="strace busybox-static dash groff-base python3 python3-jsonschema openssl e2fsprogs util-linux zstd kmod systemd-boot-efi"
# tests/cli/publish.py: any Node.js will do, Debian's own npm is for Debian's own.
command -v node >/dev/null || cli="$cli nodejs"
command -v npm >/dev/null || cli="$cli npm"
# tests/cli/publish-token.py, 7 MB; Debian 12 has pkcs11-provider among its backports only.
cli="$cli tpm2-openssl swtpm tpm2-tools softhsm2"
apt-cache show pkcs11-provider >/dev/null 2>&1 && cli="$cli pkcs11-provider"
net="python3-securesystemslib python3-nacl python3-cryptography nginx-light libnginx-mod-http-dav-ext openssl curl zstd python3 iproute2
	tinyproxy-bin microsocks faketime"
vm="qemu-system-x86 qemu-utils ovmf mmdebstrap mtools systemd-boot-efi e2fsprogs dosfstools fdisk busybox-static
	dhcpcd5 python3 openssl zstd kmod libasan8 libelf1 dnsmasq-base $net"
bench="gcc libc6-dev strace efibootmgr cpio zstd xz-utils binutils curl time $vm"

fuzz="clang"

wanted=
for group in "$@"; do
	case $group in
	build) wanted="$wanted $build" ;;
	cli) wanted="$wanted $cli" ;;
	net) wanted="$wanted $net" ;;
	vm) wanted="$wanted $vm" ;;
	bench) wanted="$wanted $bench" ;;
	fuzz) wanted="$wanted $fuzz" ;;
	*) echo "deps.sh: unknown group '$group'" >&2; exit 2 ;;
	esac
done

missing=
for package in $wanted; do
	status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
	[ "$status" = installed ] || missing="$missing $package"
done
[ -z "$missing" ] && exit 0

sudo=
if [ "$(id -u)" != 0 ]; then
	command -v sudo >/dev/null || { echo "deps.sh: missing packages:$missing; run as root or install sudo" >&2; exit 1; }
	sudo=sudo
fi
what=
for group in "$@"; do
	case $group in
	build) what="$what, building" ;;
	cli) what="$what, command line tests" ;;
	net) what="$what, tests with servers" ;;
	vm) what="$what, virtual machines and their servers" ;;
	fuzz) what="$what, fuzzing" ;;
	bench) what="$what, comparing with other programs" ;;
	esac
done
echo "installing through apt, for ${what#, }:$missing"
$sudo apt-get -q -y update >/dev/null
$sudo env DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends $missing >/dev/null

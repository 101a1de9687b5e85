#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# dhcp-hook and recovery-state from the outside, over a folder of variables. Usage: tests/cli/recovery.sh -B BUILD
set -u
build=$(realpath "$2")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export LC_ALL=C
status=0
global=8be4df61-93ca-11d2-aa0d-00e098032b8c
root=5c8b2b4e-0d3c-4d8f-9d55-2f8a4c1b7e01
enter="unshare -m"
[ "$(id -u)" = 0 ] || enter="unshare -rm"

check() {
	if [ "$2" = "$3" ]; then echo "ok $1"; else echo "not ok $1: is '$2', should be '$3'"; status=1; fi
}
# Runs a command with /run and /etc of its own, which stay in $work between the calls.
inside() {
	mkdir -p "$work/run" "$work/etc/qmr" "$work/efi"
	# shellcheck disable=SC2086
	env EFIVARFS_PATH="$work/efi/" $enter sh -c \
		'mount --bind "$1/run" /run && mount --bind "$1/etc" /etc && mount -t tmpfs x /sys/fs 2>/dev/null; shift; exec "$@"' \
		- "$work" "$@"
}
if ! inside true 2>/dev/null; then
	echo "# mount namespaces are not to be had here: nothing was tried"
	echo "ok recovery (skipped)"
	exit 0
fi

hook() { inside env "$@" "$build/dhcp-hook" 2>>"$work/err"; }
resolv() { grep -v '^options' "$work/etc/resolv.conf" | tr '\n' ' '; }

hook interface=eth0 reason=BOUND 'new_domain_name_servers=10.0.2.3 10.0.2.4' new_domain_name=example.org
check "an address" "$? $(resolv)" "0 nameserver 10.0.2.3 nameserver 10.0.2.4 search example.org "
check "an address: the interface is marked" "$(ls "$work/run/qmr/links")" eth0
hook interface=eth1 reason=BOUND6 'new_dhcp6_name_servers=fd00::1 fe80::1%eth1 fd00::2' new_domain_name=other.example
check "two interfaces: three servers, one search" "$(resolv | grep -o nameserver | wc -l) $(resolv | grep -o search | wc -l)" "3 1"
hook interface=eth0 reason=EXPIRE
check "a lease that ends" "$(ls "$work/run/qmr/links") $(resolv)" \
	"eth1 nameserver fd00::1 nameserver fe80::1%eth1 nameserver fd00::2 search other.example "
hook interface=eth1 reason=NOCARRIER
hook interface=eth0 reason=BOUND "new_domain_name_servers=10.0.2.3;reboot \$(x) $(printf '1%.0s' {1..300}) 10.0.2.5" \
	"new_domain_name=a
b"
check "hostile values are left out" "$(resolv)" "nameserver 10.0.2.5 "
hook interface=../../etc/x reason=BOUND new_domain_name_servers=10.0.2.3
check "an interface that is none" "$? $(ls "$work/etc")" "0 $(printf 'qmr\nresolv.conf')"
hook reason=PREINIT
check "a call about nothing" "$?" 0

# Variables as efivarfs shows them: four bytes of attributes, then the data.
put() { printf "\\007\\000\\000\\000$2" >"$work/efi/$1-$global"; }
# Name, attributes, device path: a disk unless given. Length of the path is that of one node and the end.
disk='\001\001\006\000\000\003'
option() {
	printf "\007\000\000\000${2-\001\000\000\000}\012\000"
	printf '%s' "$1" | iconv -t UTF-16LE
	printf "\000\000${3-$disk}\177\377\004\000"
}
state() { inside "$build/recovery-state" "$@" >"$work/out" 2>&1; }
field() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$work/run/qmr/state.json" "$1"; }
printf '[machine]\nroot_uuid = %s\n' "$root" >"$work/etc/qmr/machine.conf"
option "Quick machine recovery" >"$work/efi/Boot0002-$global"
option "Gone astray" '\000\000\000\000' >"$work/efi/Boot0003-$global"
option "Debian" >"$work/efi/Boot0004-$global"
option "Setup" '\001\001\000\000' >"$work/efi/Boot0005-$global"
option "Shell" '\001\000\000\000' '\004\006\006\000xx' >"$work/efi/Boot0006-$global"
option "PXE" '\001\000\000\000' '\003\013\006\000xx' >"$work/efi/Boot0007-$global"
option "Damaged" '\001\000\000\000' '\001\001\377\000xx' >"$work/efi/Boot0008-$global"
option "Other disk" >"$work/efi/Boot0001-$global"
put BootOrder '\002\000\003\000\005\000\006\000\007\000\010\000\011\000\004\000\001\000'

put BootCurrent '\004\000'
state acknowledge
check "acknowledge, by a menu" "$? $(field stage) $(field reason) $(field recovery_runs)" "0 recovering menu 1"
put BootCurrent '\002\000'
state acknowledge
check "acknowledge, by the firmware" "$? $(field reason)" "0 boot-order"
check "nobody booted in between: the runs are counted" "$(field recovery_runs)" 2
incident=$(field incident)
state acknowledge
check "and the incident goes on" "$(field incident) $(field recovery_runs)" "$incident 3"
state end --stage final --final halt --note 'why $(x)' --rung 2 --remediation p1 --boot-other 1
check "end" "$?" 0
check "end: the next start is the first entry of a disk that is not ours" \
	"$(od -An -tx1 "$work/efi/BootNext-$global" 2>/dev/null | tr -d ' \n')" 070000000400
state end --stage final --boot-other 2
check "end: and the second" "$(od -An -tx1 "$work/efi/BootNext-$global" | tr -d ' \n')" 070000000100
state end --stage final --boot-other 3
check "end: there is no third" "$? $(grep -c 'no other boot entry' "$work/out")" "0 1"
rm "$work/efi/BootNext-$global"
put BootOrder '\001\000\002\000\004\000'
state end --stage final --boot-other 1
check "end: an entry before ours is tried plainly first" "$? $(ls "$work/efi" | grep -c BootNext)" "0 0"
state end --stage final --boot-other 2
check "end: then the one behind ours" "$(od -An -tx1 "$work/efi/BootNext-$global" | tr -d ' \n')" 070000000400
rm "$work/efi/BootNext-$global"
put BootOrder '\005\000\002\000\006\000'
state end --stage final --boot-other 1
check "end: nothing of the firmware's own" "$? $(ls "$work/efi" | grep -c BootNext)" "0 0"
state acknowledge
check "what end wrote was kept" "$(field remediation) $(field rungs) $(field incident)" "p1 2 $incident"
floor=0123456789abcdef:fedcba9876543210:2:41:40:12
state end --stage final --floor $floor
state end --stage final --floor 1:2:3
check "end: a floor that is none changes nothing" "$? $(grep -c 'what was seen is not remembered' "$work/out")" "0 1"
state acknowledge
check "end: the highest versions that were seen" "$(field floor)" $floor
state end --stage nonsense
check "end: a stage that does not exist" "$?" 2
state end
check "end: no stage" "$?" 2
state other
check "an unknown command" "$?" 2

# What was asked of one run alone. The flags are set in the variable as qmrctl does; nothing else must change by a test.
ask() { # $1: bits, $2: stage
	python3 - "$work"/efi/QmrState-* "$@" <<-'EOT'
	import struct, sys, zlib
	data = bytearray(open(sys.argv[1], "rb").read())
	state = data[4:]
	struct.pack_into("<I", state, 12, int(sys.argv[2]))
	state[60] = int(sys.argv[3])
	state[872:960] = b"recovery image tested 2026-01-02T03:04Z: ok".ljust(88, b"\0")
	struct.pack_into("<I", state, 8, 0)
	struct.pack_into("<I", state, 8, zlib.crc32(state))
	open(sys.argv[1], "wb").write(data[:4] + state)
	EOT
}
rest() { python3 -c 'import sys; s = open(sys.argv[1], "rb").read()[4:]; print((s[24:872]).hex())' "$work"/efi/QmrState-*; }
ask 8 4
before=$(rest)
state acknowledge
check "a test: only this run knows, and nothing else is changed" \
	"$? $(field flags) $(field stage) $([ "$(rest)" = "$before" ] && echo same) '$(field note)'" "0 8 given-up same ''"
state acknowledge
check "the next run is none" "$? $(field flags) $(field stage)" "0 0 recovering"
ask 12 1
state acknowledge
check "a switch is no test, but may be for collecting alone" "$? $(field flags) $(field stage)" "0 4 recovering"
state acknowledge
check "once" "$? $(field flags)" "0 0"
# The second image: what was asked for is one thing, what the firmware started another.
kept() { od -An -tu1 -j 16 -N 1 "$work"/efi/QmrState-* | tr -d ' '; }
ask 40 4
state acknowledge
check "a test of the second image, and the first was started" "$? $(field flags) $(kept)" "0 8 0"
option "Quick machine recovery, second image" >"$work/efi/Boot000A-$global"
put BootCurrent '\012\000'
ask 8 4
state acknowledge
check "a test of the first image, and the second was started" "$? $(field flags) $(kept)" "0 40 0"
ask 0 1
state acknowledge
check "the second image after a switch" "$? $(field flags) $(field stage) $(kept)" "0 32 recovering 0"
state acknowledge
check "or by the firmware" "$? $(field flags) $(field reason)" "0 32 boot-order"
put BootCurrent '\002\000'

# Another installation's state is neither acted on nor taken over.
printf '[machine]\nroot_uuid = 00000000-0000-4000-8000-000000000001\n' >"$work/etc/qmr/machine.conf"
state acknowledge
check "another root's state" "$? $(field recovery_runs) $(grep -c 'belongs to another root' "$work/out")" "0 1 1"

rm "$work"/efi/*
chmod 0500 "$work/efi"
inside env EFIVARFS_PATH=/nonexistent/ "$build/recovery-state" acknowledge >"$work/out" 2>&1
check "without variables: exit status, and the files are there" "$? $(field stage)" "1 recovering"
check "without variables: the file has to be looked at" "$(ls "$work/run/qmr" | grep -c state-in-file)" 1

# The file on the EFI system partition, which $work/esp stands for. $1: sequence, $2: recovery runs
esp=$work/esp
slot() {
	python3 - "$esp/EFI/qmr/state-a" "$root" "$1" "$2" <<-'END'
		import os, struct, sys, uuid, zlib
		raw = bytearray(960)
		raw[:8] = b"QMRS" + struct.pack("<HH", 1, 960)
		struct.pack_into("<Q", raw, 16, int(sys.argv[3]))
		raw[24:40] = uuid.UUID(sys.argv[2]).bytes
		raw[40:56] = b"i" * 16
		raw[60], raw[61], raw[63], raw[66] = 1, 1, int(sys.argv[4]), 1
		raw[72 + 12] = 3  # a panic
		raw[8:12] = struct.pack("<I", zlib.crc32(raw))
		os.makedirs(os.path.dirname(sys.argv[1]), exist_ok=True)
		open(sys.argv[1], "wb").write(raw)
	END
}
newest() { # sequence and recovery runs of the newest slot that has a state
	python3 - "$esp" <<-'END'
		import glob, struct, sys
		found = [open(f, "rb").read() for f in glob.glob(sys.argv[1] + "/EFI/qmr/state-[ab]")]
		print(*max(((struct.unpack_from("<Q", r, 16)[0], r[63]) for r in found if any(r[16:24])), default=()))
	END
}
without() { inside env EFIVARFS_PATH=/nonexistent/ "$build/recovery-state" "$@" >"$work/out" 2>&1; }
mkdir "$esp"
printf '[machine]\nroot_uuid = %s\n' "$root" >"$work/etc/qmr/machine.conf"
incident=$(field incident)
without acknowledge --esp "$esp"
check "no variables, an empty file: what was begun goes there" "$? $(newest) $(field incident)" "0 2 1 $incident"
without acknowledge --esp "$esp"
check "once more changes nothing" "$? $(newest)" "0 2 1"
without end --esp "$esp" --stage final --note n
check "end, in the file" "$? $(newest)" "0 3 1"
rm -r "$work/run/qmr"
mkdir "$work/run/qmr"
slot 40 1
without acknowledge
without acknowledge --esp "$esp"
check "no variables, a state in the file: the run is counted in it, once" \
	"$? $(newest) $(field stage) $(field reason) $(field incident)" "0 41 2 recovering detector 69696969-6969-6969-6969-696969696969"
without acknowledge --esp "$esp"
check "and not again" "$? $(newest)" "0 41 2"
rm "$work/run/qmr/state"*
slot 50 1
state acknowledge
check "a variable that is missing is made" "$? $(field recovery_runs) $(ls "$work/efi" | grep -c QmrState) $(ls "$work/run/qmr")" \
	"0 1 1 $(printf 'state\nstate-in-file\nstate.json')"
state acknowledge --esp "$esp"
check "but the file's state counts, and is the only one" "$? $(newest) $(field reason) $(ls "$work/efi" | grep -c QmrState)" "0 51 2 detector 0"
rm -r "$esp" "$work/run/qmr"/state*
mkdir "$esp"
state acknowledge
state acknowledge --esp "$esp"
check "nothing in the file: the variable stays what counts" "$? $(newest) $(ls "$work/efi" | grep -c QmrState) $(ls "$work/run/qmr" | grep -c file)" "0  1 0"
check "recovery-init is no program to call" "$("$build/recovery-init" >/dev/null 2>&1; echo $?)" 2
exit $status

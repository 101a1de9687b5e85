#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# boot-guard's command line over a folder in the place of EFI variables. Runs without privilege, so that nothing of the machine
# it runs on (kernel.panic, a reboot) can be touched. Usage: tests/cli/boot-guard.sh -B BUILD
set -u
guard=$(realpath "$2/boot-guard")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/efi" "$work/etc"
cp "$guard" "$work/boot-guard"
chmod -R a+rwX "$work"
state=$work/efi/QmrState-3f1c8b6e-6a55-4e0b-9a0c-5a7d1c0de9e4
status=0

if [ "$(id -u)" = 0 ]; then
	drop="setpriv --reuid 65534 --regid 65534 --clear-groups"
else
	drop=
fi
run() {
	$drop env EFIVARFS_PATH="$work/efi/" "$work/boot-guard" --config "$work/etc/qmr.conf" --run "$work/run" "$@" >"$work/out" 2>&1
}
# The variable's file begins with 4 bytes of attributes. $1: offset in the state, $2: bytes
bytes() {
	tail -c +$((5 + $1)) "$state" | head -c "$2" | od -An -tu1 | tr -s ' ' | sed 's/^ //; s/ $//'
}
check() { # $1: name, $2: is, $3: should be
	if [ "$2" = "$3" ]; then
		echo "ok $1"
	else
		echo "not ok $1: is '$2', should be '$3'"
		cat "$work/out"
		status=1
	fi
}

run start
check "start exits 0 and writes a state" "$?:$(stat -c %s "$state")" "0:964"
check "one open attempt" "$(bytes 56 1):$(bytes 66 1):$(bytes 84 2)" "1:1:0 0"
run healthy
check "healthy" "$?:$(bytes 84 2)" "0:1 3"
run clean-shutdown
check "a shutdown after healthy changes nothing" "$(bytes 84 2):$(bytes 16 1)" "1 3:2"
run start
run clean-shutdown
check "orderly shutdown before healthy" "$(bytes 84 2)" "2 4"
run start
run start
check "an attempt without evidence is unknown" "$(bytes 56 1):$(bytes 108 1)" "4:6"
for i in $(seq 20); do run start; done
check "the ring keeps 16" "$(bytes 56 1):$(bytes 66 1)" "24:16"
run start --dry-run
check "dry run says the decision" "$(cat "$work/out")" "recover: boots in a row that ended without evidence (0 failed boots)"
check "dry run writes nothing" "$(bytes 56 1)" "24"
printf 'xx' | dd of="$state" bs=1 seek=104 conv=notrunc status=none
run start
check "a torn state is an empty history" "$?:$(bytes 56 1)" "0:1"
check "and it is said" "$(grep -c 'wrong checksum; beginning with an empty history' "$work/out")" 1
printf '[policy]\nmode = always\n' >"$work/etc/qmr.conf"
run start
check "a bad configuration boots with safe defaults" "$?:$(grep -c 'qmr.conf:2: .policy. mode: none of' "$work/out")" "0:1"
printf '[policy]\nmode = off\n' >"$work/etc/qmr.conf"
before=$(bytes 56 1)
run start
check "mode off writes nothing" "$(bytes 56 1)" "$before"
rm "$work/etc/qmr.conf"
rm -rf "$work/efi"
run start
check "no EFI variables: start exits 0" $? 0
check "no EFI variables: it is said, and nothing crashed" \
	"$(grep -c "reading EFI variable 'QmrState': .*counted later" "$work/out"):$(grep -c 'signal' "$work/out")" "1:0"
run healthy
check "no EFI variables: healthy fails and says so" "$?:$(grep -c 'QmrState' "$work/out")" "1:1"
run nonsense
check "unknown command" $? 2
# Mode observe acts on nothing: four panics in a row must not become an endless one because kernel.panic was set.
if [ "$(id -u)" = 0 ] && unshare -m true 2>/dev/null; then
	mkdir "$work/efi"
	chmod a+rwX "$work/efi"
	rm -f "$work/etc/qmr.conf"
	run start
	python3 - "$state" <<-'END'
		import sys, zlib
		data = bytearray(open(sys.argv[1], "rb").read())
		state = data[4:]
		state[66] = 4                                   # four attempts, all of them panics
		for i in range(4):
		    state[72 + 24 * i + 12] = 3
		state[8:12] = bytes(4)
		state[8:12] = zlib.crc32(state).to_bytes(4, "little")
		open(sys.argv[1], "wb").write(data[:4] + state)
	END
	echo 0 >"$work/panic"
	chmod a+rw "$work/panic"
	unshare -m sh -c 'mount --bind "$1" /proc/sys/kernel/panic; shift; exec "$@"' - "$work/panic" \
		$drop env EFIVARFS_PATH="$work/efi/" "$work/boot-guard" --config "$work/etc/qmr.conf" start >"$work/out" 2>&1
	check "observe, four panics: it is said" "$(grep -c 'would start recovery' "$work/out")" 1
	check "observe, four panics: kernel.panic stays the owner's" "$(head -1 "$work/panic")" 0
	# panic=0 of the owner's says halt: recorded, and left to scripts/panic.
	echo "root=/dev/vda panic=0" >"$work/cmdline"
	for command in start "failed initramfs-shell"; do
		# shellcheck disable=SC2086
		timeout 10 unshare -m sh -c 'mount --bind "$1" /proc/cmdline; shift; exec "$@"' - "$work/cmdline" $drop \
			env EFIVARFS_PATH="$work/efi/" "$work/boot-guard" --config "$work/etc/qmr.conf" --run "$work/run" $command >"$work/out" 2>&1
	done
	check "panic=0: an initramfs that failed is recorded and not restarted" "$?:$(bytes 84 2):$(grep -c restart "$work/out")" "0:5 0:0"
fi
exit $status

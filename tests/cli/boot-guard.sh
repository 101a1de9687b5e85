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
check "start exits 0 and writes a state" "$?:$(stat -c %s "$state")" "0:996"
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
# $1: flags, $2: stage. What was asked of a run of recovery that did not come is asked of no later one.
asked() {
	python3 - "$state" "$@" <<-'END'
		import struct, sys, zlib
		data = bytearray(open(sys.argv[1], "rb").read())
		state = data[4:]
		struct.pack_into("<I", state, 12, int(sys.argv[2]))
		state[60] = int(sys.argv[3])
		struct.pack_into("<I", state, 8, 0)
		struct.pack_into("<I", state, 8, zlib.crc32(state))
		open(sys.argv[1], "wb").write(data[:4] + state)
	END
}
asked 14 0
run start
check "start forgets a test and a collection that did not come" "$(bytes 12 4)" "2 0 0 0"
asked 12 1
printf '[policy]\nmode = collect\n' >"$work/etc/qmr.conf"
run start
rm "$work/etc/qmr.conf"
check "but not what a switch that is repeated is for" "$(bytes 12 4)" "4 0 0 0"
rm "$state"
for i in $(seq 4); do run start; done
for i in $(seq 20); do run start; done
check "the ring keeps 16" "$(bytes 56 1):$(bytes 66 1)" "24:16"
run start --dry-run
check "dry run says the decision" "$(cat "$work/out")" "recover: boots in a row that ended without evidence (0 failed boots)"
check "dry run writes nothing" "$(bytes 56 1)" "24"
rm -f "$state"
run start
run hibernate
check "hibernate is marked" "$?:$(bytes 86 1)" "0:128"
before=$(bytes 56 1)
rm -rf "$work/run"
run start
check "a start that may be a resume is not counted" "$(bytes 56 1):$(ls "$work/run" | xargs)" "$before:deferred resume"
run healthy
check "and nothing is recorded on another's account" "$?:$(bytes 84 1):$(grep -c 'was not counted' "$work/out")" "1:0:1"
run root
check "no resume came: counted at the end of the initramfs" "$(bytes 56 1):$(ls "$work/run")" "$((before + 1)):attempt"
check "the hibernated system is forgotten" "$(bytes 110 1)" 0
run hibernate
run awake
check "awake again" "$(bytes 86 1)" 0
run failed required-check
check "a failed check is an emergency" "$?:$(bytes 84 4)" "0:5 1 0 5"
run clean-shutdown
check "which an orderly end does not hide" "$(bytes 84 1)" 5
run start
run failed nothing
check "evidence that does not exist" "$?:$(grep -c "'nothing' is none of" "$work/out")" "2:1"
run failed emergency-target
run healthy
check "who leaves the emergency shell can become healthy" "$(bytes 84 4)" "1 3 0 0"
run failed emergency-target
check "who goes there from a healthy system has not failed" "$(bytes 84 4)" "1 3 0 0"
rm -f "$state"
run start
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
# Switching: four boots without evidence may look, and change nothing without a signed plan. The reboot itself is refused here.
guid=8be4df61-93ca-11d2-aa0d-00e098032b8c
entry() { # $1: number, $2: name
	python3 - "$work/efi/Boot$1-$guid" "$2" <<-'END'
		import sys
		option = b"\1\0\0\0" + b"\4\0" + (sys.argv[2] + "\0").encode("utf-16-le") + b"\x7f\xff\4\0"
		open(sys.argv[1], "wb").write(b"\7\0\0\0" + option)
	END
	chmod a+rw "$work/efi"/*
}
entry 0007 "Quick machine recovery"
printf '[policy]\nmode = automatic\n' >"$work/etc/qmr.conf"
rm -f "$state"
for i in 1 2 3 4; do rm -rf "$work/run"; run start; done
rm -rf "$work/run"
run start
check "boots without evidence: recovery may change nothing without a signed plan" "$(bytes 60 3):$(bytes 65 1):$(bytes 67 1)" "1 1 1:4:0"
# Which image: the next start finds that the first one did not come.
next() { tail -c +5 "$work/efi/BootNext-$guid" | od -An -tu1 | tr -d ' '; }
switch() {
	rm -rf "$work/run" "$work/efi/BootNext-$guid"
	run start
}
check "the first image" "$(next)" 70
cp "$state" "$work/switched"
switch
check "repeated, where there is no second one" "$(bytes 60 3):$(next)" "1 1 2:70"
entry 0009 "Quick machine recovery, second image"
cp "$work/switched" "$state"
switch
check "by the second image, where there is one" "$(bytes 60 3):$(next)" "1 1 2:90"
switch
check "and then given up" "$(bytes 60 1):$(ls "$work/efi" | grep -c BootNext)" "4:0"
cp "$work/switched" "$state"
asked 0 2
switch
check "a run of recovery that did not record its end: the second image" "$(bytes 60 1):$(next)" "1:90"
rm -f "$state" "$work/etc/qmr.conf" "$work/efi"/Boot*
rm -rf "$work/run"

# The file that takes over. $work/esp stands for the EFI system partition.
esp=$work/esp
mkdir "$esp"
chmod a+rwX "$esp"
# The newest valid slot, by the document: sequence, boots, outcome of the newest attempt; nothing if there is none.
slots() {
	python3 - "$esp" <<-'END'
		import glob, struct, sys, zlib
		best = max((r for r in (open(f, "rb").read() for f in glob.glob(sys.argv[1] + "/EFI/qmr/state-[ab]"))
		            if len(r) == 992 and r[:4] == b"QMRS" and zlib.crc32(r[:8] + bytes(4) + r[12:]) == struct.unpack_from("<I", r, 8)[0]),
		           key=lambda r: struct.unpack_from("<Q", r, 16), default=None)
		print(*struct.unpack_from("<Q", best, 16), best[56], best[84]) if best and any(best[16:24]) else print()
	END
}
guard() { run --esp "$esp" "$@"; } # as it is called with the partition in reach
next_boot() { rm -rf "$work/run"; }

rm -f "$state"
next_boot
guard start
check "the first boot is counted at once" "$?:$(bytes 56 1):$(ls "$esp")" "0:1:"
check "and has another look when disks are there" "$(cat "$work/run/deferred")" "no boot state was in the EFI variable"
guard root
check "which finds nothing, writes nothing and counts nothing" "$?:$(bytes 56 1):$(ls "$esp"):$(ls "$work/run")" "0:1::attempt"
guard healthy
next_boot
guard start
guard root
guard healthy
check "an ordinary boot leaves the partition alone" "$(bytes 56 1):$(bytes 84 1):$(ls "$esp"):$(ls "$work/run")" "2:1::attempt"

# The variable cannot be written any more, but deleted, as with full memory.
next_boot
chown 0:0 "$state" 2>/dev/null
chmod 0444 "$state"
guard start
check "no room: counted later, in one line" "$(wc -l <"$work/out"):$(grep -c "writing EFI variable 'QmrState': .*counted later" "$work/out")" "1:1"
guard root
check "in the file, and the variable is gone" "$(slots):$(ls "$work/efi")" "5 3 0:"
check "this boot knows" "$(ls "$work/run" | tr '\n' ' ')" "attempt state-in-file "
chmod 0555 "$work/efi"
guard clean-shutdown
check "an orderly end, in the file" "$?:$(slots)" "0:6 3 2"
next_boot
guard start
guard root
guard failed required-check
check "a failed check, in the file" "$?:$(slots)" "0:8 4 5"
next_boot
guard start
guard root
guard healthy
check "healthy, in the file while there is no room" "$(slots):$(ls "$work/efi")" "10 5 1:"

# Room again.
next_boot
chmod 0777 "$work/efi"
guard start
check "room again: counted at once with an empty history" "$(bytes 56 1)" 1
guard root
check "and anew with the file's, which is not moved while a boot waits" "$(slots):$(ls "$work/efi")" "11 6 0:"
guard healthy
check "healthy: the state moves back" "$(bytes 56 1):$(bytes 84 1):$(slots):$(ls "$work/run")" "6:1::attempt"
next_boot
guard start
check "and the next boot is an ordinary one" "$(bytes 56 1):$(ls "$work/run")" "7:attempt"

# No EFI at all.
rm -rf "$work/efi"
next_boot
guard start
check "no EFI variables: start exits 0, and one line" "$?:$(wc -l <"$work/out"):$(grep -c "EFI variable 'QmrState': .*counted later" "$work/out")" "0:1:1"
guard root
guard healthy
check "counted and healthy in the file" "$?:$(slots)" "0:2 1 1"
for i in 1 2 3 4; do next_boot; guard start; guard root; done
check "unknown, four times" "$(slots)" "6 5 0"
guard --dry-run start
check "the dry run knows" "$(cut -d: -f1 "$work/out"):$(slots)" "recover:6 5 0"
printf 'xx' | dd of="$esp/EFI/qmr/state-a" bs=1 seek=104 conv=notrunc status=none
printf 'xx' | dd of="$esp/EFI/qmr/state-b" bs=1 seek=104 conv=notrunc status=none
next_boot
guard start
guard root
check "both slots torn: an empty history" "$(slots):$(grep -c 'wrong checksum; beginning with an empty history' "$work/out")" "1 1 0:1"
rm -rf "$esp/EFI"
next_boot
run start
check "no EFI variables, no partition: start exits 0" $? 0
run root
check "and it is said" "$?:$(grep -c "writing EFI variable 'QmrState': .*; the boot goes on" "$work/out"):$(grep -c 'signal' "$work/out")" "0:1:0"
run healthy
check "healthy fails and says so" "$?:$(grep -c 'stays as it was recorded' "$work/out")" "1:1"
# Another machine's disk, and a full one.
if [ "$(id -u)" = 0 ] && unshare -m true 2>/dev/null; then
	mkdir -p "$work/class/dmi/id"
	machine() { # $1: product UUID
		echo "$1" >"$work/class/dmi/id/product_uuid"
		next_boot
		for command in start root; do
			unshare -m sh -c 'mount --bind "$1" /sys/class; shift; exec "$@"' - "$work/class" $drop env EFIVARFS_PATH="$work/efi/" \
				"$work/boot-guard" --config "$work/etc/qmr.conf" --run "$work/run" --esp "$esp" $command >"$work/out" 2>&1
		done
	}
	machine 4c4c4544-0042-3510-8057-b4c04f564332
	machine 4C4C4544-0042-3510-8057-B4C04F564332
	check "a machine keeps its history" "$(slots)" "2 2 0"
	machine 4c4c4544-0042-3510-8057-b4c04f564333
	check "a disk that was moved takes none along" "$(slots):$(grep -c 'belongs to another machine; beginning with an empty' "$work/out")" "3 1 0:1"
	full() { # $1: bytes that are there already in both slots, $2...: command
		unshare -m sh -c 'mount -t tmpfs -o size=16k,mode=0777 tmpfs "$1"; mkdir -p "$1/EFI/qmr"; chmod -R a+rwX "$1"; for s in a b; do
			head -c "$2" "$3/state-$s" >"$1/EFI/qmr/state-$s"; done; chmod a+rw "$1"/EFI/qmr/*; head -c 64k /dev/zero >"$1/fill" 2>/dev/null; shift 3
			"$@"; cp "$esp"/EFI/qmr/state-? "$keep"' - "$esp" "$1" "$keep" $drop env EFIVARFS_PATH="$work/efi/" "$work/boot-guard" \
			--config "$work/etc/qmr.conf" --run "$work/run" --esp "$esp" root >"$work/out" 2>&1
	}
	export esp keep=$work/keep
	mkdir "$keep"
	cp "$esp"/EFI/qmr/state-? "$keep"
	next_boot
	run start
	full 992
	check "a full partition: slots that are there are written" "$(cmp -s "$keep/state-a" "$esp/EFI/qmr/state-a" && cmp -s "$keep/state-b" "$esp/EFI/qmr/state-b" || echo written)" written
	next_boot
	run start
	full 0
	check "a full partition without slots: it is said" "$(grep -c 'state-a.: No space left on device; .*; the boot goes on' "$work/out")" 1
fi
run nonsense
check "unknown command" $? 2

# The highest versions of the repository, as what fetches in the running system reads and stores them.
floor=0123456789abcdef:fedcba9876543210:2:41:40:12
rm -rf "$work/efi" "$work/run" "$work/etc/qmr.conf" "$work/etc/machine.conf"
mkdir "$work/efi"
chmod a+rwX "$work/efi"
run floor
check "floor: no boot state, nothing remembered" "$?:$(cat "$work/out")" "0:"
run floor $floor
check "floor: begins no boot state" "$?:$(ls "$work/efi" | grep -c QmrState)" "1:0"
run start
run floor
check "floor: nothing remembered" "$?:$(cat "$work/out")" "0:"
before=$(bytes 24 72)
run floor $floor
run floor
check "floor: remembered" "$?:$(cat "$work/out"):$(bytes 16 1)" "0:$floor:2"
check "floor: and nothing else changed" "$(bytes 24 72)" "$before"
run floor $floor
check "floor: the same is not written again" "$?:$(bytes 16 1)" "0:2"
run floor ${floor%12}-1
check "floor: none" "$?:$(grep -c 'names no highest versions' "$work/out"):$(bytes 16 1)" "2:1:2"
run healthy
run floor
check "floor: a healthy boot keeps it" "$?:$(cat "$work/out")" "0:$floor"
run floor $floor $floor
check "floor: one argument" $? 2
rm -rf "$work/efi"
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
# The watchdog: a made-up one in a mount namespace of its own, with a pipe in the place of the device; what comes out of it is what the
# hardware would have seen (a NUL byte: a ping; V: disarmed).
watchdog_root() { # the mounted root: $1: name of its init
	rm -rf "$work/sysroot"
	mkdir -p "$work/sysroot/sbin" "$work/sysroot/usr/lib/systemd" "$work/sysroot/etc/systemd/system.conf.d"
	: >"$work/sysroot/usr/lib/systemd/$1"
	ln -s "/usr/lib/systemd/$1" "$work/sysroot/sbin/init"
}
# Starts a boot, arms, and comes to the end of the initramfs. $1: bootstatus; $2: nowayout; $3: it ends in an orderly way.
# In $work/wire: what the device saw.
watched_boot() {
	rm -rf "$work/run" "$work/wire"
	unshare -m sh -c '
		mount -t tmpfs -o mode=1777 tmpfs /run && mount -t tmpfs -o mode=0755 tmpfs /sys/class || exit 1
		w=/sys/class/watchdog/watchdog0
		mkdir -p $w/device && ln -s ../drivers/i6300esb $w/device/driver
		echo "a timer" >$w/identity; echo "$2" >$w/bootstatus; echo inactive >$w/state; echo "$4" >$w/nowayout
		rm -f "$1/device"; mkfifo -m 0666 "$1/device"
		timeout 30 cat "$1/device" >"$1/wire" & exec 8<>"$1/device"
		guard="$3 env EFIVARFS_PATH=$1/efi/ rootmnt=$1/sysroot $1/boot-guard --config $1/etc/qmr.conf --run $1/run --device $1/device"
		$guard start; $guard feed
		for i in 1 2 3 4 5 6 7 8 9 10; do [ -e "$1/run/feeder.pid" ] && break; sleep 0.1; done
		ls "$1/run" >"$1/marks"
		$guard root
		[ -z "$5" ] || $guard clean-shutdown
		exec 8>&-; wait
		cat /run/systemd/system.conf.d/* >"$1/systemd" 2>/dev/null || :
	' - "$work" "$1" "$drop" "${2-0}" "${3-}" >"$work/out" 2>&1
}
wire() { od -An -c "$work/wire" | tr -d ' \n' | sed 's/\(\\0\)*/p/'; }
if [ "$(id -u)" = 0 ] && unshare -m true 2>/dev/null; then
	rm -rf "$work/efi"; mkdir "$work/efi"; chmod 0777 "$work/efi" "$work"
	printf '[policy]\nmode = collect\n[watchdog]\nruntime = 45\n' >"$work/etc/qmr.conf"
	watchdog_root systemd
	watched_boot 0
	check "watchdog: fed, and left armed for systemd" "$(wire) $(grep -c feeder.pid "$work/marks") $(ls "$work/run" | grep -c feeder)" "p 1 0"
	check "watchdog: systemd is told for this boot" "$(tail -1 "$work/systemd")" "RuntimeWatchdogSec=45"
	watched_boot 32
	check "watchdog: a boot without an end, and its reset reason: a hang by watchdog" "$(bytes 108 4)" "4 0 0 2"
	run clean-shutdown
	watched_boot 32
	check "watchdog: an orderly end is no hang" "$(bytes 108 1) $(bytes 12 1)" "2 0"
	watched_boot 32 0 end
	check "watchdog: an orderly end while the reason is set is remembered" "$(bytes 12 1)" 16
	watched_boot 32
	check "watchdog: set again: it is sticky" "$(bytes 12 1)" 2
	watched_boot 32
	check "watchdog: and makes no hang of a power cut" "$(bytes 12 1) $(bytes 108 1)" "2 6"
	watched_boot 0
	check "watchdog: unset: it is believed again" "$(bytes 12 1)" 0
	run clean-shutdown
	echo '[Manager]
RuntimeWatchdogSec=20' >"$work/sysroot/etc/systemd/system.conf.d/owner.conf"
	run healthy
	watched_boot 0
	check "watchdog: what the owner told systemd stays" "$(wire) $(cat "$work/systemd")" "p "
	echo '[Manager]
RuntimeWatchdogSec=off' >"$work/sysroot/etc/systemd/system.conf.d/owner.conf"
	watched_boot 0
	check "watchdog: disarmed where the owner wants none" "$(wire) $(cat "$work/systemd")" "pV "
	watchdog_root other-init
	watched_boot 0
	check "watchdog: disarmed for another init" "$(wire) $(cat "$work/systemd")" "pV "
	watchdog_root systemd
	mkdir -p "$work/sysroot/etc/systemd/system/default.target.wants"
	: >"$work/sysroot/etc/systemd/system/default.target.wants/watchdog.service"
	run healthy
	watched_boot 0
	check "watchdog: disarmed for a program of the owner's" "$(wire) $(grep -c 'watchdog.service is enabled' "$work/out")" "pV 1"
	run healthy
	watched_boot 0 1
	check "watchdog: one that could not be disarmed is not armed" \
		"$(stat -c %s "$work/wire") $(grep -c 'not armed: .*nowayout' "$work/out")" "0 1"
	printf '[policy]\nmode = observe\n' >"$work/etc/qmr.conf"
	run healthy
	watched_boot 0
	check "watchdog: not in mode observe" "$(stat -c %s "$work/wire") $(cat "$work/systemd")" "0 "
	printf '[policy]\nmode = collect\n[watchdog]\narm = no\n' >"$work/etc/qmr.conf"
	run healthy
	watched_boot 0
	check "watchdog: not where it is switched off" "$(stat -c %s "$work/wire")" 0
fi
exit $status

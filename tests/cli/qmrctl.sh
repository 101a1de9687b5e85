#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# qmrctl: install, mode, status, history, counters, uninstall; what it finds is in qmrctl-check.sh.
# Usage: tests/cli/qmrctl.sh -B BUILD
. "$(dirname "$0")/qmrctl-system.sh"

# Nothing is changed by what is refused.
before=$(snapshot)
printf '[loader]\ntries = 3\n' >"$root/etc/qmr/conf.d/10-tries.conf"
printf '[policy]\nmode = always\n' >"$root/etc/qmr/qmr.conf"
ok "a malformed configuration is refused with file, line and key" \
	"$(install_built) $(said '/etc/qmr/qmr.conf:2: [policy] mode: none of')" "2 1"
printf '[upload]\nurl = https://x\n' >"$root/etc/qmr/qmr.conf"
ok "an upload url without a certificate is refused" \
	"$(install_built) $(said "[upload] certificate names '/etc/qmr/trust/upload-cert.pem', which cannot be read")" "2 1"
echo nonsense >"$root/etc/qmr/trust/upload-cert.pem"
ok "a certificate that is none is refused" "$(install_built) $(said 'which is no certificate in PEM')" "2 1"
printf '[repository]\nurl = https://x\n' >"$root/etc/qmr/qmr.conf"
echo '{"signed": {"_type": "targets"}, "signatures": []}' >"$root/etc/qmr/trust/root.json"
ok "root metadata of another kind is refused" "$(install_built) $(said 'which is no TUF root metadata')" "2 1"
rm "$root"/etc/qmr/trust/*
printf '[policy]\nmode = collect\n' >"$root/etc/qmr/qmr.conf"
ok "without an EFI system partition: the option is named" \
	"$(ctl --no-variables install) $(said 'give it with --esp-path')" "1 1"
ok "without its UUID: the option is named" \
	"$(ctl --no-variables --esp-path /efi install) $(said 'give it with --esp-uuid')" "1 1"
ok "an ESP path that is no folder" "$(ctl --no-variables --esp-path /nope --esp-uuid A install) $(said "'/nope' is no folder")" "1 1"
ok "no EFI variables and not told so" "$(ctl install) $(said 'offers no EFI variables')" "1 1"
printf '/dev/mapper/vg-root / ext4 rw 0 1\n' >"$root/etc/fstab"
ok "a root that recovery cannot reach is refused" \
	"$(install_built --root-uuid 1 --root-fstype ext4) $(said 'cannot reach yet; --force goes on')" "1 1"
printf 'UUID=5c8b2b4e-0d3c-4d8f-9d55-2f8a4c1b7e01 / auto rw 0 1\n' >"$root/etc/fstab"
ok "a root of unknown type: the option is named" "$(install_built) $(said 'give it with --root-fstype')" "1 1"
printf 'UUID=5c8b2b4e-0d3c-4d8f-9d55-2f8a4c1b7e01 / ext4 rw 0 1\n' >"$root/etc/fstab"
fstab() { printf 'UUID=5c8b2b4e-0d3c-4d8f-9d55-2f8a4c1b7e01 / ext4 rw 0 1\n%s\n' "$@" >"$root/etc/fstab"; }
fstab 'LABEL=var /var/ ext4 rw 0 2'
for option in --force --no-variables; do
	ok "$option: a /var of its own is refused" \
		"$(install_built $option) $(said "'/var/lib/qmr' lies on the file system mounted at '/var' (ext4, LABEL=var), not on the root")" "1 1"
done
fstab '/dev/sdb1 /usr/lib xfs rw 0 2' 'LABEL=o /opt ext4 rw 0 2' 'LABEL=v /var/lib/qmr-not ext4 rw 0 2'
ok "watched paths that recovery cannot restore are refused by name" \
	"$(install_built) $(said "[watch] path: '/usr/lib/modules/*/extra' (at '/usr/lib', xfs)") $(said "'/opt' (at '/opt', ext4)") $(said /etc/fstab)" "1 1 1 0"
ok "accepted with --force, and named" \
	"$(touch "$root/tmp/fail-initramfs"; install_built --force; rm "$root/tmp/fail-initramfs") $(said "recovery cannot restore '/usr/lib/modules/*/extra' (at '/usr/lib', xfs)")" "1 1"
rm "$root/etc/qmr/machine.conf"
fstab ''
ok "all that was refused changed nothing" \
	"$(diff <(echo "$before" | grep -v etc/) <(snapshot | grep -v etc/))$(find "$root/etc/units" 2>/dev/null)" ""

# Steps that fail.
touch "$root/tmp/fail-initramfs"
ok "a generator that fails: said what was done and what not" \
	"$(install_built) $(said "step 'initramfs': '/usr/sbin/update-initramfs' ended with exit code 1; done before it: config, paths, keys, machine, machine.conf, watchdog, panic; not begun: the 7 after it")" "1 1"
rm "$root/tmp/fail-initramfs"
touch "$root/tmp/late"
ok "boot-guard not the first of init-top is refused" "$(install_built) $(said "which is '/scripts/init-top/00-early'")" "1 1"
rm "$root/tmp/late"
touch "$root/tmp/late-local"
ok "nor the first of local-top, before a passphrase is asked for" "$(install_built) $(said "first program of local-top, which is '/scripts/local-top/00-early'")" "1 1"
rm "$root/tmp/late-local"
touch "$root/tmp/no-pstore"
ok "an initramfs without efi_pstore is refused" "$(install_built) $(said 'the driver efi_pstore is not in it')" "1 1"
echo kernel/drivers/firmware/efi/efi-pstore.ko >"$root/usr/lib/modules/$release/modules.builtin"
ok "but not where the kernel has it built in" "$(install_built)" 0
rm "$root/tmp/no-pstore" "$root/usr/lib/modules/$release/modules.builtin"
rm -r "$root/efi/EFI" "$root/etc/units" "$root/var/lib/qmr"
touch "$root/tmp/fail-mkrecovery"
ok "an image that cannot be built" "$(install_built) $(said "step 'image': '/usr/lib/qmr/mkrecovery' ended with exit code 1") $(find "$root/efi" -type f | wc -l)" "1 1 0"
rm "$root/tmp/fail-mkrecovery"
echo 5000000 >"$root/tmp/image-bytes"
ok "a full ESP: the bytes needed and free are said, nothing is left behind" \
	"$(install_built) $(grep -cE 'needs 5000[0-9]+ bytes beside the old one, and .* has [0-9]+ free' "$root/tmp/out") $(find "$root/efi" "$root/var/lib/qmr" -type f | wc -l)" "1 1 0"
rm "$root/tmp/image-bytes"

# systemd-boot beside it.
mkdir -p "$root/efi/loader/entries" "$root/efi/EFI/Linux"
echo v >"$root/efi/vmlinuz"
printf 'title Old\nlinux /vmlinuz\noptions a  b\n' >"$root/efi/loader/entries/old-1.conf"
printf 'title New\nlinux /vmlinuz\n' >"$root/efi/loader/entries/old-2+3.conf"
head -c 5000000 /dev/zero >"$root/$image.qmr-new" 2>/dev/null # all that is free
ok "install, over what a power cut left on the ESP" "$(install_built) $(find "$root/efi" -name '*.qmr-new')" "0 "
ok "the sort-key was added, the rest is as it was" "$(cat "$root/efi/loader/entries/old-1.conf")" \
	$'title Old\nsort-key debian\nlinux /vmlinuz\noptions a  b'
ok "to both, and it is said" "$(grep -c 'sort-key debian' "$root/efi/loader/entries/old-2+3.conf") $(said 'sort-key added to 2 entries')" "1 1"
ok "the image is there" "$(head -c 2 "$root/$image")" MZ
ok "and a second one, which is a copy: no kernel is known that a machine that is being built was healthy on" \
	"$(cmp "$root/$image" "$root/$second" && echo same) $(said "second image: /efi/EFI/qmr/qmr-recovery-2.efi written, a copy of the first, kernel $release")" "same 1"
ok "it was told root and ESP, and to take nothing of the running system" \
	"$(sed 's/--output [^ ]* //' "$root/tmp/mkrecovery.log")" \
	"--root-uuid 5c8b2b4e-0d3c-4d8f-9d55-2f8a4c1b7e01 --root-fstype ext4 --esp-uuid ABCD-1234 --root /"
ok "machine.conf says what was found" "$(xargs <"$root/etc/qmr/machine.conf")" \
	"# written by qmrctl install [machine] root_uuid=5c8b2b4e-0d3c-4d8f-9d55-2f8a4c1b7e01 root_fstype=ext4 esp_uuid=ABCD-1234 tries = 3 tries_added = yes"
ok "and is in the initramfs" "$(tar -xOf "$root/boot/initrd.img-$release" ./etc/qmr/machine.conf)" "$(cat "$root/etc/qmr/machine.conf")"
ok "registering is left to the first boot" "$(find "$root/var/lib/qmr" -name register-pending | wc -l)" 1
ok "the units are enabled" "$(ls "$root/etc/units" | tr '\n' ' ')" "qmr-checks.service qmr-deadline.service qmr-emergency.service qmr-healthy.timer qmr-poll.timer qmr-register.service qmr-resume.service qmr-shutdown.service qmr-tries.service qmr-waiting.path "
ok "systemd-pstore leaves the crash records" "$(grep -c Storage=none "$root/etc/systemd/pstore.conf.d/50-qmr.conf")" 1
before=$(snapshot)
ok "a second run changes nothing" "$(install_built) $(diff <(echo "$before") <(snapshot))" "0 "
ok "check agrees" "$(ctl --no-variables --esp-path /efi --esp-uuid ABCD-1234 check) $(said 'check: ready, 0 failed, 0 warnings, 8 unknown') $(grep -c ': ok: ' "$root/tmp/out") $(said 'trust: ok: no server')" "0 1 14 1"
ok "and changes nothing" "$(diff <(echo "$before") <(snapshot))" ""

# An entry that would swap places when it gets a sort-key: the owner decides.
printf 'title Vendor\nsort-key zvendor\nlinux /vmlinuz\n' >"$root/efi/loader/entries/vendor.conf"
sed -i '/sort-key/d' "$root"/efi/loader/entries/old-*.conf
ok "sort-keys that would change the everyday entry are refused" \
	"$(install_built) $(said "would boot 'old-2+3.conf' every day instead of 'vendor.conf'") $(grep -lc sort-key "$root"/efi/loader/entries/old-* | wc -l)" "1 1 0"
rm "$root/efi/loader/entries/vendor.conf"
ok "and added without it" "$(install_built)" 0
mv "$root/efi/loader/entries/old-2+3.conf" "$root/efi/loader/entries/old-2+0-3.conf"
mv "$root/efi/loader/entries/old-1.conf" "$root/efi/loader/entries/old-1+0-3.conf"
ok "entries whose tries are used up: recovery would be the everyday one" \
	"$(install_built) $(said "would boot recovery every day instead of 'old-2+0-3.conf'")" "1 1"
mv "$root/efi/loader/entries/old-2+0-3.conf" "$root/efi/loader/entries/old-2.conf"

cp -a "$root/$image" "$work/image"
# The order of writing on FAT: the old file is open until the new entry is synced, after the rename.
printf x >>"$root/$image"
order=$(env -i PATH=/usr/sbin:/usr/bin LC_ALL=C strace -qq -y -e trace=openat,rename,renameat,fsync,close -o "$root/tmp/trace" \
	chroot "$root" /usr/sbin/qmrctl --no-variables --esp-path /efi --esp-uuid ABCD-1234 install >"$root/tmp/out" 2>&1
	grep -F 'qmr-recovery.efi' "$root/tmp/trace" | sed -n '/qmr-new.*O_CREAT/,$p' |
	sed -nE 's/^fsync.*qmr-recovery.efi\.qmr-new>.*/data/p; s/^rename.*/rename/p; s/^fsync.*qmr-recovery.efi>.*/entry/p
		s/^close.*qmr-recovery.efi \(deleted\)>.*/old/p; s/^close.*qmr-recovery.efi>.*deleted.*/old/p' | xargs)
ok "the image on FAT: data, name, entry, and only then the old blocks" "$order" "data rename entry old"

# Both images, one after the other: the first is in its place for good before the second is touched.
order=$(printf '[image]\ncmdline = both\n' >"$root/etc/qmr/conf.d/60-image.conf"
	env -i PATH=/usr/sbin:/usr/bin LC_ALL=C strace -qq -y -e trace=openat,rename,renameat,fsync -o "$root/tmp/trace" \
	chroot "$root" /usr/sbin/qmrctl --no-variables --esp-path /efi --esp-uuid ABCD-1234 install >"$root/tmp/out" 2>&1
	sed -nE 's/^openat.*qmr-recovery(-2)?.efi.qmr-new.*O_CREAT.*/new\1/p; s/^rename.*qmr-recovery(-2)?.efi".*/rename\1/p
		s/^fsync.*qmr-recovery(-2)?.efi>.*/entry\1/p' "$root/tmp/trace" | xargs)
ok "the first image, then the second" "$order" "new rename entry new-2 rename-2 entry-2"
# Ended before each call that changes something about them: both are whole, the old one or the new one, and never is only the second one new.
cp "$root/$image" "$work/new"
cut() { # $1: system call, $2: which of them; strace counts each on its own
	local places=()
	for path in "$image" "$second" "$image.qmr-new" "$second.qmr-new"; do places+=(-P "$root/$path" -P "/$path"); done
	rm -f "$root"/{"$image","$second"}.qmr-new
	cp "$work/image" "$root/$image" && cp "$work/image" "$root/$second"
	env -i PATH=/usr/sbin:/usr/bin LC_ALL=C strace -f -qq "${places[@]}" -e "inject=$1:signal=KILL:when=$2" \
		-o /dev/null chroot "$root" /usr/sbin/qmrctl --no-variables --esp-path /efi --esp-uuid ABCD-1234 install >"$root/tmp/out" 2>&1
}
which() { cmp -s "$1" "$work/image" && echo old || { cmp -s "$1" "$work/new" && echo new || echo broken; }; }
found=
for call in write fsync rename renameat renameat2 unlink; do
	for n in $(seq 10); do
		cut $call "$n" 2>/dev/null && break # the shell would say that it was killed
		found+="$(which "$root/$image")-$(which "$root/$second") "
	done
done
ok "a cut at each call: both whole, the first renewed before the second" \
	"$(printf '%s\n' $found | sort -u | xargs) $(($(wc -w <<<"$found") >= 8))" "new-new new-old old-old 1"
ok "and the next install finds its way" "$(install_built) $(which "$root/$image") $(which "$root/$second") $(find "$root/efi" -name '*.qmr-new')" "0 new new "
rm "$root/etc/qmr/conf.d/60-image.conf"

# Room: 3.6 MB beside an initramfs. An image of 1.3 MB has no second one beside it, since as much again has to stay free.
cp "$root/boot/initrd.img-$release" "$root/efi/initrd"
mb() { find "$root/efi/EFI" -name '*.efi' -printf '%f %s\n' | sort | sed -E 's/[0-9]{5} *$//' | xargs; } # sizes in 0.1 MB
echo 1299000 >"$root/tmp/image-bytes"
ok "no room for a second image: the old one is removed, the figures are said, and that is no failure" \
	"$(install_built) $(grep -cE "^second image: removed: '/efi' has 2\.[0-9] MB free, and a second image takes 1\.3 MB and leaves as much" "$root/tmp/out") $(mb)" \
	"0 1 qmr-recovery.efi 12"
warns "it, with the figures" "second-image: warning: there is no second recovery image: '/efi' has 2."
ok "and again" "$(install_built) $(said 'second image: none: ')" "0 1"
echo 1100000 >"$root/tmp/image-bytes"
ok "with room for both they are there" "$(install_built) $(mb)" "0 qmr-recovery-2.efi 11 qmr-recovery.efi 11"
head -c $(($(stat -f -c "%a * %S" "$root/efi") - 900000)) /dev/zero >"$root/efi/filler" # programs of any size leave 0.9 MB
ok "an up to date second image stays where room is short" "$(install_built) $(mb)" "0 qmr-recovery-2.efi 11 qmr-recovery.efi 11"
warns "a new image that the second would have to make way for" "space: warning: '/efi' has 0.9 MB free: for a new recovery image (1.1 MB) the second one would have to make way"
echo 1110000 >"$root/tmp/image-bytes"
ok "and makes way for a new first one: none with an old policy stays" \
	"$(install_built) $(said 'image: /efi/EFI/Linux/qmr-recovery.efi written') $(said 'second image: none: ') $(mb)" "0 1 1 qmr-recovery.efi 11"
cp "$root/$image" "$root/$second"
echo x >"$root/$image"
echo 1120000 >"$root/tmp/image-bytes"
head -c 1600000 /dev/zero >"$root/efi/filler" 2>/dev/null
ok "but not where the first is damaged: it may be the only one that is whole" "$(install_built) $(said "step 'image': the recovery image needs 112") $(mb)" \
	"1 1 qmr-recovery-2.efi 11 qmr-recovery.efi 2"
rm "$root/efi/filler" "$root/tmp/image-bytes"
ok "all as before" "$(install_built) $(cmp "$root/$image" "$root/$second" && echo same)" "0 same"

# The mode.
ok "mode" "$(mode automatic) $(grep -c 'mode = automatic' "$root/etc/qmr/conf.d/90-mode.conf") $(grep -ac 'mode = automatic' "$root/$image") $(grep -ac 'mode = automatic' "$root/$second")" "0 1 1 1"
ok "it is in the initramfs too" "$(tar -xOf "$root/boot/initrd.img-$release" ./etc/qmr/conf.d/90-mode.conf | grep -c automatic)" 1
ok "no such mode" "$(mode sometimes) $(said 'nothing was changed') $(grep -c 'mode = automatic' "$root/etc/qmr/conf.d/90-mode.conf")" "2 1 1"
printf '[policy]\nmode = observe\n' >"$root/etc/qmr/conf.d/95-site.conf"
ok "a file that overrides the mode is named as the reason" "$(mode ask) $(said 'a file behind it in conf.d says observe')" "1 1"
rm "$root/etc/qmr/conf.d/95-site.conf"

# Boot state in a folder in the place of EFI variables, of the root that machine.conf names where the command line does not.
mkdir "$root/tmp/efi"
variables=/tmp/efi/
echo "root=PARTUUID=0f0e0d0c-0b0a-0908-0706-050403020100 ro" >"$root/tmp/cmdline"
mount --bind "$root/tmp/cmdline" "$root/proc/cmdline"
python3 - "$root/tmp/efi/QmrState-3f1c8b6e-6a55-4e0b-9a0c-5a7d1c0de9e4" <<'EOT'
# docs/boot-state.md by hand: three boots, the newest running, a switch pending.
import struct, sys, uuid, zlib
root = uuid.UUID("5c8b2b4e-0d3c-4d8f-9d55-2f8a4c1b7e01").bytes
state = bytearray(960)
state[0:4] = b"QMRS"
struct.pack_into("<HH", state, 4, 1, 960)
struct.pack_into("<Q", state, 16, 7)
state[24:40] = root
state[40:56] = bytes(range(16))
struct.pack_into("<IBBBBBBBB", state, 56, 3, 1, 2, 1, 0, 0, 0, 3, 0)
for i, (outcome, phase) in enumerate(((0, 0), (3, 1), (1, 3))):
    struct.pack_into("<QIBBHII", state, 72 + 24 * i, 1790000000 + i, 3 - i, outcome, phase, 0, 9, 0)
state[872:877] = b"a\x1b[0m"
struct.pack_into("<I", state, 8, zlib.crc32(state))
open(sys.argv[1], "wb").write(struct.pack("<I", 7) + state)
EOT
ok "status" "$(ctl --no-variables --esp-path /efi --esp-uuid ABCD-1234 status) $(said 'mode:          ask') $(said 'switching: the next boot goes into recovery')" "0 1 1"
ok "nothing in a note reaches the terminal as a control character" "$(grep -c $'\x1b' "$root/tmp/out")" 0
mv "$root/etc/qmr/machine.conf" "$root/tmp/machine.conf"
ok "without machine.conf it is another root's" "$(ctl status) $(said 'switching: the next boot goes into recovery')" "0 0"
mv "$root/tmp/machine.conf" "$root/etc/qmr/machine.conf"
ctl --no-variables --esp-path /efi --esp-uuid ABCD-1234 --json status >/dev/null
ok "status --json is complete" "$(python3 - "$root/tmp/out" "$release" <<'EOT'
import json, sys
s = json.load(open(sys.argv[1]))
assert s["schema"] == 1 and s["mode"] == "ask" and s["stage"] == "switching", s
assert s["state"]["boots"] == 3 and [a["outcome"] for a in s["state"]["attempts"]] == ["open", "panic", "healthy"], s
assert s["image"]["path"] == "/efi/EFI/Linux/qmr-recovery.efi" and s["image"]["kernel"] == sys.argv[2], s
assert s["second_image"]["path"] == "/efi/EFI/qmr/qmr-recovery-2.efi" and s["errors"]["second_image"] is None, s
assert s["test"]["result"] == s["second_test"]["result"] == "none", s
assert s["entry"] is None and "Quick machine recovery" in s["errors"]["entry"], s
assert s["remediations"] == {"in_effect": 0, "undone": 0} and s["errors"]["remediations"] is None, s
assert s["restore_point"] is None and s["spool"] == {"bundles": 0, "bytes": 0} and s["incidents"] == 0, s
assert s["errors"]["state"] is None and s["errors"]["config"] is None and s["errors"]["image"] is None, s
print("yes")
EOT
)" yes
ok "history" "$(ctl history) $(grep -cE '^ +[123]  ' "$root/tmp/out")" "0 3"
ctl --json history >/dev/null
ok "history --json" "$(python3 -c 'import json,sys; print(len(json.load(open(sys.argv[1]))["attempts"]))' "$root/tmp/out")" 3
history=$root/var/lib/qmr/history.jsonl
line() { # $1: root, $2: number, $3: start, $4: outcome, $5: flags
	printf '{"schema":1,"root":"%s","number":%d,"started_unix_s":%d,"outcome":"%s","phase":"healthy","evidence":"none","flags":%d,"uptime_s":9,"kernel_crc32":0}\n' "$@"
}
own=5c8b2b4e-0d3c-4d8f-9d55-2f8a4c1b7e01
# An earlier state of this root, two attempts that the ring has too (number 1 under another start is not one of them), another root's, damage.
{
	line $own 7 1780000000 healthy 2
	line $own 8 1780000001 panic 2
	line $own 1 1780000002 unknown 0
	line $own 1 1790000002 panic 0
	line 00000000-0000-4000-8000-000000000001 9 1780000003 healthy 0
	echo '{"schema":1'
} >"$history"
ok "history: the boot state and what was written down before, each attempt once, the boot state's word first" \
	"$(ctl history) $(grep -oE '^ +[0-9]+  ' "$root/tmp/out" | xargs) $(grep -E '^ +1 ' "$root/tmp/out" | grep -c panic)" "0 3 2 1 1 8 7 0"
ok "and how often recovery would have been started for nothing" \
	"$(said 'of the last 6 attempts: 2 healthy, 2 failed, 1 without evidence, 0 left') $(said 'mode observe would have started it 2 times, and 1 of these boots became healthy without it')" "1 1"
ctl --json history >/dev/null
ok "history --json: the same" "$(python3 - "$root/tmp/out" <<'EOT'
import json, sys
h = json.load(open(sys.argv[1]))
assert [a["number"] for a in h["attempts"]] == [3, 2, 1, 1, 8, 7] and h["error"] is None, h
assert h["attempts"][5] == {"number": 7, "started_unix_s": 1780000000, "outcome": "healthy", "phase": "healthy", "evidence": "none",
                            "flags": 2, "uptime_s": 9, "kernel_crc32": 0}, h
assert h["summary"] == {"attempts": 6, "healthy": 2, "failed": 2, "unknown": 1, "clean_shutdown": 0, "recovered": 0,
                        "would_have_recovered": 2, "would_have_recovered_healthy": 1}, h
print("yes")
EOT
)" yes
kept=$variables
variables=/nowhere/
ok "without variables, what was written down is shown" "$(ctl history) $(grep -cE '^ +[0-9]+  ' "$root/tmp/out") $(said 'those that healthy boots wrote down')" "0 4 1"
variables=$kept
rm "$history"
ok "recover is refused without boot entry and ESP" "$(ctl recover) $(said 'recovery cannot be started') $(said 'nothing was changed')" "1 1 1"
mkdir -p "$root/run/qmr" && echo 3 >"$root/run/qmr/attempt" # start's mark
printf 'qmr-a.service qmr-b.service\n' >"$root/tmp/follow"
ok "healthy: recorded, and what follows a healthy boot is started" \
	"$(ctl healthy) $(said 'record: this boot is recorded as healthy') $(said 'units: started: qmr-a.service qmr-b.service') $(tail -1 "$root/tmp/systemctl.log")" \
	"0 1 1 --no-block start qmr-a.service qmr-b.service"
mv "$root/run/qmr/attempt" "$root/tmp/attempt"
ok "a boot that was not counted cannot be declared healthy" "$(ctl healthy) $(said 'this boot was not counted at its start') $(said 'not begun: the 1 after it')" "1 1 1"
mv "$root/tmp/attempt" "$root/run/qmr/attempt"
ok "a healthy boot writes down the attempts before it" "$(grep -o '"number":[0-9]*' "$history" | xargs)" "number:1 number:2"
ctl --json history >/dev/null
ok "a healthy boot does not forget the switch that waits for the reboot" \
	"$(grep -m 1 -o '"outcome": "[a-z]*"' "$root/tmp/out") $(ctl status) $(said 'stage:         switching')" '"outcome": "healthy" 0 1'
printf '\x06\0\0\0\x01' >"$root/tmp/efi/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
ok "Secure Boot is refused, the image has no signature" "$(ctl install) $(said 'Secure Boot is on') $(said 'done before it: config, paths, keys;')" "1 1 1"
ok "unless it is accepted" "$(ctl --force install) $(said 'no EFI system partition is mounted')" "1 1"
printf '\x06\0\0\0\0' >"$root/tmp/efi/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
ok "Secure Boot that is off" "$(ctl install) $(said 'no EFI system partition is mounted')" "1 1"
ok "cancel takes a recorded switch back" "$(ctl cancel) $(said 'stage is now none')" "0 1"
ok "a second cancel has nothing to do" "$(ctl cancel)" 3
ok "--now and --next exclude each other" "$(ctl --now --next recover) $(said 'nothing was changed')" "2 1"
ok "a test is no recovery" "$(ctl --test --collect-only recover) $(ctl --test --reason x recover) $(said 'it is no recovery')" "2 2 1"
ok "--slot is one of two, and goes with --test" "$(ctl --test --slot 3 recover) $(ctl --slot 2 recover) $(said 'nothing was changed')" "2 2 1"
ok "the second image is looked at where it is asked for" "$(ctl --test --slot 2 recover) $(said 'recovery cannot be started')" "1 1"
tested() { # $1: text of last-test.json, $2: -2, $3: label
	printf '%s' "$1" >"$root/var/lib/qmr/last-test${2-}.json"
	ctl status >/dev/null
	grep "^${3-tested}:" "$root/tmp/out" | sed 's/20[-0-9: ]*/DATE/'
}
ok "no test of the recovery image" "$(ctl status) $(said 'tested:        never')" "0 1"
ok "one that went well" "$(tested '{"schema": 1, "result": "ok", "failed": null, "tested_unix_s": 1790000000}')" \
	"tested:        recovery image last tested: DATE, ok"
ok "one that failed" "$(tested '{"schema": 1, "result": "failed", "failed": "network: no \u001b address", "tested_unix_s": 1790000000}')" \
	"tested:        recovery image last tested: DATE, network: no ? address"
ok "one that recovery did not answer" "$(tested '{"schema": 1, "result": "requested", "requested_unix_s": 1790000000}')" \
	"tested:        asked for on DATE; the recovery image did not answer"
ok "of the second image too" "$(tested '{"schema": 1, "result": "ok", "failed": null, "tested_unix_s": 1790000000}' -2 'second tested')" \
	"second tested: second recovery image last tested: DATE, ok"
ok "and this says nothing of the first" "$(said 'tested:        asked for on')" 1
ok "a file that is none" "$(tested '{"schema": 2, "result": "ok"}') $(tested '{"schema": 1, "result": 7}')" "tested:        never tested:        never"
note() { # $1: the boot state's note, $2: its flags
	python3 - "$root"/tmp/efi/QmrState-* "$@" <<-'EOT'
	import struct, sys, zlib
	data = bytearray(open(sys.argv[1], "rb").read())
	state = data[4:]
	struct.pack_into("<I", state, 12, int(sys.argv[3]))
	state[872:960] = sys.argv[2].encode().ljust(88, b"\0")
	struct.pack_into("<I", state, 8, 0)
	struct.pack_into("<I", state, 8, zlib.crc32(state))
	open(sys.argv[1], "wb").write(data[:4] + state)
	EOT
}
note "recovery image tested 2026-01-02T03:04Z: devices: no device has the root's UUID" 0
ok "where the root could not be written, the boot state's note counts" \
	"$(tested '{"schema": 1, "result": "ok", "tested_unix_s": 1790000000}')" \
	"tested:        recovery image last tested: DATE, devices: no device has the root's UUID"
note "second recovery image tested 2026-01-02T03:04Z: ok" 0
ok "or of the second" "$(tested '{"schema": 1, "result": "failed", "failed": "x", "tested_unix_s": 1790000000}' -2 'second tested') $(grep -c '^tested: .* ok$' "$root/tmp/out")" \
	"second tested: second recovery image last tested: DATE, ok 1"
note "" 40
ok "a test of the second image that waits is none of the first" \
	"$(ctl status) $(said 'second tested: at the next reboot') $(said 'tested:        at the next reboot')" "0 1 0"
ok "cancel takes it back, with what was written down" "$(ctl cancel) $(ctl status) $(said 'second tested: never') $(find "$root/var/lib/qmr" -name 'last-test-2.json')" "0 0 1 "
note "" 8
ok "a test that waits" "$(ctl status) $(said 'tested:        at the next reboot')" "0 1"
ok "cancel takes it back" "$(ctl cancel) $(ctl status) $(said 'tested:        never') $(ctl cancel)" "0 0 1 3"
ok "a reason that does not fit" "$(ctl --reason "$(printf 'x%.0s' {1..88})" recover)" 2
mode off >/dev/null
ok "recover is refused in mode off" "$(ctl recover) $(said 'the mode is off')" "1 1"
mode ask >/dev/null
rm -r "$root/run/qmr"
variables=/nowhere/
ok "status without EFI variables says so" "$(ctl status) $(said 'state:         none')" "0 1"

# Boot counters, and panic= on the command line: only in the modes that act, only for this system, and all of it can be taken back.
id=0123456789abcdef0123456789abcdef
entries=$root/efi/loader/entries
rm -rf "$entries" "$root/etc/kernel"
mkdir -p "$entries" "$root/etc/kernel" "$root/etc/systemd/system"
echo $id >"$root/etc/machine-id"
entry() { printf 'title T\nsort-key debian\nversion %s\nmachine-id %s\nlinux /vmlinuz\noptions %s\n' "$2" "$3" "$4" >"$entries/$1.conf"; }
entry ours-1 1 $id "root=x ro"
entry ours-2 2 $id "root=x panic=30"
entry theirs 1 f$id "root=y"
printf 'root=x ro\n' >"$root/etc/kernel/cmdline"
untouched=$(cd "$root" && tail -n +1 efi/loader/entries/* etc/kernel/*)
listed() { (cd "$root/etc/systemd/system" 2>/dev/null && ls "$entries" "$root/etc/kernel" ./*/*.conf 2>/dev/null | grep -v : | xargs); }
finds_both() { ctl --no-variables --esp-path /efi --esp-uuid ABCD-1234 check >/dev/null; echo "$(said "tries: failed: 2 of systemd-boot's entries") $(said "panic: failed: ")"; }
ok "check finds entries without a counter, and a missing panic=" "$(finds_both)" "1 1"
ok "install gives counters to our entries, and panic=, and says why" \
	"$(install_built) $(said '2 entries of this system now have 3 tries each') $(said 'panic=10 added to the kernel command line in 2 files')" "0 1 1"
ok "only to ours; kernel-install knows; systemd does not take them away again" "$(listed)" \
	"./systemd-bless-boot.service.d/50-qmr.conf ours-1+3.conf ours-2+3.conf theirs.conf cmdline tries"
ok "panic= where there was none" "$(grep -h -e ^options -e ^root "$entries"/* "$root/etc/kernel/cmdline" | xargs -d '\n')" \
	"options root=x ro qmr.panic panic=10 options root=x panic=30 options root=y root=x ro qmr.panic panic=10"
ok "machine.conf knows what is ours" "$(grep -cE '^(tries = 3|tries_added = yes|panic_added = yes)$' "$root/etc/qmr/machine.conf")" 3
before=$(snapshot)
ok "a second install changes nothing" "$(install_built) $(said "already have boot counters") $(diff <(echo "$before") <(snapshot))" "0 1 "
ok "check agrees" "$(ctl --no-variables --esp-path /efi --esp-uuid ABCD-1234 check)" 0
echo 'default ours-*' >"$root/efi/loader/loader.conf"
finds "a default that does not look at tries" "tries: failed: the default 'ours-*' of systemd-boot"
rm "$root/efi/loader/loader.conf"
mv "$entries/ours-1+3.conf" "$entries/ours-1.conf"
finds "an entry that lost its counter" "tries: failed: 1 of systemd-boot's entries, 'ours-1.conf' for one"
mv "$entries/ours-1.conf" "$entries/ours-1+3.conf"
# Recovery that systemd-boot starts once.
mkdir -p "$root/efi/EFI/systemd"
python3 - "$root/efi/EFI/systemd/systemd-bootx64.efi" <<'EOT'
import struct, sys
magic = b"#### LoaderInfo: systemd-boot 252 ####"
pe = b"MZ".ljust(60, b"\0") + struct.pack("<I", 64) + b"PE\0\0" + struct.pack("<HH12xHH", 0x8664, 1, 0, 0)
open(sys.argv[1], "wb").write((pe + b".sdmagic" + struct.pack("<IIII16x", len(magic), 0, 512, 512)).ljust(512, b"\0") + magic.ljust(512, b"\0"))
EOT
ok "systemd-boot is on the ESP: machine.conf says so" "$(install_built) $(grep -c '^systemd_boot = yes$' "$root/etc/qmr/machine.conf")" "0 1"
printf 'title R\nsort-key -qmr\nefi /EFI/Linux/qmr-recovery.efi\n' >"$entries/qmr-recovery-once+1.conf"
ok "an entry that starts recovery once is not the everyday one" "$(ctl --no-variables --esp-path /efi --esp-uuid ABCD-1234 check)" 0
ok "and loses its try to nobody" "$(install_built) $(ls "$entries" | xargs)" "0 ours-1+3.conf ours-2+3.conf qmr-recovery-once+1.conf theirs.conf"
ok "mode observe takes everything back, and says so" "$(mode observe) $(said 'boot counters were taken off 2 entries and panic= out of the kernel command line in 2 files')" "0 1"
ok "to the byte" "$(cd "$root" && tail -n +1 efi/loader/entries/* etc/kernel/*) $(find "$root/etc/systemd/system" -name '*.conf')" "$untouched "
ok "install does not bring it back in that mode" "$(install_built) $(said 'they would start recovery, which this mode does not do') $(listed)" "0 1 ours-1.conf ours-2.conf theirs.conf cmdline"
ok "mode automatic does" "$(mode automatic) $(said '2 entries of this system now have 3 tries each') $(ls "$entries" | xargs)" "0 1 ours-1+3.conf ours-2+3.conf theirs.conf"
# The owner's own settings.
mode observe >/dev/null
echo 5 >"$root/etc/kernel/tries"
mv "$entries/ours-1.conf" "$entries/ours-1+5.conf"
ok "in mode observe the owner's counters stay" "$(install_built) $(listed)" "0 ours-1+5.conf ours-2.conf theirs.conf cmdline tries"
ok "their number is taken" "$(mode collect) $(listed)" \
	"0 ./systemd-bless-boot.service.d/50-qmr.conf ours-1+5.conf ours-2+5.conf theirs.conf cmdline tries"
ok "and the file is not called ours" "$(mode observe) $(cat "$root/etc/kernel/tries") $(ls "$entries" | xargs)" "0 5 ours-1.conf ours-2.conf theirs.conf"
rm "$root/etc/kernel/tries"
printf '[loader]\ntries = 0\n' >"$root/etc/qmr/conf.d/50-loader.conf"
ok "tries = 0 leaves counters alone" "$(mode collect) $(said '[loader] tries = 0') $(listed)" "0 1 ours-1.conf ours-2.conf theirs.conf cmdline"
rm "$root/etc/qmr/conf.d/50-loader.conf"
printf '[policy]\npanic_timeout = 20\n' >"$root/etc/qmr/conf.d/50-panic.conf"
ok "another panic_timeout" "$(mode collect) $(cat "$root/etc/kernel/cmdline")" "0 root=x ro qmr.panic panic=20"
rm "$root/etc/qmr/conf.d/50-panic.conf"

# One at a time.
exec 9>"$root/run/qmrctl.lock"
flock 9
ok "another qmrctl at work" "$(install_built) $(said 'another qmrctl is at work')" "1 1"
ok "status does not wait for it" "$(ctl status)" 0
exec 9>&-

# And away again.
mkdir -p "$root/var/lib/qmr/incidents/x"
touch "$root/tmp/fail-initramfs" "$root/$image.qmr-new" "$root/$second.qmr-new"
ok "uninstall with a generator that fails: the image is gone all the same" \
	"$(ctl --no-variables --esp-path /efi --esp-uuid ABCD-1234 uninstall) $(said "done before it: keys, units, register, images, counters") $(find "$root/efi/EFI" -name 'qmr-recovery*')" "1 1 "
rm "$root/tmp/fail-initramfs"
ok "uninstall" "$(ctl --no-variables --esp-path /efi --esp-uuid ABCD-1234 uninstall)" 0
ok "images, units and mark for the first boot are gone, incidents are kept" \
	"$(ls -d "$root/efi/EFI/qmr" 2>/dev/null)$(ls "$root/efi/EFI/Linux" "$root/etc/units") $(ls "$root/var/lib/qmr" | xargs)" "$(printf '%s:\n\n%s:' "$root/efi/EFI/Linux" "$root/etc/units") history.jsonl incidents"
ok "machine.conf is gone" "$(find "$root/etc/qmr" -name machine.conf)" ""
ok "entries and kernel-install's files are as they were" "$(cd "$root" && tail -n +1 efi/loader/entries/* etc/kernel/*)" "$untouched"
ok "and systemd-pstore is as before" "$(find "$root/etc/systemd" -type f)" ""
ok "boot-guard is out of the initramfs" "$(tar -tf "$root/boot/initrd.img-$release" | grep -c boot-guard)" 0
ok "uninstall --purge" "$(ctl --no-variables --esp-path /efi --esp-uuid ABCD-1234 --purge uninstall) $(ls "$root/var/lib")" "0 "
ok "install brings it back" "$(install_built) $(tar -tf "$root/boot/initrd.img-$release" | grep -c boot-guard) $(ls "$root/etc/qmr" | tr '\n' ' ')" "0 1 conf.d machine.conf qmr.conf trust "

ok "no command" "$(ctl)" 2
ok "unknown command" "$(ctl explode)" 2
# What was changed, and taking it back: remediation-apply does it, here on the made-up system.
ok "nothing was changed yet" "$(ctl remediations) $(said 'neither recovery nor a vaccination') $(ctl undo 1) $(said 'see '"'qmrctl remediations'")" "0 1 3 1"
mkdir -p "$root/opt/v"
echo bad >"$root/opt/v/C-291.bin"
cat >"$root/tmp/plan.json" <<'EOT'
{"schema": 1, "id": "cs-2026", "title": "t", "match": {"os-id": "debian"},
 "actions": [{"type": "remove-file", "path": "/opt/v/C-291.bin"}, {"type": "block-module", "module": "csagent"}]}
EOT
in_root() { env -i PATH=/usr/sbin:/usr/bin EFIVARFS_PATH=/nowhere/ chroot "$root" "$@" >"$root/tmp/out" 2>&1 || cat "$root/tmp/out"; }
in_root /usr/lib/qmr/remediation-apply apply --root / --plan /tmp/plan.json
ok "what was changed" "$(ctl remediations; cat "$root/tmp/out")" "0
     1  in effect  cs-2026
        removed   /opt/v/C-291.bin
        added     /etc/modprobe.d/qmr-block-csagent.conf"
ok "status counts it" "$(ctl status) $(said 'remediations:  1 in effect, 0 undone (qmrctl remediations)')" "0 1"
ok "undo" "$(ctl undo 1) $(said '1 is undone, by transaction 2: 2 files') $(cat "$root/opt/v/C-291.bin") $(ls "$root/etc/modprobe.d")" "0 1 bad "
ok "it is undone" "$(ctl remediations; grep -v ' /' "$root/tmp/out")" "0
     2  undo       undo-1
     1  undone     cs-2026"
ok "undo, once more" "$(ctl undo 1) $(said 'is undone already')" "3 1"
ok "undo of undo" "$(ctl undo 2) $(ls "$root/opt/v") $(ctl status) $(said 'remediations:  1 in effect, 0 undone')" "0  0 1"
ok "no number" "$(ctl undo x) $(ctl undo -- -1) $(ctl undo)" "2 2 2"
ok "remediations --json" "$(ctl --json remediations) $(python3 -c 'import json,sys; print([t["id"] for t in json.load(open(sys.argv[1]))["transactions"]])' "$root/tmp/out")" \
	"0 [3, 2, 1]"
mkdir -p "$root/var/lib/qmr/transactions/4"
echo '{' >"$root/var/lib/qmr/transactions/4/journal.json"
ok "a damaged journal is named" "$(ctl remediations) $(said 'journal.json') $(ctl status) $(said 'remediations:  unknown')" "1 1 0 1"
rm -r "$root/var/lib/qmr/transactions"

ok "an argument too many" "$(ctl status all)" 2
exit $status

#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# crash-collect over folders in the place of pstore and of the broken root. Usage: tests/cli/crash-collect.sh -B BUILD
set -u
[ "${1-}" = -B ] && shift
collect=$(realpath "$1")/crash-collect
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
id=11111111-1111-4111-8111-111111111111
kernel=6.1.0-40-amd64
saved=root/var/lib/qmr/incidents/$id
status=0

check() { # $1: name, $2: is, $3: should be
	if [ "$2" = "$3" ]; then
		echo "ok crash-collect/$1"
	else
		echo "not ok crash-collect/$1: is '$2', should be '$3'; $(tail -n 3 err | tr '\n' ' ')"
		status=1
	fi
}

value() { # $1: expression over the incident j
	python3 -c 'import json, sys; j = json.load(open(sys.argv[1])); print(eval(sys.argv[2]))' "${2-out/incident.json}" "$1"
}

# Records of one dump, in the kernel's form. $1: folder, $2: time, $3: reason, $4: count, $5: function, $6: plain or compressed
dump() {
	python3 - "$@" <<'END'
import sys, zlib
folder, time, reason, count, function, form = sys.argv[1:]
time, count = int(time), int(count)
log = f"""<6>[    6.100000] first line of {reason} {time}
<1>[    7.{time % 1000:03}000] BUG: kernel NULL pointer dereference, address: 0000000000000010
<1>[    7.200000] #PF: supervisor read access in kernel mode
<4>[    7.200001] Oops: 0000 [#1] PREEMPT SMP PTI
<4>[    7.200002] CPU: 0 PID: 0 Comm: swapper/0 Tainted: G           OE      6.1.0-40-amd64 #1  Debian 6.1.153-1
<4>[    7.200003] RIP: 0010:{function}+0x12/0x40 [acme_drv]
<4>[    7.200004] Call Trace:
<4>[    7.200005]  <IRQ>
<4>[    7.200006]  call_timer_fn+0x27/0x130
<4>[    7.200007]  </IRQ>
<4>[    7.200008] Modules linked in: acme_drv(OE) ext4 jbd2
<4>[    7.200009] ---[ end trace 0000000000000000 ]---
"""
if reason == "Panic":
    log += "<0>[    7.300000] Kernel panic - not syncing: Fatal exception in interrupt\n"
lines = log.splitlines(True)
for i, part in enumerate([lines[9:], lines[4:9], lines[:4]], 1):
    data = f"{reason}#{count} Part{i}\n{''.join(part)}".encode()
    name = f"{folder}/dmesg-efi_pstore-{(time * 100 + i) * 1000 + count}"
    if form == "compressed":
        z = zlib.compressobj(9, zlib.DEFLATED, -11)
        data, name = z.compress(data) + z.flush(), name + ".enc.z"
    open(name, "wb").write(data)
END
}

state() { # $1: reason, $2: failed boots, $3: outcome of the newest attempt
	cat >state.json <<END
{"schema": 1, "incident": "$id", "reason": "$1", "failed_boots": $2, "kernel": "$kernel",
 "attempts": [{"number": 9, "started_unix_s": 1790000100, "outcome": "$3", "phase": "initramfs", "kernel_crc32": 0},
              {"number": 8, "started_unix_s": 1789900000, "outcome": "healthy", "phase": "healthy", "kernel_crc32": 0}]}
END
}

run_collect() {
	rm -rf out
	"$collect" collect --root root --pstore pstore --state state.json --out out --config qmr.conf 2>err
}

run_save() {
	"$collect" save --from out --root root --pstore pstore 2>err
}

# A module as an ELF file of two sections. $1: .rodata, $2: .modinfo; as printf(1) writes a string of Python
module_file() {
	python3 - "$@" <<-'END'
		import struct, sys
		names = b"\0.rodata\0.modinfo\0.shstrtab\0"
		parts = [a.encode().decode("unicode_escape").encode() for a in sys.argv[1:]] + [names]
		out, table = b"", struct.pack("<IIQQQQIIQQ", *[0] * 10)
		for name, kind, flags, part in zip((1, 9, 18), (1, 1, 3), (2, 2, 0), parts):
		    table += struct.pack("<IIQQQQIIQQ", name, kind, flags, 0, 64 + len(out), len(part), 0, 0, 1, 0)
		    out += part
		head = b"\x7fELF\2\1\1" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 1, 62, 1, 0, 0, 64 + len(out), 0, 64, 0, 0, 64, 4, 3)
		sys.stdout.buffer.write(head + out + table)
	END
}

fresh() {
	rm -rf root pstore outside
	mkdir -p root/{etc,usr/lib/modules/$kernel/updates/dkms,opt/acme/channels,var/lib/systemd/pstore} pstore outside
	ln -s usr/lib root/lib
	echo 0123456789abcdef0123456789abcdef >root/etc/machine-id
	echo host >root/etc/hostname
	printf 'NAME="Debian"\nVERSION_ID="12"\nID=debian\n' >root/usr/lib/os-release
	ln -s ../usr/lib/os-release root/etc/os-release
	module_file 'xx\0/opt/acme/channels/%s.bin\0' 'license=GPL\0version=7.10\0srcversion=1\0' \
		>root/usr/lib/modules/$kernel/updates/dkms/acme-drv.ko
	echo 'updates/dkms/acme-drv.ko:' >root/usr/lib/modules/$kernel/modules.dep
	echo old >root/opt/acme/channels/1.bin
	echo same >root/opt/same
	mkdir -p root/var/lib/qmr/restore-points/7
	python3 - >root/var/lib/qmr/restore-points/7/manifest.json <<'END'
import hashlib, json
def f(path, text):
    return {"path": path, "type": "file", "mode": 420, "uid": 0, "gid": 0, "size": len(text), "mtime_ns": 1,
            "sha256": hashlib.sha256(text.encode()).hexdigest()}
print(json.dumps({"schema": 1, "id": 7, "taken_unix_s": 1789900200, "kernel": "6.1.0-40-amd64", "skipped": [],
                  "files": [f("/opt/acme/channels/1.bin", "old\n"), f("/opt/same", "same\n")]}))
END
	state detector 2 panic
	printf '[watch]\npath = /opt\n' >qmr.conf
}

# One crash as oops and panic, one crash before it; a bad update.
fresh
dump pstore 1790000000 Oops 1 acme_parse plain
dump pstore 1790000001 Panic 2 acme_parse compressed
dump pstore 1790000102 Panic 1 acme_parse plain
echo bad >root/opt/acme/channels/1.bin
(cd root && find . -printf '%p %T@ %s\n' | sort) >before
run_collect
check "collect exits 0" $? 0
(cd root && find . -printf '%p %T@ %s\n' | sort) >after
check "the root is as it was" "$(diff before after)" ""
check "no notes" "$(value "j['notes']")" "[]"
check "the culprit" "$(value "[j['culprit'][k] for k in ('module', 'function', 'basis', 'module_file')]")" \
	"['acme_drv', 'acme_parse', 'ip', '/usr/lib/modules/$kernel/updates/dkms/acme-drv.ko']"
check "its version, as its file states it" "$(value "j['culprit']['module_version']")" 7.10
check "the firmware's name of the machine" "$(value "j['machine'].get('dmi_vendor')")" \
	"$(cat /sys/class/dmi/id/sys_vendor 2>/dev/null || echo None)"
check "dumps of one crash are counted once" "$(value "len(j['crashes']), j['culprit']['crashes']")" "(3, 3)"
check "newest crash first" "$(value "[c['time_unix_s'] for c in j['crashes']]")" "[1790000102, 1790000001, 1790000000]"
check "kind, reason, boots" "$(value "j['kind'], j['reason'], j['failed_boots'], j['kernel'], j['id']")" \
	"('panic', 'detector', 2, '$kernel', '$id')"
check "the machine" "$(value "[j['machine'][k] for k in ('machine_id', 'hostname', 'os_id', 'os_version')]")" \
	"['0123456789abcdef0123456789abcdef', 'host', 'debian', '12']"
check "the change and its link" "$(value "[(c['path'], c['change'], c['link']) for c in j['changes']], j['restore_point']")" \
	"([('/opt/acme/channels/1.bin', 'modified', 'module-string')], 7)"
check "a dump is joined oldest first" "$(grep -o -E 'first line|NULL pointer|RIP:|end trace|Fatal' out/dumps/002.txt | tr '\n' ' ')" \
	"first line NULL pointer RIP: end trace Fatal "
check "compressed records are kept decompressed" "$(ls out/records | grep -c enc; head -c 5 out/records/*1790000001*01002)" "0
Panic"
check "the folder is private" "$(stat -c %a out out/records out/incident.json | tr '\n' ' ')" "700 700 600 "
check "collect leaves the records" "$(ls pstore | wc -l)" 9

# Saving.
dump pstore 1790000900 Panic 1 came_later plain
run_save
check "save exits 0" $? 0
check "saved whole" "$(diff -r out $saved && echo same)" same
check "what is not saved stays in pstore" "$(ls pstore | wc -l; cat pstore/* | grep -c came_later)" "3
1"

# The next run of the same incident finds the earlier crash and the new one.
run_collect
check "an earlier run's records count" "$(value "[c['time_unix_s'] for c in j['crashes']]")" \
	"[1790000900, 1790000102, 1790000001, 1790000000]"
echo "another text" >out/dumps/001.txt
echo "another record" >out/records/dmesg-efi_pstore-179000000001001
run_save
check "saving again exits 0" $? 0
check "older dumps stay" "$(grep -c acme_parse $saved/dumps/001.txt)" 1
check "a dump with another text gets another number" "$(cat $saved/dumps/005.txt)" "another text"
check "and incident.json names it" "$(value "j['crashes'][3]['dump']" $saved/incident.json)" dumps/005.txt
check "records do not replace each other" \
	"$(head -c 4 $saved/records/dmesg-efi_pstore-179000000001001; cat $saved/records/dmesg-efi_pstore-179000000001001.1)" \
	"Oopsanother record"
check "pstore is empty now" "$(ls pstore | wc -l)" 0

# What systemd-pstore moved: flat, in folders, cut to nothing, twice; and what is too old.
fresh
sp=root/var/lib/systemd/pstore
mkdir -p $sp/1790000001/002 $sp/1780000000 $sp/empty
dump $sp/1790000001/002 1790000001 Panic 2 acme_parse plain
dump pstore 1790000001 Panic 2 acme_parse compressed
dump $sp 1790000102 Panic 1 acme_flat compressed
dump $sp/1780000000 1780000000 Panic 1 months_ago plain
: >$sp/empty/dmesg-efi_pstore-179000050001001
run_collect
check "moved records are read, copies once" "$(value "[(c['time_unix_s'], c['ip']['function']) for c in j['crashes']]")" \
	"[(1790000102, 'acme_flat'), (1790000001, 'acme_parse')]"
check "old and empty ones are noted" "$(value "sorted(n.split(': ')[1] for n in j['notes'])")" \
	"['1 records are empty', '3 records are older than this incident and were left out']"
fresh
mkdir $sp/9
printf 'dmesg-efi-1:\nPanic#1 Part2\n<1>[    7.1] BUG: kernel NULL pointer dereference, address: 0\ndmesg-efi-2:\nPanic#1 Part1\n<4>[    7.1] RIP: 0010:f+0x1/0x2 [m]\n' >$sp/9/dmesg.txt
run_collect
check "only the joined text is left" "$(value "j['culprit']['module'], j['crashes'][0]['panic']")" "('m', True)"

# Ramoops: no time and no group in the names.
fresh
printf 'Panic#1 Part1\n<1>[    7.1] BUG: kernel NULL pointer dereference, address: 0\n<4>[    7.1] RIP: 0010:f+0x1/0x2 [m]\n' >pstore/dmesg-ramoops-0
echo console >pstore/console-ramoops-0
run_collect
check "ramoops" "$(value "j['crashes'][0]['source'], j['culprit']['module'], len(j['crashes'])")" "('ramoops', 'm', 1)"
run_save
check "all of it is saved and removed" "$(ls pstore | wc -l; ls $saved/records | tr '\n' ' ')" "0
console-ramoops-0 dmesg-ramoops-0 "

# A driver that was updated crashes three healthy boots later: the newest restore point holds it, the change log knows.
fresh
rm -r root/var/lib/qmr
printf '[watch]\npath = /opt\npath = /usr/lib/modules/*/updates\n' >qmr.conf
mkdir -p root/var/log root/var/lib/dpkg/info
module=/usr/lib/modules/$kernel/updates/dkms/acme-drv.ko
printf '/.\n/opt/acme\n%s\n' "/lib${module#/usr/lib}" >root/var/lib/dpkg/info/acme-driver.list
echo /usr/bin/other >root/var/lib/dpkg/info/other.list
: >root/var/log/dpkg.log
take() { "${collect%/*}/restore-point" take --root root --config qmr.conf --boot "$1" >/dev/null 2>err; }
take a0
echo new >>root$module
echo bad >root/opt/acme/channels/1.bin
printf '2026-11-20 06:10:1%s upgrade %s:amd64 1 2\n' 1 acme-driver 2 other >root/var/log/dpkg.log
take a1
echo later >root/opt/same
take a2
take a3
dump pstore 1790000001 Panic 2 acme_parse plain
run_collect
check "nothing differs from the newest restore point" "$(value "j['changes'], j['restore_point'], j['notes']")" "([], 3, [])"
check "the change log ties the crash to the update" \
	"$(value "[(c['what'], c.get('path', c.get('package')), c['link'], c['healthy_boots_since']) for c in j['recent_changes']]")" \
	"[('file', '/opt/same', None, 2), ('file', '$module', 'module-file', 3), ('file', '/opt/acme/channels/1.bin', 'module-string', 3), ('package', 'other:amd64', None, 3), ('package', 'acme-driver:amd64', 'package-file', 3)]"
check "with both hashes" "$(value "[len(j['recent_changes'][1][k]) for k in ('old_sha256', 'new_sha256')]")" "[64, 64]"
echo '{"schema": 1, "healthy_boots": 1, "generation": 1, "entries": [7]}' >root/var/lib/qmr/changes.json
run_collect
check "a damaged change log is noted" "$?:$(value "j['recent_changes'], any('changes.json' in n for n in j['notes']), j['culprit']['module']")" \
	"0:([], True, 'acme_drv')"

# A hostile root.
fresh
mkfifo root/var/lib/qmr/changes.json
ln -s "$work/state.json" root/var/lib/qmr/changes-state.json
dump outside 1790000102 Panic 1 from_outside plain
rm -r $sp
ln -s "$work/outside" $sp
ln -s "$work/outside" root/usr/lib/modules/$kernel/extra
ln -sf "$work/state.json" root/etc/hostname
dump pstore 1790000001 Panic 2 acme_parse plain
run_collect
check "links out of the root are not followed" "$(value "[c['ip']['function'] for c in j['crashes']], 'hostname' in j['machine']")" \
	"(['acme_parse'], False)"
ln -s "$work/outside" root/var/lib/qmr/incidents
run_save
check "nothing is written outside" "$(ls outside | grep -v -c dmesg; ls pstore | wc -l)" "0
3"

# Saving fails: the records stay.
fresh
dump pstore 1790000001 Panic 2 acme_parse plain
run_collect
(trap '' XFSZ; ulimit -f 0; run_save)
check "a full disk: save fails" "$?:$(ls pstore | wc -l)" 1:3
check "and leaves no half file" "$(find root/var/lib/qmr/incidents -type f | wc -l)" 0
rm -r root/var/lib/qmr/incidents
touch root/var/lib/qmr/incidents
run_save
check "save fails" $? 1
check "and pstore keeps everything" "$(ls pstore | wc -l)" 3
rm root/var/lib/qmr/incidents
echo '{"id": "../../../etc"}' >out/incident.json
run_save
check "an id that is no id is refused" "$?:$(ls pstore | wc -l)" 1:3

# Records that are damage.
fresh
head -c 3000 /dev/urandom >pstore/dmesg-efi-179000000101001.enc.z
head -c 3000 /dev/urandom >pstore/dmesg-efi-179000000102001
mkfifo pstore/dmesg-efi-179000000103001
ln -s "$work/state.json" pstore/dmesg-efi-179000000104001
run_collect
check "damaged records end nothing" "$?:$(value "j['culprit'], len(j['crashes']), len(j['notes']) > 0")" "0:(None, 1, True)"
run_save
check "damaged records are saved as they are" "$(ls $saved/records | tr '\n' ' ')" \
	"dmesg-efi-179000000101001.enc.z dmesg-efi-179000000102001 "

# Nothing there.
"$collect" collect --root none --pstore none --state none --out out2 --config none 2>err
check "no root, no records, no state: still an incident" \
	"$?:$(value "j['culprit'], j['kind'], j['restore_point'], len(j['notes']), len(j['id'])" out2/incident.json)" \
	"0:(None, 'unknown', None, 4, 36)"
fresh
state requested 0 healthy
run_collect
check "asked for, nothing failed: manual" "$(value "j['kind']")" manual
state detector 2 hang
run_collect
check "no record, a hang" "$(value "j['kind']")" hang
echo 'what = is this' >qmr.conf
run_collect
check "a malformed configuration is noted" "$?:$(value "any('qmr.conf' in n for n in j['notes'])")" 0:True

# The command line.
"$collect" 2>err
check "no command" $? 2
"$collect" collect --root x 2>err
check "missing arguments" $? 2
"$collect" save --from a --root b --pstore c --out d 2>err
check "arguments of the other command" $? 2
"$collect" --nonsense 2>err
check "unknown option" $? 2
check "--version" "$("$collect" --version | cut -d' ' -f1)" crash-collect
"$collect" --help >out.txt
check "--help" "$?:$(head -c 20 out.txt)" "0:Usage: crash-collect"
exit $status

#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# crash-collect over folders in the place of pstore and of the broken root. Usage: tests/cli/crash-collect.sh -B BUILD
set -u
collect=$2/crash-collect
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{pstore,root,etc}
id=11111111-1111-4111-8111-111111111111
status=0

check() { # $1: name, $2: is, $3: should be
	if [ "$2" = "$3" ]; then
		echo "ok $1"
	else
		echo "not ok $1: is '$2', should be '$3'"
		cat "$work/err"
		status=1
	fi
}
value() { # $1: expression over the incident j
	python3 -c 'import json, sys; j = json.load(open(sys.argv[1])); print(eval(sys.argv[2]))' "$work/out/incident.json" "$1"
}

# Part 1 is the newest text, part 2 the older.
printf 'Panic#2 Part2\n<1>[    5.1] BUG: kernel NULL pointer dereference, address: 0000000000000000\n<4>[    5.2] CPU: 0 PID: 1 Comm: x Tainted: G           OE      6.1.0-40-amd64 #1\n' \
	>"$work/pstore/dmesg-efi-179000000002002"
printf 'Panic#2 Part1\n<4>[    5.3] RIP: 0010:bad_fn+0x12/0x40 [bad]\n<4>[    5.5] Modules linked in: bad(OE) ext4\n<0>[    5.6] Kernel panic - not syncing: Fatal exception in interrupt\n' \
	>"$work/pstore/dmesg-efi-179000000001002"
cat >"$work/state.json" <<END
{"schema": 1, "incident": "$id", "reason": "detector", "failed_boots": 2,
 "attempts": [{"number": 2, "outcome": "panic", "phase": "initramfs"}]}
END
"$collect" collect --root "$work/root" --pstore "$work/pstore" --state "$work/state.json" --out "$work/out" \
	--config "$work/etc/none.conf" 2>"$work/err"
check "collect exits 0" $? 0
check "the culprit is named" "$(value "j['culprit']['module'] + ' ' + j['culprit']['function'] + ' ' + j['culprit']['basis']")" "bad bad_fn ip"
check "two parts are one crash" "$(value "len(j['crashes'])")" 1
check "the parts are joined oldest first" "$(grep -n -o -E 'NULL pointer|RIP:|Fatal' "$work"/out/dumps/001.txt | cut -d: -f2 | tr '\n' ' ')" \
	"NULL pointer RIP Fatal "
check "collect leaves the records" "$(ls "$work/pstore" | wc -l)" 2
"$collect" save --from "$work/out" --root "$work/root" --pstore "$work/pstore" --config "$work/etc/none.conf" 2>"$work/err"
check "save exits 0" $? 0
check "saved" "$(test -s "$work/root/var/lib/qmr/incidents/$id/dumps/001.txt"; echo $?)" 0
check "and only then the records are removed" "$(ls "$work/pstore" | wc -l)" 0
rm -rf "$work/out"
"$collect" collect --root "$work/none" --pstore "$work/none" --state "$work/state.json" --out "$work/out" \
	--config "$work/etc/none.conf" 2>"$work/err"
check "no root, no records: still an incident" "$?:$(value "j['culprit']")" "0:None"
exit $status

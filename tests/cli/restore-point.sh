#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# restore-point from the outside. Usage: restore-point.sh [-B] BUILD_DIR
set -u
[ "${1-}" = -B ] && shift
B=$(cd "${1:?usage: restore-point.sh [-B] BUILD_DIR}" && pwd)
W=$(mktemp -d)
trap 'rm -rf "$W"' EXIT
export LC_ALL=C
failed=0

ok() { echo "ok $1"; }
not_ok() { echo "not ok $1: $2"; failed=1; }
check() {
	local name=$1 why=$2
	shift 2
	if "$@"; then ok "$name"; else not_ok "$name" "$why"; fi
}
point() { "$B/restore-point" "$@" --root "$W/r" --config "$W/qmr.conf"; }
P=$W/r/var/lib/qmr/restore-points

mkdir -p "$W/r/opt/v/deep/er" "$W/r/usr/lib/modules/6.1/updates" "$W/r/etc"
printf '[watch]\npath = /opt\npath = /usr/lib/modules/*/updates\npath = /etc/missing\nfile_max_mib = 1\ntotal_max_mib = 3\n' >"$W/qmr.conf"
echo one >"$W/r/opt/v/one"
chmod 4750 "$W/r/opt/v/one"
echo two >"$W/r/opt/v/deep/er/two"
ln -s ../one "$W/r/opt/v/deep/link"
echo module >"$W/r/usr/lib/modules/6.1/updates/m.ko"
mkfifo "$W/r/opt/v/fifo"

point take >"$W/out" 2>&1
check take-exit "$(cat "$W/out")" test $? = 0
check take-copies "content differs" cmp -s "$W/r/opt/v/deep/er/two" "$P/1/files/opt/v/deep/er/two"
check take-follows-patterns "m.ko is not there" test -e "$P/1/files/usr/lib/modules/6.1/updates/m.ko"
check take-keeps-no-suid-copy "mode of the copy" test "$(stat -c %a "$P/1/files/opt/v/one")" = 400
check take-notes-mode "mode in the manifest" grep -q '"mode": 2536' "$P/1/manifest.json"
check take-notes-link "no symlink" grep -q '"target": "../one"' "$P/1/manifest.json"
check take-is-private "mode of the folder" test "$(stat -c %a "$P/1")" = 700
point take >"$W/out" 2>&1
status=$?
check take-unchanged "exit status $status, $(cat "$W/out")" test $status = 0 -a "$(ls "$P")" = 1 -a "$(grep -c nothing "$W/out")" = 1
touch "$W/r/opt/v/one"
point take >/dev/null 2>&1
check take-unchanged-but-touched "a new one was taken" test "$(ls "$P")" = 1

echo three >"$W/r/opt/v/three"
cp -p "$W/r/opt/v/deep/er/two" "$W/keep"
echo TWO >"$W/r/opt/v/deep/er/two" # same size
touch -r "$W/keep" "$W/r/opt/v/deep/er/two" # and time: only the hash differs
mkdir -p "$P/9/files"
point take --json >"$W/out" 2>&1
check take-number "printed $(cat "$W/out")" grep -qx '{"restore_point":2}' "$W/out"
check take-deletes-unfinished "it is left" test ! -e "$P/9"
check take-links-what-is-equal "two copies" test "$(stat -c %i "$P/1/files/opt/v/one")" = "$(stat -c %i "$P/2/files/opt/v/one")"
check take-hashes-first "an old copy was linked" cmp -s "$W/r/opt/v/deep/er/two" "$P/2/files/opt/v/deep/er/two"
echo four >"$W/r/opt/v/four"
point take >/dev/null 2>&1
check take-keeps-two "$(ls "$P" | tr '\n' ' ')" test "$(echo $(ls "$P"))" = "2 3"
check list-lines "not two lines" test "$(point list | wc -l)" = 2
check list-json "not JSON" eval 'point list --json | python3 -c "import json,sys; assert [p[\"id\"] for p in json.load(sys.stdin)[\"restore_points\"]] == [2, 3]"'

point verify >"$W/out" 2>&1
check verify-good "$(cat "$W/out")" test $? = 0
chmod u+w "$P/3/files/opt/v/one"
echo rot >>"$P/3/files/opt/v/one"
point verify >"$W/out" 2>&1
check verify-damaged "exit status $?" test $? = 4
check verify-names-it "$(cat "$W/out")" grep -q "3: '/opt/v/one'" "$W/out"
echo five >"$W/r/opt/v/five"
point take >/dev/null 2>&1
check damage-is-not-passed-on "the damaged copy was linked" cmp -s "$W/r/opt/v/one" "$P/4/files/opt/v/one"
sed -i 's/"schema": 1/"schema": 2/' "$P/4/manifest.json"
point verify >"$W/out" 2>&1
check verify-foreign-schema "$(cat "$W/out")" grep -q '4: .*schema' "$W/out"
sed -i 's/"schema": 2/"schema": 1/' "$P/4/manifest.json"

for n in 1 2 3 4; do head -c 900k /dev/urandom >"$W/r/opt/v/block$n"; done
head -c 1100k /dev/zero >"$W/r/opt/v/large"
printf 'x' >"$W/r/opt/v/$(printf 'bad\377name')"
point take >/dev/null 2>&1
check caps-file "not skipped" grep -q 'larger than 1 MiB' "$P/5/manifest.json"
check caps-total "not skipped" grep -q 'would be larger than 3 MiB' "$P/5/manifest.json"
check caps-name "not skipped" grep -q 'not UTF-8' "$P/5/manifest.json"
check caps-the-rest-is-there "one is missing" test -e "$P/5/files/opt/v/one"
rm -f "$W"/r/opt/v/block* "$W/r/opt/v/large" "$W"/r/opt/v/bad*

printf '[watch]\nkeep = many\n' >"$W/bad.conf"
"$B/restore-point" take --root "$W/r" --config "$W/bad.conf" 2>"$W/out"
status=$?
check bad-configuration "exit status $status, $(cat "$W/out")" test $status = 2
point give >/dev/null 2>&1
check usage "exit status $?" test $? = 2

# The change log (docs/changes.md).
L=$W/r/var/lib/qmr
logged() { # $1: expression over the log j and the number of healthy boots n
	python3 -c 'import json, sys
s = json.load(open(sys.argv[1] + "/changes-state.json"))
j = json.load(open(sys.argv[1] + "/changes.json")) if s["generation"] else {"entries": []}
n = s["healthy_boots"]
print(eval(sys.argv[2]))' "$L" "$1"
}
same() { check "$1" "is $2, should be $3" test "$2" = "$3"; }
test_log() {
	local inode

	printf '[watch]\npath = /opt\n' >"$W/qmr.conf"
	rm -rf "$P" "$L"/*.json
	mkdir -p "$W/r/var/log" "$W/r/boot"
	echo initramfs >"$W/r/boot/initrd.img-6.1"
	echo '2026-11-20 06:10:11 install old:amd64 <none> 1' >"$W/r/var/log/dpkg.log"
	point take --boot aa01 >/dev/null
	same log-begins-empty "$(logged 'j["entries"], n, s["restore_point"]'):$(ls "$L")" "([], 1, 1):changes-state.json
restore-points"
	same log-is-private "$(stat -c %a "$L/changes-state.json")" 600
	point take --boot aa02 >/dev/null
	point take --boot aa02 >/dev/null
	point take >/dev/null
	same a-boot-is-counted-once "$(logged n)" 2
	inode=$(stat -c %i "$L/changes-state.json")
	point take >/dev/null
	same nothing-changed-writes-nothing "$(stat -c %i "$L/changes-state.json")" "$inode"
	echo changed >"$W/r/opt/v/one"
	echo another >"$W/r/boot/initrd.img-6.1"
	echo '2026-11-20 06:10:12 upgrade acme:amd64 1 2' >>"$W/r/var/log/dpkg.log"
	point take --boot aa03 >/dev/null
	mv "$W/r/var/log/dpkg.log" "$W/r/var/log/dpkg.log.1"
	echo '2020-01-01 00:00:00 remove gone:amd64 1 <none>' >"$W/r/var/log/dpkg.log"
	point take --boot aa04 >/dev/null
	same log-of-changes "$(logged '[(e["what"], e.get("path", e.get("package")), e["change"], e["healthy_boots_before"]) for e in j["entries"]], n')" \
		"([('package', 'acme:amd64', 'upgrade', 2), ('initramfs', '/boot/initrd.img-6.1', 'modified', 2), ('file', '/opt/v/one', 'modified', 2), ('package', 'gone:amd64', 'remove', 3)], 4)"
	echo '{"schema": 1' >"$L/changes.json"
	echo again >"$W/r/opt/v/one"
	point take --boot aa05 >"$W/out" 2>&1
	same damaged-log-is-no-failure "$?:$(grep -c 'starts anew' "$W/out"):$(logged 'len(j["entries"]), n')" "0:1:(1, 5)"
	point take --boot '../x' >/dev/null 2>&1
	same boot-that-is-no-id $? 2
	# Nothing may be written, which is no failure either.
	rm -rf "$L/changes.json"
	echo once more >"$W/r/opt/v/one"
	mkdir "$L/changes.json"
	point take --boot aa06 >"$W/out" 2>&1
	same log-that-cannot-be-written "$?:$(grep -c 'writing the change log' "$W/out")" "0:1"
	rmdir "$L/changes.json"
	point take --boot aa06 >/dev/null 2>&1
	same what-could-not-be-written-comes-later "$(logged '[e["path"] for e in j["entries"]], n')" "(['/opt/v/one'], 6)"
}

# Every system call fails, or is the last, in turn: the points before stay intact, and the next run takes one.
test_faults() {
	printf '[watch]\npath = /opt\n' >"$W/qmr.conf"
	rm -rf "$P" "$L"/*.json
	echo '2026-11-20 06:10:11 install old:amd64 <none> 1' >"$W/r/var/log/dpkg.log"
	point take --boot aa01 >/dev/null
	echo six >"$W/r/opt/v/six"
	point take --boot aa02 >/dev/null
	echo seven >"$W/r/opt/v/seven"
	echo ONE >"$W/r/opt/v/one"
	echo fault >"$W/r/boot/initrd.img-6.1"
	echo '2026-11-20 06:10:12 upgrade acme:amd64 1 2' >>"$W/r/var/log/dpkg.log"
	PYTHONPATH=$(dirname "$0") PYTHONDONTWRITEBYTECODE=1 python3 - "$B" "$W" <<'X' || failed=1
import json
import subprocess
import sys

import faults

program, work = sys.argv[1] + "/restore-point", sys.argv[2]
base = ["--config", work + "/qmr.conf", "--json", "--root"]


def run(command, root):
	done = subprocess.run([program, command] + base + [root], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
	return done.returncode, done.stdout, done.stderr


def ids(root):
	return [p["id"] for p in json.loads(run("list", root)[1])["restore_points"]]


def logged(root):
	with open(root + "/var/lib/qmr/changes.json") as log, open(root + "/var/lib/qmr/changes-state.json") as count:
		return [e.get("path", e.get("package")) for e in json.load(log)["entries"]], json.load(count)["healthy_boots"]


def skipped(root, point):
	with open(f"{root}/var/lib/qmr/restore-points/{point}/manifest.json") as manifest:
		return {entry["path"] for entry in json.load(manifest)["skipped"]}


def check(root, status, output, fault):
	found = ids(root)
	if "error=" in fault and status not in (0, 1, 127):
		return f"exit status {status}: " + output
	if status == 1 and not output and "write" not in fault:
		return "it fails without a word"
	if len(found) < 2 or (status == 0 and found[-1] != 3 and "error=" not in fault):
		return f"restore points {found} are left"
	if run("verify", root)[0]:
		return "one is damaged: " + run("verify", root)[1]
	# No change is lost and none doubled, whichever of the files was written, and the boot is counted at most once. What
	# a restore point had to leave out, since it could not be read, cannot be compared.
	left_out = skipped(root, found[-1])
	status, output, errors = run("take", root)
	entries, boots = logged(root)
	changes = {"/boot/initrd.img-6.1", "/opt/v/one", "/opt/v/seven", "/opt/v/six", "acme:amd64"}
	if len(set(entries)) < len(entries) or not changes - left_out <= set(entries) <= changes or boots not in (2, 3):
		return f"the change log has {entries} after {boots} boots: " + errors
	if status or ids(root)[-1] < 3 or run("verify", root)[0]:
		return "the next run fails: " + errors
	return None


take = faults.Faults(work + "/r", [program, "take", "--boot", "aa03"] + base + ["{root}"], check)
good = take.report("cut-at-every-call", take.kills(), 40)
good &= take.report("error-at-every-call", take.errors(), 60)
take.done()
sys.exit(not good)
X
}

test_full_disk() {
	local status
	mkdir "$W/small"
	if ! mount -t tmpfs -o size=300k tmpfs "$W/small" 2>/dev/null; then
		ok "full-disk # skipped, no right to mount"
		return
	fi
	mkdir -p "$W/small/opt"
	echo small >"$W/small/opt/a"
	printf '[watch]\npath = /opt\n' >"$W/qmr.conf"
	"$B/restore-point" take --root "$W/small" --config "$W/qmr.conf" >/dev/null
	head -c 180k /dev/urandom >"$W/small/opt/b"
	"$B/restore-point" take --root "$W/small" --config "$W/qmr.conf" >"$W/out" 2>&1
	status=$?
	check full-disk-exit "exit status $status" test $status = 1
	check full-disk-message "$(cat "$W/out")" grep -q 'No space left.*old ones are as they were' "$W/out"
	check full-disk-cleans-up "$(ls "$W/small/var/lib/qmr/restore-points")" test "$(ls "$W/small/var/lib/qmr/restore-points")" = 1
	"$B/restore-point" verify --root "$W/small" >/dev/null
	check full-disk-old-is-intact "verify fails" test $? = 0
	umount "$W/small"
}

test_log
if command -v strace >/dev/null && strace -qq -o /dev/null true 2>/dev/null; then
	test_faults
else
	not_ok cut-at-every-call "strace is missing or may not trace"
fi
test_full_disk
exit $failed

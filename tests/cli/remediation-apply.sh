#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# remediation-apply from the outside: what it does, what it refuses, and what is left when any of its system calls
# fails or is its last. Usage: remediation-apply.sh [-B] BUILD_DIR
set -u
[ "${1-}" = -B ] && shift
B=$(cd "${1:?usage: remediation-apply.sh [-B] BUILD_DIR}" && pwd)
W=$(mktemp -d)
trap 'rm -rf "$W"' EXIT
export EFIVARFS_PATH=$W/efivars/ LC_ALL=C
mkdir "$EFIVARFS_PATH"
failed=0

ok() { echo "ok $1"; }
not_ok() { echo "not ok $1: $2"; failed=1; }
# check NAME WHY COMMAND...
check() {
	local name=$1 why=$2
	shift 2
	if "$@"; then ok "$name"; else not_ok "$name" "$why"; fi
}
apply() { "$B/remediation-apply" "$@"; }
hash_of() { sha256sum <"$1" | cut -c1-64; }

# All that a root holds outside of qmr's own folder: names, types, modes, owners, times of files, targets, content.
state() {
	(cd "$1" && find . -path ./var/lib/qmr -prune -o -type d -printf '%p %m\n' -o -type l -printf '%p -> %l\n' -o \
		-type f -printf '%p %m %u %T@ ' -exec sha256sum {} \; | sort)
}
# The same without folders and times, which differ where a file was generated or a folder was made and left empty.
content() { state "$1" | sed -E '/^[^ ]+ [0-7]+$/d; s/ [0-9]+\.[0-9]+ / /'; }
left_over() { find "$1" \( -name '.qmr-*' -o -name '*.qmr-new' \) -print -quit | grep -q .; }

make_root() {
	local r=$1
	mkdir -p "$r/opt/v/ch" "$r/etc" "$r/usr/lib"
	seq 1 9000 >"$r/opt/v/ch/c.bin"
	echo gone >"$r/opt/v/ch/gone.bin"
	chmod 4751 "$r/opt/v/ch/gone.bin"
	touch -d '2020-01-02 03:04:05.123456789 UTC' "$r/opt/v/ch/c.bin"
	ln -s c.bin "$r/opt/v/ch/current"
	printf '[watch]\npath = /opt\n' >"$W/qmr.conf"
	"$B/restore-point" take --root "$r" --config "$W/qmr.conf" >/dev/null || not_ok setup "restore-point take failed"
	seq 1 9001 >"$r/opt/v/ch/c.bin"
	echo new >"$r/opt/v/ch/n.bin"
	rm "$r/opt/v/ch/gone.bin"
	ln -sfn n.bin "$r/opt/v/ch/current"
}

make_root "$W/root"
OLD_HASH=$(jq_() { grep -A8 '"path": "/opt/v/ch/c.bin"' "$W"/root/var/lib/qmr/restore-points/1/manifest.json; }; jq_ |
	sed -n 's/.*"sha256": "\(.*\)".*/\1/p')
NEW_HASH=$(hash_of "$W/root/opt/v/ch/n.bin")
cat >"$W/plan.json" <<X
{"schema": 1, "id": "p1", "title": "test", "match": {"all": [{"incident-kind": "panic"}]}, "actions": [
  {"type": "remove-file", "path": "/opt/v/ch/n.bin", "sha256": "$NEW_HASH"},
  {"type": "restore-file", "path": "/opt/v/ch/c.bin"},
  {"type": "restore-file", "path": "/opt/v/ch/gone.bin"},
  {"type": "restore-file", "path": "/opt/v/ch/current"},
  {"type": "block-module", "module": "cs-agent"}]}
X
cat >"$W/incident.json" <<X
{"schema": 1, "id": "5f0c2c44-0000-4000-8000-000000000001", "kind": "panic", "restore_point": 1, "changes": [
  {"path": "/opt/v/ch/c.bin", "change": "modified", "link": "module-string", "old_sha256": "$OLD_HASH"},
  {"path": "/opt/v/ch/gone.bin", "change": "removed", "link": "module-string"},
  {"path": "/opt/v/ch/n.bin", "change": "added", "link": "module-string", "new_sha256": "$NEW_HASH"},
  {"path": "/opt/v/ch/current", "change": "modified", "link": null}]}
X
fresh() { rm -rf "$W/r"; cp -a "$W/root" "$W/r"; }
plan_of() { printf '{"schema": 1, "id": "p2", "title": "t", "match": {"all": [{"incident-kind": "panic"}]}, "actions": [%s]}' "$1" >"$W/p2.json"; }
OLD=$(content "$W/root")

test_apply() {
	local out
	fresh
	out=$(apply apply --root "$W/r" --plan "$W/plan.json" --incident "$W/incident.json" 2>/dev/null)
	check apply-exit "exit status $?" test $? = 0
	check apply-prints-one-line "printed '$out'" test "$out" = '{"transaction":1,"plan":"p1","changed":["/opt/v/ch/n.bin","/opt/v/ch/c.bin","/opt/v/ch/gone.bin","/opt/v/ch/current","/etc/modprobe.d/qmr-block-cs_agent.conf"]}'
	check apply-restores-content "hash differs" test "$(hash_of "$W/r/opt/v/ch/c.bin")" = "$OLD_HASH"
	check apply-keeps-time "mtime differs" test "$(stat -c %y "$W/r/opt/v/ch/c.bin")" = '2020-01-02 03:04:05.123456789 +0000'
	check apply-keeps-mode "mode differs" test "$(stat -c %a "$W/r/opt/v/ch/gone.bin")" = 4751
	check apply-restores-link "target differs" test "$(readlink "$W/r/opt/v/ch/current")" = c.bin
	check apply-removes "the file is still there" test ! -e "$W/r/opt/v/ch/n.bin"
	check apply-blocks-module "no install line" grep -qx 'install cs_agent /bin/false' "$W/r/etc/modprobe.d/qmr-block-cs_agent.conf"
	check apply-leaves-nothing "temporary files" eval '! left_over "$W/r"'
	NEW=$(content "$W/r")
	out=$(apply apply --root "$W/r" --plan "$W/plan.json" 2>/dev/null)
	check apply-again-changes-nothing "printed '$out'" test "$out" = '{"transaction":2,"plan":"p1","changed":[]}'
	apply undo --root "$W/r" --id 1 >/dev/null 2>&1
	check undo-exit "exit status $?" test $? = 0
	check undo-brings-all-back "state differs" test "$(content "$W/r")" = "$OLD"
	apply undo --root "$W/r" --id 3 >/dev/null 2>&1
	check undo-of-undo "state differs" test "$(content "$W/r")" = "$NEW"
	apply undo --root "$W/r" --id 77 >/dev/null 2>&1
	check undo-unknown-id "exit status $?" test $? = 3
	out=$(content "$W/r")
	apply undo --root "$W/r" --id 3 >/dev/null 2>&1
	check undo-twice "exit status $?" test "$? $(content "$W/r" | sha256sum)" = "3 $(echo "$out" | sha256sum)"
	test_list
}

# What was applied, undone and redone; a folder that a cut left is no obstacle, and stays.
test_list() {
	mkdir "$W/r/var/lib/qmr/transactions/9"
	apply list --root "$W/r" >"$W/list" 2>&1
	check list-exit "exit status $?" test $? = 0
	check list-changes-nothing "the folder of a cut is gone" test -d "$W/r/var/lib/qmr/transactions/9"
	rmdir "$W/r/var/lib/qmr/transactions/9"
	python3 - "$W/list" <<-'END'
	import json, sys
	found = json.load(open(sys.argv[1]))["transactions"]
	def line(t):
	    return (t["id"], t["plan"], t.get("undoes"), t["undone"], {f["path"].rsplit("/", 1)[1]: f["was"] for f in t["files"]})
	there = {"c.bin": "replaced", "gone.bin": "added", "current": "replaced", "n.bin": "removed", "qmr-block-cs_agent.conf": "added"}
	back = {"c.bin": "replaced", "gone.bin": "removed", "current": "replaced", "n.bin": "added", "qmr-block-cs_agent.conf": "removed"}
	want = [(4, "undo-3", 3, False, there), (3, "undo-1", 1, True, back), (2, "p1", None, False, {}), (1, "p1", None, False, there)]
	print("ok list-all" if [line(t) for t in found] == want else "not ok list-all: %r" % [line(t) for t in found])
	END
	rm -rf "$W/bare" && mkdir "$W/bare"
	check list-of-nothing "printed something else" test "$(apply list --root "$W/bare") $(ls "$W/bare")" = '{"schema":1,"transactions":[]} '
}

test_revert() {
	local out
	fresh
	out=$(apply revert --root "$W/r" --incident "$W/incident.json" 2>/dev/null)
	check revert-exit "exit status $?" test $? = 0
	check revert-prints-one-line "printed '$out'" test "$out" = '{"transaction":1,"plan":"local-revert","changed":["/opt/v/ch/c.bin","/opt/v/ch/gone.bin","/opt/v/ch/n.bin"]}'
	check revert-restores "hash differs" test "$(hash_of "$W/r/opt/v/ch/c.bin")" = "$OLD_HASH"
	check revert-leaves-unlinked "the link changed" test "$(readlink "$W/r/opt/v/ch/current")" = n.bin
	check revert-keeps-what-it-removes "no undo copy" test -n "$(grep -lx new "$W"/r/var/lib/qmr/transactions/1/undo/*)"
	sed 's/"link": "[^"]*"/"link": null/' "$W/incident.json" >"$W/unlinked.json"
	# A cut after the commit: the next run says what was done, and does nothing else.
	echo later >"$W/r/opt/v/ch/c.bin"
	check revert-repeated "printed something else" \
		test "$(apply revert --root "$W/r" --incident "$W/incident.json" 2>/dev/null)" = "$out"
	check revert-repeated-changes-nothing "c.bin was touched" test "$(cat "$W/r/opt/v/ch/c.bin")" = later
	sed 's/000000000001/000000000002/' "$W/incident.json" >"$W/next.json"
	apply revert --root "$W/r" --incident "$W/next.json" >/dev/null 2>&1
	check revert-next-incident "c.bin is not restored" test "$(hash_of "$W/r/opt/v/ch/c.bin")" = "$OLD_HASH"
	apply undo --root "$W/r" --id 2 >/dev/null 2>&1
	apply revert --root "$W/r" --incident "$W/next.json" >/dev/null 2>&1
	check revert-after-undo "c.bin is not restored" test "$(hash_of "$W/r/opt/v/ch/c.bin")" = "$OLD_HASH"
	fresh
	apply revert --root "$W/r" --incident "$W/unlinked.json" >/dev/null 2>&1
	check revert-nothing-linked "exit status $?" test $? = 3
	fresh
	chmod u+w "$W/r/var/lib/qmr/restore-points/1/files/opt/v/ch/c.bin"
	echo x >>"$W/r/var/lib/qmr/restore-points/1/files/opt/v/ch/c.bin"
	apply revert --root "$W/r" --incident "$W/incident.json" >/dev/null 2>&1
	check revert-damaged-copy-refused "exit status $?" test $? = 4
	check revert-damaged-copy-changes-nothing "state differs" test "$(content "$W/r")" = "$OLD"
	fresh
	sed -i 's|"skipped": \[|&{"path": "/opt/v/ch/n.bin", "why": "larger"}|' "$W/r/var/lib/qmr/restore-points/1/manifest.json"
	apply revert --root "$W/r" --incident "$W/incident.json" >/dev/null 2>&1
	check revert-keeps-what-was-only-left-out "n.bin is gone" test -e "$W/r/opt/v/ch/n.bin"
}

# refused NAME ACTIONS [CODE]: the whole plan is refused and nothing is changed.
refused() {
	fresh
	plan_of "$2"
	apply apply --root "$W/r" --plan "$W/p2.json" >"$W/out" 2>&1
	status=$?
	check "refused-$1-exit" "exit status $status, $(cat "$W/out")" test $status = "${3:-4}"
	check "refused-$1-changes-nothing" "state differs" test "$(content "$W/r")" = "$OLD"
	check "refused-$1-leaves-no-transaction" "a folder is left" test -z "$(ls "$W/r/var/lib/qmr/transactions" 2>/dev/null)"
}

test_refusals() {
	local first='{"type": "restore-file", "path": "/opt/v/ch/c.bin"}'
	refused wrong-hash "$first, {\"type\": \"remove-file\", \"path\": \"/opt/v/ch/n.bin\", \"sha256\": \"$OLD_HASH\"}"
	refused unsaved-file "$first, {\"type\": \"restore-file\", \"path\": \"/opt/v/ch/never.bin\"}"
	refused folder "$first, {\"type\": \"remove-file\", \"path\": \"/opt/v/ch\"}"
	refused own-folder "$first, {\"type\": \"remove-file\", \"path\": \"/var/lib/qmr/restore-points/1/manifest.json\"}"
	refused dotdot "$first, {\"type\": \"remove-file\", \"path\": \"/opt/../opt/v/ch/n.bin\"}"
	refused unknown-action "$first, {\"type\": \"run\", \"path\": \"/opt/v/ch/n.bin\"}"
	fresh
	sed 's/"panic"/"hang"/' "$W/incident.json" >"$W/hang.json"
	apply apply --root "$W/r" --plan "$W/plan.json" --incident "$W/hang.json" >/dev/null 2>&1
	check no-match "exit status $?" test $? = 3
	apply apply --root "$W/r" >/dev/null 2>&1
	check usage-plan-missing "exit status $?" test $? = 2
	apply resume --root "$W/nowhere" >/dev/null 2>&1
	check root-missing "exit status $?" test $? = 1
}

test_links() {
	fresh
	mkdir "$W/outside"
	echo mine >"$W/outside/file"
	ln -s "$W/outside/file" "$W/r/opt/v/ch/link"
	ln -s "$W/outside" "$W/r/opt/v/away"
	plan_of '{"type": "remove-file", "path": "/opt/v/ch/link"}, {"type": "remove-file", "path": "/opt/v/away/file"}'
	apply apply --root "$W/r" --plan "$W/p2.json" >/dev/null 2>&1
	check links-stay-inside-the-root "the file outside is gone" test "$(cat "$W/outside/file")" = mine
	check links-are-not-followed "the link is still there" test ! -L "$W/r/opt/v/ch/link"
	fresh
	mv "$W/r/opt/v/ch" "$W/r/usr/lib/ch"
	ln -s /usr/lib/ch "$W/r/opt/v/ch"
	apply apply --root "$W/r" --plan "$W/plan.json" >/dev/null 2>&1
	check absolute-links-lead-into-the-root "hash differs" test "$(hash_of "$W/r/usr/lib/ch/c.bin")" = "$OLD_HASH"
}

test_damage() {
	local t before
	fresh
	apply apply --root "$W/r" --plan "$W/plan.json" >/dev/null 2>&1
	t=$W/r/var/lib/qmr/transactions
	mkdir -p "$t/2/undo"
	apply resume --root "$W/r" 2>/dev/null
	check resume-deletes-unfinished "the folder is left" test ! -e "$t/2"
	for damage in 'head -c 200' 'sed s/p1/p1/;q' 'sed s/committed/perhaps/' 'sed s|/opt/v|/opt/../v|' 'sed s/"n":.1/"n":7/'; do
		cp "$t/1/journal.json" "$W/journal"
		$damage <"$W/journal" >"$t/1/journal.json"
		mkdir -p "$t/2/undo"
		before=$(cd "$W/r" && find . -printf '%p %s\n' | sort)
		apply resume --root "$W/r" 2>"$W/out"
		status=$?
		check "damaged-journal-refused ($damage)" "exit status $status, $(cat "$W/out")" test $status = 1
		apply apply --root "$W/r" --plan "$W/plan.json" >/dev/null 2>&1
		check "damaged-journal-stops-apply ($damage)" "exit status $?" test $? = 1
		check "damaged-journal-touches-nothing ($damage)" "files differ" test "$before" = "$(cd "$W/r" && find . -printf '%p %s\n' | sort)"
		cp "$W/journal" "$t/1/journal.json"
	done
}

# A prepared transaction whose file somebody changed meanwhile is undone, and that file stays.
test_foreign_change() {
	fresh
	cut_at renameat 4
	echo mine >"$W/r/opt/v/ch/gone.bin"
	apply resume --root "$W/r" 2>/dev/null
	check foreign-change-exit "exit status $?" test $? = 0
	check foreign-change-kept "it was overwritten" test "$(cat "$W/r/opt/v/ch/gone.bin")" = mine
	rm "$W/r/opt/v/ch/gone.bin"
	check foreign-change-undone "state differs" test "$(content "$W/r")" = "$OLD"
}

# cut_at CALL N: apply's last system call is its Nth CALL.
cut_at() {
	{ strace -qq -o /dev/null -e trace="$1" -e inject="$1:signal=KILL:when=$2" "$B/remediation-apply" apply --root "$W/r" \
		--plan "$W/plan.json" & wait $!; } >/dev/null 2>&1
}

# consistent NAME: after a resume all is old or all is new, and nothing is left over.
consistent() {
	local now
	if ! apply resume --root "$W/r" 2>"$W/resume"; then
		not_ok "$1" "resume failed: $(cat "$W/resume")"
		return 1
	fi
	now=$(content "$W/r")
	if [ "$now" != "$OLD" ] && [ "$now" != "$NEW" ]; then
		not_ok "$1" "neither old nor new: $(diff <(echo "$OLD") <(echo "$now") | head -3 | tr '\n' ' ')"
		return 1
	fi
	if left_over "$W/r" || grep -ls '"prepared"' "$W"/r/var/lib/qmr/transactions/*/journal.json; then
		not_ok "$1" "something is left over"
		return 1
	fi
}

# Every system call fails, or is the last, in turn: of an apply, and of the resume of a half-placed transaction.
test_faults() {
	fresh
	cut_at renameat 4
	cp -a "$W/r" "$W/half"
	check half-done "the state is already old or new" test "$(content "$W/half")" != "$OLD" -a "$(content "$W/half")" != "$NEW"
	rm -rf "$W/r" && cp -a "$W/root" "$W/r"
	apply apply --root "$W/r" --plan "$W/plan.json" >/dev/null 2>&1
	PYTHONPATH=$(dirname "$0") PYTHONDONTWRITEBYTECODE=1 python3 - "$B" "$W" <<'X' || failed=1
import glob
import subprocess
import sys

import faults

program, work = sys.argv[1] + "/remediation-apply", sys.argv[2]
old, new = faults.state(work + "/root"), faults.state(work + "/r")


def check_apply(root, status, output, fault):
	now = faults.state(root)
	if status == 0 and now != new:
		return "it claims to be done"
	if "error=" in fault and status not in (0, 1, 127):
		return f"exit status {status}: " + output
	silent = fault.startswith("write") and fault.endswith("+")  # no message can be written either
	if "error=" in fault and status and now != old and not silent and not any(w in output for w in ("'resume'", "is done")):
		return "changed, and no word about resume: " + output
	return check(root, status, output, fault)


def check(root, status, output, fault):
	again = subprocess.run([program, "resume", "--root", root], stderr=subprocess.PIPE, text=True)
	if again.returncode:
		return "resume fails: " + again.stderr
	now = faults.state(root)
	if now != old and now != new:
		return "neither old nor new: " + str(sorted(set(now.items()) ^ set(old.items()))[:2])
	if faults.left_over(root):
		return "left over: " + str(faults.left_over(root))
	for name in glob.glob(root + "/var/lib/qmr/transactions/*"):
		try:
			journal = open(name + "/journal.json").read()
		except OSError:
			return "a folder without a journal is left"
		if '"prepared"' in journal or ('"committed"' in journal) != (now == new):
			return "the journal does not say what is on the disk"
	return None


apply = faults.Faults(work + "/root", [program, "apply", "--root", "{root}", "--plan", work + "/plan.json"],
		      check_apply)
resume = faults.Faults(work + "/half", [program, "resume", "--root", "{root}"], check)
good = apply.report("cut-at-every-call", apply.kills(), 100)
good &= apply.report("error-at-every-call", apply.errors(), 150)
good &= resume.report("cut-while-resuming", resume.kills(), 20)
good &= resume.report("error-while-resuming", resume.errors(), 20)
apply.done()
resume.done()
sys.exit(not good)
X
}

# A really full disk, at different levels; needs the right to mount.
test_full_disk() {
	local free status new=0 old=0
	mkdir -p "$W/small"
	if ! mount -t tmpfs -o size=400k tmpfs "$W/small" 2>/dev/null; then
		ok "full-disk # skipped, no right to mount"
		return
	fi
	for free in 0 4 8 16 40 48 56 72 88 104 120 160 200 400; do
		rm -rf "$W/small/"*
		cp -a "$W/root" "$W/small/r"
		head -c 400k /dev/zero >"$W/small/ballast" 2>/dev/null
		truncate -s $(($(stat -c %s "$W/small/ballast") - free * 1024)) "$W/small/ballast" 2>/dev/null || rm "$W/small/ballast"
		apply apply --root "$W/small/r" --plan "$W/plan.json" >"$W/out" 2>&1
		status=$?
		rm -rf "$W/r" "$W/small/ballast" && cp -a "$W/small/r" "$W/r"
		[ $status = 0 ] && [ "$(content "$W/r")" = "$NEW" ] && new=$((new + 1))
		[ $status = 1 ] && [ "$(content "$W/r")" = "$OLD" ] && old=$((old + 1))
		consistent "full-disk-with-$free-KiB" || break
	done
	umount "$W/small"
	check "full-disk ($old times old, $new times new)" "$old times old, $new times new" test $old -gt 2 -a $new -gt 2
}

# decided NAME STATUS MATCH [MORE KEYS]: what a plan with these selectors comes to, with the configuration in $W/policy.conf.
decided() {
	fresh_with_packages
	printf '{"schema": 1, "id": "p3", "title": "t", "match": %s, %s "actions": [{"type": "remove-file", "path": "%s"}]}' "$3" "${4-}" \
		"${target:-/opt/v/ch/n.bin}" >"$W/p3.json"
	apply apply --root "$W/r" --plan "$W/p3.json" --incident "$W/incident.json" --config "$W/policy.conf" \
		${report:+--report "$report"} >"$W/out" 2>"$W/err"
	status=$?
	check "decided-$1" "exit status $status, $(cat "$W/err")" test $status = "$2"
	[ "$2" = 0 ] || check "decided-$1-changes-nothing" "state differs" test -e "$W/r${target:-/opt/v/ch/n.bin}"
}
fresh_with_packages() {
	fresh
	mkdir -p "$W/r/var/lib/dpkg/info" "$W/r/usr/lib/modules/6.1/extra" "$W/r/etc/modprobe.d"
	printf 'Package: sensor\nStatus: install ok installed\nVersion: 7.10\n' >"$W/r/var/lib/dpkg/status"
	printf '/.\n/opt\n/opt/v\n/opt/v/ch\n/opt/v/ch/n.bin\n/lib/modules/6.1/extra/other.ko\n' >"$W/r/var/lib/dpkg/info/sensor:amd64.list"
	printf '/etc/hostname\n' >"$W/r/var/lib/dpkg/info/sensor-doc.list"
	touch "$W/r/usr/lib/modules/6.1/extra/"{cs-agent,other}.ko "$W/r/etc/modprobe.d/qmr-block-cs_agent.conf"
}

test_decisions() {
	local yes='{"incident-kind": "panic"}' hour

	: >"$W/policy.conf"
	# Only the root can say, and does before anything is changed.
	decided file 0 '{"file": {"path": "/opt/v/ch/*.bin", "sha256": "'$NEW_HASH'"}}'
	decided no-file 3 '{"file": {"path": "/opt/v/ch/*.txt"}}'
	decided not-file 3 '{"not": {"file": {"path": "/opt/v/ch/n.bin"}}}'
	decided package 0 '{"package": {"name": "sensor", "version": {"above": "7.9", "below": "7.11"}}}'
	decided other-version 3 '{"package": {"name": "sensor", "version": {"below": "7.9"}}}'
	decided no-package 3 '{"package": {"name": "none"}}'
	# What cannot be determined, or be determined not to be, never matches.
	decided unknown 3 '{"dmi-vendor": "x"}'
	decided not-unknown 3 '{"not": {"dmi-vendor": "x"}}'
	check decided-unknown-says-so "$(cat "$W/err")" grep -q 'cannot be determined' "$W/err"
	decided unknown-or-known 0 '{"any": [{"dmi-vendor": "x"}, {"incident-kind": "panic"}]}'
	decided unknown-selector 4 '{"phase-of-moon": "full"}'
	check unknown-selector-names-it "$(cat "$W/err")" grep -q 'phase-of-moon: unknown selector' "$W/err"
	decided unknown-key 4 "$yes" '"colour": "red",'
	decided withdrawn 3 "$yes" '"withdrawn": true,'
	# Labels and ages are the machine's own.
	printf '[fleet]\nlabel = canary\nminimum_age = canary 0\nminimum_age = * 2\n' >"$W/policy.conf"
	decided label 0 '{"label": "canary"}'
	decided other-label 3 '{"label": "office"}'
	decided canary-at-once 0 "$yes"
	printf '[fleet]\nlabel = office\nminimum_age = canary 0\nminimum_age = * 2\n' >"$W/policy.conf"
	for hour in '1 hour ago:3' '3 hours ago:0' '1 hour:3'; do
		decided "published ${hour%:*}" "${hour#*:}" "$yes" "\"published\": \"$(date -u -d "${hour%:*}" +%Y-%m-%dT%H:%M:%SZ)\","
	done
	decided never-published 3 "$yes"
	# The time of the run that fetched it, where the clock cannot be right.
	printf '{"schema": 1, "time": {"unix_s": %s}}' "$(date -d '3 hours' +%s)" >"$W/fetch.json"
	report=$W/fetch.json decided published-by-the-report 0 "$yes" "\"published\": \"$(date -u +%Y-%m-%dT%H:%M:%SZ)\","
	printf '{"schema": 1, "time": null}' >"$W/fetch.json"
	report=$W/fetch.json decided published-by-the-clock 3 "$yes" "\"published\": \"$(date -u +%Y-%m-%dT%H:%M:%SZ)\","
	report=$W/none.json decided report-missing 1 "$yes"
	# Protected: the whole plan is refused unless it names it.
	printf '[policy]\nprotect = package sensor\n' >"$W/policy.conf"
	decided package-protected 4 "$yes"
	check package-protected-says-so "$(cat "$W/err")" grep -q "package 'sensor' is protected" "$W/err"
	decided package-named 0 "$yes" '"names": {"packages": ["sensor"]},'
	decided other-package-named 4 "$yes" '"names": {"packages": ["sensor-doc"], "modules": ["sensor"]},'
	target=/usr/lib/modules/6.1/extra/other.ko decided package-by-merged-usr 4 "$yes"
	target=/opt/v/ch/c.bin decided file-of-no-package 0 "$yes"
	printf '[policy]\nprotect = package sensor-doc\n' >"$W/policy.conf"
	decided package-of-similar-name 0 "$yes"
	printf '[policy]\nprotect = module cs_agent\n' >"$W/policy.conf"
	decided module-not-touched 0 "$yes"
	target=/usr/lib/modules/6.1/extra/cs-agent.ko decided module-protected 4 "$yes"
	target=/usr/lib/modules/6.1/extra/other.ko decided module-of-other-name 0 "$yes"
	target=/etc/modprobe.d/qmr-block-cs_agent.conf decided module-unblocking 4 "$yes"
	target=/usr/lib/modules/6.1/extra/cs-agent.ko decided module-named 0 "$yes" '"names": {"modules": ["cs-agent"]},'
	printf '[policy]\nprotect = path /opt/v/\n' >"$W/policy.conf"
	target=/opt/v/ch/n.bin decided path-named-by-action 0 "$yes"
	fresh_with_packages
	apply revert --root "$W/r" --incident "$W/incident.json" --config "$W/policy.conf" >/dev/null 2>"$W/err"
	check revert-protected "exit status $?" test $? = 4
	check revert-protected-changes-nothing "n.bin is gone" test -e "$W/r/opt/v/ch/n.bin"
	printf '[policy]\nprotect = package sensor\n' >"$W/policy.conf"
	apply revert --root "$W/r" --incident "$W/incident.json" --config "$W/policy.conf" >/dev/null 2>"$W/err"
	check revert-protected-package "exit status $?" test $? = 4
	rm -r "$W/r/var/lib/dpkg"
	apply revert --root "$W/r" --incident "$W/incident.json" --config "$W/policy.conf" >/dev/null 2>"$W/err"
	check revert-unknown-owner "exit status $?" test $? = 4
	printf '[policy]\nprotect = everything\n' >"$W/policy.conf"
	apply revert --root "$W/r" --incident "$W/incident.json" --config "$W/policy.conf" >/dev/null 2>"$W/err"
	check malformed-policy "exit status $?" test $? = 2
	apply resume --root "$W/r" --config "$W/policy.conf" >/dev/null 2>"$W/err"
	check malformed-policy-does-not-stop-resume "exit status $?" test $? = 0
	# A block is named by itself.
	printf '[policy]\nprotect = module cs-agent\n' >"$W/policy.conf"
	fresh
	plan_of '{"type": "block-module", "module": "cs_agent"}'
	apply apply --root "$W/r" --plan "$W/p2.json" --incident "$W/incident.json" --config "$W/policy.conf" >/dev/null 2>"$W/err"
	check block-names-the-module "exit status $?" test $? = 0
	: >"$W/policy.conf"
}

test_relations() {
	local plan='{"schema": 1, "id": "%s", "title": "t", "match": {"incident-kind": "panic"}, %s "actions": [{"type": "remove-file", "path": "%s"}]}'
	local again

	fresh
	# shellcheck disable=SC2059
	{ printf "$plan" q1 '"then": "shutdown",' /opt/v/ch/n.bin >"$W/q1.json"; printf "$plan" q2 '"requires": ["q1"],' /opt/v/ch/c.bin >"$W/q2.json"; }
	apply apply --root "$W/r" --plan "$W/q2.json" --incident "$W/incident.json" >/dev/null 2>"$W/err"
	check requires-what-is-missing "exit status $?" test $? = 3
	check requires-changes-nothing "c.bin is gone" test -e "$W/r/opt/v/ch/c.bin"
	again=$(apply apply --root "$W/r" --plan "$W/q1.json" --incident "$W/incident.json" 2>/dev/null)
	check then-is-printed "printed '$again'" test "$again" = '{"transaction":1,"plan":"q1","changed":["/opt/v/ch/n.bin"],"then":"shutdown"}'
	check then-is-printed-again "differs" test "$(apply apply --root "$W/r" --plan "$W/q1.json" --incident "$W/incident.json" 2>/dev/null)" = "$again"
	sed 's/000000000001/000000000009/' "$W/incident.json" >"$W/later.json"
	apply undo --root "$W/r" --id 1 >/dev/null 2>&1
	apply apply --root "$W/r" --plan "$W/q2.json" --incident "$W/later.json" >/dev/null 2>"$W/err"
	check requires-what-was-undone "exit status $?" test $? = 3
	apply apply --root "$W/r" --plan "$W/q1.json" --incident "$W/incident.json" >/dev/null 2>&1
	apply apply --root "$W/r" --plan "$W/q2.json" --incident "$W/later.json" >/dev/null 2>"$W/err"
	check requires-what-is-there "exit status $?" test $? = 0
	# Two are undone, newest first: neither counts any more.
	apply undo --root "$W/r" --id 4 >/dev/null 2>&1
	apply undo --root "$W/r" --id 3 >/dev/null 2>&1
	apply apply --root "$W/r" --plan "$W/q2.json" --incident "$W/later.json" >/dev/null 2>"$W/err"
	check requires-after-two-undone "exit status $?" test $? = 3
	printf '{"schema": 1, "id": "h", "title": "t", "hold": true}' >"$W/hold.json"
	apply apply --root "$W/r" --plan "$W/hold.json" --incident "$W/incident.json" >/dev/null 2>"$W/err"
	check hold-is-nothing-to-apply "exit status $?" test $? = 3
}

test_apply
test_decisions
test_relations
test_revert
test_refusals
test_links
test_damage
if command -v strace >/dev/null && strace -qq -o /dev/null true 2>/dev/null; then
	test_foreign_change
	test_faults
else
	not_ok cut-at-every-call "strace is missing or may not trace"
fi
test_full_disk
exit $failed

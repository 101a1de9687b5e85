#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# health-check from the outside, with real scripts. Usage: health-check.sh [-B] BUILD_DIR
set -u
[ "${1-}" = -B ] && shift
B=$(cd "${1:?usage: health-check.sh [-B] BUILD_DIR}" && pwd)
W=$(mktemp -d)
trap 'rm -rf "$W"' EXIT
export LC_ALL=C
unset JOURNAL_STREAM
failed=0

ok() { echo "ok $1"; }
# $1: name, $2: what is, $3: what should be.
is() {
	[ "$2" = "$3" ] && ok "$1" && return
	echo "not ok $1: '$2' instead of '$3'; $(tr '\n' '|' <"$W/err" | cat -v)"
	failed=1
}
ours=etc/qmr/checks.d
green=etc/greenboot/check
results=$W/r/var/lib/qmr/checks

# An empty root; $1: deadline, $2: attempts.
anew() {
	rm -rf "$W/r"
	mkdir -p "$W/r/$ours/required.d" "$W/r/$ours/wanted.d"
	printf '[checks]\ndeadline = %s\nattempts = %s\npause = 0\n' "${1:-30}" "${2:-1}" >"$W/qmr.conf"
}
# $1: path below the root, $2: what /bin/sh runs. The file is executable.
script() {
	mkdir -p "$(dirname "$W/r/$1")"
	printf '#!/bin/sh\n%s\n' "$2" >"$W/r/$1"
	chmod 755 "$W/r/$1"
}
run() {
	"$B/health-check" --root "$W/r" --config "$W/qmr.conf" "$@" >"$W/out" 2>"$W/err"
	status=$?
}
# How many lines of the messages match.
said() { grep -c -- "$1" "$W/err"; }
# $1: a file name, then keys: as last.json has it.
result() {
	python3 - "$results/last.json" "$@" <<'EOF'
import json, sys
print(*[c[key] for key in sys.argv[3:] for c in json.load(open(sys.argv[1]))["checks"] if c["name"] == sys.argv[2]])
EOF
}

anew
rm -r "$W/r/etc"
run
is nothing-to-check "$status $(cat "$W/err")" "0 "

anew
script $ours/required.d/10-good 'echo fine; echo also this >&2'
script $ours/wanted.d/20-bad 'exit 1'
run --json
is pass "$status $(result 10-good result exit_code attempts kind)" "0 passed 0 1 required"
is output-is-kept "$(cat "$results/$(result 10-good output)")" $'fine\nalso this'
is wanted-does-not-count "$(result 20-bad result) $(said "wanted check '.*20-bad' did not pass, which does not count: exit code 1")" "failed 1"
is json-is-printed "$(cat "$W/out")" "$(cat "$results/last.json")"
is of-this-boot "$(python3 -c 'import json,sys; d = json.load(sys.stdin); print(d["schema"], d["boot_id"], d["passed"])' <"$W/out")" \
	"1 $(cat /proc/sys/kernel/random/boot_id) True"
is results-are-private "$(stat -c %a "$results" "$results/last.json" | tr '\n' ' ')" "700 600 "

anew
script $ours/required.d/50-bad 'echo looking; echo "the database is away" >&2; exit 7'
script $ours/required.d/60-after "echo ran >'$W/ran'"
run
is fail "$status $(result 50-bad result exit_code why)" "1 failed 7 exit code 7"
is fail-is-named "$(said "required check '.*/50-bad' did not pass: exit code 7; it said 'the database is away'")" 1
is fail-says-what-happens-now "$(said '1 of 2 required checks did not pass; this boot is not recorded as healthy')" 1
is the-others-are-run-all-the-same "$(cat "$W/ran")" ran

anew 30 3
script $ours/required.d/settles "echo x >>'$W/count'; echo try; [ \$(wc -l <'$W/count') = 3 ]"
script $ours/required.d/never 'exit 1'
script $ours/wanted.d/once 'exit 1'
run
is retried-then-passes "$(result settles result attempts) $(grep -c try "$results/settles.log")" "passed 3 3"
is retried-and-fails "$status $(result never result attempts)" "1 failed 3"
is wanted-is-tried-once "$(result once attempts)" 1
is retries-are-said "$(said "'settles': exit code 1; attempt 2 of 3, the next one in 0 s")" 1

# Everything of the first ignores SIGTERM; of the second a child is there when the parent is gone.
anew 1
script $ours/required.d/hangs "echo waiting; trap '' TERM; sh -c 'echo \$\$ >>$W/pids; exec sleep 500' & echo \$\$ >>'$W/pids'; sleep 500"
script $ours/required.d/leaves "sh -c 'trap \"\" TERM; echo \$\$ >>$W/pids; exec sleep 500' & exec sleep 500"
begin=$SECONDS
run
is hang "$status $(result hangs result exit_code) $(result leaves result)" "1 late None late"
is hang-is-bounded $((SECONDS - begin < 60)) 1
is hang-keeps-its-output "$(cat "$results/hangs.log")" waiting
is hang-is-named "$(said "/hangs' did not pass: it did not end within 1 s and was ended")" 1
alive=
for pid in $(cat "$W/pids"); do
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		state=$(sed 's/.*) //; s/ .*//' "/proc/$pid/stat" 2>/dev/null)
		case $state in '' | Z | X) continue 2 ;; esac
		sleep 0.2
	done
	alive="$alive $pid"
	kill -9 "$pid"
done
is nothing-of-it-is-left "$(wc -l <"$W/pids")$alive" 3

anew
script $ours/required.d/much 'head -c 10000000 /dev/zero | tr "\0" x; echo; echo the end'
run
is much-output "$status $(stat -c %s "$results/much.log") $(tail -1 "$results/much.log")" "0 65536 the end"

anew
script $ours/required.d/forgotten 'exit 0'
script $ours/wanted.d/forgotten 'exit 0'
chmod 644 "$W/r/$ours"/*/forgotten
printf 'no interpreter' >"$W/r/$ours/required.d/format"
chmod 755 "$W/r/$ours/required.d/format"
ln -s /no/such/program "$W/r/$ours/required.d/dangling"
run
is not-executable "$status $(result forgotten result)" "1 failed not-run"
is not-executable-is-named "$(said "/forgotten' did not pass.*: not executable (chmod +x)")" 2
is wrong-format "$(result format result exit_code)" "failed None"
is wrong-format-is-named "$(said "/format' did not pass: starting '.*': Exec format error")" 1
is dangling "$(result dangling result) $(said "/dangling' did not pass: it cannot be examined: No such file")" "failed 1"
run --list
is list-names-them "$status $(said 'not executable') $(sed 's|.*/||' "$W/out" | tr '\n' ' ')" "0 2 format "

anew
script usr/lib/qmr/checks.d/required.d/10-vendor 'exit 1'
script $ours/required.d/10-vendor 'exit 0'
script usr/lib/qmr/checks.d/required.d/20-masked 'exit 1'
ln -s /dev/null "$W/r/$ours/required.d/20-masked"
script usr/lib/qmr/checks.d/wanted.d/30-alone 'exit 0'
for name in .hidden old~ a.dpkg-dist b.rpmsave c.rpmnew; do script "$ours/required.d/$name" 'exit 1'; done
run
is overrides-and-masks "$status $(python3 -c 'import json,sys; print(*[c["name"] for c in json.load(open(sys.argv[1]))["checks"]])' "$results/last.json")" \
	"0 10-vendor 30-alone"
run --list
is list "$(sed "s|$W/r||" "$W/out")" "required /$ours/required.d/10-vendor
wanted /usr/lib/qmr/checks.d/wanted.d/30-alone"

anew
script usr/lib/greenboot/check/required.d/01_repository_dns_check.sh "echo ran >>'$W/dns'; exit 1"
script usr/lib/greenboot/check/required.d/02_watchdog.sh 'exit 1'
mkdir -p "$W/r/$green/required.d" "$W/r/$green/wanted.d"
printf 'a=(1 2); [ "${a[1]}" = 2 ] && echo "$BASH_VERSION"\n' >"$W/r/$green/required.d/10-bash.sh" # no interpreter, no mode
script $green/wanted.d/binary 'exit 0'
echo notes >"$W/r/$green/required.d/notes.txt"
printf 'GREENBOOT_MAX_BOOT_ATTEMPTS=3\nDISABLED_HEALTHCHECKS=(\n\t"01_repository_dns_check.sh" # offline\n\t02_watchdog.sh misspelled.sh)\ntouch %s\n' \
	"$W/executed" >"$W/r/etc/greenboot/greenboot.conf"
run
is greenboot "$status $(result 10-bash.sh result) $(result binary result) $(result notes.txt result)" "0 passed passed "
is greenboot-runs-with-bash "$(cat "$results/10-bash.sh.log")" "$(/bin/bash -c 'echo $BASH_VERSION')"
is greenboot-switched-off "$(result 01_repository_dns_check.sh result) $(result 02_watchdog.sh result) $(ls "$W/dns" 2>&1 | grep -c cannot)" "not-run not-run 1"
is greenboot-misspelled "$(said "switches off 'misspelled.sh': there is no such check")" 1
is greenboot-conf-is-not-executed "$(ls "$W/executed" 2>&1 | grep -c cannot)" 1
echo 'DISABLED_HEALTHCHECKS=($(cat list))' >"$W/r/etc/greenboot/greenboot.conf"
run
is greenboot-conf-beyond-us "$status $(said 'greenboot.conf:1: DISABLED_HEALTHCHECKS: only a shell .*; no check is switched off by it') $(result 02_watchdog.sh result)" \
	"1 1 failed"

anew
odd=$'od d\e[31m\nname'
script "$ours/required.d/$odd" 'printf "\033[31mred\033[0m"; exit 1'
script "$ours/wanted.d/"$'\377\376' 'exit 0'
run
is odd-names "$status $(result "$odd" result) $(ls "$results" | tr '\n' ' ')" "1 failed __.log last.json od_d__31m_name.log "
is odd-names-do-not-write-to-the-terminal "$(grep -c $'\e' "$W/err") $(said "od d?.31m?name' did not pass")" "0 1"
run --list
is odd-names-are-one-line "$(wc -l <"$W/out") $(grep -c $'\e' "$W/out")" "2 0"

# Where results cannot be kept, checks pass all the same.
anew
script $ours/required.d/good 'exit 0'
mkdir -p "$W/r/var/lib"
echo file >"$W/r/var/lib/qmr"
run
is unwritable "$status $(said 'keeping the results: .*; they are in the journal only')" "0 1"
test_full_disk() {
	local before

	anew
	script $ours/required.d/good 'head -c 60000 /dev/zero'
	mkdir -p "$W/r/var/lib/qmr"
	if ! mount -t tmpfs -o size=100k tmpfs "$W/r/var/lib/qmr" 2>/dev/null; then
		ok "full-disk # skipped, no right to mount"
		return
	fi
	run
	before=$(cat "$results"/* | md5sum)
	run
	is full-disk "$status $(said 'No space left on device; they are in the journal only')" "0 1"
	is full-disk-keeps-the-old-results "$(cat "$results"/* | md5sum) $(ls "$W/r/var/lib/qmr")" "$before checks"
	umount "$W/r/var/lib/qmr"
}
test_full_disk

anew
script $ours/required.d/good 'exit 0'
printf '[checks]\ndeadline = 0\n' >"$W/qmr.conf"
run
is bad-configuration "$status $(said 'qmr.conf:2: \[checks\] deadline: .*going on with the defaults') $(result good result)" "0 1 passed"
printf '[policy]\nmode = off\n' >"$W/qmr.conf"
rm -r "$results"
script $ours/required.d/good 'exit 1'
run
is mode-off "$status $(ls "$W/r/var/lib/qmr")" "0 "
run --nonsense
is usage "$status" 2
run extra
is usage-operand "$status" 2

# Every system call fails, or is the last, in turn: last.json and the output files are of one run, and the next run is whole.
test_faults() {
	anew
	script $ours/required.d/1 'echo one'
	script $ours/required.d/2 'echo one'
	run
	for i in 1 2 3; do script $ours/required.d/$i 'echo two'; done
	PYTHONPATH=$(dirname "$0") PYTHONDONTWRITEBYTECODE=1 python3 - "$B" "$W" <<'EOF' || failed=1
import json
import os
import subprocess
import sys

import faults

program, work = sys.argv[1] + "/health-check", sys.argv[2]
command = [program, "--config", work + "/qmr.conf", "--root", "{root}"]


def wrong(root):
    """None if the folder is of one run and nothing else is in it."""
    folder = root + "/var/lib/qmr/checks/"
    try:
        checks = json.load(open(folder + "last.json"))["checks"]
        run = [c for c in checks if c["output"]]
        says = {open(folder + c["output"]).read() for c in run}
    except (OSError, ValueError) as error:
        return str(error)
    there, expected = sorted(os.listdir(folder)), sorted([c["output"] for c in run] + ["last.json"])
    if there != expected or not says <= ({"one\n"} if len(checks) == 2 else {"two\n", ""}):
        return f"{there}, {says}, {len(checks)} checks"
    return None


def check(root, status, output, fault):
    if wrong(root):
        return "the results are not of one run: " + wrong(root)
    if fault.startswith(("fsync:error", "renameat")) and "error=" in fault and "journal only" not in output:
        return "it is not said"
    if status == 1 and "did not pass" not in output and "no check was run" not in output:
        return "it fails without a word"
    done = subprocess.run([a.replace("{root}", root) for a in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode or wrong(root) or os.listdir(root + "/var/lib/qmr") != ["checks"]:
        return "the next run fails"
    return None


run = faults.Faults(work + "/r", command, check)
good = run.report("cut-at-every-call", run.kills(), 15)
good &= run.report("error-at-every-call", run.errors(), 20)
run.done()
sys.exit(not good)
EOF
}
if command -v strace >/dev/null && strace -qq -o /dev/null true 2>/dev/null; then
	test_faults
else
	echo "not ok cut-at-every-call: strace is missing or may not trace"
	failed=1
fi
exit $failed

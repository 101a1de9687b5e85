#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Runs groups of tests and counts: tests/run.sh -B BUILD unit|fuzz|cli|net|vm|sanitize ...
# A unit test is a cmocka program; what lies in tests/cli, tests/net and tests/vm prints "ok NAME" or "not ok NAME: why".
set -u

[ "${1-}" = -B ] || { echo "usage: tests/run.sh -B BUILD GROUP ..." >&2; exit 2; }
build=$2
shift 2
passed=0
failed=0
log=$(mktemp)
wrong=$(mktemp)
trap 'rm -f "$log" "$wrong"' EXIT

# $1: exit status, $2: name of the program, $3: pattern of a pass, $4: pattern of a failure. Reads $log.
count() {
	local good bad

	good=$(grep -c -E "$3" "$log")
	bad=$(grep -c -E "$4" "$log")
	grep -E "$4" "$log" | sed "s|^|$2: |" >>"$wrong"
	[ "$1 $good $bad" != "77 0 0" ] || return # it has said why it has nothing to do
	# A program that died, or ran nothing, is a failure whatever it printed.
	if [ "$bad" = 0 ] && { [ "$1" != 0 ] || [ "$good" = 0 ]; }; then
		bad=1
		echo "not ok $2: exit status $1, $good tests passed" | tee -a "$wrong"
	fi
	passed=$((passed + good))
	failed=$((failed + bad))
}

run_unit() {
	local program

	for program in "$1"/tests/test-*; do
		[ -x "$program" ] && [ ! -d "$program" ] || continue
		case $program in *.d | *.o) continue ;; esac
		CMOCKA_MESSAGE_OUTPUT=STDOUT timeout 300 "$program" >"$log" 2>&1
		status=$?
		[ "$status" = 0 ] && echo "ok ${program##*/}" || cat "$log"
		count "$status" "${program##*/}" '^\[       OK \]' '^\[  FAILED  \] [a-z_0-9]+$'
	done
}

run_fuzz() {
	local program name

	for program in "$1"/fuzz/fuzz-*; do
		[ -x "$program" ] || continue
		name=${program##*/}
		{ timeout 300 "$program" tests/fuzz/corpus/"$name"/* && echo "ok $name"; } >"$log" 2>&1
		status=$?
		cat "$log"
		count "$status" "$name" '^ok ' '^not ok '
	done
}

# Two scripts at a time, whichever is free takes the next: whole machines under emulation keep a core busy each. What a script printed is
# shown when it has ended.
run_scripts() {
	local script pid folder names=()

	folder=$(mktemp -d)
	finish() {
		wait -n -p pid
		status=$?
		cp "$folder/${names[$pid]##*/}" "$log"
		cat "$log"
		count "$status" "${names[$pid]}" '^ok ' '^not ok '
	}
	for script in tests/"$1"/*.sh tests/"$1"/*.py; do
		[ -x "$script" ] || continue
		while [ "$(jobs -rp | wc -l)" -ge 2 ]; do finish; done
		QMR_VM_AT_A_TIME=1 timeout 3600 "$script" -B "$2" >"$folder/${script##*/}" 2>&1 &
		names[$!]=$script
		echo "# $script begins"
	done
	while [ -n "$(jobs -p)" ]; do finish; done
	rm -r "$folder"
}

# The unit and net tests once more, with AddressSanitizer and UndefinedBehaviorSanitizer.
run_sanitize() {
	if ! make -s -j2 B="$build-san" SAN=address,undefined WERROR=1 check-build; then
		echo "not ok sanitize: the build failed" | tee -a "$wrong"
		failed=$((failed + 1))
		return
	fi
	run_unit "$build-san"
	run_fuzz "$build-san"
	run_scripts net "$build-san"
}

for group in "$@"; do
	echo "# $group"
	case $group in
	unit) run_unit "$build" ;;
	fuzz) run_fuzz "$build" ;;
	cli | net | vm) run_scripts "$group" "$build" ;;
	sanitize) run_sanitize ;;
	*) echo "run.sh: unknown group '$group'" >&2; exit 2 ;;
	esac
done
[ "$failed" = 0 ] || { echo "# what failed"; cat "$wrong"; }
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]

#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Runs libFuzzer programs for SECONDS each, two at a time: tests/fuzz/run.sh BUILD SECONDS NAME ...
# What they learn is kept below BUILD/corpus, and is begun with next time; an input that breaks one lies in BUILD/found.
set -u
build=$1 seconds=$2
shift 2
passed=0 failed=0
declare -A names=()
mkdir -p "$build/found"

finish() {
	local pid status log
	wait -n -p pid
	status=$?
	log=$build/log/${names[$pid]}
	if [ "$status" = 0 ]; then
		echo "ok ${names[$pid]}: $(grep -a -o -E 'Done [0-9]+ runs in [0-9]+ second' "$log" | tail -1)s"
		passed=$((passed + 1))
	else
		echo "not ok ${names[$pid]}: exit status $status"
		tail -n 40 "$log"
		failed=$((failed + 1))
	fi
	unset "names[$pid]"
}

mkdir -p "$build/log"
for name in "$@"; do
	[ ${#names[@]} -lt 2 ] || finish
	mkdir -p "$build/corpus/$name"
	"$build/fuzz/$name" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -max_len=65536 -artifact_prefix="$build/found/$name-" \
		"$build/corpus/$name" "tests/fuzz/corpus/$name" >"$build/log/$name" 2>&1 </dev/null &
	names[$!]=$name
done
while [ ${#names[@]} -gt 0 ]; do finish; done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]

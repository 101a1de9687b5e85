#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Every program has a man page, whose options are those of its --help, both ways. Usage: tests/cli/man.sh -B BUILD
set -u
build=$(realpath "$2")
cd "$(dirname "$0")/../.." || exit 1
status=0

not_ok() {
	echo "not ok $1: $2"
	status=1
}
# What stands at the beginning of a line of --help's list.
help_options() {
	"$1" --help </dev/null | grep -oE '^ +--[a-z][a-z-]*' | tr -d ' ' | sort -u
}
# What is a paragraph's tag: the line behind .TP or .TQ, roff's escapes taken away.
page_options() {
	awk '/^\.T[PQ]/ { tag = 1; next } tag { print; tag = 0 }' "$1" | sed 's/\\//g' | grep -oE -- '--[a-z][a-z-]*' | sort -u
}

count=0
for program in "$build"/*; do
	[ -f "$program" ] && [ -x "$program" ] || continue
	name=${program##*/}
	count=$((count + 1))
	page=$(ls docs/man/"$name".[158] 2>/dev/null)
	if [ -z "$page" ]; then
		not_ok "$name" "it has no page in docs/man"
		continue
	fi
	if ! "$program" --help </dev/null >/dev/null || ! "$program" --version </dev/null | grep -q "^$name [0-9]"; then
		not_ok "$name" "--help or --version failed"
		continue
	fi
	difference=$(diff <(help_options "$program") <(page_options "$page") | grep '^[<>]' | tr '\n' ' ')
	if [ -n "$difference" ]; then
		not_ok "$name" "only in --help (<) or only in $page (>): $difference"
	else
		echo "ok $name: --help and $page name the same options"
	fi
	if [ "$(help_options "$program" | wc -l)" -lt 2 ]; then
		not_ok "$name" "--help lists no options, or not at the beginning of lines"
	fi
done
# qmr.conf(5) against the table of lib/config.c: section, key, default ("" where it has none or an empty one).
config_keys() {
	sed -nE 's/^\t(INT|TEXT|OTHER)\("([a-z]+)", "([a-z_]+)",.*, (NULL|"([^"]*)")\),$/\2 \3 \5/p' lib/config.c
}
page_keys() {
	sed 's/\\-/-/g' docs/man/qmr.conf.5 | awk '
		/^\.SH \[/ { section = substr($2, 2, length($2) - 2) }
		/^\.SH [^[]/ { section = "" }
		/^\.T[PQ]/ { tag = 1; next }
		tag && section {
			tag = 0
			gsub(/["\\]/, "")
			if ($1 == ".B" && $3 == "=") print section, $2, $4
			else if ($1 == ".BI") print section, $2, ""
			else if ($1 == ".BR") { sub(/^\.BR /, ""); n = split($0, names, / , /); for (i = 1; i <= n; i++) { gsub(/ /, "", names[i]); print section, names[i], "" } }
		}'
}
difference=$(diff <(config_keys | sort) <(page_keys | sort) | grep '^[<>]' | tr '\n' ';')
if [ -z "$difference" ] && [ "$(config_keys | wc -l)" -gt 20 ]; then
	echo "ok qmr.conf: lib/config.c and docs/man/qmr.conf.5 have the same keys and defaults"
else
	not_ok qmr.conf "only in lib/config.c (<) or only in docs/man/qmr.conf.5 (>): $difference"
fi
[ "$count" -gt 0 ] || not_ok man "no program in '$build'"
for page in docs/man/*.[158]; do
	wrong=$(MANROFFSEQ='' groff -man -Tutf8 -ww "$page" 2>&1 >/dev/null | head -3)
	[ -z "$wrong" ] && echo "ok $page is sound" || not_ok "$page" "$wrong"
done
exit $status

# SPDX-License-Identifier: LGPL-2.1-or-later
"""What boot-guard costs in an ordinary boot, in a guest and where it really runs: instructions by marks around each of its commands;
system calls, bytes and variable writes by strace in a boot of its own; and what the boot left in the firmware's store, from outside. Beside
it, in the same guest, what other programs take that ask for boot variables."""
import collections
import io
import os
import re

import counted
import firmware
import guests
import machine
from figures import load, ratio, say, spread

GUARD = "/usr/lib/qmr/boot-guard"
EMPTY = "nothing"  # two marks with nothing in between: what is taken off all others
# In the order of a boot. `deadline` sleeps in between, and so is traced alone.
EARLY = ("prepare", "start", "feed", "last-tries", "root")
COMMANDS = (*EARLY, "deadline", "tries", "healthy", "clean-shutdown")
PEERS = {"true": "/bin/true", "boot-guard start --dry-run": GUARD + ".real start --dry-run", "efibootmgr": guests.brought("efibootmgr"),
         "systemd-bless-boot status": "/lib/systemd/systemd-bless-boot status", "bootctl status": "/usr/bin/bootctl status"}
WRITE_GOAL = 2
TRACES = "/var/lib/bench-traces"
WORDS = {"guard": GUARD, "mark": counted.MARK, "strace": guests.brought("strace"), "traces": TRACES}

# In boot-guard's place. The command is its last argument. Where other things run too, it runs before them, so that they are not counted.
WRAPPER = """#!/bin/sh
for name; do :; done
%s
"""
COUNT = """[ $name = deadline ] && exec {guard}.real "$@"
[ "$1" = --wait ] && sleep 1 && shift
{alone}
{mark} $name.begins
{guard}.real "$@"
code=$?
{mark} $name.ends
exit $code"""
ALONE = '[ "$alone" ] || exec env alone=1 chrt -f 10 "$0" "$@"'
# What feeds the watchdog stays, and nobody may wait for who traces it.
TRACE = """out={traces}
[ -w $out ] || out=/run
[ $name = feed ] && apart=-D
exec {strace} $apart -f -y -e signal=none -o $out/trace.$name.$$ {guard}.real "$@\""""
# A peer runs once before it is counted, as others' files are in memory too by then.
COUNT_SCENARIO = """measured() { name=$1; shift; "$@"; {mark} $name.begins; "$@"; {mark} $name.ends; }
boot_any() {
	healthy
	chrt -f -p 10 $$
	{mark} {empty}.begins; {mark} {empty}.ends
	{{ {peers}; }} >/dev/null 2>&1
	switch_off
}
"""
TRACE_SCENARIO = """measured() { name=$1; shift; {strace} -f -y -e signal=none -o {traces}/trace.$name.0 "$@"; }
boot_any() {
	healthy
	{{ {peers}; }} >/dev/null 2>&1
	cp /run/trace.* {traces}/; sync
	switch_off
}
"""
PLAIN_SCENARIO = "boot_any() { switch_off; }\n"


def word(title):
    return title.replace(" ", "_")


def scenario(text):
    peers = "; ".join("measured %s %s" % (word(title), command) for title, command in PEERS.items())
    for name, value in {**WORDS, "empty": EMPTY, "peers": peers}.items():
        text = text.replace("{%s}" % name, value)
    return text.replace("{{", "{").replace("}}", "}")


def overlay(disk, wrapper):
    """The wrapper in boot-guard's place: in the root, and in the initramfs, by an archive behind its own that has what the wrapper needs."""
    real = disk.read(GUARD)
    disk.debugfs("mkdir " + TRACES, writing=True)
    disk.put(GUARD + ".real", real)
    disk.put(GUARD, WRAPPER % wrapper.format(alone=ALONE, **WORDS))
    disk.debugfs(*["sif %s%s mode 0100755" % (GUARD, end) for end in ("", ".real")], writing=True)
    entry = guests.find(disk, "/loader/entries", r"\.conf$")
    path = re.search(r"(?m)^initrd\s+(\S+)", disk.esp_read(entry).decode()).group(1)
    initrd = disk.esp_read(path)
    files = {GUARD + ".real": real, GUARD: (WRAPPER % wrapper.format(alone="", **WORDS)).encode(), counted.MARK: disk.read(counted.MARK),
             **{"%s/%s" % (guests.BROUGHT, n): disk.read("%s/%s" % (guests.BROUGHT, n)) for n in disk.list(guests.BROUGHT)}}
    disk.esp_put(path, initrd + bytes(-len(initrd) % 4) + archive(files))


def archive(files):
    """A newc archive of programs and the folders that they need."""
    out = io.BytesIO()
    folders = sorted({path[:i] for path in files for i, c in enumerate(path) if c == "/" and i})
    items = [(folder, b"", 0o40755) for folder in folders] + [(path, content, 0o100755) for path, content in files.items()]
    for number, (path, content, mode) in enumerate([*items, ("TRAILER!!!", b"", 0)]):
        name = path.lstrip("/")
        fields = (number + 1, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
        out.write(b"070701" + b"".join(b"%08X" % f for f in fields) + name.encode() + b"\0")
        out.write(bytes(-out.tell() % 4) + content)
        out.write(bytes(-out.tell() % 4))
    return out.getvalue()


def spans(marks):
    """What lies between the marks of one name, less what two marks cost."""
    found = {name: marks[name + ".ends"].instructions - at.instructions for name, at in
             ((n[:-len(".begins")], m) for n, m in marks.items() if n.endswith(".begins")) if name + ".ends" in marks}
    return {name: n - found[EMPTY] for name, n in found.items() if name != EMPTY}


# A line of strace: "PID call(arguments) = result"; with -f, a call may come in two lines, of which the first has no result.
CALL = re.compile(r"(?m)^\d+ +(\w+)\((.*?)(?:\) += (-?\d+|0x[0-9a-f]+|\?).*)?$")


def trace(text):
    """What one command did: its system calls by name, bytes that it wrote and to what, and its writes to variables."""
    calls, written, variables = collections.Counter(), collections.Counter(), collections.Counter()
    for name, arguments, result in CALL.findall(text):
        calls[name] += 1
        to = re.match(r"\d+<([^>]*)>", arguments)
        if name in ("write", "pwrite64", "writev") and to and result.isdigit():
            written[to.group(1)] += int(result)
            if "/efivars/" in to.group(1):
                variables[os.path.basename(to.group(1)).split("-")[0]] += 1
    return {"calls": sum(calls.values()), "by_call": dict(calls.most_common()), "bytes_written": sum(written.values()),
            "written_to": dict(written), "variable_writes": dict(variables)}


def count(box, tools, rounds):
    counting = counted.Counted(box, tools, "counted")
    boots = [spans(counting.marks()[0]) for _ in range(rounds)]
    return {name: spread([b[name] for b in boots], 0) for name in boots[0]}


def store_writes(box):
    """Boots to the end. Returns how often each variable was written into the firmware's store meanwhile, whoever wrote it."""
    before, done = firmware.all_writes(box.vars), box.boot()
    if done.ended != "shutdown":
        raise RuntimeError("the boot ended with '%s'; its console: %s/console.log" % (done.ended, box.folder))
    after = firmware.all_writes(box.vars)
    after.subtract(before)
    return {name: n for name, n in sorted(after.items()) if n}


def follow(box):
    """A boot under strace, to its end, as any other: nothing of it is counted."""
    sequence, writes = box.state()["sequence"], store_writes(box)
    state, traces = box.state(), {}
    if state["outcomes"] != ["healthy"] * 2:
        raise RuntimeError("the traced boot is not healthy: %s; its console: %s/console.log" % (state, box.folder))
    for name in box.disk.list(TRACES):
        command = name.split(".")[1]
        traces.setdefault(command, []).append(trace(box.disk.read("%s/%s" % (TRACES, name)).decode("utf-8", "replace")))
    return {"traces": traces, "store_writes": writes, "sequence": state["sequence"] - sequence}


def measure(machines, rounds):
    result = {"load_before": load()}
    boxes = {}
    for name, wrapper, text in (("count", COUNT, COUNT_SCENARIO), ("trace", TRACE, TRACE_SCENARIO)):
        boxes[name] = machine.Machine(machines.get("with"), machines.work, "box-" + name, scenario(text))
        overlay(boxes[name].disk, wrapper)
    say("  one boot under strace")
    result.update(follow(boxes["trace"]))
    say("  one without qmr")
    result["store_writes_without"] = store_writes(machine.Machine(machines.get("without"), machines.work, "box-plain", PLAIN_SCENARIO))
    say("  boots with marks: %d" % rounds)
    result["instructions"] = count(boxes["count"], machines.tools, rounds)
    result["load_after"] = load()
    return result


def report(result):
    say("\nboot-guard in an ordinary boot (load of the host %.1f before, %.1f after)" % (result["load_before"], result["load_after"]))
    say("  %-28s %12s %8s %8s %8s" % ("", "instructions", "calls", "bytes", "writes of"))
    say("  %-28s %12s %8s %8s %8s" % ("command", "million", "", "written", "variables"))
    for command in COMMANDS:
        row(result, command, command)
    say("  in the same guest, beside it:")
    for title in PEERS:
        row(result, title, word(title))
    count, start = result["instructions"], result["instructions"]["start"]
    for title in PEERS:
        say("  boot-guard start against %-28s instructions x %.2f, system calls x %.2f" %
            (title, ratio(start, count[word(title)]), calls(result, "start") / calls(result, word(title))))
    say("  in the initramfs: %.1f million instructions in all" % (sum(count[c]["median"] for c in EARLY) / 1e6))
    for title, key in (("with qmr", "store_writes"), ("without", "store_writes_without")):
        say("  writes in the firmware's store from power-on to power-off, %-8s %s" %
            (title + ":", ", ".join("%s %d" % item for item in result[key].items()) or "none"))
    added = sum(result["store_writes"].values()) - sum(result["store_writes_without"].values())
    say("  goal: at most %d writes of variables added to a boot: %s (%d; the boot state's sequence +%d)" %
        (WRITE_GOAL, "reached" if added <= WRITE_GOAL else "not reached", added, result["sequence"]))


def calls(result, name):
    return sum(t["calls"] for t in result["traces"][name])


def row(result, title, name):
    """Of a command that runs more than once: the sum of its runs, and the instructions of the last."""
    traces = result["traces"].get(name, [])
    instructions = result["instructions"].get(name)
    say("  %-28s %12s %8d %8d %8d" %
        (title, "%.2f" % (instructions["median"] / 1e6) if instructions else "-", sum(t["calls"] for t in traces),
         sum(t["bytes_written"] for t in traces), sum(sum(t["variable_writes"].values()) for t in traces)))

#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Starts that never reach boot-guard: initramfs or kernel damaged, the loader's configuration lost. systemd-boot's counters lead to
recovery, which ends; and a machine with nothing wrong never uses them up. Usage: loader.py -B BUILD [--seed N] [SCENARIO ...]"""
import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True
import machine  # noqa: E402
import scenario  # noqa: E402

CONFIG = """[policy]
mode = automatic
local_rollback = yes
menu_timeout = 10
stability = 5
panic_timeout = 3
cancel = 2
[loader]
tries = 3
[watch]
path = /opt
[image]
cmdline = console=ttyS0
"""
HALT = r"reboot: System halted"
ENTRIES = "/loader/entries"
# In the place of a passphrase prompt, where the command line asks for it.
PROMPT = """#!/bin/sh
[ "$1" = prereqs ] && exit 0
case "$(cat /proc/cmdline)" in *test.prompt*) echo "test: the passphrase, please" >/dev/console; sleep 15 ;; esac
"""
# What cryptsetup-initramfs leaves where a passphrase will be asked for.
HOOK = """#!/bin/sh
[ "$1" = prereqs ] && exit 0
mkdir -p "$DESTDIR/cryptroot"
echo "root UUID=0 none luks" >"$DESTDIR/cryptroot/crypttab"
"""
FILES = {"/opt/product/file": "content\n", "/etc/initramfs-tools/scripts/local-top/cryptroot": (PROMPT, 0o755),
         "/etc/initramfs-tools/hooks/prompt": (HOOK, 0o755)}


def entries(box):
    done = machine.run("mdir", "-b", "-i", box.disk.esp, "::" + ENTRIES)
    return sorted(line.rsplit("/", 1)[1] for line in done.split() if line.endswith(".conf"))


def settled(s, scenario_text=""):
    """A healthy machine in mode automatic, and the text of its only entry."""
    box = machine.Machine(s.settled("machine", lambda: CONFIG, lambda: FILES, small=True), s.work, "machine", scenario_text)
    names = entries(box)
    s.need("one entry, all its tries there", len(names) == 1 and re.search(r"[^+]\+3\.conf$", names[0]), names)
    return box, names[0], box.disk.esp_read(ENTRIES + "/" + names[0]).decode()


def value(text, key):
    return re.search(r"(?m)^%s\s+(.*)$" % key, text).group(1).strip()


def ends_in_menu(s, box, reasons, resets, limit):
    """Recovery came by itself, found nothing that it may do, gave the system its last chances and ended."""
    done = s.boot_to_the_end(box, HALT, max_resets=limit + 2)
    state = box.state()
    s.true("reason", state["reason"] in reasons, state["reason"])
    s.same("stage, final condition", ("final", "menu"), (state["stage"], state["final"]))
    s.true("resets", done.resets <= limit, "%d, at most %d" % (done.resets, limit))
    if resets is not None:
        s.same("resets, exactly", resets, done.resets)
    incidents = [box.disk.json("/var/lib/qmr/incidents/%s/incident.json" % i) for i in box.disk.list("/var/lib/qmr/incidents")]
    s.same("incidents, their kind, runs", (1, ["unknown"], 3), (len(incidents), [i["kind"] for i in incidents], state["recovery_runs"]))
    s.same("the watched file", b"content\n", box.disk.read("/opt/product/file"))


def cut_initrd(s, part):
    """Three starts use up the entry; recovery runs three times, with one more try of the system between."""
    box, _, text = settled(s)
    s.true("panic= is on the command line", "panic=3" in value(text, "options"), text)
    path = value(text, "initrd")
    content = box.disk.esp_read(path)
    box.disk.esp_put(path, content[:len(content) // part])
    ends_in_menu(s, box, ("loader",), 7, 7)
    # Somebody puts it back before the machine is switched on: the last chance is still there.
    box.disk.esp_put(path, content)
    s.boot_to_the_end(box)
    s.same("healthy afterwards", ("healthy", "none"), (box.state()["outcomes"][-1], box.state()["stage"]))
    s.true("with all tries", entries(box)[0].endswith("+3.conf"), entries(box))


def initrd_almost_empty(s):
    """The kernel finds no init and panics; panic= restarts it."""
    cut_initrd(s, 100)


def initrd_truncated(s):
    """Scripts are there, boot-guard and the tools are not: initramfs-tools' own restart."""
    cut_initrd(s, 3)


def initrd_missing(s):
    box, _, text = settled(s)
    box.disk.esp_remove(value(text, "initrd"))
    ends_in_menu(s, box, ("loader", "boot-order"), None, 7)


def kernel_corrupt(s):
    box, _, text = settled(s)
    path = value(text, "linux")
    content = bytearray(box.disk.esp_read(path))
    at = len(content) // 2
    content[at:at + 4096] = bytes(b ^ 0x55 for b in content[at:at + 4096])
    box.disk.esp_put(path, bytes(content))

    def watch(run, what, line):
        # The decompressor halts without a time limit; a person presses the button.
        if what == "line" and "System halted" in line and "reboot:" not in line:
            run.reset()
    done = s.boot_to_the_end(box, HALT, max_resets=9, watch=watch)
    state = box.state()
    print("# %s: %d resets by the guest, %d by hand" % (s.name, done.resets, done.host_resets), flush=True)
    s.true("reason", state["reason"] in ("loader", "boot-order"), state["reason"])
    s.same("stage, final condition", ("final", "menu"), (state["stage"], state["final"]))
    s.true("resets", done.resets + done.host_resets <= 8, (done.resets, done.host_resets))


def entries_lost(s):
    """Nothing is left but the image that systemd-boot finds by itself."""
    box, name, _ = settled(s)
    box.disk.esp_remove(ENTRIES + "/" + name)
    ends_in_menu(s, box, ("loader",), 2, 2)


def orderly_shutdowns(s):
    """Five restarts before the machine is healthy."""
    box, name, _ = settled(s, "boot_any() { if [ $n -le 5 ]; then restart; fi; healthy; switch_off; }\n")
    done = s.boot_to_the_end(box)
    state = box.state()
    s.same("resets", 5, done.resets)
    s.same("outcomes", ["healthy"] + ["clean-shutdown"] * 5 + ["healthy"], state["outcomes"])
    s.same("recovery runs", 0, state["recovery_runs"])
    s.same("entries", [name], entries(box))


def cuts_at_the_prompt(s):
    """Somebody switches off at the passphrase prompt, four times."""
    box, name, text = settled(s)
    box.disk.esp_put(ENTRIES + "/" + name, re.sub(r"(?m)^(options .*)$", r"\1 test.prompt", text))

    def watch(run, what, line):
        if what == "line" and "test: the passphrase" in line and run.host_resets < 4:
            run.reset()
    done = s.boot_to_the_end(box, watch=watch)
    state = box.state()
    s.same("resets by the host, by the guest", (4, 0), (done.host_resets, done.resets))
    s.same("the last boot, recovery runs", ("healthy", 0), (state["outcomes"][-1], state["recovery_runs"]))
    s.same("entries", [name], entries(box))


def cuts_before_the_initramfs(s):
    """Power cuts before anything of ours has seen the disk cannot be told from a damaged kernel: recovery comes, changes nothing, and the
    machine is back by itself."""
    box, name, _ = settled(s)

    def watch(run, what, line):
        if what == "line" and "Loading, please wait" in line and run.host_resets < 4:
            run.reset()
    done = s.boot_to_the_end(box, watch=watch, max_resets=5)
    state = box.state()
    print("# %s: recovery ran %d times" % (s.name, state["recovery_runs"]), flush=True)
    s.true("resets", done.host_resets == 4 and done.resets <= 2, (done.host_resets, done.resets))
    s.same("the last boot, stage", ("healthy", "none"), (state["outcomes"][-1], state["stage"]))
    s.same("entries", [name], entries(box))
    s.same("the watched file", b"content\n", box.disk.read("/opt/product/file"))


if __name__ == "__main__":
    scenario.main(initrd_almost_empty,
                  more=(cuts_at_the_prompt, entries_lost, initrd_truncated, initrd_missing, kernel_corrupt, orderly_shutdowns, cuts_before_the_initramfs))

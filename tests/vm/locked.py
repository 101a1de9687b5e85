#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A root in a LUKS2 container, opened by a passphrase at the prompt of cryptsetup-initramfs: whoever switches off there, sleeps over it or does not
know it has no broken machine. Recovery, which cannot open it either, comes to its end. Usage: locked.py -B BUILD [SCENARIO ...]"""
import os
import re
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True
import machine  # noqa: E402
import scenario  # noqa: E402

PASSPHRASE = "correct horse"
HARDWARE = ("-device", "i6300esb,addr=0x12", "-action", "watchdog=reset")
TIMEOUT = 15  # of the watchdog
NIGHT_S = 35  # longer than each of the limits below
CONFIG = """[policy]
mode = automatic
local_rollback = yes
final = halt
stability = 1
boot_deadline = 30
emergency_timeout = 10
panic_timeout = 3
cancel = 2
[checks]
pause = 0
[watchdog]
timeout = %d
[loader]
tries = 3
[watch]
path = /opt
[image]
cmdline = console=ttyS0
""" % TIMEOUT
# What the watchdog does while somebody is asked, once a second, kept in /run for the system.
RECORDER = """#!/bin/sh
[ "$1" = prereqs ] && exit 0
mkdir /run/asked
while [ ! -e /dev/mapper/locked ] && sleep 1; do
	read now rest </proc/uptime
	read state </sys/class/watchdog/watchdog0/state
	read timeout </sys/class/watchdog/watchdog0/timeout
	echo "${now%%.*} $state $timeout" >>/run/asked/watchdog
done </dev/null >/dev/null 2>&1 &
"""
FILES = {"/opt/product/file": "content\n", "/etc/initramfs-tools/scripts/local-top/01-recorder": (RECORDER, 0o755)}
HALT = r"reboot: System halted"
ENTRIES = "/loader/entries"


def is_asked(run, what, text):
    """The prompt has no end of line, but a message of the kernel may give it one."""
    return any("Please unlock disk locked" in part for part in (run.unfinished, text if what == "line" else ""))


class Keyboard:
    """Answers the prompts of one run, one after the other; the last answer for all that follow. wait_s: how long the first takes."""

    def __init__(self, *answers, wait_s=0):
        self.answers, self.wait_s, self.since, self.typed = list(answers), wait_s, None, 0

    def watch(self, run, what="tick", text=""):
        if self.since is None and is_asked(run, what, text):
            self.since = time.monotonic()
        if self.since is not None and time.monotonic() - self.since >= self.wait_s:
            run.type(self.answers[min(self.typed, len(self.answers) - 1)] + "\n")
            run.unfinished = ""
            self.since, self.wait_s, self.typed = None, 0, self.typed + 1


def entries(box):
    done = machine.run("mdir", "-b", "-i", box.disk.esp, "::" + ENTRIES)
    return sorted(line.rsplit("/", 1)[1] for line in done.split() if line.endswith(".conf"))


def settled(s, play=""):
    template = s.settled("machine", lambda: CONFIG, lambda: FILES, small=True, packages=machine.MORE_PACKAGES, passphrase=PASSPHRASE, hardware=HARDWARE,
                         keys=Keyboard(PASSPHRASE).watch)
    box = s.machine = machine.Machine(template, s.work, "machine", play, HARDWARE)
    s.need("one entry, all its tries there", re.fullmatch(r"[^+]+\+3\.conf", " ".join(entries(box))), entries(box))
    return box


def nothing_failed(s, box, *outcomes):
    """The attempts after the first."""
    state = box.state()
    s.same("attempts", ["healthy", *outcomes], state["outcomes"])
    s.same("phases", ["healthy"] + ["healthy" if o == "healthy" else "waiting-for-user" for o in outcomes], state["phases"])
    s.same("boots", 1 + len(outcomes), state["boots"])
    s.quiet(state)
    s.same("incidents", [], box.disk.list("/var/lib/qmr/incidents"))
    s.same("the watched file", b"content\n", box.disk.read("/opt/product/file"))


def cuts_and_a_night_at_the_prompt(s):
    """The power fails four times at the prompt, more often than the entry has tries. Then nobody answers for longer than any limit that a boot has."""
    box = settled(s, "boot_any() { cp /run/asked/watchdog /var/lib/director; healthy; switch_off; }\n")
    before = entries(box)

    def cut(run, what, text):
        if is_asked(run, what, text):
            run.stop("cut")
    for n in range(4):
        s.need("the power fails at the prompt", box.boot(watch=cut, rest=False).ended == "cut")
    done = s.boot_to_the_end(box, watch=Keyboard(PASSPHRASE, wait_s=NIGHT_S).watch)
    s.same("resets", 0, done.resets)
    nothing_failed(s, box, *["unknown"] * 4, "healthy")
    s.same("entries", before, entries(box))
    lines = [line.split() for line in (box.disk.read("/var/lib/director/watchdog") or b"").decode().split("\n") if line]
    s.true("at the prompt for longer than all limits", len(lines) > 20 and int(lines[-1][0]) - int(lines[0][0]) > 2 * TIMEOUT, lines[-1:])
    s.same("the watchdog, all the time", {("active", str(TIMEOUT))}, {tuple(line[1:]) for line in lines})


def wrong_passphrases(s):
    """Twice somebody does not know it, until Debian's prompt gives up and offers a shell, and switches off. Then somebody does know it."""
    box = settled(s, "boot_any() { healthy; switch_off; }\n")
    for n in range(2):
        keyboard = Keyboard("wrong")

        def watch(run, what, text):
            keyboard.watch(run, what, text)
            if "(initramfs)" in run.unfinished:
                run.stop("shell")
        s.same("it ends in the shell", ("shell", 0), (lambda done: (done.ended, done.resets))(box.boot(watch=watch, rest=False)))
        s.true("after more than one question", keyboard.typed > 1, keyboard.typed)
    s.boot_to_the_end(box, watch=Keyboard("wrong", PASSPHRASE).watch)
    nothing_failed(s, box, "unknown", "unknown", "healthy")


def recovery_at_a_locked_root(s):
    """A required check fails twice once the root is unlocked. Recovery cannot open it: it says so, and ends. The next start is the system's."""
    box = settled(s, "boot_any() { healthy; switch_off; }\n")
    check = "/etc/qmr/checks.d/required.d/never"
    box.disk.put(check, "#!/bin/sh\nexit 1\n")
    box.disk.debugfs("sif %s mode 0100755" % check, writing=True)
    done = s.boot_to_the_end(box, HALT, watch=Keyboard(PASSPHRASE).watch, max_resets=5)
    state = box.state()
    s.same("resets: two failures and the switch", 3, done.resets)
    s.same("attempts", ["healthy", "emergency", "emergency", "clean-shutdown"], state["outcomes"])
    s.same("stage, final condition, runs", ("final", "halt", 1), (state["stage"], state["final"], state["recovery_runs"]))
    s.true("the note says why", "locked (LUKS)" in state["note"], state["note"])
    s.same("no incident is on the disk", [], box.disk.list("/var/lib/qmr/incidents"))
    box.disk.debugfs('rm "%s"' % check, writing=True)
    s.boot_to_the_end(box, watch=Keyboard(PASSPHRASE).watch)
    state = box.state()
    s.same("healthy afterwards", ("healthy", "none"), (state["outcomes"][-1], state["stage"]))
    s.same("the watched file", b"content\n", box.disk.read("/opt/product/file"))


if __name__ == "__main__":
    scenario.main(more=(cuts_and_a_night_at_the_prompt, wrong_passphrases, recovery_at_a_locked_root))

#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A machine with nothing wrong is left alone: reset at any moment, reset by hand during boot, switched off by qmr=off.
Usage: healthy.py -B BUILD [--seed N] [SCENARIO ...]"""
import os
import re
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True
import machine  # noqa: E402
import scenario  # noqa: E402

CONFIG = "[policy]\nmode = automatic\nstability = 5\npanic_timeout = 3\n[watch]\npath = /opt\n[image]\ncmdline = console=ttyS0\n"
RESETS = 6 if os.environ.get("QMR_VM_ALL") else 3
IN_A_ROW = 3  # boots without evidence that change nothing: at the fourth, recovery looks, as it should


def settled(s):
    return s.settled("machine", lambda: CONFIG, lambda: {"/opt/product/file": "content\n"})


def reset_at_random_moments(s):
    """Resets at seeded moments from power-on to well after healthy, never more than three before one boot is healthy, and never an
    alarm."""
    template = settled(s)
    box = machine.Machine(template, s.work, "machine", "boot_any() { healthy; }\n")
    moments = [s.random.uniform(2, 1.3 * template.boot_seconds) for _ in range(RESETS)]
    print("# %s: seed %d, resets after %s s" % (s.name, s.seed, ", ".join("%.1f" % m for m in moments)), flush=True)
    begin = [time.monotonic()]
    healthy, in_a_row = [0], [0]

    def watch(run, what, text):
        if what == "reset":
            begin[0] = time.monotonic()
        if what == "line" and re.match(r"test-%s: healthy" % box.nonce, text):
            healthy[0] += 1
            in_a_row[0] = 0
            if run.host_resets == RESETS:
                run.power_button()
        if run.host_resets < RESETS and in_a_row[0] < IN_A_ROW and time.monotonic() - begin[0] > moments[run.host_resets]:
            begin[0] = time.monotonic()
            in_a_row[0] += 1
            run.reset()
    done = s.boot_to_the_end(box, watch=watch)
    state = box.state()
    s.quiet(state)
    s.same("resets by the host, by the guest", (RESETS, 0), (done.host_resets, done.resets))
    s.same("the last boot", "healthy", state["outcomes"][-1])
    s.true("no attempt is a failure", set(state["outcomes"]) <= {"healthy", "unknown"}, state["outcomes"])
    s.true("healthy boots", state["outcomes"].count("healthy") <= healthy[0] + 1 + RESETS, (state["outcomes"], healthy[0]))


def two_resets_by_hand(s):
    """Somebody presses reset while it boots, twice: it boots, and the history shows two `unknown`."""
    box = machine.Machine(settled(s), s.work, "machine")

    def watch(run, what, text):
        if what == "line" and text.startswith("Welcome to") and run.host_resets < 2:
            run.reset()
    done = s.boot_to_the_end(box, watch=watch)
    state = box.state()
    s.quiet(state)
    s.same("resets by the host, by the guest", (2, 0), (done.host_resets, done.resets))
    s.same("attempts", ["healthy", "unknown", "unknown", "healthy"], state["outcomes"])


def switched_off_by_qmr_off(s):
    """qmr=off on the kernel command line: a boot, a panic and a boot go by, and no variable of qmr changes."""
    box = machine.Machine(settled(s), s.work, "machine", "boot_1() { echo c >/proc/sysrq-trigger; }\nboot_2() { switch_off; }\n")
    entry = [line for line in machine.run("mdir", "-b", "-i", box.disk.esp, "::/loader/entries/").split()][0].split(":", 1)[1].lstrip(":")
    text = box.disk.esp_read(entry).decode()
    # Without qmr nobody sets panic=, so it stands here, as an administrator would have it.
    box.disk.esp_put(entry, re.sub(r"(?m)^(options .*)$", r"\1 qmr=off panic=2", text))
    before = box.variables()
    done = s.boot_to_the_end(box)
    after = box.variables()
    s.same("resets", 1, done.resets)
    s.true("boot state", before["QmrState"] == after["QmrState"], box.state())
    s.same("boot order", before["BootOrder"], after["BootOrder"])
    s.same("archive of crash records", [], box.disk.list("/var/lib/qmr/pstore"))


def services_behind_boot_complete(s):
    """Services in the way of rauc-mark-good.service and greenboot-status.service: wanted by multi-user.target and ordered after
    boot-complete.target. They run after it, systemd finds no cycle, and the boot is healthy."""
    unit = "[Unit]\nAfter=%s\nRequires=boot-complete.target\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=systemctl is-active %s\n"
    names = {"mark-good.service": unit % ("boot-complete.target", "boot-complete.target multi-user.target"),
             "tell.service": unit % ("mark-good.service", "mark-good.service")}
    template = s.settled("behind", lambda: CONFIG, lambda: {"/usr/lib/systemd/system/" + n: text for n, text in names.items()},
                         script="for u in %s; do systemctl -q add-wants multi-user.target $u; done" % " ".join(names), small=True)
    box = machine.Machine(template, s.work, "machine", """boot_1() {
        healthy
        until ended mark-good.service && ended tell.service; do sleep 1; done
        systemctl is-active mark-good.service tell.service qmr-checks.service multi-user.target >/var/lib/director/active
        journalctl -b -o cat _PID=1 | grep -c -i 'ordering cycle' >/var/lib/director/cycles
        switch_off
    }
""")
    s.boot_to_the_end(box)
    s.quiet(box.state())
    s.same("attempts", ["healthy", "healthy"], box.state()["outcomes"])
    s.same("active", ["active"] * 4, (box.disk.read("/var/lib/director/active") or b"").decode().split())
    s.same("cycles", b"0\n", box.disk.read("/var/lib/director/cycles"))


if __name__ == "__main__":
    scenario.main(reset_at_random_moments, switched_off_by_qmr_off, more=(services_behind_boot_complete, two_resets_by_hand))

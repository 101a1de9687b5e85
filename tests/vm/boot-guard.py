#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""boot-guard counts what really happens: a healthy boot, two panics of a vendor's driver, a healthy boot. Usage: -B BUILD"""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True
import machine  # noqa: E402
import scenario  # noqa: E402

OBSERVED = 2  # flag of an attempt: recovery would have been asked for
SYSRQ = "boot_2() { echo c >/proc/sysrq-trigger; }\nboot_3() { boot_2; }\nboot_1() { healthy; restart; }\n"


def counted(s, config):
    box = machine.Machine(s.system(config, small=True), s.work, "box", SYSRQ)
    done = s.boot_to_the_end(box)
    s.same("resets", 3, done.resets)
    state = box.state()
    s.need("boot state", state is not None and state["valid"], state)
    s.same("attempts", ["healthy", "panic", "panic", "healthy"], state["outcomes"])
    s.same("boots", 4, state["boots"])
    return state


def observe(s):
    """Two panics in a row are seen, counted, and with the default mode nothing is done but to say so."""
    state = counted(s, "[policy]\nstability = 5\npanic_timeout = 3\n")
    s.same("flags of the attempts", [0, 0, 0, OBSERVED], state["attempt_flags"])
    s.same("flags, stage, sequence", (1, "none", 6), (state["flags"], state["stage"], state["sequence"]))


if __name__ == "__main__":
    scenario.main(observe)

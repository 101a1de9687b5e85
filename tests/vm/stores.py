#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The boot state where the EFI variable cannot be used: no variables at all, and no room in the firmware's memory. The file on the EFI system
partition is read by the document alone. Usage: stores.py -B BUILD [SCENARIO ...]"""
import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True
import machine  # noqa: E402
import scenario  # noqa: E402

CONFIG = """[policy]
mode = automatic
stability = 5
panic_timeout = 3
emergency_timeout = 2
cancel = 2
[watch]
path = /opt
[image]
cmdline = console=ttyS0
"""
# Fills the firmware's memory until the kernel refuses (efi_query_variable_store(), 5 KiB of reserve on x86). One write(2) is one variable. EDK II gives
# the room of what was overwritten or deleted back at its next start, so a memory is full for one boot only: each fills it anew. $1: the boot
FILL = """fill() {
	k=${1}00
	for size in 32000 8000 1000; do
		while { printf '\\007\\000\\000\\000'; head -c $size /dev/urandom; } >/run/fill &&
			dd if=/run/fill of=/sys/firmware/efi/efivars/Fill$k-5b1a3c1e-0000-4000-8000-000000000001 bs=64k 2>/dev/null; do
			k=$((k + 1))
		done
		k=$((k + 1)) # what failed leaves an empty file that cannot be opened again
	done
	say filled $((k - ${1}03))
}
# Before it is healthy.
fill_early() { systemctl stop qmr-healthy.timer qmr-healthy.service; fill $1; }
healthy_now() { systemctl start qmr-healthy.service; healthy; }
"""
RECOVER, RECOVERED = 1, 8  # flags of an attempt


def settled(s):
    return s.settled("machine", lambda: CONFIG, lambda: {"/opt/product/file": "content\n"})


def no_variables(s):
    """efi=noruntime: the kernel offers no variable. Boots are counted in the file from the first one on."""
    box = machine.Machine(s.system(CONFIG), s.work, "machine", """boot_1() { healthy; restart; }
boot_2() { sync; echo b >/proc/sysrq-trigger; sleep 100; }
boot_3() { restart; }
""")
    entry = [line for line in machine.run("mdir", "-b", "-i", box.disk.esp, "::/loader/entries/").split()][0].split(":", 1)[1].lstrip(":")
    text = box.disk.esp_read(entry).decode()
    box.disk.esp_put(entry, re.sub(r"(?m)^(options .*)$", r"\1 efi=noruntime", text))
    s.same("both slots are there, whole and empty", [(True, 0), (True, 0)], [(p["valid"], p["sequence"]) for p in box.slots()])
    done = s.boot_to_the_end(box)
    s.same("resets", 3, done.resets)
    s.same("no variable of ours", None, box.state())
    state = box.state_in_file()
    s.need("a state in the file", state, box.slots())
    s.same("attempts", ["healthy", "unknown", "clean-shutdown", "healthy"], state["outcomes"])
    s.same("stage, boots", ("none", 4), (state["stage"], state["boots"]))
    sequences = sorted(p["sequence"] for p in box.slots() if p["valid"])
    s.same("written in turn", [state["sequence"] - 1, state["sequence"]], sequences)


def memory_full(s):
    """No room for the state: two boots fail, are counted in the file, and recovery comes by BootNext, knows it, and goes back."""
    box = machine.Machine(settled(s), s.work, "machine", FILL + """boot_1() { healthy; fill 1; restart; }
fails() { fill_early $n; /usr/lib/qmr/boot-guard failed required-check; sleep 100; }
boot_2() { fails; }
boot_3() { fails; }
boot_4() { fill_early 4; healthy_now; switch_off; }
""")
    done = s.boot_to_the_end(box)
    s.same("resets: after filling, two failures, the switch, the way back", 5, done.resets)
    s.same("the variable made room", None, box.state())
    state = box.state_in_file()
    s.need("a state in the file", state, box.slots())
    s.same("attempts", ["healthy", "healthy", "emergency", "emergency", "clean-shutdown", "healthy"], state["outcomes"])
    s.same("their flags", [0, 0, 0, 0, RECOVER | RECOVERED, 0], state["attempt_flags"])
    s.same("reason, stage", ("detector", "none"), (state["reason"], state["stage"]))
    timeline = box.disk.json("/var/lib/qmr/incidents/%s/timeline.json" % state["incident"]) or {}
    steps = {step["step"]: step["result"] for run in timeline.get("runs", []) for step in run.get("steps", [])}
    s.same("recovery took notice in the file", "ok", steps.get("acknowledge-file"))


def room_again(s):
    """Full memory, then room: the state moves back into the variable when a boot is healthy."""
    box = machine.Machine(settled(s), s.work, "machine", FILL + """boot_1() { healthy; fill 1; restart; }
boot_2() {
	fill_early 2; healthy_now
	cp /efi/EFI/qmr/state-* /var/lib/director
	chattr -i /sys/firmware/efi/efivars/Fill*; rm -f /sys/firmware/efi/efivars/Fill*; restart
}
""")
    s.boot_to_the_end(box)
    raw = [box.disk.read("/var/lib/director/state-" + name) for name in "ab"]
    s.true("it was in the file", any(r and any(r[16:24]) for r in raw), raw)
    state = box.state()
    s.need("a state in the variable", state and state["valid"], state)
    s.same("attempts", ["healthy"] * 4, state["outcomes"])
    s.same("no state is left in the file", None, box.state_in_file())


if __name__ == "__main__":
    scenario.main(no_variables, more=(memory_full, room_again))

#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The boot state where the EFI variable cannot be used: no variables at all, and no room in the firmware's memory. The file on the EFI system
partition is read by the document alone. And recovery where there is no BootNext. Usage: stores.py -B BUILD [SCENARIO ...]"""
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
    return s.settled("machine", lambda: CONFIG, lambda: {"/opt/product/file": "content\n"}, small=True)


def entries(box):
    listing = machine.run("mdir", "-b", "-i", box.disk.esp, "::/loader/entries/")
    return sorted(line.rsplit("/", 1)[1] for line in listing.split() if line.endswith(".conf"))


def without_variables(s, config, scenario_text):
    """efi=noruntime: the kernel offers no variable. systemd-boot has its own all the same."""
    box = machine.Machine(s.system(config), s.work, "machine", scenario_text)
    entry = "/loader/entries/" + entries(box)[0]
    text = box.disk.esp_read(entry).decode()
    box.disk.esp_put(entry, re.sub(r"(?m)^(options .*)$", r"\1 efi=noruntime", text))
    return box


def no_variables(s):
    """Boots are counted in the file from the first one on."""
    box = without_variables(s, CONFIG, """boot_1() { healthy; restart; }
boot_2() { sync; echo b >/proc/sysrq-trigger; sleep 100; }
boot_3() { restart; }
""")
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


def tries_without_variables(s):
    """Nobody says which entry systemd-boot took a try off: starts that went well do not use them up all the same."""
    box = without_variables(s, CONFIG + "[loader]\ntries = 2\n", "boot_any() { if [ $n -le 3 ]; then restart; fi; healthy; switch_off; }\n")
    name = entries(box)[0]
    done = s.boot_to_the_end(box, max_resets=6)
    s.same("resets", 3, done.resets)
    s.same("outcomes", ["clean-shutdown"] * 3 + ["healthy"], box.state_in_file()["outcomes"])
    s.same("recovery runs", 0, box.state_in_file()["recovery_runs"])
    s.same("the entry has all its tries", [name], entries(box))


# Recovery has no variables either, and does not take 30 s to restart when it panics.
NO_RUNTIME = CONFIG.replace("cmdline = console=ttyS0", "cmdline = console=ttyS0 efi=noruntime panic=3")
FAILS = """fails() { systemctl stop qmr-healthy.timer qmr-healthy.service; /usr/lib/qmr/boot-guard failed required-check; sleep 100; }
boot_1() { healthy; restart; }
boot_2() { fails; }
boot_3() { fails; }
"""
IMAGE = "/EFI/Linux/qmr-recovery.efi"


def steps_of(box, state):
    timeline = box.disk.json("/var/lib/qmr/incidents/%s/timeline.json" % state["incident"]) or {}
    return {step["step"]: step["result"] for run in timeline.get("runs", []) for step in run.get("steps", [])}


def once_recovers(s):
    """No BootNext: two boots fail, and systemd-boot starts recovery once, by an entry with one try."""
    box = without_variables(s, NO_RUNTIME, FAILS + "boot_4() { healthy; switch_off; }\n")
    name = entries(box)[0]
    done = s.boot_to_the_end(box, max_resets=8)
    s.same("resets: a healthy boot, two failures, the switch, the way back", 5, done.resets)
    s.same("no variable of ours", None, box.state())
    state = box.state_in_file()
    s.need("a state in the file", state, box.slots())
    s.same("attempts", ["healthy", "emergency", "emergency", "clean-shutdown", "healthy"], state["outcomes"])
    s.same("their flags", [0, 0, 0, RECOVER | RECOVERED, 0], state["attempt_flags"])
    s.same("reason, stage", ("detector", "none"), (state["reason"], state["stage"]))
    s.same("recovery took notice in the file", "ok", steps_of(box, state).get("acknowledge-file"))
    s.same("the entry is gone, the system's has its tries", [name], entries(box))


def asked_without_variables(s):
    """qmrctl recover, cancel and check where there is no BootNext."""
    box = without_variables(s, NO_RUNTIME, """boot_1() {
	healthy
	qmrctl check >/var/lib/director/check
	qmrctl recover --next >/dev/console 2>&1; ls /efi/loader/entries >/var/lib/director/asked
	qmrctl cancel >/dev/console 2>&1; ls /efi/loader/entries >/var/lib/director/cancelled
	qmrctl recover >/dev/console 2>&1; sleep 100
}
boot_2() { healthy; switch_off; }
""")
    name = entries(box)[0]
    done = s.boot_to_the_end(box, max_resets=4)
    s.same("resets: into recovery, and back", 2, done.resets)
    s.true("check says the way", b"start: ok: there are no EFI variables: systemd-boot starts recovery" in box.disk.read("/var/lib/director/check"),
           box.disk.read("/var/lib/director/check"))
    s.same("asked for", sorted([name, "qmr-recovery-once+1.conf"]), sorted(box.disk.read("/var/lib/director/asked").decode().split()))
    s.same("cancelled", [name], box.disk.read("/var/lib/director/cancelled").decode().split())
    state = box.state_in_file()
    s.same("reason, outcomes", ("requested", ["healthy", "healthy"]), (state["reason"], state["outcomes"]))
    s.same("recovery took notice in the file", "ok", steps_of(box, state).get("acknowledge-file"))
    s.same("entries", [name], entries(box))


def given_up(s, box, resets):
    name = entries(box)[0]
    done = s.boot_to_the_end(box, max_resets=resets + 2)
    s.same("resets", resets, done.resets)
    state = box.state_in_file()
    s.same("stage, runs", ("given-up", 0), (state["stage"], state["recovery_runs"]))
    s.same("the entry is gone, the system's has its tries", [name], entries(box))
    return state


def without_initramfs(image):
    """The image with nothing in its initramfs: its kernel panics at once."""
    image = bytearray(image)
    pe = int.from_bytes(image[60:64], "little")
    table = pe + 24 + int.from_bytes(image[pe + 20:pe + 22], "little")
    for at in range(table, table + 40 * int.from_bytes(image[pe + 6:pe + 8], "little"), 40):
        if image[at:at + 8] == b".initrd\0":
            size, place = (int.from_bytes(image[at + i:at + i + 4], "little") for i in (16, 20))
            image[place:place + size] = bytes(size)
    return bytes(image)


def once_recovery_dies(s):
    """What systemd-boot starts once panics at once: it is started twice, and the machine is back."""
    box = without_variables(s, NO_RUNTIME, FAILS + "boot_4() { systemctl stop qmr-healthy.timer qmr-healthy.service; switch_off; }\n")
    box.disk.esp_put(IMAGE, without_initramfs(box.disk.esp_read(IMAGE)))
    state = given_up(s, box, 7)
    s.same("attempts", ["healthy", "emergency", "emergency", "clean-shutdown", "clean-shutdown", "clean-shutdown"], state["outcomes"])
    s.same("switches", [0, 0, 0, RECOVER, RECOVER, 0], state["attempt_flags"])
    s.true("a note", state["note"], state["note"])


def once_image_rubbish(s):
    """An image that systemd-boot could not load would end it, and the firmware might have nothing else: it is not asked to."""
    box = without_variables(s, NO_RUNTIME, FAILS + "boot_4() { systemctl stop qmr-healthy.timer qmr-healthy.service; switch_off; }\n")
    box.disk.esp_put(IMAGE, b"MZ" + bytes(range(256)) * 64)
    state = given_up(s, box, 3)
    s.same("attempts", ["healthy", "emergency", "emergency", "clean-shutdown"], state["outcomes"])
    s.same("note", "recovery could not be started", state["note"])


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
    s.same("recovery took notice in the file", "ok", steps_of(box, state).get("acknowledge-file"))


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
    scenario.main(once_recovers,
                  more=(no_variables, tries_without_variables, asked_without_variables, once_recovery_dies, once_image_rubbish, memory_full, room_again))

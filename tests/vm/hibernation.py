#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A system that was written to disk (systemctl hibernate) and comes back through initramfs-tools' resume script is the same boot; power cuts before
it is back say nothing; an image that is thrown away is over; recovery that comes in between leaves the disk alone.
Usage: hibernation.py -B BUILD [SCENARIO ...]"""
import hashlib
import os
import re
import subprocess
import sys
import uuid

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True
import firmware  # noqa: E402
import machine  # noqa: E402
import scenario  # noqa: E402

CONFIG = """[policy]
mode = automatic
local_rollback = yes
stability = 1
panic_timeout = 3
cancel = 1
[watchdog]
runtime = 10
[loader]
tries = 3
[watch]
path = /opt
[image]
cmdline = console=ttyS0
"""
SWAP_UUID, SWAP_MIB = str(uuid.uuid4()), 1024
AWAKE = "#!/bin/sh\n[ $1 != post ] || touch /run/awake\n"
FILES = {"/opt/product/file": "content\n", "/usr/lib/systemd/system-sleep/test": (AWAKE, 0o755),
         "/etc/initramfs-tools/conf.d/resume": "RESUME=UUID=%s\n" % SWAP_UUID}
SCRIPT = "echo UUID=%s none swap sw 0 0 >>/etc/fstab" % SWAP_UUID
# What a boot is: its id, its kernel.panic, its boot entries; kept in a file. sleeps: comes back when the machine is awake
# again, and all hooks of systemd-sleep(8) have run.
TOOLS = """note() { { cat /proc/sys/kernel/random/boot_id /proc/sys/kernel/panic; ls /efi/loader/entries; } >/var/lib/director/$1; sync; }
sleeps() {
	note before; rm -f /run/awake
	systemctl hibernate; echo $? >/var/lib/director/result
	until [ -e /run/awake ]; do sleep 0.2; done
	while [ "$(systemctl show -P ActiveState systemd-hibernate.service)" = activating ]; do sleep 0.2; done
	note after; say awake
}
healthy_now() { rm /etc/qmr/conf.d/slow.conf; systemctl restart qmr-healthy.service; healthy; }
"""
SLOW = "/etc/qmr/conf.d/slow.conf", "[policy]\nstability = 600\n"
HIBERNATED, RECOVERED = 128, 8  # flags of an attempt
ENTRY = "Quick machine recovery"
SLOW_BYTES_S = 1500000  # a disk that takes its time to write
HARDWARE = ("-device", "i6300esb,addr=0x12", "-action", "watchdog=reset")


def with_swap(folder, *drive):
    """QEMU's arguments for a swap partition of its own, made anew."""
    os.makedirs(folder, exist_ok=True)
    path = folder + "/swap.img"
    with open(path, "wb") as f:
        f.truncate(SWAP_MIB * machine.MIB)
    machine.run("mkswap", "-q", "-U", SWAP_UUID, path)
    return ("-drive", ",".join(("if=none,id=swap,format=raw,cache=unsafe,file=" + path,) + drive), "-device",
            "virtio-blk-pci,addr=0x13,drive=swap")


def settled(s, play, *hardware, slow=False, drive=()):
    template = s.settled("machine", lambda: CONFIG, lambda: FILES, script=SCRIPT, small=True, hardware=s.shared.get("swap", with_swap))
    box = s.machine = machine.Machine(template, s.work, "machine", TOOLS + play, with_swap(s.work, *drive) + hardware)
    if slow:
        box.disk.put(*SLOW)
    return box


def entries(box):
    done = machine.run("mdir", "-b", "-i", box.disk.esp, "::/loader/entries")
    return [line.rsplit("/", 1)[1] for line in done.split() if line.endswith(".conf")]


def falls_asleep(s, box, *outcomes):
    """On disk, and marked so; returns the state."""
    done = s.boot_to_the_end(box)
    state = box.state()
    s.same("resets", 0, done.resets)
    s.same("attempts while it sleeps", [*outcomes], state["outcomes"])
    s.need("marked as hibernated", state["attempt_flags"][-1] & HIBERNATED, state["attempt_flags"])
    s.true("entries have no counters while it sleeps", entries(box) and all("+" not in e for e in entries(box)), entries(box))
    return state


def woke_up(s, box):
    """The same boot, with what it had."""
    before, after = (box.disk.read("/var/lib/director/" + name) for name in ("before", "after"))
    s.same("the sleep", b"0\n", box.disk.read("/var/lib/director/result"))
    s.true("the same boot, kernel.panic and entries", before and before == after, (before, after))
    s.true("kernel.panic, all tries", re.search(rb"\n3\n[^+\n]+\+3\.conf\n", before or b""), before)
    s.true("entries have all their tries", all(e.endswith("+3.conf") for e in entries(box)), entries(box))


def quiet(s, box, *outcomes):
    state = box.state()
    s.same("attempts", [*outcomes], state["outcomes"])
    s.same("boots", len(outcomes), state["boots"])
    s.same("flags", [0] * len(outcomes), state["attempt_flags"])
    s.quiet(state)
    s.same("incidents", [], box.disk.list("/var/lib/qmr/incidents"))


def sleeps_before_it_is_healthy(s):
    """It is written to disk before it was up for long enough. Twice the power fails when it is switched on, before it is back; then it is back, and
    becomes healthy."""
    box = settled(s, "boot_1() { sleeps; healthy_now; switch_off; }\n", slow=True)
    state = falls_asleep(s, box, "healthy", "open")
    for n in range(2):
        def cut(run, what, text):
            if what == "line" and "init-premount" in text:
                run.stop("cut")
        s.need("the power fails before it is back", box.boot(watch=cut, rest=False).ended == "cut")
        s.same("nothing is counted", (state["boots"], state["sequence"]), (box.state()["boots"], box.state()["sequence"]))
    done = s.boot_to_the_end(box)
    s.same("resets", 0, done.resets)
    woke_up(s, box)
    quiet(s, box, "healthy", "healthy")


def thrown_away(s):
    """Once the owner says noresume, once the image is lost: the system starts afresh, and is healthy. What was on disk was no failure."""
    box = settled(s, """boot_1() { sleeps; }
boot_2() { healthy_now; sleeps; }
boot_3() { healthy; switch_off; }
""", slow=True)
    falls_asleep(s, box, "healthy", "open")
    path = "/loader/entries/" + entries(box)[0]
    text = box.disk.esp_read(path).decode()
    box.disk.esp_put(path, re.sub(r"(?m)^(options .*)$", r"\1 noresume", text))
    falls_asleep(s, box, "healthy", "unknown", "healthy")
    box.disk.esp_put("/loader/entries/" + entries(box)[0], text)
    with_swap(s.work)
    s.same("resets", 0, s.boot_to_the_end(box).resets)
    quiet(s, box, "healthy", "unknown", "healthy", "healthy")
    s.true("entries have all their tries", all(e.endswith("+3.conf") for e in entries(box)), entries(box))


def digests(s, box):
    """Of the disk's root, of its ESP, and of the swap partition."""
    found = {}
    for name, path, begin, mib in (("ESP", box.disk.path, 1, machine.ESP_MIB), ("root", box.disk.path, box.disk.root_mib, machine.ROOT_MIB),
                                   ("swap", s.work + "/swap.img", 0, SWAP_MIB)):
        digest = hashlib.sha256()
        with open(path, "rb") as f:
            f.seek(begin * machine.MIB)
            for _ in range(mib):
                digest.update(f.read(machine.MIB))
        found[name] = digest.hexdigest()
    return found


def fsck(box):
    """What e2fsck has to say, nothing if all is well; the disk stays as it is."""
    root = box.folder + "/root"
    machine.run("dd", "if=" + box.disk.path, "of=" + root, "bs=1M", "skip=%d" % box.disk.root_mib, "count=%d" % machine.ROOT_MIB,
                "conv=sparse")
    done = subprocess.run(["e2fsck", "-fn", root], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    os.unlink(root)
    return done.stdout if done.returncode else b""


def recovery_while_it_sleeps(s):
    """Somebody starts recovery by BootNext, from outside: it looks at the disk and does not change a byte of it. Then the system is back."""
    box = settled(s, "")
    number = [n for n, title in firmware.boot_entries(box.variables()) if title == ENTRY][0]
    box.play(TOOLS + """boot_1() { healthy
printf '\\7\\0\\0\\0\\%03o\\0' >/sys/firmware/efi/efivars/BootNext-8be4df61-93ca-11d2-aa0d-00e098032b8c; sleeps; switch_off; }
""" % number)
    falls_asleep(s, box, "healthy", "healthy")
    before = digests(s, box)
    s.need("recovery ends with a restart", box.boot(until=scenario.STUCK, max_resets=1, rest=False).ended == "resets")
    s.same("the disk", before, digests(s, box))
    state = box.state()
    s.same("reason, runs", ("boot-order", 1), (state["reason"], state["recovery_runs"]))
    s.same("flags", [0, HIBERNATED | RECOVERED], state["attempt_flags"])
    s.same("resets", 0, s.boot_to_the_end(box).resets)
    woke_up(s, box)
    state = box.state()
    s.same("attempts, flags", (["healthy", "healthy"], [0, RECOVERED]), (state["outcomes"], state["attempt_flags"]))
    s.same("stage, final condition", ("final", "normal-boot"), (state["stage"], state["final"]))
    s.true("the note says why", "hibernated" in state["note"], state["note"])
    s.same("incidents", [], box.disk.list("/var/lib/qmr/incidents"))
    s.same("the file system has no errors", b"", fsck(box))


def a_slow_disk_and_a_watchdog(s):
    """Writing the system to disk takes longer than the watchdog's timeout, and no process runs meanwhile."""
    box = settled(s, """armed() { cat /sys/class/watchdog/watchdog0/state /sys/class/watchdog/watchdog0/timeout >>/var/lib/director/watchdog; }
boot_1() { healthy; armed; sleeps; until [ "$(cat /sys/class/watchdog/watchdog0/state)" = active ]; do sleep 0.2; done; armed; switch_off; }
""", *HARDWARE, drive=("throttling.bps-write=%d" % SLOW_BYTES_S,))
    falls_asleep(s, box, "healthy", "healthy")
    took = os.stat(s.work + "/swap.img").st_blocks * 512 / SLOW_BYTES_S
    s.true("writing it took longer than twice the timeout", took > 20, took)
    s.same("resets", 0, s.boot_to_the_end(box).resets)
    woke_up(s, box)
    quiet(s, box, "healthy", "healthy")
    s.same("the watchdog before and after", b"active\n10\n" * 2, box.disk.read("/var/lib/director/watchdog"))


if __name__ == "__main__":
    scenario.main(more=(sleeps_before_it_is_healthy, thrown_away, recovery_while_it_sleeps, a_slow_disk_and_a_watchdog))

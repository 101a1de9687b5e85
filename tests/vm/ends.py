#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""When recovery cannot help, the machine comes to an end that has a name, after a bounded number of resets: nothing may be
reverted; both recovery images are missing, cut short, or panic. Usage: ends.py -B BUILD [SCENARIO ...]"""
import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True
import machine  # noqa: E402
import scenario  # noqa: E402
import vendor  # noqa: E402

CONFIG = """[policy]
mode = automatic
local_rollback = no
menu_timeout = 10
stability = 5
panic_timeout = 3
cancel = 2
[watch]
path = /opt
[image]
cmdline = console=ttyS0
"""
IMAGES = ("/EFI/Linux/qmr-recovery.efi", "/EFI/qmr/qmr-recovery-2.efi")
HALT = r"reboot: System halted"


def broken(s):
    """A copy of the machine whose driver panics from now on."""
    product = s.shared.get("vendor", vendor.Vendor)
    box = machine.Machine(s.settled("machine", lambda: CONFIG, lambda: product.files, small=True), s.work, "machine")
    box.disk.put(product.content_path, product.bad)
    return box, product


def rollback_forbidden(s):
    """No plan, no permission to revert: one last normal boot, which panics and stays there; the reason in the boot state, and
    nothing changed."""
    box, product = broken(s)
    done = s.boot_to_the_end(box, scenario.PANIC_HALT, max_resets=8)
    state = box.state()
    s.same("resets: two panics, the switch, the way back", 4, done.resets)
    s.same("stage, final condition, reason", ("final", "normal-boot", "detector"), (state["stage"], state["final"], state["reason"]))
    s.true("the note says why", "local_rollback" in state["note"], state["note"])
    incident = box.disk.json("/var/lib/qmr/incidents/%s/incident.json" % state["incident"]) or {}
    s.same("culprit", product.module, (incident.get("culprit") or {}).get("module"))
    s.true("the content is untouched", box.disk.read(product.content_path) == product.bad)


def spoiled_image(s, spoil, most_resets):
    """Two panics, an attempt at each of two recovery images that do not work, then the normal boot goes on and says so."""
    box, product = broken(s)
    for image in IMAGES:
        spoil(box, image)
    done = s.boot_to_the_end(box, scenario.PANIC_HALT, max_resets=most_resets + 2)
    state = box.state()
    s.true("resets", done.resets <= most_resets, "%d, should be at most %d" % (done.resets, most_resets))
    s.same("stage", "given-up", state["stage"])
    s.true("the note says it", "recovery" in state["note"], state["note"])
    s.same("recovery runs", 0, state["recovery_runs"])
    # Somebody repairs the content by hand: the machine boots, is healthy, and begins anew.
    box.disk.put(product.content_path, product.good)
    s.boot_to_the_end(box)
    state = box.state()
    s.same("healthy afterwards", "healthy", state["outcomes"][-1])
    s.same("stage afterwards", "none", state["stage"])


def image_missing(s):
    spoiled_image(s, lambda box, image: box.disk.esp_remove(image), 4)


def image_cut_short(s):
    def cut(box, image):
        content = box.disk.esp_read(image)
        box.disk.esp_put(image, content[:len(content) // 3])
    spoiled_image(s, cut, 4)


def damage_initramfs(box, image):
    """Firmware and kernel start, but there is no first process: as with an initramfs that was cut. panic=30 ends it."""
    content = bytearray(box.disk.esp_read(image))
    at = content.rindex(b"\x28\xb5\x2f\xfd")  # where zstd begins: the initramfs
    content[at:at + 4096] = bytes(4096)
    box.disk.esp_put(image, re.sub(rb"panic=30", b"panic=3 ", bytes(content)))  # the test's time


def image_panics(s):
    spoiled_image(s, damage_initramfs, 6)


def boot_loader_missing(s):
    """The firmware cannot start the system at all and comes back to recovery by BootOrder: three runs, then the menu, which halts."""
    product = s.shared.get("vendor", vendor.Vendor)
    box = machine.Machine(s.settled("machine", lambda: CONFIG, lambda: product.files, small=True), s.work, "machine")
    box.disk.esp_remove("/EFI/BOOT/BOOTX64.EFI")
    box.disk.esp_remove("/EFI/systemd/systemd-bootx64.efi")
    done = s.boot_to_the_end(box, HALT, max_resets=5)
    state = box.state()
    s.same("resets", 2, done.resets)
    s.same("stage, final condition, reason", ("final", "menu", "boot-order"), (state["stage"], state["final"], state["reason"]))
    s.same("incidents, runs", (1, 3), (len(box.disk.list("/var/lib/qmr/incidents")), state["recovery_runs"]))
    s.same("the content", product.good, box.disk.read(product.content_path))


if __name__ == "__main__":
    scenario.main(rollback_forbidden, boot_loader_missing, more=(image_missing, image_panics, image_cut_short))

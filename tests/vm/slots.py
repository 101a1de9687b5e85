#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The first recovery image does not start, starts and panics, or stops in the middle: the second one comes, and the machine heals. Where neither
works: ends.py. Usage: slots.py -B BUILD [SCENARIO ...]"""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True
import ends  # noqa: E402
import firmware  # noqa: E402
import machine  # noqa: E402
import scenario  # noqa: E402
import vendor  # noqa: E402

FIRST, SECOND = ends.IMAGES
TITLES = ("Quick machine recovery", "Quick machine recovery, second image")
CLEAN, RECOVER, RECOVERED = "clean-shutdown", 1, 8


def titles(box):
    """Of all boot entries, whether BootOrder has them or not."""
    return [data[6:].decode("utf-16-le", "replace").split("\0")[0] for name, data in box.variables().items()
            if len(name) == 8 and name.startswith("Boot") and name[4:].isalnum() and name[4:].upper() == name[4:]]


def second_takes_over(s, spoil=None, watch=None, first_flags=RECOVER):
    """Returns the resets that the guest asked for."""
    product = s.shared.get("vendor", vendor.Vendor)
    template = s.settled("machine", lambda: ends.CONFIG.replace("local_rollback = no", "local_rollback = yes"), lambda: product.files, small=True)
    box = machine.Machine(template, s.work, "machine")
    content = box.disk.esp_read(FIRST)
    s.need("the second image is a copy of the first", content and content == box.disk.esp_read(SECOND))
    s.same("both have a boot entry", [1, 1], [titles(box).count(t) for t in TITLES])
    s.same("the second one's is not in BootOrder", [1, 0], [[t for _, t in firmware.boot_entries(box.variables())].count(t) for t in TITLES])
    box.disk.put(product.content_path, product.bad)
    if spoil:
        spoil(box, FIRST)
        s.true("the first image is spoiled", content != box.disk.esp_read(FIRST))
    done = s.boot_to_the_end(box, max_resets=8, watch=watch)
    state = box.state()
    s.same("attempts", ["healthy", "panic", "panic", CLEAN, CLEAN, "healthy"], state["outcomes"])
    s.same("each image was asked for once, and the second one ran", [0, 0, 0, first_flags, RECOVER | RECOVERED],
           [f & (RECOVER | RECOVERED) for f in state["attempt_flags"][:5]])
    s.same("stage, reason", ("healed", "detector"), (state["stage"], state["reason"]))
    s.true("the content is what it was", box.disk.read(product.content_path) == product.good)
    runs = box.disk.json("/var/lib/qmr/incidents/%s/timeline.json" % state["incident"])["runs"]
    s.same("one run left its timeline, that of the second image", ["this is the second image"],
           [step["text"] for run in runs for step in run["steps"] if step["step"] == "acknowledge"])
    return done.resets


def first_overwritten(s):
    """The firmware does not start it and goes on to the system, whose boot-guard takes the second one."""
    def overwrite(box, image):
        box.disk.esp_put(image, s.random.randbytes(len(box.disk.esp_read(image))))
    s.same("resets: two panics, two switches, the way back", 5, second_takes_over(s, overwrite))


def first_panics(s):
    s.same("resets: two panics, two switches, the first image's panic, the way back", 6, second_takes_over(s, ends.damage_initramfs))


def first_stops(s):
    """It has taken notice of the switch, and then somebody presses the reset button."""
    def watch(run, what, text):
        if what == "line" and "mount-root-ro: ok" in text and not run.host_resets:
            run.reset()
    s.same("resets: two panics, two switches, the way back", 5, second_takes_over(s, watch=watch, first_flags=RECOVER | RECOVERED))


if __name__ == "__main__":
    scenario.main(first_overwritten, more=(first_panics, first_stops))

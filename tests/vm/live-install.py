#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""`qmrctl install` on a running machine, with its real variables and its mounted ESP; then `qmrctl uninstall`. Usage: -B BUILD"""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True
import firmware  # noqa: E402
import machine  # noqa: E402
import scenario  # noqa: E402

CONFIG = "[policy]\nmode = automatic\nstability = 5\n[image]\ncmdline = console=ttyS0\n"
ENTRY = "Quick machine recovery"
IMAGE = "/EFI/Linux/qmr-recovery.efi"
DO = "boot_1() { qmrctl %s >/dev/console 2>&1; echo $? >/var/lib/director/exit; restart; }\nboot_2() { %s; switch_off; }\n"


def install_and_uninstall(s):
    box = machine.Machine(s.system(CONFIG, install=False), s.work, "machine", DO % ("install", "healthy"))
    s.same("no image before", None, box.disk.esp_read(IMAGE))
    s.boot_to_the_end(box)
    s.same("exit status of install", b"0\n", box.disk.read("/var/lib/director/exit"))
    found = box.variables()
    titles = [title for _, title in firmware.boot_entries(found)]
    s.need("the entry is in BootOrder, once", titles.count(ENTRY) == 1, titles)
    s.true("directly after the one that boots the system", titles.index(ENTRY) > 0 and "Misc" in titles[titles.index(ENTRY) - 1], titles)
    s.true("the image is on the ESP", len(box.disk.esp_read(IMAGE) or b"") > 8 << 20)
    s.same("the boot after it", "healthy", box.state()["outcomes"][-1])
    box.play(DO % ("uninstall", "true"))
    s.boot_to_the_end(box)
    found = box.variables()
    s.same("exit status of uninstall", b"0\n", box.disk.read("/var/lib/director/exit"))
    s.true("the entry is gone", ENTRY not in [title for _, title in firmware.boot_entries(found)])
    s.true("the boot state is gone", "QmrState" not in found)
    s.same("the image is gone", None, box.disk.esp_read(IMAGE))


if __name__ == "__main__":
    scenario.main(install_and_uninstall)

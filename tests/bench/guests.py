# SPDX-License-Identifier: LGPL-2.1-or-later
"""The guests whose boots are counted: with qmr, without it, and with `qmr=off`. They come to boot-complete.target in the same way."""
import os
import re

import counted
import floor
import machine
from figures import say
from machine import run

# The mode that does most: with a watchdog. The window is no part of a boot and only takes time.
CONFIG = "[policy]\nmode = automatic\nstability = 1\n[image]\ncmdline = console=ttyS0\n"
COMPLETE = "complete"
MARK_UNIT = """[Unit]
DefaultDependencies=no
Requires=boot-complete.target
After=boot-complete.target
[Service]
Type=oneshot
ExecStart=%s %s
[Install]
WantedBy=multi-user.target
""" % (counted.MARK, COMPLETE)
# Stock systemd pulls boot-complete.target in by nothing, and reaches it behind sysinit.target. Here all come to it behind
# multi-user.target, as with qmr, and what the director does comes behind it.
FILES = {
    "/etc/systemd/system/bench-mark.service": MARK_UNIT,
    "/etc/systemd/system/boot-complete.target.d/bench.conf": "[Unit]\nAfter=multi-user.target\n",
    "/etc/systemd/system/director.service.d/bench.conf": "[Unit]\nAfter=bench-mark.service\n",
}
ENABLE = "systemctl -q enable bench-mark.service"
BROUGHT = "/usr/lib/bench"
TITLES = {"with": "with qmr", "without": "without qmr", "off": "with qmr, qmr=off"}


def brought(program):
    """How a program from bring() is started."""
    return "%s/ld.so --library-path %s %s/%s" % (BROUGHT, BROUGHT, BROUGHT, program)


def bring(folder, *programs):
    """Programs of this host's Debian, with their libraries and dynamic loader in one folder where they disturb nobody. Returns files for a
    guest."""
    os.makedirs(folder)
    for program in programs:
        floor.add_program(folder, program)
    files = {}
    for path, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(path, name), "rb") as f:
                files["%s/%s" % (BROUGHT, "ld.so" if name.startswith("ld-linux") else name)] = (f.read(), 0o755)
    return files


class Guests:
    """Each is made when it is first asked for. small: see machine.System."""

    def __init__(self, work, build, small):
        self.work, self.build, self.small, self.made = work, build, small, {}
        self.tools = counted.Tools(work)
        self.files = {**FILES, **bring(work + "/brought", "strace", "efibootmgr"), counted.MARK: self.tools.mark_file()}

    def get(self, name):
        """A machine that was started once and switched off since."""
        if name not in self.made:
            say("  making a Debian 12%s, %s" % (", small" if self.small else "", TITLES[name]))
            self.made[name] = self.off() if name == "off" else self.settle(name, CONFIG if name == "with" else None)
        return self.made[name]

    def settle(self, name, config):
        system = machine.System(self.work, self.build, config, self.files, ENABLE, name=name, small=self.small)
        box = machine.Machine(system, self.work, "box-" + name, "boot_1() { %sswitch_off; }\n" % ("healthy; " if config else ""))
        os.unlink(system.disk)
        done, state = box.boot(), box.state()
        if done.ended != "shutdown" or (config and (state or {}).get("outcomes") != ["healthy"]):
            raise RuntimeError("the first boot did not end: %s, %s; its console: %s/console.log" % (done.ended, state, box.folder))
        return box

    def off(self):
        box = machine.Machine(self.get("with"), self.work, "box-off")
        entry = find(box.disk, "/loader/entries", r"\.conf$")
        box.disk.esp_put(entry, re.sub(r"(?m)^(options .*)$", r"\1 qmr=off", box.disk.esp_read(entry).decode()))
        return box


def find(disk, folder, pattern):
    names = [n for n in run("mdir", "-b", "-i", disk.esp, "::" + folder).split() if re.search(pattern, n)]
    if len(names) != 1:
        raise RuntimeError("the ESP's '%s' has %d files of '%s', not one" % (folder, len(names), pattern))
    return names[0][2:]

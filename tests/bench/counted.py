# SPDX-License-Identifier: LGPL-2.1-or-later
"""Boots whose cost is counted, not timed: QEMU runs the guest by the number of its instructions, and a plugin of QEMU's counts them. What
else the host does then hardly shows. Marks in the guest (mark.c) say how many instructions it took from power-on to there."""
import collections
import os
import re
import shutil
import struct

import machine
from machine import run

HERE = os.path.dirname(os.path.abspath(__file__))
# The guest's clock goes on by so many ns for each instruction (1 << SHIFT), and while it waits, by the host's.
SHIFT = 1
LIMIT_S = 1200
MARK = "/usr/local/sbin/bench-mark"
TSC_HZ = 1e9  # QEMU's with -icount: the guest's clock since power-on
Mark = collections.namedtuple("Mark", "instructions clock_s uptime_s")
# Phases of a boot and the console's line at which each ends. That is known a moment late, and so serves for a breakdown alone.
PHASES = (("firmware", r"BdsDxe: starting Boot"), ("loader", r"EFI stub: Loaded initrd"), ("kernel", r"^Loading, please wait"),
          ("initramfs", r"^Welcome to "))


class Tools:
    """The two programs of the measurement."""

    def __init__(self, work):
        self.counter, self.mark = work + "/counter.so", work + "/bench-mark"
        run("gcc", "-O2", "-shared", "-fPIC", "-o", self.counter, HERE + "/counter.c")
        run("gcc", "-O2", "-static", "-o", self.mark, HERE + "/mark.c")

    def mark_file(self):
        with open(self.mark, "rb") as f:
            return f.read(), 0o755


class Counted(machine.Machine):
    """A machine as it stands, again and again: each boot begins with the same disk and variables, and leaves the disk as it was."""

    def __init__(self, source, tools, name):
        self.nonce, self.source, self.tools = source.nonce, source, tools
        self.folder = source.folder + "-" + name
        os.makedirs(self.folder)
        self.vars, self.disk, self.counts = self.folder + "/vars.fd", source.disk, self.folder + "/counts"

    def command(self, network, log):
        command = super().command(network, log)
        drive = next(i for i, word in enumerate(command) if word.startswith("if=none,id=disk"))
        command[drive] += ",snapshot=on"
        # As any processor has since 2012: without it, who asks for random numbers first (a check, or the first service) waits a second.
        return command + ["-cpu", "qemu64,+rdrand", "-icount", "shift=%d" % SHIFT, "-plugin", "%s,out=%s" % (self.tools.counter, self.counts)]

    def marks(self, last=None):
        """Boots to that mark, or to the end. Returns all marks by their names, the instructions to the end of each phase, and the run."""
        for path in (self.folder + "/console.log", self.counts):
            if os.path.exists(path):
                os.unlink(path)
        shutil.copy(self.source.vars, self.vars)
        phases = {}

        def watch(run_, what, text):
            if what != "line":
                return
            for name, pattern in PHASES:
                if re.search(pattern, text):
                    phases[name] = self.read_counts()[0]
            run_.cpu_at_line = run_.cpu_seconds()
        done = self.boot(until=last and r"^bench-mark %s " % re.escape(last), watch=watch, limit_s=LIMIT_S, rest=False)
        with open(self.folder + "/console.log", errors="replace") as f:
            lines = re.findall(r"(?m)^bench-mark (\S+) ([0-9.]+) (\d+)$", f.read())
        counts = self.read_counts()
        if done.ended != ("line" if last else "shutdown") or counts[1] < len(lines):
            raise RuntimeError("the boot ended with '%s' (%s), %d marks of %d lines; its console: %s/console.log" %
                               (done.ended, done.last, counts[1], len(lines), self.folder))
        return {name: Mark(count, int(tsc) / TSC_HZ, float(uptime)) for (name, uptime, tsc), count in zip(lines, counts[2:])}, phases, done

    def read_counts(self):
        """The count so far, the number of marks, and the count at each."""
        with open(self.counts, "rb") as f:
            return struct.unpack("<512Q", f.read())

#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The power fails while recovery repairs a whole machine: five disks as such cuts would leave them are booted, and each machine gets
healthy by itself. Usage: powercut-boot.py -B BUILD [--seed N]"""
import os
import shutil
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True
import blocklog  # noqa: E402
import demo  # noqa: E402
import machine  # noqa: E402
import scenario  # noqa: E402
import vendor  # noqa: E402


class Cut:
    """A machine whose recovery was recorded: its disk before, all writes, and the firmware's variables when repairing began."""

    def __init__(self, s, folder):
        self.vendor = vendor.Vendor(folder)
        self.template = s.settled("machine", lambda: demo.CONFIG, lambda: self.vendor.files, small=True)
        self.template.disk.put(self.vendor.content_path, self.vendor.bad)
        self.log, self.vars, self.window = folder + "/log", folder + "/vars.fd", []
        open(self.log, "wb").close()
        box = machine.Machine(self.template, folder, "recorded")
        self.before = folder + "/before.img"
        machine.run("cp", "--sparse=always", "--reflink=auto", box.disk.path, self.before)

        def watch(run, what, text):
            if what == "line" and "Repairing ..." in text:
                shutil.copy(box.vars, self.vars)
                self.window.append(os.path.getsize(self.log))
            if what == "line" and "] apply: " in text:
                self.window.append(os.path.getsize(self.log))
        self.run = box.boot(watch=watch, max_resets=4, log=self.log)
        self.epochs = blocklog.epochs(self.log)
        self.inside = [n for n, (end, _) in enumerate(self.epochs) if self.window and self.window[0] <= end <= self.window[-1]]

    def disk(self, path, epoch, rng):
        """The disk when the power failed in the given epoch: all before it, and some of its writes."""
        machine.run("cp", "--sparse=always", "--reflink=auto", self.before, path)
        with open(path, "r+b") as f:
            for n, (_, writes) in enumerate(self.epochs[:epoch + 1]):
                for offset, data in writes:
                    if n < epoch or rng.random() < 0.5:
                        f.seek(offset)
                        f.write(data)


def cut(number):
    def boots(s):
        recorded = s.shared.get("cut", lambda folder: Cut(s, folder))
        s.need("the recording", len(recorded.window) == 2 and len(recorded.inside) >= 5, (recorded.run.ended, recorded.window, recorded.inside))
        share = len(recorded.inside) / 5
        epoch = recorded.inside[s.random.randrange(int(number * share), max(int((number + 1) * share), int(number * share) + 1))]
        print("# %s: seed %d, epoch %d of %d" % (s.name, s.seed, epoch - recorded.inside[0], len(recorded.inside)), flush=True)
        box = machine.Machine(recorded.template, s.work, "machine")
        recorded.disk(box.disk.path, epoch, s.random)
        shutil.copy(recorded.vars, box.vars)
        s.same("recovery had not ended", "recovering", box.state()["stage"])
        s.boot_to_the_end(box, max_resets=8)
        state = box.state()
        s.same("stage", "healed", state["stage"])
        s.same("the last boot", "healthy", state["outcomes"][-1])
        s.true("the content file is what it was when the machine was healthy",
               box.disk.read(recorded.vendor.content_path) == recorded.vendor.good)
        s.same("its folder", ["C-00000001-base.bin", recorded.vendor.content_name], box.disk.list(recorded.vendor.folder))
        root = s.work + "/root.img"
        machine.run("dd", "if=" + box.disk.path, "of=" + root, "bs=1M", "skip=%d" % (machine.ESP_MIB + 1), "count=%d" % machine.ROOT_MIB,
                    "conv=sparse")
        machine.run("e2fsck", "-fn", root)
    boots.__name__ = "cut_%d" % (number + 1)
    return boots


if __name__ == "__main__":
    scenario.main(cut(2), more=(cut(0), cut(1), cut(3), cut(4)))

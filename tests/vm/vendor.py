# SPDX-License-Identifier: LGPL-2.1-or-later
"""The fault: a vendor's kernel module built from source, and the content files it reads. Every name is made up anew."""
import os
import random
import re
import struct

import machine

SYLLABLES = ("ka", "vor", "ten", "zu", "mi", "lax", "do", "ris", "pel", "gan", "qui", "sho")
MAGIC, INPUTS = 0x4C4E4843, 20
GUEST_OPT = "/opt/%s/channels"


def word():
    return "".join(random.SystemRandom().sample(SYLLABLES, 3))


class Vendor:
    """files is what an installation of the vendor's product puts on a disk."""

    def __init__(self, work):
        rng = random.SystemRandom()
        self.name, self.module = word(), word() + "_" + word()
        self.function = word() + "_match_rule"
        self.folder = GUEST_OPT % self.name
        self.content_name = "C-%08d-%s.bin" % (rng.randrange(10**8), word())
        self.content_path = self.folder + "/" + self.content_name
        self.good, self.other, self.bad = channel(40), channel(25), channel(40, malformed=True)
        prefix = self.function[:-len("_match_rule")]
        kernel, built = build(work, self.module, "driver.c", '-DPREFIX=%s -DCHANNELS=\'"%s"\'' % (prefix, self.folder))
        self.files = {
            "/lib/modules/%s/updates/%s.ko" % (kernel, self.module): built,
            "/etc/modules-load.d/%s.conf" % self.name: self.module + "\n",
            self.folder + "/C-00000001-base.bin": self.other,
            self.content_path: self.good,
            "/var/cache/%s/%s" % (self.name, self.content_name): self.bad,
        }
        # What the vendor's updater does with what it downloaded: not more careful than the driver.
        self.update = "cp /var/cache/%s/%s %s; sync" % (self.name, self.content_name, self.content_path)


def build(work, module, source, flags=""):
    """A module from vendor-module/source, against the headers of the guest's kernel, which lie outside /usr/src here.
    Returns the kernel's release and the module."""
    folder, headers = os.path.join(work, "module-" + module), os.path.join(machine.base(), "headers")
    kernel = [n for n in os.listdir(headers + "/usr/src") if re.match(r"linux-headers-\d.*-amd64$", n)][0]
    tree = os.path.join(folder, "headers")
    os.makedirs(folder)
    machine.run("cp", "-a", headers, tree)
    makefile = "%s/usr/src/%s/Makefile" % (tree, kernel)
    with open(makefile) as f:
        text = f.read()
    machine.write(makefile, text.replace("/usr/src/", tree + "/usr/src/"))
    machine.run("cp", os.path.join(machine.HERE, "vendor-module", source), "%s/%s.c" % (folder, module))
    machine.write(folder + "/Kbuild", "obj-m := %s.o\nccflags-y := %s\n" % (module, flags))
    machine.run("make", "-s", "-C", "%s/usr/src/%s" % (tree, kernel), "M=" + folder, "modules")
    with open("%s/%s.ko" % (folder, module), "rb") as f:
        return kernel[len("linux-headers-"):], f.read()


def channel(rules, malformed=False):
    """A content file: rules name one of the driver's inputs. In a malformed one a number is far beyond the last input."""
    rng = random.SystemRandom()
    pairs = [(rng.randrange(INPUTS), rng.randrange(1 << 32)) for _ in range(rules)]
    if malformed:
        pairs[rng.randrange(rules)] = (rng.randrange(3 << 30, 1 << 32), 0)
    return struct.pack("<II", MAGIC, rules) + b"".join(struct.pack("<II", *pair) for pair in pairs)

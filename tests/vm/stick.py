# SPDX-License-Identifier: LGPL-2.1-or-later
"""USB sticks: images with a FAT file system, ways to spoil them, and the arguments that put them into a machine."""
import json
import os
import socket
import struct

from machine import MIB, run

STICK_MIB = 64
PART = MIB  # where the partition begins


def make(path, folder, source, whole=False):
    """An image whose file system holds a copy of source as folder. whole: without a partition table."""
    at = path if whole else path + "@@1M"
    with open(path, "wb") as f:
        f.truncate(STICK_MIB * MIB)
    if whole:
        run("mkfs.vfat", "--mbr=n", path)  # mformat would put a table of partitions into the boot sector
    else:
        run("sfdisk", "-q", path, input="label: dos\nstart=1MiB, type=c\n")
        run("mformat", "-i", at, "-T", (STICK_MIB - 1) * MIB // 512, "-h", "64", "-s", "32", "::")
    run("mmd", "-i", at, "::/" + folder)
    run("mcopy", "-s", "-i", at, *[os.path.join(source, n) for n in ("metadata", "targets")], "::/%s/" % folder)
    return path


def fats(image):
    """Of the partition's FAT16: (offset, size) of each allocation table."""
    with open(image, "rb") as f:
        f.seek(PART)
        boot = f.read(512)
    reserved, n, sectors = struct.unpack_from("<HB", boot, 14) + struct.unpack_from("<H", boot, 22)
    if boot[54:59] != b"FAT16":
        raise RuntimeError("%s holds %r" % (image, boot[54:62]))
    return [(PART + 512 * (reserved + i * sectors), 512 * sectors) for i in range(n)]


def loop(image):
    """Each cluster is followed by itself: no file and no folder comes to an end."""
    with open(image, "r+b") as f:
        for at, size in fats(image):
            f.seek(at + 4)  # the first two entries are no clusters
            f.write(struct.pack("<%dH" % (size // 2 - 2), *range(2, size // 2)))
    return image


def scramble(image, random):
    """Whatever follows the boot sector is noise."""
    with open(image, "r+b") as f:
        f.seek(fats(image)[0][0])
        f.write(random.randbytes(4 * MIB))
    return image


def cut_short(image):
    """It is smaller than its partition table and its boot sector say."""
    os.truncate(image, fats(image)[-1][0] + 512)
    return image


def drive(n, image, more=""):
    return "-drive", "if=none,id=stick%d,format=raw,file=%s%s" % (n, image, more)


def controller(*sticks):
    """For Machine.hardware: a USB 3 controller, and its sticks."""
    return ("-device", "qemu-xhci,id=usb,addr=0x12", *[argument for stick in sticks for argument in stick])


def plugged(n, image, more=""):
    """A stick in a port of the controller, its device's id port N."""
    return *drive(n, image, more), "-device", "usb-storage,bus=usb.0,id=port%d,drive=stick%d,removable=on" % (n, n)


def attached(n, image):
    """The same by USB Attached SCSI, as newer ones do."""
    return *drive(n, image), "-device", "usb-uas,bus=usb.0,id=uas%d" % n, "-device", "scsi-hd,bus=uas%d.0,drive=stick%d" % (n, n)


class Hand:
    """Plugs and pulls while a machine runs, through a QMP socket of its own; its arguments belong to Machine.hardware."""

    def __init__(self, folder):
        self.path, self.qmp = folder + "/hand", None
        self.arguments = "-qmp", "unix:%s,server=on,wait=off" % self.path

    def ask(self, command, **arguments):
        if not self.qmp:
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(30)
            connection.connect(self.path)
            self.qmp = connection.makefile("rw")
            self.ask("qmp_capabilities")
        json.dump({"execute": command, "arguments": arguments}, self.qmp)
        self.qmp.write("\n")
        self.qmp.flush()
        while True:
            answer = json.loads(self.qmp.readline())
            if "error" in answer:
                raise RuntimeError("%s: %s" % (command, answer["error"]))
            if "return" in answer:
                return answer["return"]

    def plug(self, n):
        self.ask("device_add", driver="usb-storage", bus="usb.0", id="port%d" % n, drive="stick%d" % n, removable=True)

    def pull(self, n):
        self.ask("device_del", id="port%d" % n)

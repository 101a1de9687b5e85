# SPDX-License-Identifier: LGPL-2.1-or-later
"""What QEMU's blklogwrites recorded: a super block, then entries with their data (the format of Linux' dm-log-writes)."""
import struct

SECTOR = 512
PIECE = 4096  # what a disk is taken to write as one
FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8


def epochs(path):
    """Writes between two flushes, as a list of (position in the log where the epoch ends, [(offset on the disk, data), …])."""
    found, writes = [], []
    with open(path, "rb") as log:
        magic, version, entries, sector = struct.unpack("<QQQI", log.read(28))
        if magic != 0x6A736677736872 or version != 1 or sector != SECTOR:
            raise ValueError("'%s' is not a log" % path)
        position = SECTOR
        for _ in range(entries):
            log.seek(position)
            start, count, flags, _ = struct.unpack("<QQQQ", log.read(32))
            if flags & FLUSH and writes:
                found.append((position, writes))
                writes = []
            position += SECTOR
            if count and not flags & (DISCARD | MARK):
                log.seek(position)
                data = log.read(count * SECTOR)
                position += count * SECTOR
                writes += [(start * SECTOR + at, data[at:at + PIECE]) for at in range(0, len(data), PIECE)]
            if flags & FUA:
                found.append((position, writes))
                writes = []
    return found + [(position, writes)]


def node(disk, log):
    """QEMU's arguments for a back end named "logged" whose writes and flushes go to the log."""
    return ["-blockdev", "driver=blklogwrites,node-name=logged,log-sector-size=512,file.driver=file,file.filename=%s,"
            "log.driver=file,log.filename=%s" % (disk, log)]

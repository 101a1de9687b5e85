# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reads OVMF's variable store and the boot state in it, by the documents alone."""
import collections
import struct
import uuid
import zlib

OUTCOMES = ("open", "healthy", "clean-shutdown", "panic", "hang", "emergency", "unknown")
STAGES = ("none", "switching", "recovering", "probation", "given-up", "final", "healed")
REASONS = ("none", "detector", "requested", "menu", "boot-order", "loader")
PHASES = ("initramfs", "userspace", "waiting-for-user", "healthy", "shutdown")
EVIDENCE = ("none", "crash-record", "watchdog", "initramfs-shell", "emergency-target", "required-check", "deadline")
FINALS = ("none", "normal-boot", "halt", "menu")
GLOBAL = uuid.UUID("8be4df61-93ca-11d2-aa0d-00e098032b8c")


def variables(path):
    """The valid variables of an OVMF store: 60-byte authenticated headers (EDK II, VariableFormat.h)."""
    with open(path, "rb") as f:
        data = f.read()
    found, at = {}, 0
    while (at := data.find(b"\xaa\x55", at)) >= 0:
        if at + 60 <= len(data) and data[at + 2] == 0x3F:
            name_size, data_size = struct.unpack_from("<II", data, at + 36)
            name = data[at + 60:at + 60 + name_size].decode("utf-16-le", "replace").rstrip("\0")
            found[name] = data[at + 60 + name_size:at + 60 + name_size + data_size]
        at += 2
    return found


def walk(data):
    """All that was written to the variables, oldest first: (name, where it ends)."""
    # Headers of the volume and of the store, then the variables, at multiples of 4 (EDK II, PiFirmwareVolume.h and VariableFormat.h).
    at = struct.unpack_from("<H", data, 48)[0] + 28
    while data[at:at + 2] == b"\xaa\x55":
        name_size, data_size = struct.unpack_from("<II", data, at + 36)
        name = data[at + 60:at + 60 + name_size].decode("utf-16-le", "replace").rstrip("\0")
        at = (at + 60 + name_size + data_size + 3) & ~3
        yield name, at


def all_writes(path):
    """How often each variable was written since the store was tidied last: a value is put behind all others, and marks the one before."""
    with open(path, "rb") as f:
        data = f.read()
    return collections.Counter(name for name, _ in walk(data))


def writes(path, wanted):
    return all_writes(path)[wanted]


def boot_entries(found):
    """The firmware's boot entries in BootOrder: (number, title)."""
    order = found.get("BootOrder", b"")
    entries = []
    for (number,) in struct.iter_unpack("<H", order):
        data = found.get("Boot%04X" % number)
        entries.append((number, data[6:].decode("utf-16-le", "replace").split("\0")[0] if data else None))
    return entries


def text(raw):
    return raw.split(b"\0")[0].decode("utf-8", "replace")


def read_state(raw):
    """docs/boot-state.md, by hand. Attempts are oldest first."""
    crc = zlib.crc32(raw[:8] + bytes(4) + raw[12:])
    attempts = [struct.unpack_from("<QIBBBBII", raw, 72 + 24 * i) for i in range(raw[66])]
    attempts.reverse()
    return {
        "valid": raw[:4] == b"QMRS" and len(raw) == 992 and crc == struct.unpack_from("<I", raw, 8)[0],
        "flags": struct.unpack_from("<I", raw, 12)[0],
        "sequence": struct.unpack_from("<Q", raw, 16)[0],
        "root": str(uuid.UUID(bytes=raw[24:40])),
        "incident": str(uuid.UUID(bytes=raw[40:56])) if any(raw[40:56]) else None,
        "boots": struct.unpack_from("<I", raw, 56)[0],
        "stage": STAGES[raw[60]], "reason": REASONS[raw[61]], "switches": raw[62], "recovery_runs": raw[63],
        "final": FINALS[raw[64]], "rungs": raw[65], "failed_boots": raw[67],
        "machine": struct.unpack_from("<I", raw, 68)[0],
        "outcomes": [OUTCOMES[a[2]] for a in attempts],
        "attempt_flags": [a[4] for a in attempts],
        "phases": [PHASES[a[3]] for a in attempts],
        "evidence": [EVIDENCE[a[5]] for a in attempts],
        "blocked_modules": [text(raw[520 + 56 * i:576 + 56 * i]) for i in range(4) if raw[520 + 56 * i]],
        "remediation": text(raw[744:808]), "kernel": text(raw[808:872]), "note": text(raw[872:960]),
        "floor": struct.unpack_from("<4I", raw, 976),  # root, timestamp, snapshot, targets
    }


def set_boot_next(path, number):
    """What a management controller does to a machine that is off: the firmware starts that boot entry, once."""
    name, data = "BootNext\0".encode("utf-16-le"), struct.pack("<H", number)
    header = struct.pack("<HBBI28xII", 0x55AA, 0x3F, 0, 7, len(name), len(data)) + GLOBAL.bytes_le
    with open(path, "r+b") as f:
        store = f.read()
        *_, (_, at) = walk(store)
        if store[at:at + 256].strip(b"\xff"):
            raise RuntimeError("%s: the variables are followed by something else at %d" % (path, at))
        f.seek(at)
        f.write(header + name + data)

#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Recovery that systemd-boot starts once, where there are no EFI variables: boot-guard over a folder in the place of the EFI system partition.
Each system call on it fails once, or is the last. The kernel's command line and boot parameters are files in a mount namespace; it runs as
nobody, so that no restart comes of it. Usage: tests/cli/boot-guard-once.py -B BUILD"""
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import zlib

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import faults  # noqa: E402

DROP = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
SWITCHING, GIVEN_UP = 1, 4
ENTRIES = "esp/loader/entries"
UNUSED, USED, SYSTEM = "qmr-recovery-once+1.conf", "qmr-recovery-once+0-1.conf", "system+4-1.conf"
NEVER = {"close", "mmap", "getdents64", "newfstatat", "fstat", "faccessat", "faccessat2", "lseek", "fcntl"}
ERRORS = {"write": "ENOSPC", "renameat2": "ENOSPC"}
AROUND = 'mount --bind "$1/cmdline" /proc/cmdline; mount --bind "$1/kernel" /sys/kernel; shift; exec "$@"'


def image(*sections):
    """A PE that has these sections, (name, content)."""
    head = b"MZ".ljust(60, b"\0") + struct.pack("<I", 64) + b"PE\0\0" + struct.pack("<HH12xHH", 0x8664, len(sections), 0, 0)
    for i, (name, _) in enumerate(sections):
        head += name.encode().ljust(8, b"\0") + struct.pack("<IIII16x", 512, 0, 512, 512 + 512 * i)
    return head.ljust(512, b"\0") + b"".join(content.ljust(512, b"\0") for _, content in sections)


def write(root, path, content):
    os.makedirs(os.path.dirname(os.path.join(root, path)), exist_ok=True)
    with open(os.path.join(root, path), "wb") as file:
        file.write(content if isinstance(content, bytes) else content.encode())


class Guard:
    def __init__(self, build):
        self.work = tempfile.mkdtemp(prefix="qmr-guard-once-")
        self.program = os.path.join(self.work, "boot-guard")
        shutil.copy(os.path.join(build, "boot-guard"), self.program)
        os.chmod(self.work, 0o755)

    def prefix(self, root):
        return ["unshare", "-m", "sh", "-c", AROUND, "-", root] + DROP + ["env", f"EFIVARFS_PATH={root}/efi/"]

    def arguments(self, root, command):
        return [self.program, "--config", root + "/etc/qmr.conf", "--run", root + "/run", "--esp", root + "/esp", command]

    def run(self, root, command):
        return subprocess.run(self.prefix(root) + self.arguments(root, command), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                              text=True, timeout=20, check=False)

    def start(self, root):
        """As far as the end of the initramfs, where there are disks."""
        shutil.rmtree(root + "/run", ignore_errors=True)
        os.mkdir(root + "/run", 0o777)
        os.chmod(root + "/run", 0o777)
        return self.run(root, "start")

    def boot(self, root):
        self.start(root)
        return self.run(root, "root")

    def machine(self, name, secure_boot=2, loader_conf="timeout 3\n"):
        """It was started by systemd-boot, one boot without a trace is enough, and there was one."""
        root = os.path.join(self.work, name)
        write(root, "etc/qmr.conf", "[policy]\nmode = collect\nunknowns = 1\n")
        write(root, "etc/machine.conf", "[machine]\ntries = 5\nsystemd_boot = yes\n")
        write(root, "cmdline", "initrd=\\abc\\initrd.img root=UUID=1c0de9e4-0000-4000-8000-000000000001 ro\n")
        write(root, "kernel/boot_params/data", bytes(0x1ec) + bytes([secure_boot]) + bytes(3603))
        write(root, "esp/EFI/BOOT/BOOTX64.EFI", image((".sdmagic", b"#### LoaderInfo: systemd-boot 252 ####")))
        write(root, "esp/EFI/Linux/qmr-recovery.efi", image((".linux", b"l"), (".initrd", b"i")))
        write(root, "esp/loader/loader.conf", loader_conf)
        write(root, "esp/abc/linux", "l")
        write(root, ENTRIES + "/" + SYSTEM, "title S\nsort-key debian\nlinux /abc/linux\ninitrd /abc/initrd.img\n")
        subprocess.run(["chmod", "-R", "a+rwX", root], check=True)
        self.boot(root)
        return root


def load(root):
    """The boot state in the file, None where there is none."""
    best = None
    for name in "ab":
        try:
            with open(f"{root}/esp/EFI/qmr/state-{name}", "rb") as file:
                raw = file.read()
        except FileNotFoundError:
            continue
        if len(raw) == 992 and zlib.crc32(raw[:8] + bytes(4) + raw[12:]) == struct.unpack_from("<I", raw, 8)[0]:
            best = raw if best is None or struct.unpack_from("<Q", raw, 16) > struct.unpack_from("<Q", best, 16) else best
    return best


def stage(root):
    state = load(root)
    return (state[60], state[62]) if state else None


def note(root):
    return load(root)[872:].split(b"\0")[0].decode()


def ours(root):
    return sorted(set(os.listdir(os.path.join(root, ENTRIES))) - {SYSTEM})


def systemd_boot(root):
    """Takes the try off the entry, and starts what dies at once."""
    os.rename(os.path.join(root, ENTRIES, UNUSED), os.path.join(root, ENTRIES, USED))


class Results:
    def __init__(self):
        self.good = True

    def same(self, name, found, want):
        self.good &= found == want
        print(f"ok {name}" if found == want else f"not ok {name}: is {found!r}, should be {want!r}")


def lives(guard, results):
    root = guard.machine("lives")
    results.same("a boot is counted", (stage(root), ours(root)), ((0, 0), []))
    done = guard.boot(root)
    results.same("recovery is asked for, and the machine would restart", (stage(root), ours(root), "rebooting into the recovery" in done.stderr),
                 ((SWITCHING, 1), [UNUSED], True))
    systemd_boot(root)
    guard.boot(root)
    results.same("it died: once more", (stage(root), ours(root)), ((SWITCHING, 2), [UNUSED]))
    systemd_boot(root)
    guard.boot(root)
    results.same("and no more", (stage(root), ours(root)), ((GIVEN_UP, 2), []))
    root = guard.machine("ignored")
    for _ in range(2):
        guard.boot(root)
    results.same("systemd-boot starts something else: once more", (stage(root), ours(root)), ((SWITCHING, 2), [UNUSED]))
    guard.boot(root)
    results.same("and no more, and nothing is left for later", (stage(root), ours(root)), ((GIVEN_UP, 2), []))


def refuses(guard, results):
    for name, root in (
            ("Secure Boot is on", guard.machine("secure", secure_boot=3)),
            ("the kernel does not say", guard.machine("unknown", secure_boot=0)),
            ("a default", guard.machine("default", loader_conf="default system*\n")),
            ("the last one chosen is the default", guard.machine("saved", loader_conf="default @saved\n"))):
        write(root, f"{ENTRIES}/{USED}", "title left behind\n")
        os.chmod(f"{root}/{ENTRIES}/{USED}", 0o666)
        guard.boot(root)
        results.same(f"{name}: not so, and what was left behind goes", (stage(root)[0], note(root), ours(root)),
                     (GIVEN_UP, "recovery could not be started", []))


def check_with(guard):
    def check(root, status, output, fault):
        if status != 0:
            return f"exit status {status}: {output}"
        is_cut = "signal=KILL" in fault
        if UNUSED in ours(root) and stage(root) not in ((SWITCHING, 1),):
            return f"the entry is there, and the state says {stage(root)}"
        if not is_cut and ours(root) not in ([], [UNUSED]):
            return f"left behind: {ours(root)}; {output}"
        for _ in range(3):
            guard.boot(root)
            if ours(root) != ([UNUSED] if stage(root)[0] == SWITCHING else []):
                return f"the next boots: {stage(root)}, {ours(root)}"
        return None if stage(root)[0] == GIVEN_UP else f"it never ends: {stage(root)}"
    return check


def cuts(guard):
    """The boot that asks for recovery, with an entry left behind by the one before."""
    root = guard.machine("cuts")
    write(root, f"{ENTRIES}/{USED}", "title left behind\n")
    os.chmod(f"{root}/{ENTRIES}/{USED}", 0o666)
    guard.start(root)
    case = faults.Faults(root, guard.arguments("{root}", "root"), check_with(guard), prefix=guard.prefix("{root}"), limit_s=20)
    os.chmod(case.work, 0o755)
    kills, errors = [], []
    for path in ("", "/" + UNUSED, "/.qmr-once.new", "/../../EFI/qmr/state-a", "/../../EFI/qmr/state-b"):
        path = os.path.normpath("{root}/" + ENTRIES + path)
        for call, n in case.calls_on(path).items():
            for i in range(1, n + 1) if call not in NEVER else ():
                kills.append(f"-f -P {path} {call}:signal=KILL:when={i}")
                errors.append(f"-f -P {path} {call}:error={ERRORS.get(call, 'EIO')}:when={i}")
    good = case.report("the power fails at any of its calls", kills, 15)
    good &= case.report("any of its calls fails", errors, 15)
    case.done()
    return good


def main():
    if os.geteuid() or subprocess.run(["unshare", "-m", "true"], check=False).returncode:
        print("ok recovery that is started once # skipped: needs root and a mount namespace")
        return 0
    guard, results = Guard(os.path.realpath(sys.argv[2])), Results()
    lives(guard, results)
    refuses(guard, results)
    results.good &= cuts(guard)
    shutil.rmtree(guard.work)
    return 0 if results.good else 1


if __name__ == "__main__":
    sys.exit(main())

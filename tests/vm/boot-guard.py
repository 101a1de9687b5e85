#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""boot-guard on a real machine: QEMU, OVMF, systemd-boot, Debian 12. Usage: tests/vm/boot-guard.py -B BUILD

The guest boots four times by itself: healthy and rebooted, a panic, a panic, healthy and switched off. What happened is
read from the firmware's variable store afterwards, by a reader that shares no code with the product.
"""
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import uuid
import zlib

CACHE = os.path.join(os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache")), "qmr-tests")
PACKAGES = ("systemd,systemd-sysv,udev,kmod,dbus,linux-image-amd64,initramfs-tools,zstd,e2fsprogs,libefivar1,libefiboot1,"
            "libinih1,libjansson4,systemd-boot,util-linux")
ROOT_UUID = "5c8b2b4e-0d3c-4d8f-9d55-2f8a4c1b7e01"
MIB = 1 << 20
TIME_LIMIT_S = 1800  # software emulation on a busy machine

SCRIPT = """#!/bin/sh
n=$(cat /var/boots 2>/dev/null || echo 0); n=$((n + 1)); echo $n >/var/boots; sync
echo "test: boot $n" >/dev/console
case $n in
2|3) echo c >/proc/sysrq-trigger ;;
esac
until [ "$(systemctl show -P ExecMainExitTimestampMonotonic qmr-healthy.service)" != 0 ]; do sleep 1; done
journalctl -b -t boot-guard -u qmr-healthy.service -u qmr-shutdown.service >/dev/console 2>&1
echo "test: healthy $n" >/dev/console
[ $n = 1 ] && exec systemctl reboot
exec systemctl poweroff
"""
UNIT = """[Unit]
After=multi-user.target
[Service]
ExecStart=/usr/local/bin/qmr-test
StandardOutput=journal+console
[Install]
WantedBy=multi-user.target
"""


def run(*command, **more):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **more)


def base_tree():
    """Debian's packages as an archive, made once."""
    archive = os.path.join(CACHE, "boot-guard-%08x.tar" % zlib.crc32(PACKAGES.encode()))
    if not os.path.exists(archive):
        os.makedirs(CACHE, exist_ok=True)
        print("making a Debian 12 base, once:", archive, flush=True)
        run("mmdebstrap", "--quiet", "--format=tar", "--variant=minbase", "--include=" + PACKAGES,
            "--aptopt=Apt::Install-Recommends \"false\"", "bookworm", archive + ".new")
        os.rename(archive + ".new", archive)
    return archive


def write(path, text, mode=0o644):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        f.write(text)
    os.chmod(path, mode)


def install(tree, build, config):
    """qmr as `make install` lays it out, the test's own unit, and an initramfs made by Debian's tools."""
    run("make", "-s", "B=" + build, "install", "DESTDIR=" + tree)
    write(tree + "/etc/qmr/qmr.conf", config)
    write(tree + "/usr/local/bin/qmr-test", SCRIPT, 0o755)
    write(tree + "/etc/systemd/system/qmr-test.service", UNIT)
    write(tree + "/etc/fstab", "UUID=%s / ext4 rw 0 1\n" % ROOT_UUID)
    write(tree + "/etc/initramfs-tools/conf.d/test.conf", "MODULES=list\nCOMPRESS=zstd\n")
    write(tree + "/etc/initramfs-tools/modules", "virtio_pci\nvirtio_blk\next4\n")
    for unit in ("qmr-test.service", "qmr-healthy.timer", "qmr-shutdown.service"):
        run("chroot", tree, "systemctl", "enable", "-q", unit)
    run("chroot", tree, "update-initramfs", "-u", "-k", "all", stderr=subprocess.DEVNULL)


def make_disk(tree, work):
    kernel = [n[len("vmlinuz-"):] for n in os.listdir(tree + "/boot") if n.startswith("vmlinuz-")][0]
    esp, root, disk = work + "/esp", work + "/root.img", work + "/disk.img"
    entry = ("title Debian\nsort-key debian\nlinux /vmlinuz\ninitrd /initrd\n"
             "options root=UUID=%s ro console=ttyS0 loglevel=5\n" % ROOT_UUID)
    write(esp + "/loader/entries/debian.conf", entry)
    write(esp + "/loader/loader.conf", "timeout 0\n")
    os.makedirs(esp + "/EFI/BOOT")
    shutil.copy(tree + "/usr/lib/systemd/boot/efi/systemd-bootx64.efi", esp + "/EFI/BOOT/BOOTX64.EFI")
    shutil.copy(tree + "/boot/vmlinuz-" + kernel, esp + "/vmlinuz")
    shutil.copy(tree + "/boot/initrd.img-" + kernel, esp + "/initrd")
    with open(disk, "wb") as f:
        f.truncate(2048 * MIB)
    run("sfdisk", "-q", disk, input=b"label: gpt\nstart=1MiB, size=127MiB, type=U\nstart=128MiB, size=1900MiB, type=L\n")
    run("mformat", "-i", disk + "@@1M", "-T", str(127 * MIB // 512), "-h", "64", "-s", "32", "-F", "::")
    run("mcopy", "-s", "-i", disk + "@@1M", *[os.path.join(esp, n) for n in os.listdir(esp)], "::/")
    run("mke2fs", "-q", "-F", "-t", "ext4", "-U", ROOT_UUID, "-d", tree, root, "1900M")
    run("dd", "if=" + root, "of=" + disk, "bs=1M", "seek=128", "conv=notrunc,sparse", stderr=subprocess.DEVNULL)
    os.unlink(root)
    return disk


def boot(disk, work):
    """Runs the machine until it switches itself off. Returns the serial console's text."""
    serial = work + "/serial.log"
    command = ["qemu-system-x86_64", "-machine", "q35", "-m", "768", "-display", "none", "-nic", "none",
               "-drive", "if=pflash,format=raw,unit=0,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd",
               "-drive", "if=pflash,format=raw,unit=1,file=" + work + "/vars.fd",
               "-drive", "if=virtio,format=raw,file=" + disk, "-serial", "file:" + serial, "-monitor", "none"]
    machine = subprocess.Popen(command)
    try:
        machine.wait(TIME_LIMIT_S)
    except subprocess.TimeoutExpired:
        machine.kill()
        machine.wait()
        print("the machine did not switch off within %d s" % TIME_LIMIT_S)
    with open(serial, errors="replace") as f:
        return f.read()


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


def read_state(raw):
    """docs/boot-state.md, by hand."""
    crc = zlib.crc32(raw[:8] + bytes(4) + raw[12:])
    attempts = [struct.unpack_from("<QIBBHII", raw, 72 + 24 * i) for i in range(raw[66])]
    return {"valid": raw[:4] == b"QMRS" and len(raw) == 960 and crc == struct.unpack_from("<I", raw, 8)[0],
            "flags": struct.unpack_from("<I", raw, 12)[0], "sequence": struct.unpack_from("<Q", raw, 16)[0],
            "root": str(uuid.UUID(bytes=raw[24:40])), "boots": struct.unpack_from("<I", raw, 56)[0], "stage": raw[60],
            "outcomes": [a[2] for a in reversed(attempts)], "attempt_flags": [a[4] for a in reversed(attempts)],
            "note": raw[872:960].rstrip(b"\0").decode()}


def check(name, good, why):
    print("ok " + name if good else "not ok %s: %s" % (name, why), flush=True)
    return good


def machine_test(name, tree, build, config, want):
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as work:
        install(tree, build, config)
        disk = make_disk(tree, work)
        shutil.copy("/usr/share/OVMF/OVMF_VARS_4M.fd", work + "/vars.fd")
        console = boot(disk, work)
        raw = variables(work + "/vars.fd").get("QmrState")
        if raw is None:
            print(console[-6000:])
            return check(name, False, "no boot state in the variable store")
        state = read_state(raw)
        good = all([check("%s: %s" % (name, key), state[key] == value, "is %r, should be %r" % (state[key], value))
                    for key, value in want.items()])
        if not good:
            print(state, console[-6000:], sep="\n")
        return good


HEALTHY, PANIC, OBSERVED = 1, 3, 2
TESTS = {
    # Two panics in a row are seen, counted, and with the default mode nothing is done but to say so.
    "observe": ("[policy]\nstability = 20\n", {"valid": True, "root": ROOT_UUID, "boots": 4, "outcomes": [HEALTHY, PANIC, PANIC, HEALTHY],
                     "attempt_flags": [0, 0, 0, OBSERVED], "flags": 1, "stage": 0, "sequence": 6}),
    # No recovery image is registered: the normal boot goes on, once, and no reset is added.
    "automatic-without-image": ("[policy]\nmode = automatic\nstability = 20\n",
                                {"valid": True, "boots": 4, "outcomes": [HEALTHY, PANIC, PANIC, HEALTHY], "stage": 0,
                                 "note": "recovery could not be started"}),
}


def main():
    build = os.path.abspath(sys.argv[2])
    os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
    run("tests/deps.sh", "vm")
    good = True
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as work:
        tree = work + "/tree"
        os.mkdir(tree)
        run("tar", "-C", tree, "-xf", base_tree(), "--exclude=./dev/*")
        for name, (config, want) in TESTS.items():
            good = machine_test(name, tree, build, config, want) and good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

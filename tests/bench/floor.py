# SPDX-License-Identifier: LGPL-2.1-or-later
"""The floor that recovery is compared with: the least an image can do that loads drivers, gets an address, sends a bundle and fetches a
repository's files. Recovery's own kernel and modules, and its systemd stub, with busybox as init.

busybox's wget can neither PUT nor check a certificate, so one curl makes all requests, over one connection.
"""
import os
import re
import shutil
import subprocess

from machine import run, write

import images

CMDLINE = "quiet loglevel=4 panic=30 console=ttyS0"
STUB = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub"
DRIVERS = ("virtio_pci", "virtio_net", "af_packet")
INIT = """#!/busybox sh
/busybox mount -t proc proc /proc
mark() {{ read uptime rest </proc/uptime; echo "floor: $1 $uptime"; }}
mark start
/busybox mount -t sysfs sys /sys
/busybox mount -t devtmpfs dev /dev
exec </dev/console >/dev/console 2>&1
for module in {modules}; do /busybox insmod /modules/$module.ko; done
mark drivers
/busybox ip link set eth0 up
/busybox udhcpc -i eth0 -f -q -n -t 20 -T 1 -s /lease
mark address
/curl --config /requests || echo "floor: curl failed: $?"
mark transfers
/busybox sync
/busybox poweroff -f
"""
LEASE = """#!/busybox sh
[ "$1" = bound ] || exit 0
/busybox ip address add $ip/$mask dev $interface
for address in $dns; do echo "nameserver $address"; done >/etc/resolv.conf
"""


def section(image, name, out):
    run("objcopy", "-O", "binary", "--only-section=" + name, image, out)


def module_order(files):
    """The drivers with what they depend on first, by the modules' own word."""
    by_name = {os.path.basename(p)[:-3].replace("-", "_"): p for p in files if p.endswith(".ko")}
    order = []

    def visit(name):
        if name in order or name not in by_name:  # built in
            return
        depends = re.search(rb"\0depends=([^\0]*)\0", files[by_name[name]])
        for other in depends.group(1).decode().split(",") if depends else ():
            visit(other.replace("-", "_"))
        order.append(name)

    for driver in DRIVERS:
        visit(driver)
    return {name: files[by_name[name]] for name in order}


def curl_config(host, requests):
    """requests: (method, path) in order. The bundle goes and the files come as they did in recovery."""
    parts = []
    for method, path in requests:
        # Without "Expect:" it would ask first, as recovery does not.
        what = 'upload-file = "/bundle"\nheader = "Expect:"\n' if method == "PUT" else 'output = "/received"\n'
        parts.append('url = "https://%s%s"\n%scacert = "/ca.pem"\nsilent\nshow-error\n' % (host, path, what))
    return "next\n".join(parts)


def add_program(tree, name):
    """Debian's program with its libraries, found by its dynamic loader."""
    program = os.path.join(tree, name)
    shutil.copy(shutil.which(name), program)
    for path in re.findall(r"(/\S+) \(0x", run("ldd", program)):
        os.makedirs(tree + os.path.dirname(path), exist_ok=True)
        shutil.copy(path, tree + path)


def make(recovery_image, folder, host, requests, bundle, ca):
    """Makes folder/floor.efi. Returns its path and what is in it, in bytes."""
    tree = folder + "/floor"
    os.makedirs(folder)
    section(recovery_image, ".linux", folder + "/linux")
    section(recovery_image, ".initrd", folder + "/recovery.img")
    modules = module_order(images.files_of(images.unpack(folder + "/recovery.img")[1]))
    for name in ("proc", "sys", "dev", "etc", "modules"):
        os.makedirs("%s/%s" % (tree, name))
    for name, content in modules.items():
        write("%s/modules/%s.ko" % (tree, name), content)
    shutil.copy(shutil.which("busybox"), tree + "/busybox")
    add_program(tree, "curl")
    write(tree + "/init", INIT.format(modules=" ".join(modules)), 0o755)
    write(tree + "/lease", LEASE, 0o755)
    write(tree + "/requests", curl_config(host, requests))
    shutil.copy(bundle, tree + "/bundle")
    shutil.copy(ca, tree + "/ca.pem")
    with open(folder + "/floor.img", "wb") as out:
        archive = subprocess.run("find . -mindepth 1 | cpio -o -H newc --quiet", shell=True, cwd=tree, stdout=subprocess.PIPE, check=True)
        subprocess.run(("zstd", "-qc", images.LEVEL), input=archive.stdout, stdout=out, check=True)
    write(folder + "/cmdline", CMDLINE)
    link(folder)
    return folder + "/floor.efi", {name: os.path.getsize("%s/%s" % (folder, name)) for name in ("floor.efi", "linux", "floor.img")}


def link(folder):
    """The stub with command line, kernel and initramfs behind its own sections."""
    end = 0
    for line in run("objdump", "-h", STUB).splitlines():
        fields = line.split()
        if len(fields) > 3 and fields[0].isdigit():
            end = max(end, int(fields[2], 16) + int(fields[3], 16))
    command = ["objcopy"]
    for section_name, name in ((".cmdline", "cmdline"), (".linux", "linux"), (".initrd", "floor.img")):
        at = (end + 0xffff) & ~0xffff
        end = at + os.path.getsize("%s/%s" % (folder, name))
        command += ["--add-section", "%s=%s/%s" % (section_name, folder, name), "--change-section-vma", "%s=%#x" % (section_name, at)]
    run(*command, STUB, folder + "/floor.efi")

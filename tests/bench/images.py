# SPDX-License-Identifier: LGPL-2.1-or-later
"""Size and build time of the recovery image beside those of two initramfs generators: same Debian tree, same kernel, same run."""
import collections
import os
import shutil
import subprocess
import zlib

import machine
from figures import load, ratio, say, show, spread, timed
from machine import run

PACKAGES = ("linux-image-amd64", "systemd-sysv", "udev", "systemd-boot-efi", "e2fsprogs", "dosfstools", "dhcpcd-base", "kmod", "libkmod2",
            "libcurl4", "libefivar1", "libefiboot1", "libblkid1", "libinih1", "libjansson4", "libssl3", "libzstd1", "zlib1g",
            "libseccomp2", "ca-certificates", "dracut-core", "dracut-network", "initramfs-tools", "curl", "zstd", "busybox", "procps")
# The programs alone: `make install` would add boot-guard to what mkinitramfs makes.
PROGRAMS = ("recovery-init", "recovery-state", "dhcp-hook", "crash-collect", "diag-upload", "remediation-fetch",
            "remediation-apply", "mkrecovery")
GENERATORS = {
    "mkrecovery": ("/usr/lib/qmr/mkrecovery", "--root", "/", "--kernel", "{kernel}", "--output", "/bench/recovery.efi", "--initrd",
                   "/bench/mkrecovery.img"),
    "dracut": ("dracut", "--quiet", "--no-hostonly", "--add", "network-legacy network url-lib", "--force", "/bench/dracut.img",
               "{kernel}"),
    "mkinitramfs": ("mkinitramfs", "-o", "/bench/mkinitramfs.img", "{kernel}"),
}
TITLES = {"mkrecovery": "mkrecovery, bare initramfs", "dracut": "dracut --no-hostonly, network, curl",
          "mkinitramfs": "mkinitramfs, MODULES=most"}
# Beginning of a compressed archive, name, and what unpacks it.
COMPRESSORS = ((b"\x28\xb5\x2f\xfd", "zstd", ("zstd", "-dcq")), (b"\x1f\x8b", "gzip", ("gzip", "-dc")),
               (b"\xfd7zXZ", "xz", ("xz", "-dc")), (b"0707", "none", ("cat",)))
LEVEL = "-9"  # mkrecovery's own; the others' contents are compressed with it once more
# What is aimed for, against dracut: title, ratio, at most.
GOALS = (("dracut's size, as its package makes it", "size", 0.5), ("dracut's size, both as zstd " + LEVEL, "size_same_compressor", 0.5),
         ("dracut's time", "time", 0.1), ("dracut's processor time", "cpu_time", 0.1))
IN_TREE = ('mount --bind /dev "$1/dev"; mount -t proc proc "$1/proc"; mount -t sysfs sys "$1/sys"; '
           'mount -t tmpfs tmp "$1/tmp"; tree=$1; shift; exec chroot "$tree" "$@"')
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}


def make_tree(build):
    """Debian with both generators, made once and kept; this build's programs."""
    tree = os.path.join(machine.CACHE, "bench-%08x" % zlib.crc32(repr(PACKAGES).encode()))
    if not os.path.exists(tree + "/.complete"):
        say("making a Debian 12 with dracut and initramfs-tools by mmdebstrap, once (some minutes, 900 MB): " + tree)
        os.makedirs(machine.CACHE, exist_ok=True)
        run("rm", "-rf", "--one-file-system", tree)
        run("mmdebstrap", "--quiet", "--variant=minbase", '--aptopt=Apt::Install-Recommends "false"',
            "--include=" + ",".join(PACKAGES), "bookworm", tree)
        machine.write(tree + "/.complete", "")
    shutil.rmtree(tree + "/bench", ignore_errors=True)
    for folder in ("/bench", "/usr/lib/qmr", "/etc/qmr"):
        os.makedirs(tree + folder, exist_ok=True)
    for program in PROGRAMS:
        run("install", "-m", "0755", os.path.join(build, program), tree + "/usr/lib/qmr/" + program)
    return tree


def unpack(path):
    """Name of the compressor of an initramfs, and the archive (newc)."""
    with open(path, "rb", buffering=0) as f:  # what reads on is another process
        begin = f.read(6)
        for magic, name, command in COMPRESSORS:
            if begin.startswith(magic):
                f.seek(0)
                return name, subprocess.run(command, stdin=f, stdout=subprocess.PIPE, check=True).stdout
    raise RuntimeError("'%s': no known compression" % path)


def compressed_bytes(data):
    return len(subprocess.run(("zstd", "-qc", LEVEL), input=data, stdout=subprocess.PIPE, check=True).stdout)


def files_of(archive):
    """Files of a newc archive: name -> content. Links to directories and devices have none."""
    files, at = {}, 0
    while archive[at:at + 4] == b"0707":
        mode, size, name_size = (int(archive[at + i:at + i + 8], 16) for i in (14, 54, 94))
        name = archive[at + 110:at + 110 + name_size - 1].decode("utf-8", "replace")
        if name == "TRAILER!!!":
            break
        body = (at + 110 + name_size + 3) & ~3
        if mode & 0o170000 == 0o100000:
            files[name.lstrip("/")] = archive[body:body + size]
        at = (body + size + 3) & ~3
    return files


def is_module(name):
    return name.endswith((".ko", ".ko.xz", ".ko.zst", ".ko.gz"))


def section_bytes(path, name):
    """Size of a section of an EFI program."""
    for line in run("objdump", "-h", path).splitlines():
        fields = line.split()
        if len(fields) > 2 and fields[1] == name:
            return int(fields[2], 16)
    raise RuntimeError("'%s' has no section '%s'" % (path, name))


def category(name):
    if "/modules/" in name:
        return "modules" if is_module(name) else "module indexes"
    for part, title in (("/firmware/", "firmware"), ("lib/qmr/", "programs of qmr"), ("bin/", "other programs"), (".so", "libraries")):
        if part in name:
            return title
    return "the rest"


def breakdown(image, initramfs):
    """What the recovery image's bytes are for. Each kind of file is compressed alone, so the kinds add up only roughly."""
    kinds = collections.defaultdict(list)
    for name, content in files_of(unpack(initramfs)[1]).items():
        kinds[category(name)].append(content)
    kernel = section_bytes(image, ".linux")
    return {"image_bytes": os.path.getsize(image), "kernel_bytes": kernel, "initramfs_bytes": os.path.getsize(initramfs),
            "stub_and_rest_bytes": os.path.getsize(image) - kernel - os.path.getsize(initramfs),
            "initramfs": {kind: {"files": len(contents), "bytes": sum(map(len, contents)),
                                 "compressed_alone_bytes": compressed_bytes(b"".join(contents))}
                          for kind, contents in sorted(kinds.items())}}


def measure(build, rounds):
    tree = make_tree(build)
    kernel = machine.kernel_of(tree + "/usr")
    run("sh", "-c", 'find "$1" "$2" -type f -exec cat {} + >/dev/null', "sh", "%s/usr/lib/modules/%s" % (tree, kernel),
        tree + "/usr/lib/x86_64-linux-gnu")  # caches are warm for whoever comes first
    result = {"kernel": kernel, "load_before": load(), "generators": {}}
    times = {name: [] for name in GENERATORS}
    for number in range(rounds):
        for name, command in GENERATORS.items():
            say("  round %d of %d: %s" % (number + 1, rounds, name))
            argv = ("unshare", "-m", "--propagation", "private", "sh", "-ec", IN_TREE, "sh", tree,
                    *(c.format(kernel=kernel) for c in command))
            times[name].append(timed(argv, env=ENVIRONMENT))
    for name in GENERATORS:
        path = "%s/bench/%s.img" % (tree, name)
        compressor, archive = unpack(path)
        result["generators"][name] = {
            "bytes": os.path.getsize(path), "compressor": compressor, "same_compressor_bytes": compressed_bytes(archive),
            "modules": sum(map(is_module, files_of(archive))), "seconds": spread([t[0] for t in times[name]]),
            "cpu_seconds": spread([t[1] for t in times[name]])}
    result["recovery_image"] = breakdown(tree + "/bench/recovery.efi", tree + "/bench/mkrecovery.img")
    result["load_after"] = load()
    compare(result)
    shutil.rmtree(tree + "/bench")
    return result


def compare(result):
    ours = result["generators"]["mkrecovery"]
    result["ratios"] = {}
    for name in ("dracut", "mkinitramfs"):
        other = result["generators"][name]
        result["ratios"][name] = {
            "size": round(ours["bytes"] / other["bytes"], 4),
            "size_same_compressor": round(ours["same_compressor_bytes"] / other["same_compressor_bytes"], 4),
            "time": ratio(ours["seconds"], other["seconds"]), "cpu_time": ratio(ours["cpu_seconds"], other["cpu_seconds"])}
    ratios = result["ratios"]["dracut"]
    result["goals"] = [{"goal": title, "ratio": ratios[key], "at_most": limit, "reached": ratios[key] <= limit}
                       for title, key, limit in GOALS]


def report(result):
    say("\nImage size and build time (kernel %s; load of the host %.1f before, %.1f after)" %
        (result["kernel"], result["load_before"], result["load_after"]))
    for name, g in result["generators"].items():
        say("  %-36s %6.1f MB (%s; %.1f MB as zstd %s), %4d modules, %s, processor %s" %
            (TITLES[name], g["bytes"] / 1e6, g["compressor"], g["same_compressor_bytes"] / 1e6, LEVEL, g["modules"],
             show(g["seconds"]), show(g["cpu_seconds"])))
    for name, r in result["ratios"].items():
        say("  mkrecovery against %s: size x %.2f (same compressor x %.2f), time x %.3f, processor time x %.3f" %
            (name, r["size"], r["size_same_compressor"], r["time"], r["cpu_time"]))
    for g in result["goals"]:
        say("  goal: %s at most x %.1f: %s (x %.3f)" % (g["goal"], g["at_most"], "reached" if g["reached"] else "not reached", g["ratio"]))
    image = result["recovery_image"]
    say("\nThe recovery image: %.1f MB = kernel %.1f + initramfs %.1f + stub and the rest %.2f" % tuple(
        image[k] / 1e6 for k in ("image_bytes", "kernel_bytes", "initramfs_bytes", "stub_and_rest_bytes")))
    for kind, k in sorted(image["initramfs"].items(), key=lambda item: -item[1]["compressed_alone_bytes"]):
        say("  %-18s %5d files, %6.2f MB, compressed alone %6.2f MB" %
            (kind, k["files"], k["bytes"] / 1e6, k["compressed_alone_bytes"] / 1e6))

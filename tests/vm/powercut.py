#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""remediation-apply under a real kernel on a disk whose power fails at any write. Usage: tests/vm/powercut.py -B BUILD [SEED]

A small guest applies a plan to an ext4 disk with a volatile write cache, and takes a restore point; QEMU's blklogwrites records what
reaches the disk. The disk is then rebuilt as it was at every flush, and as it might have been between two: with seeded subsets of the writes
that no flush had made durable. Each is mounted here (its journal is replayed), resumed, and must be old or new.
"""
import concurrent.futures
import glob
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True
import blocklog  # noqa: E402
import faults  # noqa: E402

CACHE = os.path.join(os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache")), "qmr-tests")
DISK_BYTES = 24 << 20
GUEST_LIMIT_S = 400    # software emulation on a busy machine
SUBSETS_LIMIT_S = 100  # subsets are tried until then; flush boundaries all are
SUBSETS_PER_EPOCH = 12
# What a take leaves that was cut: a folder that the next one clears, and one file at most of each, which the next to write it replaces.
OF_A_TAKE = r"/restore-points/|/changes(-state)?\.json\.qmr-new$"
MODULES = ("crc32c_generic", "virtio_pci", "virtio_blk", "ext4")

INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /mnt
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
for m in {modules}; do /bin/busybox insmod /modules/$m; done
/bin/busybox mount -t ext4 /dev/vda /mnt
/bin/remediation-apply apply --root /mnt --plan /plan.json; echo "test: apply $?"
/bin/restore-point take --root /mnt --config /qmr.conf; echo "test: take $?"
/bin/busybox poweroff -n -f
"""


def run(*command, **more):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, **more).stdout


def kernel():
    """A folder with Debian's kernel and its modules, from the package itself, made once."""
    depends = run("apt-cache", "depends", "linux-image-amd64", text=True)
    package = re.search(r"Depends: (linux-image-\S+)", depends)[1]
    folder = os.path.join(CACHE, "powercut-" + package)
    if not os.path.exists(folder):
        os.makedirs(CACHE, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as work:
            print("fetching Debian's kernel, once:", package, flush=True)
            run("apt-get", "-q", "download", package, cwd=work, stderr=subprocess.DEVNULL)
            run("dpkg-deb", "-x", glob.glob(work + "/*.deb")[0], work + "/tree")
            run("depmod", "-b", work + "/tree", package.split("-", 2)[2])
            os.rename(work + "/tree", folder)
    return folder, package.split("-", 2)[2]


def module_files(tree, release):
    """Paths of the modules and what they need, in the order to load them."""
    base = os.path.join(tree, "lib/modules", release)
    needs, names, order = {}, {}, []
    with open(base + "/modules.dep") as lines:
        for line in lines:
            path, _, rest = line.partition(":")
            needs[path] = rest.split()
            names[os.path.basename(path).split(".")[0].replace("-", "_")] = path
    for name in MODULES:
        for path in reversed([names[name]] + needs[names[name]]):
            if path not in order:
                order.append(path)
    return [os.path.join(base, path) for path in order]


def add(archive, name, data, mode):
    """Appends an entry of the newc format."""
    fields = (add.inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
    add.inode += 1
    head = b"070701" + b"".join(b"%08X" % f for f in fields) + name.encode() + b"\0"
    archive += head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)


add.inode = 1


def initramfs(build, plan, config, tree, release):
    archive, folders = bytearray(), set()
    files = {"bin/busybox": shutil.which("busybox")}
    for program in ("remediation-apply", "restore-point"):
        files["bin/" + program] = os.path.join(build, program)
        for path in re.findall(r"(/\S+) \(0x", run("ldd", os.path.join(build, program), text=True)):
            files[path.lstrip("/")] = path
    modules = module_files(tree, release)
    for path in modules:
        files["modules/" + os.path.basename(path)] = path
    content = {name: (open(path, "rb").read(), 0o100755) for name, path in files.items()}
    content["init"] = (INIT.format(modules=" ".join(map(os.path.basename, modules))).encode(), 0o100755)
    content["plan.json"] = (plan.encode(), 0o100644)
    content["qmr.conf"] = (config.encode(), 0o100644)
    for name in list(content) + ["dev/x"]:
        for n in range(1, name.count("/") + 1):
            folder = "/".join(name.split("/")[:n])
            if folder not in folders:
                folders.add(folder)
                add(archive, folder, b"", 0o040755)
    for name, (data, mode) in content.items():
        add(archive, name, data, mode)
    add(archive, "TRAILER!!!", b"", 0)
    return bytes(archive)


def make_tree(build, root, config):
    os.makedirs(root + "/opt/v/ch")
    rng = random.Random(1)
    for name, size in (("c.bin", 150000), ("gone.bin", 3000), ("big.bin", 400000)):
        with open(f"{root}/opt/v/ch/{name}", "wb") as file:
            file.write(rng.randbytes(size))
    os.symlink("c.bin", root + "/opt/v/ch/current")
    run(build + "/restore-point", "take", "--root", root, "--config", config)
    with open(root + "/opt/v/ch/c.bin", "wb") as file:
        file.write(rng.randbytes(160000))
    with open(root + "/opt/v/ch/new.bin", "wb") as file:
        file.write(rng.randbytes(70000))
    os.unlink(root + "/opt/v/ch/gone.bin")
    os.unlink(root + "/opt/v/ch/current")


def plan_text(nonce):
    return """{"schema": 1, "id": "powercut-%s", "title": "test", "match": {"all": [{"incident-kind": "panic"}]}, "actions": [
{"type": "remove-file", "path": "/opt/v/ch/new.bin"}, {"type": "restore-file", "path": "/opt/v/ch/c.bin"},
{"type": "restore-file", "path": "/opt/v/ch/gone.bin"}, {"type": "restore-file", "path": "/opt/v/ch/current"},
{"type": "block-module", "module": "bad_driver"}]}""" % nonce


def boot(work, tree, release):
    for name in ("disk", "log"):
        open(f"{work}/{name}", "ab").close()
    command = ["qemu-system-x86_64", "-machine", "q35", "-m", "512", "-nographic", "-nic", "none", "-no-reboot",
               "-kernel", f"{tree}/boot/vmlinuz-{release}", "-initrd", f"{work}/initramfs",
               "-append", "console=ttyS0 panic=-1 quiet", *blocklog.node(work + "/disk", work + "/log"),
               "-device", "virtio-blk-pci,drive=logged,write-cache=on"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=GUEST_LIMIT_S)
    return done.stdout.decode(errors="replace")


def cases(epochs, disk, seed):
    """All flush boundaries, in order, then subsets, in a seeded order: (name, content)."""
    rng, bases = random.Random(seed), []
    for n, epoch in enumerate(epochs):
        bases.append(bytes(disk))
        yield f"flush {n}", bases[-1]
        for offset, data in epoch:
            disk[offset:offset + len(data)] = data
    yield f"flush {len(epochs)} (end)", bytes(disk)
    choices = [(n, k) for n, epoch in enumerate(epochs) if len(epoch) > 1 for k in range(SUBSETS_PER_EPOCH)]
    rng.shuffle(choices)
    limit = time.monotonic() + SUBSETS_LIMIT_S
    for n, k in choices:
        if time.monotonic() > limit:
            return
        image = bytearray(bases[n])
        for offset, data in epochs[n]:
            if rng.random() < (0.5, 0.2, 0.8)[k % 3]:
                image[offset:offset + len(data)] = data
        yield f"between flush {n} and {n + 1}, subset {k}", bytes(image)


class Judge:
    def __init__(self, build, work, old, new, nonce):
        self.build, self.work, self.old, self.new, self.nonce = build, work, old, new, nonce
        self.seen = {"old": 0, "new": 0}

    def inside(self, mount, name):
        done = subprocess.run([self.build + "/remediation-apply", "resume", "--root", mount], stderr=subprocess.PIPE,
                              text=True)
        if done.returncode:
            return "resume fails: " + done.stderr
        now = faults.state(mount)
        if now != self.old and now != self.new:
            return "neither old nor new: " + str(sorted(set(now.items()) ^ set(self.old.items()))[:2])
        if name == "flush 0" and now != self.old:
            return "the disk was not old to begin with"
        if name.endswith("(end)") and (now != self.new or not self.is_committed(mount)):
            return "apply returned, but it is not on the disk"
        left = [p for p in faults.left_over(mount) if not re.search(OF_A_TAKE, p)]
        if left:
            return "left over: " + str(left)
        done = subprocess.run([self.build + "/restore-point", "verify", "--root", mount], stdout=subprocess.PIPE, text=True)
        if done.returncode:
            return "a restore point is damaged: " + done.stdout
        if not os.path.exists(mount + "/var/lib/qmr/restore-points/1/manifest.json"):
            return "the first restore point is gone"
        self.seen["old" if now == self.old else "new"] += 1
        return None

    def is_committed(self, mount):
        with open(mount + "/var/lib/qmr/transactions/1/journal.json") as file:
            text = file.read()
        return '"committed"' in text and self.nonce in text

    def judge(self, case):
        name, content = case
        with tempfile.TemporaryDirectory(dir=self.work) as folder:
            image, mount = folder + "/image", folder + "/mount"
            os.mkdir(mount)
            with open(image, "wb") as file:
                file.write(content)
            if subprocess.run(["mount", "-o", "loop", "-t", "ext4", image, mount], stderr=subprocess.DEVNULL).returncode:
                return name, "it does not mount"
            try:
                wrong = self.inside(mount, name)
            finally:
                run("umount", mount)
            check = subprocess.run(["e2fsck", "-fn", image], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            if not wrong and check.returncode:
                wrong = "e2fsck finds: " + check.stdout.replace("\n", " ")
        return name, wrong


def in_flight(pool, judge, cases_):
    """At most a few disks in memory at a time."""
    waiting = set()
    for case in cases_:
        waiting.add(pool.submit(judge.judge, case))
        if len(waiting) >= 2 * faults.WORKERS:
            done, waiting = concurrent.futures.wait(waiting, return_when=concurrent.futures.FIRST_COMPLETED)
            yield from (f.result() for f in done)
    yield from (f.result() for f in concurrent.futures.as_completed(waiting))


def test(build, work, seed):
    nonce = os.urandom(4).hex()
    config = "[watch]\npath = /opt\n"
    with open(work + "/qmr.conf", "w") as file:
        file.write(config)
    with open(work + "/plan.json", "w") as file:
        file.write(plan_text(nonce))
    make_tree(build, work + "/root", work + "/qmr.conf")
    run("cp", "-a", work + "/root", work + "/applied")
    run(build + "/remediation-apply", "apply", "--root", work + "/applied", "--plan", work + "/plan.json",
        stderr=subprocess.DEVNULL)
    old, new = faults.state(work + "/root"), faults.state(work + "/applied")
    run("mke2fs", "-q", "-t", "ext4", "-b", "4096", "-J", "size=4", "-E", "lazy_itable_init=0", "-d", work + "/root", work + "/disk",
        f"{DISK_BYTES >> 10}k", stderr=subprocess.DEVNULL)
    with open(work + "/disk", "rb") as file:
        disk = bytearray(file.read())
    tree, release = kernel()
    with open(work + "/initramfs", "wb") as file:
        file.write(initramfs(build, plan_text(nonce), config, tree, release))
    console = boot(work, tree, release)
    if "test: apply 0" not in console or "test: take 0" not in console:
        print("not ok powercut-guest: " + console.strip().replace("\n", " | ")[-800:])
        return False
    print("ok powercut-guest")
    epochs = [writes for _, writes in blocklog.epochs(work + "/log")]
    judge = Judge(build, work, old, new, nonce)
    with concurrent.futures.ThreadPoolExecutor(faults.WORKERS) as pool:
        results = list(in_flight(pool, judge, cases(epochs, disk, seed)))
    return report(results, epochs, judge, seed)


def report(results, epochs, judge, seed):
    good = True
    for name, kind in (("powercut-at-every-flush", "flush "), ("powercut-between-flushes", "between ")):
        mine = [(n, w) for n, w in results if n.startswith(kind)]
        wrong = [(n, w) for n, w in mine if w]
        if wrong or len(mine) < 20:
            good = False
            print(f"not ok {name}: seed {seed}, {len(wrong)} of {len(mine)}, " + (": ".join(wrong[0]) if wrong else "too few"))
        else:
            print(f"ok {name} ({len(mine)} disks, {judge.seen['old']} old and {judge.seen['new']} new in all)")
    if not judge.seen["old"] or not judge.seen["new"] or len(epochs) < 20:
        good = False
        print(f"not ok powercut-reach: {judge.seen}, {len(epochs)} flushes: the cuts did not hit apply at work")
    return good


def main():
    if not os.environ.get("QMR_OWN_MOUNTS"):
        # A mount that another program's new namespace has taken along goes on after umount, and the disk under it is not at rest.
        os.execvpe("unshare", ["unshare", "-m", sys.executable, *sys.argv], dict(os.environ, QMR_OWN_MOUNTS="1"))
    if len(sys.argv) not in (3, 4) or sys.argv[1] != "-B":
        sys.exit("usage: powercut.py -B BUILD [SEED]")
    if os.geteuid():
        print("not ok powercut: mounting the rebuilt disks needs root")
        sys.exit(1)
    seed = int(sys.argv[3]) if len(sys.argv) == 4 else random.SystemRandom().randrange(1 << 32) if os.environ.get("QMR_VM_ALL") else 1
    work = tempfile.mkdtemp(prefix="qmr-powercut-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    try:
        good = test(os.path.abspath(sys.argv[2]), work, seed)
    except subprocess.TimeoutExpired:
        print(f"not ok powercut-guest: not done after {GUEST_LIMIT_S} s")
        good = False
    finally:
        shutil.rmtree(work)
    sys.exit(not good)


if __name__ == "__main__":
    main()

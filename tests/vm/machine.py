# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whole machines for tests: a Debian 12 with qmr installed as a user would install it, on a disk, under QEMU and OVMF.

What a test asserts comes from here: resets counted by QEMU, files read from the guest's disk by debugfs and mtools, variables read
from the firmware's store (firmware.py). None of that shares code with the product.
"""
import fcntl
import json
import os
import re
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
import zlib

import blocklog
import firmware
import luks

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.dirname(os.path.dirname(HERE))
CACHE = os.path.join(os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache")), "qmr-tests")
TEMPORARY = os.environ.get("TMPDIR", "/var/tmp")
MIB = 1 << 20
ESP_MIB, ROOT_MIB, LUKS_MIB = 256, 1536, 16
NO_VARIABLES = "/usr/share/OVMF/OVMF_VARS_4M.fd"
LIMIT_S = 1200  # the last resort: software emulation on a busy machine
EXAMINE_S = 10  # what QEMU has to tell about a machine that came to it

# A small Debian with what qmr's programs link and what goes into the recovery image.
PACKAGES = ("systemd", "systemd-sysv", "udev", "kmod", "dbus", "linux-image-amd64", "initramfs-tools", "zstd", "mount",
            "util-linux", "e2fsprogs", "dosfstools", "systemd-boot", "systemd-boot-efi", "dhcpcd-base", "libefivar1",
            "libefiboot1", "libblkid1", "libinih1", "libjansson4", "libkmod2", "libzstd1", "zlib1g", "libcurl4", "libssl3",
            "libseccomp2")
# What one scenario or another has beside them: a second base, for all of these.
MORE_PACKAGES = ("cryptsetup-initramfs", "kexec-tools")
# Headers that fit the kernel come from the same archive state: mmdebstrap's own apt fetches them.
HEADERS_HOOK = """set -eu
cd "$(dirname "$0")/headers"
get() { APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get -q -o APT::Sandbox::User=root download "$@" >/dev/null; }
get "linux-headers-$(ls "$1/lib/modules")"
get $(dpkg-deb -f linux-headers-*.deb Depends | grep -oE 'linux-(headers|kbuild)-[^ ,]+')
"""
DIRECTOR = """#!/bin/sh
# Does what the scenario wants of this boot. A boot is counted when it comes this far.
n=$(cat /var/lib/director/n 2>/dev/null || echo 0); n=$((n + 1)); echo $n >/var/lib/director/n; sync
say() { echo "test-$nonce: $*" >/dev/console; }
ended() { [ "$(systemctl show -P ExecMainExitTimestampMonotonic "$1")" != 0 ]; }
# The restore point follows a healthy boot in a unit of its own.
healthy() {
	until ended qmr-healthy.service; do sleep 1; done
	if [ "$(systemctl show -P Result qmr-healthy.service)" = success ]; then
		until ended qmr-restore-point.service; do sleep 1; done
	fi
	journalctl -q -o cat -b -u 'qmr-*' >/dev/console
	say healthy $n
}
switch_off() { exec systemctl --no-block poweroff; }
restart() { exec systemctl --no-block reboot; }
. /var/lib/director/scenario
say boot $n
if command -v boot_$n >/dev/null; then boot_$n; elif command -v boot_any >/dev/null; then boot_any; else healthy; switch_off; fi
"""
DIRECTOR_UNIT = """[Unit]
After=multi-user.target
[Service]
ExecStart=/usr/local/sbin/director
[Install]
WantedBy=multi-user.target
"""

# What a small guest does without. Nothing that qmr, the way to multi-user.target or the way down needs: file systems, modules, kernel
# settings, crash records, offline updates and qmr's own services are as in any other. fstab asks for no check of the disks, and the power
# button does nothing, since logind is what hears it.
SMALL_UNITS = """apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer
systemd-tmpfiles-clean.timer getty.target getty@.service serial-getty@.service systemd-logind.service systemd-user-sessions.service
dbus.service dbus.socket systemd-update-utmp.service systemd-update-utmp-runlevel.service dev-hugepages.mount dev-mqueue.mount
sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount sys-fs-fuse-connections.mount proc-sys-fs-binfmt_misc.automount
modprobe@.service systemd-repart.service systemd-firstboot.service systemd-sysusers.service systemd-machine-id-commit.service
systemd-random-seed.service systemd-boot-system-token.service systemd-ask-password-console.path systemd-ask-password-wall.path
kmod-static-nodes.service systemd-tmpfiles-setup-dev.service systemd-tmpfiles-setup.service systemd-binfmt.service
systemd-journal-flush.service systemd-initctl.socket systemd-fsckd.socket systemd-journald-audit.socket"""
SMALL_GENERATORS = """systemd-cryptsetup-generator systemd-getty-generator systemd-gpt-auto-generator systemd-hibernate-resume-generator
systemd-integritysetup-generator systemd-rc-local-generator systemd-run-generator systemd-sysv-generator systemd-veritysetup-generator"""
SMALL_FILES = {
    "/etc/systemd/journald.conf.d/small.conf": "[Journal]\nStorage=volatile\n",
    # Disks alone: fstab waits for them. Other devices would only load drivers.
    "/etc/systemd/system/systemd-udev-trigger.service.d/small.conf":
        "[Service]\nExecStart=\nExecStart=udevadm trigger --type=devices --action=add --subsystem-match=block\n",
}


def run(*command, **more):
    """Runs a command, quiet unless it fails. Returns what it printed."""
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)
    if done.returncode:
        raise RuntimeError("%s: exit status %d: %s" % (" ".join(map(str, command)), done.returncode,
                                                      (done.stderr + done.stdout)[-2000:]))
    return done.stdout


def write(path, content, mode=0o644):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(content if isinstance(content, bytes) else content.encode())
    os.chmod(path, mode)


def base(packages=()):
    """A folder with Debian's packages as tree.tar and the headers of its kernel, made once. packages: more than PACKAGES."""
    folder = os.path.join(CACHE, "base-%08x" % zlib.crc32(repr((PACKAGES + packages, HEADERS_HOOK)).encode()))
    os.makedirs(CACHE, exist_ok=True)
    with open(os.path.join(CACHE, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(folder):
            print("making a Debian 12 for the virtual machines with mmdebstrap, once (about a minute, 900 MB): " +
                  " ".join((folder,) + packages), flush=True)
            with tempfile.TemporaryDirectory(dir=CACHE) as work:
                make_base(work, PACKAGES + packages)
                os.rename(work + "/done", folder)
    return folder


def make_base(work, packages):
    done = work + "/done"
    os.makedirs(done + "/headers")
    write(done + "/hook", HEADERS_HOOK)
    run("mmdebstrap", "--quiet", "--format=tar", "--variant=minbase", "--include=" + ",".join(packages),
        '--aptopt=Apt::Install-Recommends "false"', '--customize-hook=sh "%s/hook" "$1"' % done, "bookworm", done + "/tree.tar")
    headers = done + "/headers"
    for package in sorted(os.listdir(headers)):
        run("dpkg-deb", "-x", headers + "/" + package, headers)
        os.unlink(headers + "/" + package)


def kernel_of(tree):
    return sorted(os.listdir(tree + "/lib/modules"))[-1]


def in_tree(tree, esp, script):
    """Runs a script in the tree as on the machine itself: /efi is a file system of its own, which becomes the folder esp."""
    inside = ('set -e; mount -t tmpfs tmpfs "$1/efi"; mount -t proc proc "$1/proc"; mount --rbind /dev "$1/dev"; '
              'cp -a "$2/." "$1/efi"; chroot "$1" sh -ec "$3"; rm -rf "$2"; cp -a "$1/efi" "$2"')
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "SYSTEMD_RELAX_ESP_CHECKS": "1"}
    return run("unshare", "-m", "sh", "-c", inside, "sh", tree, esp, script, env=environment)


INSTALL = "qmrctl install --no-variables --esp-path /efi"


class System:
    """A system on disk that machines are copied from: Debian, qmr by `make install` and `qmrctl install`, and what else is
    asked for. files: path -> content (or (content, mode)) put into the tree before qmrctl runs. script: run in the tree before.
    small: without what adds nothing but time to a scenario about qmr, see SMALL_UNITS. packages: more than PACKAGES. passphrase: the root
    lies in a LUKS2 container that this opens, see luks.py. config None: the same without qmr."""

    def __init__(self, work, build, config, files=None, script="", name="system", install=True, small=False, packages=(), passphrase=None):
        self.small, install = small, install and config is not None
        self.root_uuid, esp_serial = str(uuid.uuid4()), os.urandom(4).hex().upper()
        self.luks = b""
        self.machine_id = uuid.uuid4().hex
        self.tree, self.esp, self.disk = (os.path.join(work, name + suffix) for suffix in ("", ".esp", ".img"))
        os.makedirs(self.tree)
        os.makedirs(self.esp)
        run("tar", "-C", self.tree, "-xf", base(packages) + "/tree.tar", "--exclude=./dev/*")
        self.kernel = kernel_of(self.tree)
        if config is not None:
            run("make", "-s", "-C", SOURCE, "B=" + os.path.abspath(build), "install", "DESTDIR=" + self.tree)
        self.settle("%s-%s" % (esp_serial[:4], esp_serial[4:]), config)
        for path, content in {**(SMALL_FILES if small else {}), **(files or {})}.items():
            write(self.tree + path, *(content if isinstance(content, tuple) else (content,)))
        if small:
            self.leave_out()
        if passphrase:
            self.lock(passphrase)
        in_tree(self.tree, self.esp, "bootctl --no-variables --esp-path=/efi install; depmod %s; systemctl -q enable "
                "director.service\n%s\n%s" % (self.kernel, script, INSTALL if install else "update-initramfs -u -k all"))
        self.make_disk(esp_serial)
        shutil.rmtree(self.tree)

    def settle(self, esp_uuid, config):
        files = {
            "/etc/fstab": "UUID=%s / ext4 rw,errors=remount-ro 0 %d\nUUID=%s /efi vfat umask=0077 0 %d\n" %
                          (self.root_uuid, not self.small, esp_uuid, 0 if self.small else 2),
            "/etc/machine-id": self.machine_id + "\n",
            "/etc/hostname": "machine\n",
            # Libraries at one address in all programs are translated once, a tenth of a boot less.
            "/etc/kernel/cmdline": "root=UUID=%s ro console=ttyS0 loglevel=5%s\n" % (self.root_uuid, " norandmaps" if self.small else ""),
            # Small, and so quick under emulation: Debian's own choice holds the drivers of all machines.
            "/etc/initramfs-tools/conf.d/test.conf": "MODULES=list\nCOMPRESS=zstd\n",
            "/etc/initramfs-tools/modules": "virtio_pci\nvirtio_blk\next4\n",
            **({"/etc/qmr/qmr.conf": config} if config is not None else {}),
            "/etc/systemd/system/director.service": DIRECTOR_UNIT,
            "/usr/local/sbin/director": (DIRECTOR, 0o755),
            "/var/lib/director/scenario": "",
        }
        os.makedirs(self.tree + "/efi")
        for path, content in files.items():
            write(self.tree + path, *(content if isinstance(content, tuple) else (content,)))

    def lock(self, passphrase):
        """cryptsetup-initramfs will ask for it."""
        container = str(uuid.uuid4())
        self.luks = luks.container(container, passphrase, LUKS_MIB * MIB)
        write(self.tree + "/etc/crypttab", "locked UUID=%s none luks,initramfs\n" % container)
        with open(self.tree + "/etc/initramfs-tools/modules", "a") as f:
            f.write("dm_crypt\ncrypto_null\n")

    def leave_out(self):
        for folder, names in (("system", SMALL_UNITS), ("system-generators", SMALL_GENERATORS)):
            for name in names.split():
                path = "%s/etc/systemd/%s/%s" % (self.tree, folder, name)
                os.makedirs(os.path.dirname(path), exist_ok=True)
                os.symlink("/dev/null", path)

    def make_disk(self, esp_serial):
        root = self.disk + ".root"
        with open(self.disk, "wb") as f:
            f.truncate((ESP_MIB + len(self.luks) // MIB + ROOT_MIB + 2) * MIB)
        run("sfdisk", "-q", self.disk, input="label: gpt\nstart=1MiB, size=%dMiB, type=U\nstart=%dMiB, size=%dMiB, type=L\n" %
            (ESP_MIB, ESP_MIB + 1, len(self.luks) // MIB + ROOT_MIB))
        run("mformat", "-i", self.disk + "@@1M", "-T", ESP_MIB * MIB // 512, "-h", "64", "-s", "32", "-F", "-N", esp_serial, "::")
        run("mcopy", "-s", "-i", self.disk + "@@1M", *[os.path.join(self.esp, n) for n in os.listdir(self.esp)], "::/")
        run("mke2fs", "-q", "-F", "-t", "ext4", "-U", self.root_uuid, "-d", self.tree, root, "%dM" % ROOT_MIB)
        run("dd", "if=" + root, "of=" + self.disk, "bs=1M", "seek=%d" % (ESP_MIB + 1 + len(self.luks) // MIB), "conv=notrunc,sparse")
        os.unlink(root)
        with open(self.disk, "r+b") as f:
            f.seek((ESP_MIB + 1) * MIB)
            f.write(self.luks)


class Disk:
    """A disk image at rest: files of its root and of its ESP."""

    def __init__(self, path):
        with open(path, "rb") as f:
            f.seek((ESP_MIB + 1) * MIB)
            self.root_mib = ESP_MIB + 1 + (LUKS_MIB if f.read(6) == b"LUKS\xba\xbe" else 0)
        self.path, self.root, self.esp = path, "%s?offset=%d" % (path, self.root_mib * MIB), path + "@@1M"

    def debugfs(self, *requests, writing=False):
        command = ["debugfs", "-f", "/dev/stdin"] + (["-w"] if writing else []) + [self.root]
        done = subprocess.run(command, input="\n".join(requests) + "\n", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        return done.stdout, "\n".join(done.stderr.splitlines()[1:])

    def rest(self):
        """What a machine stopped in the middle left in the journal is put in place, as its next mount would do."""
        root, start = self.path + ".root", "%d" % self.root_mib
        run("dd", "if=" + self.path, "of=" + root, "bs=1M", "skip=" + start, "count=%d" % ROOT_MIB, "conv=sparse")
        subprocess.run(["e2fsck", "-p", root], stdout=subprocess.DEVNULL)
        run("dd", "if=" + root, "of=" + self.path, "bs=1M", "seek=" + start, "conv=notrunc")
        os.unlink(root)

    def read(self, path):
        """A file's content, None where there is none."""
        with tempfile.NamedTemporaryFile(dir=TEMPORARY) as out:
            _, wrong = self.debugfs('dump "%s" %s' % (path, out.name))
            return None if wrong else out.read()

    def json(self, path):
        text = self.read(path)
        return None if text is None else json.loads(text)

    def list(self, path):
        """Names in a folder, an empty list where there is none."""
        lines, _ = self.debugfs('ls -p "%s"' % path)
        names = [line.split("/")[5] for line in lines.splitlines() if line.count("/") >= 6]
        return sorted(n for n in names if n not in (".", ".."))

    def put(self, path, content):
        with tempfile.NamedTemporaryFile(dir=TEMPORARY) as source:
            source.write(content if isinstance(content, bytes) else content.encode())
            source.flush()
            folders = path.strip("/").split("/")[:-1]
            self.debugfs(*["mkdir /" + "/".join(folders[:i + 1]) for i in range(len(folders))], 'rm "%s"' % path,
                         'write %s "%s"' % (source.name, path), writing=True)
        if self.read(path) is None:
            raise RuntimeError("%s: could not write '%s'" % (self.path, path))

    def esp_read(self, path):
        done = subprocess.run(["mtype", "-i", self.esp, "::" + path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        return done.stdout if done.returncode == 0 else None

    def esp_put(self, path, content):
        run_bytes = content if isinstance(content, bytes) else content.encode()
        subprocess.run(["mcopy", "-o", "-i", self.esp, "-", "::" + path], input=run_bytes, check=True)

    def esp_remove(self, path):
        run("mdel", "-i", self.esp, "::" + path)


class Run:
    """What the host saw of one run of a machine. ended: shutdown, line, resets, or limit (the host's patience)."""

    def __init__(self, process, qmp):
        self.process, self.qmp = process, qmp
        self.resets = self.host_resets = 0
        self.ended, self.seconds, self.log, self.last = None, 0.0, None, ""
        self.unfinished = ""  # a line that has not come to its end, such as a prompt

    def reset(self):
        """The reset button."""
        self.host_resets += 1
        self.qmp.sendall(b'{"execute": "system_reset"}\n')

    def type(self, text):
        """On the serial console."""
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def power_button(self):
        self.qmp.sendall(b'{"execute": "system_powerdown"}\n')

    def cpu_seconds(self):
        """What the machine has cost so far: a clock that goes slower where the host is busy, as the machine does."""
        with open("/proc/%d/stat" % self.process.pid) as f:
            user, system = f.read().rsplit(")", 1)[1].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def examine(self):
        """Where the processor of a machine that does not get on is, twice; the answers go into the console's log. A kernel that still lives
        says there that it had an NMI."""
        for request in ("info status", "info registers", "info lapic", "info pic", "x/32gx $rsp", "info registers", "nmi"):
            self.qmp.sendall(json.dumps({"execute": "human-monitor-command", "arguments": {"command-line": request}}).encode() + b"\n")

    def stop(self, why):
        self.ended = self.ended or why
        self.process.kill()


class Machine:
    """A copy of a system's disk with a firmware of its own, or of another machine at rest with its firmware. scenario: shell
    functions boot_1, boot_2 … and boot_any for the director. hardware: more arguments for QEMU. clock: what its hardware clock shows when it
    is switched on (UTC, as 2036-01-01T00:00:00), None for the right time."""
    clock, hardware = None, ()

    def __init__(self, origin, work, name, scenario="", hardware=()):
        self.nonce, self.hardware = os.urandom(6).hex(), hardware
        self.folder = os.path.join(work, name)
        os.makedirs(self.folder)
        self.vars = self.folder + "/vars.fd"
        is_copy = isinstance(origin, Machine)
        run("cp", "--sparse=always", "--reflink=auto", origin.disk.path if is_copy else origin.disk, self.folder + "/disk.img")
        shutil.copy(origin.vars if is_copy else NO_VARIABLES, self.vars)
        self.disk = Disk(self.folder + "/disk.img")
        self.play(scenario)

    def play(self, scenario):
        """Another scenario for the same machine; its boots count from 1 again."""
        self.disk.put("/var/lib/director/scenario", "nonce=%s\n%s" % (self.nonce, scenario))
        self.disk.put("/var/lib/director/n", "0\n")

    def move(self, product_uuid):
        """The disk, into another machine, whose firmware has never seen it."""
        shutil.copy(NO_VARIABLES, self.vars)
        self.hardware = ("-uuid", product_uuid)

    def variables(self):
        return firmware.variables(self.vars)

    def state(self):
        """The boot state, None where the firmware holds none."""
        raw = self.variables().get("QmrState")
        return None if raw is None else firmware.read_state(raw)

    def slots(self):
        """The two slots of the file on the ESP, None where there is none."""
        raw = [self.disk.esp_read("/EFI/qmr/state-" + name) for name in "ab"]
        return [None if r is None else firmware.read_state(r) if len(r) == 992 else {"valid": False, "sequence": 0} for r in raw]

    def state_in_file(self):
        """The valid slot with the larger sequence, None where no slot holds a state."""
        valid = [s for s in self.slots() if s and s["valid"] and s["sequence"]]
        return max(valid, key=lambda s: s["sequence"], default=None)

    def command(self, network, log):
        return (["ip", "netns", "exec", network.namespace] if network else []) + [
            "qemu-system-x86_64", "-machine", "q35", "-m", "768", "-display", "none",
            # QEMU's own choice, 1 GiB of translated code, makes the firmware twice as slow after each reset.
            "-accel", "tcg,tb-size=128",
            *(["-rtc", "base=" + self.clock] if self.clock else []),
            "-drive", "if=pflash,format=raw,unit=0,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd",
            "-drive", "if=pflash,format=raw,unit=1,file=" + self.vars,
            *(blocklog.node(self.disk.path, log) if log else
              ["-drive", "if=none,id=disk,format=raw,cache=unsafe,file=" + self.disk.path]),
            # Addresses are fixed: firmware names a disk by its slot, and another slot is another boot entry.
            "-device", "virtio-blk-pci,addr=0x10,write-cache=on,drive=" + ("logged" if log else "disk"),
            *(["-netdev", "tap,id=net,script=no,downscript=no,ifname=" + network.tap, "-device", "virtio-net-pci,addr=0x11,netdev=net"]
              if network else ["-nic", "none"]), *self.hardware,
            "-qmp", "unix:%s/qmp,server=on,wait=off" % self.folder, "-chardev", "stdio,id=serial,signal=off", "-serial",
            "chardev:serial", "-monitor", "none", "-S"]

    def boot(self, until=None, max_resets=None, watch=None, limit_s=LIMIT_S, network=None, log=None, rest=True):
        """Runs the machine until it switches itself off, a console line matches until, or it was reset max_resets times.
        watch(run, what, text) is called for every "line", for every "reset", and while nothing comes five times a second ("tick").
        log: a file for all writes to the disk, see blocklog.py. rest=False: a machine stopped in the middle leaves its disk as it is,
        for the next boot to find; until then the disk's files must be neither read nor written."""
        if stopping:
            raise RuntimeError("this script was told to end")
        with open(self.folder + "/qemu.log", "ab") as errors:
            process = subprocess.Popen(self.command(network, log), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
        running.add(process)
        try:
            qmp = connect(self.folder, process)
            run_ = Run(process, qmp)
            begin = time.monotonic()
            with open(self.folder + "/console.log", "ab", buffering=0) as run_.log:
                follow(run_, until and re.compile(until), max_resets, watch or (lambda *_: None), begin + limit_s)
            run_.seconds = time.monotonic() - begin
            qmp.close()
        finally:
            process.kill()
            process.wait()
            running.discard(process)
        if run_.ended != "shutdown" and rest:
            self.disk.rest()
        return run_


running = set()  # QEMU processes, of all threads
stopping = False


def clean_up_on_signals():
    """SIGTERM ends a script as an exception does: machines, servers and temporary files go with it."""
    def end(*_):
        global stopping
        stopping = True
        for process in list(running):
            process.kill()
        sys.exit(143)
    signal.signal(signal.SIGTERM, end)


def connect(folder, process):
    """The QMP socket, greeted; the machine does not run before, so no event is missed."""
    qmp = socket.socket(socket.AF_UNIX)
    for _ in range(600):
        try:
            qmp.connect(folder + "/qmp")
            break
        except OSError:
            if process.poll() is not None:
                with open(folder + "/qemu.log", errors="replace") as f:
                    raise RuntimeError("QEMU ended at once: " + f.read()) from None
            time.sleep(0.05)
    qmp.sendall(b'{"execute": "qmp_capabilities"}\n{"execute": "cont"}\n')
    return qmp


def follow(run_, until, max_resets, watch, limit):
    """Reads the console and QEMU's events till the end."""
    serial, events, examined = b"", b"", False
    with selectors.DefaultSelector() as selector:
        selector.register(run_.process.stdout, selectors.EVENT_READ)
        selector.register(run_.qmp, selectors.EVENT_READ)
        while run_.ended is None or selector.get_map():
            if time.monotonic() > limit and run_.ended is None:
                if not examined:
                    run_.examine()
                elif time.monotonic() > limit + EXAMINE_S:
                    run_.stop("limit")
                examined = True
            ready = selector.select(0.2)
            if not ready:
                watch(run_, "tick", "")
            for key, _ in ready:
                data = os.read(key.fd, 65536)
                if not data:
                    selector.unregister(key.fileobj)
                elif key.fileobj is run_.qmp:
                    *lines, events = (events + data).split(b"\n")
                    for line in lines:
                        take_event(run_, json.loads(line), max_resets, watch)
                else:
                    run_.log.write(data.replace(b"\r", b""))
                    *lines, serial = (serial + data).split(b"\n")
                    for line in lines:
                        take_line(run_, line, until, watch)
                    run_.unfinished = serial.decode("utf-8", "replace")
            if not selector.get_map():
                run_.ended = run_.ended or "died"


def take_event(run_, event, max_resets, watch):
    if event.get("event") == "RESET":
        if event["data"]["guest"]:
            run_.resets += 1
        watch(run_, "reset", event["data"]["reason"])
        if max_resets and run_.resets >= max_resets:
            run_.stop("resets")
    elif event.get("return"):  # of examine()
        run_.log.write(str(event["return"]).replace("\r", "").encode())
    elif event.get("event") == "SHUTDOWN" and event["data"]["guest"]:
        run_.ended = "shutdown"


def take_line(run_, line, until, watch):
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line.decode("utf-8", "replace")).strip()
    watch(run_, "line", text)
    run_.last = text or run_.last
    if until and until.search(text):
        run_.stop("line")

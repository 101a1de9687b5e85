#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A disk in another machine, a new image on the same one, another system started in between, kexec, a visit to the firmware's setup: no history is
inherited, and nothing failed. Usage: moves.py -B BUILD [SCENARIO ...]"""
import os
import re
import shutil
import sys
import uuid
import zlib

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True
import firmware  # noqa: E402
import machine  # noqa: E402
import scenario  # noqa: E402

CONFIG = """[policy]
mode = automatic
local_rollback = yes
stability = 1
emergency_timeout = 2
panic_timeout = 3
cancel = 2
[watch]
path = /opt
[image]
cmdline = console=ttyS0
"""
FILES = {"/opt/product/file": "content\n"}
# fails: counted, and restarted. not healthy yet: the window outlasts what the boot does; healthy_now ends that.
TOOLS = """fails() { /usr/lib/qmr/boot-guard failed required-check; sleep 100; }
panics() { echo c >/proc/sysrq-trigger; }
healthy_now() { rm -f /etc/qmr/conf.d/slow.conf; systemctl restart qmr-healthy.service; healthy; switch_off; }
"""
SLOW = "/etc/qmr/conf.d/slow.conf", "[policy]\nstability = 600\n"
ENTRIES = "/loader/entries"
RECOVERY = "Quick machine recovery"


def settled(s, play, **more):
    name = "machine" + "".join("-" + key for key in sorted(more))
    template = s.settled(name, lambda: CONFIG, lambda: FILES, **{"small": True, **more})
    box = s.machine = machine.Machine(template, s.work, "machine", TOOLS + play)
    box.disk.put(*SLOW)
    return box


def entries(box):
    done = machine.run("mdir", "-b", "-i", box.disk.esp, "::" + ENTRIES)
    return sorted(line.rsplit("/", 1)[1] for line in done.split() if line.endswith(".conf"))


def add_option(box, option):
    for name in entries(box):
        path = ENTRIES + "/" + name
        box.disk.esp_put(path, re.sub(r"(?m)^(options .*)$", r"\1 " + option, box.disk.esp_read(path).decode()))


def nothing_changed(s, box, state, *outcomes):
    s.same("attempts", [*outcomes], state["outcomes"])
    s.same("boots", len(outcomes), state["boots"])
    s.quiet(state)
    s.same("incidents", [], box.disk.list("/var/lib/qmr/incidents"))
    s.same("the watched file", b"content\n", box.disk.read("/opt/product/file"))


def moved_disk(s):
    """It fails once in one machine and once in the next, neither of which has EFI variables, so that the history is on the disk; then it runs in a
    third one, which has some."""
    box = settled(s, """boot_1() { fails; }
boot_2() { switch_off; }
boot_3() { fails; }
boot_4() { healthy_now; }
boot_5() { healthy_now; }
""")
    add_option(box, "efi=noruntime")
    machines = [str(uuid.uuid4()) for _ in range(3)]
    box.move(machines[0])
    s.same("resets in the first machine", 1, s.boot_to_the_end(box).resets)
    state = box.state_in_file()
    s.same("its history", (["emergency", "clean-shutdown"], zlib.crc32(machines[0].encode())), (state["outcomes"], state["machine"]))
    box.move(machines[1])
    s.same("resets in the second machine", 1, s.boot_to_the_end(box).resets)
    state = box.state_in_file()
    s.same("the second machine", zlib.crc32(machines[1].encode()), state["machine"])
    nothing_changed(s, box, state, "emergency", "healthy")
    box.move(machines[2])
    for name in entries(box):
        path = ENTRIES + "/" + name
        box.disk.esp_put(path, box.disk.esp_read(path).decode().replace(" efi=noruntime", ""))
    s.same("resets in the third machine", 0, s.boot_to_the_end(box).resets)
    nothing_changed(s, box, box.state(), "healthy")


def new_image(s):
    """A machine panics once. Somebody puts a new image on it, which panics once, too, and is healthy then."""
    play = "boot_1() { panics; }\nboot_2() { healthy_now; }\n"
    box = settled(s, play)
    s.same("it panics", "resets", box.boot(until=scenario.STUCK, max_resets=1).ended)
    old = box.state()
    s.same("one attempt is open", ["healthy", "open"], old["outcomes"])
    image = machine.System(s.work, s.build, CONFIG, FILES, name="image", small=True)
    shutil.move(image.disk, box.disk.path)
    box.play(TOOLS + play)
    box.disk.put(*SLOW)
    s.same("resets", 1, s.boot_to_the_end(box).resets)
    state = box.state()
    s.same("whose history it is", (image.root_uuid, True), (state["root"], old["root"] != image.root_uuid))
    nothing_changed(s, box, state, "panic", "healthy")


OTHER = """#!/bin/sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox insmod /efi-pstore.ko pstore_disable=0
echo "test: the other system" >/dev/console
case $(/bin/busybox cat /proc/cmdline) in *other.panics*) echo c >/proc/sysrq-trigger ;; esac
/bin/busybox reboot -f
"""


def content_of(path):
    with open(path, "rb") as f:
        return f.read()


def cpio(files):
    """An initramfs: path -> (mode, content); a folder has no content. Format newc (the kernel's initramfs-buffer-format)."""
    out = b""
    for n, (path, (mode, content)) in enumerate([*files.items(), ("TRAILER!!!", (0, b""))], 1):
        name = path.encode() + b"\0"
        numbers = (n, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name), 0)
        head = b"070701" + b"".join(b"%08X" % number for number in numbers) + name
        out += head.ljust(-(-len(head) // 4) * 4, b"\0") + content.ljust(-(-len(content) // 4) * 4, b"\0")
    return out


def add_other_system(s, box):
    """Another system beside ours in the boot menu: the same kernel, a root in memory; it keeps crash records, as ours does."""
    entry = box.disk.esp_read(ENTRIES + "/" + entries(box)[0]).decode()
    linux = re.search(r"(?m)^linux\s+(\S+)", entry).group(1)
    kernel = linux.split("/")[-2]
    module = machine.run("tar", "-tf", machine.base() + "/tree.tar").split("\n")
    module = next(line for line in module if line.endswith(kernel + "/kernel/drivers/firmware/efi/efi-pstore.ko"))
    machine.run("tar", "-C", s.work, "-xf", machine.base() + "/tree.tar", module)
    folders = {name: (0o40755, b"") for name in ("bin", "dev", "proc", "sys")}
    box.disk.esp_put("/other.img", cpio({
        **folders, "init": (0o100755, OTHER.replace("#!/bin/sh", "#!/bin/busybox sh").encode()),
        "bin/busybox": (0o100755, content_of("/bin/busybox")), "efi-pstore.ko": (0o100644, content_of(s.work + "/" + module))}))
    for name, options in (("other-resets", ""), ("other-panics", " other.panics")):
        box.disk.esp_put(ENTRIES + "/%s.conf" % name, "title %s\nsort-key zz\nlinux %s\ninitrd /other.img\noptions console=ttyS0 panic=1%s\n" %
                         (name, linux, options))


def another_system(s):
    """Between the boots of ours, some left before they were healthy and one after, somebody chooses another system, which ends without a word or
    panics and leaves a record of that."""
    box = settled(s, """other() { bootctl set-oneshot other-$1.conf; restart; }
boot_1() { other panics; }
boot_2() { other panics; }
boot_3() { other resets; }
boot_4() { rm /etc/qmr/conf.d/slow.conf; systemctl restart qmr-healthy.service; healthy; other panics; }
boot_5() { healthy_now; }
""")
    before = entries(box)
    add_other_system(s, box)
    seen = []

    def watch(run, what, text):
        if what == "line" and "test: the other system" in text:
            seen.append(text)
    done = s.boot_to_the_end(box, watch=watch, max_resets=10)
    s.same("resets, starts of the other system", (8, 4), (done.resets, len(seen)))
    nothing_changed(s, box, box.state(), "healthy", "clean-shutdown", "clean-shutdown", "clean-shutdown", "healthy", "healthy")
    s.same("our entries", before, [e for e in entries(box) if not e.startswith("other")])
    heads = [box.disk.read("/var/lib/qmr/pstore/%s/%s" % (folder, name)).split(b"\n")[0]
             for folder in box.disk.list("/var/lib/qmr/pstore") for name in box.disk.list("/var/lib/qmr/pstore/" + folder)]
    s.same("the other system's crash records were there", 3, heads.count(b"Panic#1 Part1"))


def kexec(s):
    """Twice the next kernel is started by the one that runs (systemctl kexec), once before the boot was healthy and once after: a planned restart
    without firmware or boot loader."""
    box = settled(s, """next() { kexec -l /boot/vmlinuz-$(uname -r) --initrd=/boot/initrd.img-$(uname -r) --reuse-cmdline; exec systemctl --no-block kexec; }
boot_1() { next; }
boot_2() { rm /etc/qmr/conf.d/slow.conf; systemctl restart qmr-healthy.service; healthy; next; }
boot_3() { healthy_now; }
""", packages=machine.MORE_PACKAGES)
    before = entries(box)
    done = s.boot_to_the_end(box, max_resets=2)
    s.same("resets", 0, done.resets)
    nothing_changed(s, box, box.state(), "healthy", "clean-shutdown", "healthy", "healthy")
    s.same("entries", before, entries(box))


def firmware_setup(s):
    """systemctl reboot --firmware-setup; somebody leaves the setup with the reset button. It needs logind, which a small machine has not."""
    box = settled(s, "boot_1() { systemctl reboot --firmware-setup; }\nboot_2() { healthy_now; }\n", small=False)
    before = entries(box)

    def watch(run, what, text):
        if what == "line" and re.search(r'starting Boot\w+ "UiApp"', text):
            run.reset()
    done = box.boot(watch=watch, max_resets=3)
    s.same("it ends; restarts, reset button", ("shutdown", 1, 1), (done.ended, done.resets, done.host_resets))
    nothing_changed(s, box, box.state(), "healthy", "clean-shutdown", "healthy")
    s.same("entries", before, entries(box))


if __name__ == "__main__":
    scenario.main(more=(moved_disk, new_image, another_system, kexec, firmware_setup))

#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Each way a boot can fail is seen, counted by its evidence, and two in a row lead to recovery, which here may change nothing and halts:
the root missing, a bad fstab, a required check, a userspace that hangs, no init or one that dies, a panic before the root is mounted and
after, a crash soon after healthy. Usage: failures.py -B BUILD [SCENARIO ...]"""
import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True
import machine  # noqa: E402
import scenario  # noqa: E402
import vendor  # noqa: E402

CONFIG = """[policy]
mode = automatic
final = %s
stability = 5
panic_timeout = 3
boot_deadline = 40
emergency_timeout = 5
cancel = 1
[checks]
pause = 0
[watch]
path = /opt
path = /etc/fstab
[image]
cmdline = console=ttyS0
"""
HALT = r"reboot: System halted"
SHELL = r"to boot into default mode"
SOON, ATTENDED = 16, 32
EARLY = "vendor.early"


def files_of(product):
    """Beside the vendor's product: its driver and a bad content file in the initramfs, for a panic before the root is mounted; and what
    some scenarios switch on with a file."""
    bad = "/var/cache/%s/%s" % (product.name, product.content_name)
    return dict(product.files, **{
        "/etc/initramfs-tools/hooks/vendor": ("""#!/bin/sh
[ "$1" = prereqs ] && exit 0
. /usr/share/initramfs-tools/hook-functions
manual_add_modules %s
mkdir -p "$DESTDIR%s"
cp %s "$DESTDIR%s"
""" % (product.module, product.folder, bad, product.content_path), 0o755),
        "/etc/initramfs-tools/scripts/local-top/vendor": ("""#!/bin/sh
[ "$1" = prereqs ] && exit 0
case " $(cat /proc/cmdline) " in *" %s "*) modprobe %s; sleep 30 ;; esac
""" % (EARLY, product.module), 0o755),
        "/etc/systemd/system/stall.service": """[Unit]
ConditionPathExists=/etc/stall
Before=multi-user.target
[Service]
Type=oneshot
TimeoutStartSec=infinity
ExecStart=/bin/sleep infinity
[Install]
WantedBy=multi-user.target
""",
    })


def settled(s, final="halt"):
    product = s.shared.get("vendor", vendor.Vendor)
    box = machine.Machine(s.settled("machine-" + final, lambda: CONFIG % final, lambda: files_of(product),
                                    script="systemctl -q enable stall.service", small=True), s.work, "machine")
    return box, product


def change_entry(box, pattern, replacement):
    """In every entry of the loader."""
    listing = machine.run("mdir", "-b", "-i", box.disk.esp, "::/loader/entries/").split()
    for entry in [line.split(":", 1)[1].lstrip(":") for line in listing]:
        box.disk.esp_put(entry, re.sub(pattern, replacement, box.disk.esp_read(entry).decode()))


def judge(s, box, done, outcomes, evidence, kind, flags=0):
    """Two failures, the switch, recovery, which halts."""
    state = box.state()
    s.same("resets: two failures and the switch", 3, done.resets)
    s.same("attempts", ["healthy"] + [o for o in outcomes] + ["clean-shutdown"], state["outcomes"])
    s.same("evidence", ["none"] + [evidence] * 2 + ["none"], state["evidence"])
    s.same("flags", [0, flags, flags, 1 | 8], state["attempt_flags"])
    s.same("stage, final condition, reason", ("final", "halt", "detector"), (state["stage"], state["final"], state["reason"]))
    incident = box.disk.json("/var/lib/qmr/incidents/%s/incident.json" % state["incident"]) or {}
    s.same("kind of the incident", kind, incident.get("kind"))
    return incident


def emergency(s, box, evidence):
    return judge(s, box, s.boot_to_the_end(box, HALT, max_resets=6), ["emergency"] * 2, evidence, "emergency")


def root_missing(s):
    """The initramfs does not find the root, and would wait at a shell for ever."""
    box, _ = settled(s)
    change_entry(box, r"root=UUID=\S+", "root=UUID=01234567-89ab-cdef-0123-456789abcdef rootdelay=2")
    emergency(s, box, "initramfs-shell")


def init_missing(s):
    box, _ = settled(s)
    for path in ("/usr/lib/systemd/systemd", "/usr/bin/sh"):
        box.disk.debugfs('rm "%s"' % path, writing=True)
    emergency(s, box, "initramfs-shell")


def init_dies(s):
    """The kernel panics when its first process ends."""
    box, _ = settled(s)
    box.disk.put("/usr/lib/systemd/systemd", "#!/bin/sh\nexit 1\n")
    box.disk.debugfs("sif /usr/lib/systemd/systemd mode 0100755", writing=True)
    done = s.boot_to_the_end(box, HALT, max_resets=6)
    judge(s, box, done, ["panic"] * 2, "crash-record", "panic")


def bad_fstab(s):
    """The final condition is one last normal boot here: it ends at the emergency shell, and stays there."""
    box, _ = settled(s, "boot")
    fstab = box.disk.read("/etc/fstab").decode()
    box.disk.put("/etc/fstab", fstab + "/dev/disk/by-uuid/gone /data ext4 defaults,x-systemd.device-timeout=2s 0 2\n")
    done = s.boot_to_the_end(box, SHELL, max_resets=6)
    state = box.state()
    s.same("resets: two failures, the switch, the way back", 4, done.resets)
    s.same("attempts", ["healthy", "emergency", "emergency", "clean-shutdown", "emergency"], state["outcomes"])
    s.same("evidence", ["none", "emergency-target", "emergency-target", "none", "emergency-target"], state["evidence"])
    s.same("stage, final condition", ("final", "normal-boot"), (state["stage"], state["final"]))


def required_check_fails(s):
    box, _ = settled(s)
    box.disk.put("/etc/qmr/checks.d/required.d/never", "#!/bin/sh\necho no\nexit 1\n")
    box.disk.debugfs("sif /etc/qmr/checks.d/required.d/never mode 0100755", writing=True)
    emergency(s, box, "required-check")
    last = box.disk.json("/var/lib/qmr/checks/last.json") or {}
    s.true("the check's output is kept", "never" in str(last), last)


def userspace_hangs(s):
    box, _ = settled(s)
    box.disk.put("/etc/stall", "")
    done = s.boot_to_the_end(box, HALT, max_resets=6)
    judge(s, box, done, ["hang"] * 2, "deadline", "hang")


def panic_before_root(s):
    box, product = settled(s)
    change_entry(box, r"(?m)^(options .*)$", r"\1 " + EARLY)
    done = s.boot_to_the_end(box, HALT, max_resets=6)
    incident = judge(s, box, done, ["panic"] * 2, "crash-record", "panic")
    s.same("culprit", product.module, (incident.get("culprit") or {}).get("module"))


def panic_after_root(s):
    box, product = settled(s)
    box.disk.put(product.content_path, product.bad)
    done = s.boot_to_the_end(box, HALT, max_resets=6)
    incident = judge(s, box, done, ["panic"] * 2, "crash-record", "panic")
    s.same("culprit", product.module, (incident.get("culprit") or {}).get("module"))


def crash_soon_after_healthy(s):
    """Again and again; each boot had been healthy."""
    box, _ = settled(s)
    box.play("boot_any() { healthy; echo c >/proc/sysrq-trigger; }\n")
    done = s.boot_to_the_end(box, HALT, max_resets=6)
    judge(s, box, done, ["panic"] * 2, "crash-record", "panic", flags=SOON)


def key_at_the_emergency_shell(s):
    """Somebody is there: the machine is not restarted, and the boot does not count."""
    box, _ = settled(s, "boot")
    box.disk.put("/etc/fstab", box.disk.read("/etc/fstab").decode() + "/dev/disk/by-uuid/gone /data ext4 defaults,x-systemd.device-timeout=2s 0 2\n")

    def watch(run, what, text):
        if what == "line" and text.startswith("Press any key"):
            run.type("x")
    done = s.boot_to_the_end(box, SHELL, max_resets=6, watch=watch)
    state = box.state()
    s.same("resets", 0, done.resets)
    s.same("attempts, flags", (["healthy", "emergency"], [0, ATTENDED]), (state["outcomes"], state["attempt_flags"]))
    s.same("stage", "none", state["stage"])


if __name__ == "__main__":
    scenario.main(required_check_fails, panic_before_root, key_at_the_emergency_shell,
                  more=(root_missing, crash_soon_after_healthy, userspace_hangs, bad_fstab, init_missing, panic_after_root, init_dies))

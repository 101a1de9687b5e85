#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A kernel that hangs with interrupts off writes nothing: the hardware watchdog resets it, and the hang counts. A machine that is slow, or that
has just been given up, is not reset. Usage: watchdog.py -B BUILD [SCENARIO ...]"""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True
import machine  # noqa: E402
import scenario  # noqa: E402
import vendor  # noqa: E402

HARDWARE = ("-device", "i6300esb,addr=0x12", "-action", "watchdog=reset")
TIMEOUT, RUNTIME = 40, 30
CONFIG = """[policy]
mode = automatic
stability = 5
panic_timeout = 3
cancel = 2
[watchdog]
timeout = %d
runtime = %d
[watch]
path = /opt
[image]
cmdline = console=ttyS0
""" % (TIMEOUT, RUNTIME)
# What this boot's initramfs is to do stands in a variable of the firmware, since no disk is mounted there.
VARIABLE = "/sys/firmware/efi/efivars/Wish-5a0c5e8e-0c6b-4d0e-9c4a-1f5a4f0b7c11"
SLOW = TIMEOUT + TIMEOUT // 2
PREMOUNT = """#!/bin/sh
[ "$1" = prereqs ] && exit 0
wish=$(tail -c 1 %(variable)s 2>/dev/null)
[ -n "$wish" ] || exit 0
chattr -i %(variable)s; rm %(variable)s
case $wish in
h) insmod /wish.ko ;;
s) echo "waiting for a slow disk" >/dev/console; sleep %(slow)d ;;
esac
exit 0
"""
HOOK = """#!/bin/sh
[ "$1" = prereqs ] && exit 0
. /usr/share/initramfs-tools/hook-functions
copy_exec /usr/bin/chattr
copy_exec /usr/bin/tail
copy_exec /usr/bin/rm
cp /var/lib/hang/wish.ko "$DESTDIR/wish.ko"
"""
# Whether systemd (PID 1) holds the device, and with which timeout.
HOLDER = """holder() { ls -l /proc/1/fd | grep -c /dev/watchdog >/var/holder; systemctl show -P RuntimeWatchdogUSec >>/var/holder
cat /sys/class/watchdog/watchdog0/identity /sys/class/watchdog/watchdog0/timeout /sys/class/watchdog/watchdog0/state >>/var/holder; sync; }
wish() { printf '\\7\\0\\0\\0%%s' $1 >%s; }
""" % VARIABLE
HELD = b"1\n%ds\ni6300ESB timer\n%d\nactive\n" % (RUNTIME, RUNTIME)


def settled(s):
    def files():
        _, module = vendor.build(s.shared.work, "hang_" + vendor.word(), "hang.c")
        return {
            "/var/lib/hang/wish.ko": module,
            "/etc/initramfs-tools/hooks/wish": (HOOK, 0o755),
            "/etc/initramfs-tools/scripts/local-premount/wish": (PREMOUNT % {"variable": VARIABLE, "slow": SLOW}, 0o755),
        }
    return s.settled("machine", lambda: CONFIG, files, small=True)


def hangs(s):
    """One hang in userspace, where systemd feeds, one in the initramfs, where boot-guard does; then recovery, which finds nothing it may do. The
    last boot is not watched: if it hung too, nothing would end the resets."""
    box = machine.Machine(settled(s), s.work, "machine", HOLDER + """boot_1() { holder; cp /var/holder /var/holder-1; wish h
sync; insmod /var/lib/hang/wish.ko; }
boot_2() { holder; healthy; switch_off; }
""", HARDWARE)
    done = s.boot_to_the_end(box, max_resets=8)
    state = box.state()
    s.same("resets: two hangs, the switch, the way back", 4, done.resets)
    s.same("attempts", ["healthy", "hang", "hang", "clean-shutdown", "healthy"], state["outcomes"])
    s.same("evidence", ["none", "watchdog", "watchdog", "none", "none"], state["evidence"])
    incidents = box.disk.list("/var/lib/qmr/incidents")
    s.same("one incident", 1, len(incidents))
    report = box.disk.json("/var/lib/qmr/incidents/%s/incident.json" % incidents[0]) or {}
    s.same("its reason", "detector", report.get("reason"))
    steps = {step["step"]: step for step in box.disk.json("/var/lib/qmr/incidents/%s/timeline.json" % incidents[0])["runs"][0]["steps"]}
    s.same("the watchdog in recovery", "ok", steps["watchdog"]["result"])
    s.same("in the first boot PID 1 held it", HELD, box.disk.read("/var/holder-1"))
    s.same("in the last boot nobody did", [b"0", b"0", b"inactive"], [(box.disk.read("/var/holder") or b"").split(b"\n")[i] for i in (0, 1, 4)])


def slow_but_healthy(s):
    """Longer in the initramfs than the timeout, and longer up than systemd's: no reset."""
    box = machine.Machine(settled(s), s.work, "machine", HOLDER + """boot_1() { wish s; healthy; restart; }
boot_2() { holder; healthy; sleep %d; switch_off; }
""" % (2 * RUNTIME), HARDWARE)
    done = s.boot_to_the_end(box, max_resets=4)
    state = box.state()
    s.same("resets: the one that was asked for", 1, done.resets)
    s.same("attempts", ["healthy", "healthy", "healthy"], state["outcomes"])
    s.same("stage, flags", ("none", 0), (state["stage"], state["flags"]))
    s.same("PID 1 holds it", HELD, box.disk.read("/var/holder"))
    with open(box.folder + "/console.log", errors="replace") as f:
        s.true("the second boot waited in the initramfs", "waiting for a slow disk" in f.read())


if __name__ == "__main__":
    scenario.main(hangs, more=(slow_but_healthy,))

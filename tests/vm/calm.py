#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a boot-loop detector must not act on: many restarts, restarts before healthy, power cuts, `reboot -f`, an oops that the machine
survives, a full disk, no network, a wrong clock, an offline update. The policy is one that would act.
Usage: calm.py -B BUILD [--seed N] [SCENARIO ...]"""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True
import firmware  # noqa: E402
import machine  # noqa: E402
import network  # noqa: E402
import repository  # noqa: E402
import scenario  # noqa: E402
import vendor  # noqa: E402

CONFIG = """[policy]
mode = automatic
local_rollback = yes
stability = 1
panic_timeout = 3
cancel = 2
[watch]
path = /opt
[image]
cmdline = console=ttyS0
[network]
timeout = 5
transfer_timeout = 5
"""
# Functions for the director. not_healthy_yet: the window outlasts what the boot does; healthy_now ends that.
TOOLS = """
wait_for() { until ended $1.service; do sleep 0.2; done; }
healthy_now() { rm /etc/qmr/conf.d/slow.conf; systemctl restart qmr-healthy.service; healthy; switch_off; }
"""
SLOW = "/etc/qmr/conf.d/slow.conf", "[policy]\nstability = 600\n"
LONG_AGO, FAR_AHEAD = "1970-01-01T00:00:00", "2036-01-01T00:00:00"
RESTARTS = 20


class Fleet:
    """What all machines here have: a vendor's driver that reads content, a driver with a fault of its own that nothing loads, and an
    owner whose servers nobody answers at."""

    def __init__(self, work, build):
        self.product, self.owner = vendor.Vendor(work), network.Owner(work + "/owner")
        self.oops = vendor.word() + "_" + vendor.word()
        kernel, module = vendor.build(work, self.oops, "oops.c")
        plan = repository.removal("plan-for-another-fault", vendor.word(), self.product)
        self.files = {**self.product.files, **self.owner.trust, "/lib/modules/%s/updates/%s.ko" % (kernel, self.oops): module,
                      "/etc/qmr/trust/root.json": repository.publish(build, self.owner, [plan])}


class Calm:
    """A copy of the settled machine, and the verdict that all scenarios share."""

    def __init__(self, s, play, slow=False):
        self.s, self.fleet = s, s.shared.get("fleet", lambda folder: Fleet(folder, s.build))
        self.template = s.settled("machine", lambda: CONFIG + self.fleet.owner.config, lambda: self.fleet.files, small=True)
        self.box = s.machine = machine.Machine(self.template, s.work, "machine", TOOLS + play)
        if slow:
            self.box.disk.put(*SLOW)
        self.before = self.box.state()

    def cut(self, when):
        """The power fails when when(run, what, text) says so. Nobody repairs the disk before the machine boots again."""
        def watch(run, what, text):
            if when(run, what, text):
                run.stop("cut")
        self.s.need("the power fails", self.box.boot(watch=watch, rest=False).ended == "cut")

    def verdict(self, *outcomes):
        """The attempts after the first, a word each; nothing seen, nothing done, nothing changed."""
        s, state = self.s, self.box.state()
        s.same("attempts", ["healthy", *outcomes], state["outcomes"])
        s.same("boots", 1 + len(outcomes), state["boots"])
        s.quiet(state)
        self.untouched()
        s.same("incidents", [], self.box.disk.list("/var/lib/qmr/incidents"))
        s.same("transactions", [], [n for n in self.box.disk.list("/var/lib/qmr/transactions") if n.isdigit()])

    def untouched(self):
        product = self.fleet.product
        self.s.true("the watched content", self.box.disk.read(product.content_path) == product.good)
        self.s.same("its folder", ["C-00000001-base.bin", product.content_name], self.box.disk.list(product.folder))


def twenty_healthy_boots(s):
    """20 boots, each to healthy: each writes the boot state twice, by its own count and by the firmware's store."""
    calm = Calm(s, 'boot_any() { wait_for qmr-healthy; if [ "$n" -lt %d ]; then restart; else switch_off; fi; }\n' % RESTARTS)
    box, seen = calm.box, []
    first = firmware.writes(box.vars, "QmrState")

    def watch(run, what, text):
        if what == "reset":
            seen.append(box.state()["sequence"])
    done = s.boot_to_the_end(box, watch=watch)
    state = box.state()
    seen.append(state["sequence"])
    s.same("resets", RESTARTS - 1, done.resets)
    s.same("sequence after each boot", [calm.before["sequence"] + 2 * (n + 1) for n in range(RESTARTS)], seen)
    s.same("writes in the firmware's store", 2 * RESTARTS, firmware.writes(box.vars, "QmrState") - first)
    s.same("attempts: the last 16", ["healthy"] * 16, state["outcomes"])
    s.same("boots", 1 + RESTARTS, state["boots"])
    s.quiet(state)
    calm.untouched()
    s.same("incidents", [], box.disk.list("/var/lib/qmr/incidents"))


def five_orderly_restarts(s):
    """Somebody restarts it five times before it was up for long enough."""
    calm = Calm(s, "boot_any() { if [ $n -le 5 ]; then restart; else healthy_now; fi; }\n", slow=True)
    s.same("resets", 5, s.boot_to_the_end(calm.box).resets)
    calm.verdict(*["clean-shutdown"] * 5, "healthy")


def power_cuts_while_it_starts(s):
    """Three in a row, between the driver for the disk and multi-user.target."""
    calm = Calm(s, "boot_any() { healthy_now; }\n", slow=True)
    with open(calm.template.folder + "/console.log", errors="replace") as f:
        lines = f.read().split("\n")
    begin, end = (next(n for n, line in enumerate(lines) if word in line) for word in ("init-premount", "multi-user.target"))
    moments = [s.random.randrange(9 * (end - begin) // 10) for _ in range(3)]
    print("# %s: seed %d, cuts after %s of %d lines" % (s.name, s.seed, moments, end - begin), flush=True)
    for moment in moments:
        left = [None]

        def when(run, what, text):
            if what == "line" and ("init-premount" in text or left[0] is not None):
                left[0] = (moment if left[0] is None else left[0]) - 1
            return left[0] is not None and left[0] < 0
        calm.cut(when)
    s.boot_to_the_end(calm.box)
    calm.verdict("unknown", "unknown", "unknown", "healthy")


def battery_is_empty(s):
    """It goes off at any moment from power-on, in the firmware too, five times. Only what came as far as the detector is counted."""
    calm = Calm(s, "boot_any() { healthy_now; }\n", slow=True)
    moments = [s.random.uniform(0.1, calm.template.boot_cpu_seconds) for _ in range(5)]
    print("# %s: seed %d, cuts after %s CPU seconds" % (s.name, s.seed, ", ".join("%.1f" % m for m in moments)), flush=True)
    for moment in moments:
        calm.cut(lambda run, what, text: run.cpu_seconds() > moment)
    s.boot_to_the_end(calm.box)
    counted = calm.box.state()["outcomes"].count("unknown")
    s.true("attempts that were counted", counted <= len(moments), counted)
    calm.verdict(*["unknown"] * counted, "healthy")


def reboot_f(s):
    """`reboot -f`, the same twice as forced, and the magic key: nobody records an orderly shutdown, and nothing crashed."""
    calm = Calm(s, "boot_1() { reboot -f; }\nboot_2() { reboot -ff; }\nboot_3() { echo b >/proc/sysrq-trigger; }\n"
                "boot_4() { healthy_now; }\n", slow=True)
    s.same("resets", 3, s.boot_to_the_end(calm.box).resets)
    calm.verdict("unknown", "unknown", "unknown", "healthy")


def survivable_oops(s):
    """A driver oopses at every boot in the process that loads it, and the machine goes on. There are crash records, and they are not
    of a panic: neither of a boot that gets healthy nor of one that ends with `reboot -f`."""
    calm = Calm(s, "boot_1() { reboot -f; }\nboot_2() { reboot -f; }\nboot_3() { healthy_now; }\n", slow=True)
    calm.box.disk.put("/etc/modules-load.d/fault.conf", calm.fleet.oops + "\n")
    s.same("resets", 2, s.boot_to_the_end(calm.box).resets)
    calm.verdict("unknown", "unknown", "healthy")
    disk, folder = calm.box.disk, "/var/lib/qmr/pstore"
    records = [disk.read("%s/%s/%s" % (folder, time, name)) for time in disk.list(folder) for name in disk.list(folder + "/" + time)]
    heads = [r.split(b"\n")[0] for r in records]
    s.true("all records are of oopses", all(h.startswith(b"Oops#1 ") for h in heads), heads)
    # What the third boot added is not seen before pstore is mounted again.
    s.same("records of two boots", 2, heads.count(b"Oops#1 Part1"))
    s.true("they name the driver", any(b"oops_init" in r and calm.fleet.oops.encode() in r for r in records))


def full_disk(s):
    """The root is full to the last block: no archive, no restore point, and a healthy boot all the same."""
    # The director's own count of boots may be lost to the full disk.
    calm = Calm(s, """boot_any() {
	wait_for qmr-healthy
	if [ -e /full ]; then switch_off; fi
	if [ -e /fill ]; then mv /fill /full; restart; fi
	dd if=/dev/zero of=/fill bs=1M 2>/dev/null; dd if=/dev/zero bs=4k >>/fill 2>/dev/null; sync; restart
}
""")
    s.same("resets", 2, s.boot_to_the_end(calm.box).resets)
    calm.verdict("healthy", "healthy", "healthy")
    stats, _ = calm.box.disk.debugfs("stats -h")
    free = [int(line.split(":")[1]) for line in stats.splitlines() if line.startswith("Free blocks:")]
    s.true("free blocks: those that ext4 keeps for itself", free and free[0] <= 4096, free)
    s.true("the restore point is still there", calm.box.disk.list("/var/lib/qmr/restore-points"))


def no_network(s):
    """Servers are configured, there is no network adapter at all, and a bundle waits to be sent: it stays, the boots are healthy."""
    calm = Calm(s, """boot_any() {
	healthy; wait_for qmr-upload; systemctl show -P Result qmr-upload >>/var/lib/director/upload
	if [ $n = 1 ]; then restart; else switch_off; fi
}
""")
    bundle = "/var/lib/qmr/spool/%s.tar.zst.cms" % "0b2f8a4e-7c1d-4e55-9a3f-6d2c1b0a9e87"
    calm.box.disk.put(bundle, b"0" * 5000)
    s.same("resets", 1, s.boot_to_the_end(calm.box).resets)
    calm.verdict("healthy", "healthy")
    s.same("sending failed", b"exit-code\n" * 2, calm.box.disk.read("/var/lib/director/upload"))
    s.same("the bundle waits", 5000, len(calm.box.disk.read(bundle) or b""))


def wrong_clock(s):
    """The hardware clock shows 1970, then 2036: healthy boots are healthy. Two panics with clocks 66 years apart are two panics: recovery
    comes, puts the content back, and the machine heals, in 1970."""
    calm = Calm(s, "boot_any() { healthy; switch_off; }\n")
    box, product = calm.box, calm.fleet.product
    for clock in LONG_AGO, FAR_AHEAD:
        box.clock = clock
        s.same("resets", 0, s.boot_to_the_end(box).resets)
    calm.verdict("healthy", "healthy")
    box.disk.put(product.content_path, product.bad)
    for clock in FAR_AHEAD, LONG_AGO:
        box.clock = clock
        s.same("it panics", "resets", box.boot(until=scenario.STUCK, max_resets=1, rest=False).ended)
    box.clock = FAR_AHEAD
    s.same("resets: the switch, the way back", 2, s.boot_to_the_end(box).resets)
    state = box.state()
    s.same("attempts", ["healthy"] * 3 + ["panic"] * 2 + ["clean-shutdown", "healthy"], state["outcomes"])
    s.same("stage, reason, failed boots", ("healed", "detector", 2), (state["stage"], state["reason"], state["failed_boots"]))
    calm.untouched()


def clock_without_battery(s):
    """Its clock begins anew at each boot, and two panics come in the same second of it: they are two panics all the same."""
    calm = Calm(s, "boot_any() { date -s @1000000 >/dev/null; echo c >/proc/sysrq-trigger; }\n", slow=True)
    s.same("resets: two panics, the switch", "resets", calm.box.boot(until=scenario.STUCK, max_resets=3).ended)
    state = calm.box.state()
    s.same("attempts", ["healthy", "panic", "panic", "clean-shutdown"], state["outcomes"])
    s.same("stage, reason", ("switching", "detector"), (state["stage"], state["reason"]))


def stopped_before_healthy(s):
    """A watched folder has something new, and the wait for healthy is ended, as `systemctl rescue` ends it too: what was never healthy does
    not become a restore point."""
    calm = Calm(s, """boot_any() {
	echo new >%s/new; until systemctl -q is-active qmr-healthy; do sleep 0.2; done
	systemctl stop qmr-healthy; until [ -z "$(systemctl list-jobs --no-legend)" ]; do sleep 0.2; done; switch_off
}
""" % s.shared.get("fleet", lambda folder: Fleet(folder, s.build)).product.folder, slow=True)
    s.boot_to_the_end(calm.box)
    s.same("attempts", ["healthy", "clean-shutdown"], calm.box.state()["outcomes"])
    s.same("restore points", ["1"], calm.box.disk.list("/var/lib/qmr/restore-points"))


UPDATE = {
    "/etc/systemd/system/update.service": "[Unit]\nDefaultDependencies=no\nRequires=sysinit.target\n"
    "After=sysinit.target system-update-pre.target\nBefore=shutdown.target system-update.target\nConflicts=shutdown.target\n"
    "SuccessAction=reboot\nFailureAction=reboot\n[Service]\nType=oneshot\nExecStart=/bin/sh /var/lib/offline/update\n",
    "/var/lib/offline/update": "rm /system-update\nsleep 5\necho done >>/var/lib/offline/log\n",
}


def offline_update(s):
    """systemd.offline-updates(7), twice: a boot that never comes to multi-user.target, works and restarts. Nothing failed."""
    calm = Calm(s, """boot_any() {
	[ $n = 3 ] && { healthy; switch_off; }
	mkdir -p /etc/systemd/system/system-update.target.wants
	ln -sf ../update.service /etc/systemd/system/system-update.target.wants/
	wait_for qmr-healthy; ln -s var/lib/offline /system-update; restart
}
""")
    for path, content in UPDATE.items():
        calm.box.disk.put(path, content)
    s.same("resets", 4, s.boot_to_the_end(calm.box).resets)
    s.same("updates", b"done\n" * 2, calm.box.disk.read("/var/lib/offline/log"))
    calm.verdict("healthy", "clean-shutdown", "healthy", "clean-shutdown", "healthy")


if __name__ == "__main__":
    scenario.main(power_cuts_while_it_starts, survivable_oops,
                  more=(reboot_f, twenty_healthy_boots, five_orderly_restarts, full_disk, no_network, wrong_clock, offline_update, battery_is_empty, clock_without_battery, stopped_before_healthy))

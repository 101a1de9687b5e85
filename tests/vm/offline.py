#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Machines without any network adapter, whose owner brings the repository on a USB stick: plans, hostile sticks, what follows a plan, the
owner's hold. Usage: offline.py -B BUILD [SCENARIO ...]"""
import glob
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True
import firmware  # noqa: E402
import machine  # noqa: E402
import network  # noqa: E402
import repository  # noqa: E402
import scenario  # noqa: E402
import stick  # noqa: E402
import vendor  # noqa: E402

CONFIG = """[policy]
mode = automatic
local_rollback = yes
stability = 5
panic_timeout = 3
cancel = 2
[watch]
path = /opt
[image]
cmdline = console=ttyS0
[network]
transfer_timeout = 30
[repository]
url = https://%s/repository
url = media:%s
"""
FOLDER = "qmr"
STARTS = "Opening the firmware's variables"
FETCHES = "Looking for a signed remediation"
FAILED = ["healthy", "panic", "panic", "clean-shutdown"]


class World:
    """A vendor whose driver fails, and the machines' owner with a plan for that."""

    def __init__(self, s, folder):
        self.vendor, self.owner = vendor.Vendor(folder), network.Owner(folder + "/owner")
        self.plan = repository.removal("plan-" + os.urandom(5).hex(), self.vendor.module, self.vendor)
        root = repository.publish(s.build, self.owner, [self.plan])
        self.files = dict(self.vendor.files, **self.owner.trust, **{"/etc/qmr/trust/root.json": root})


class Offline:
    """A machine that panicked twice and restarts into recovery, made once, and its owner's desk: copies of both."""

    def __init__(self, s):
        self.s, self.world = s, s.shared.get("world", lambda folder: World(s, folder))
        self.box = machine.Machine(s.shared.get("failed", self.fail), s.work, "machine")
        self.owner = self.world.owner.copy(s.work + "/owner")

    def fail(self, folder):
        world = self.world
        template = self.s.settled("machine", lambda: CONFIG % (network.HOST, FOLDER), lambda: world.files, small=True)
        box = machine.Machine(template, folder, "failed")
        box.disk.put(world.vendor.content_path, world.vendor.bad)
        done = box.boot(until=scenario.STUCK, max_resets=3)
        if (done.ended, box.state()["stage"]) != ("resets", "switching"):
            raise RuntimeError("two panics do not lead to recovery: %s, %s" % (done.ended, box.state()))
        return box

    def stick(self, name, **how):
        """A new stick with what the owner has published by now."""
        return stick.make("%s/%s.img" % (self.s.work, name), FOLDER, self.owner.folder + "/www/repository", **how)

    def tampered(self, name, **how):
        """The same, one byte of whose plan is not what its owner signed."""
        other = self.owner.copy("%s/owner-of-%s" % (self.s.work, name))
        path = glob.glob(other.folder + "/www/repository/targets/plans/*.json")[0]
        with open(path, "r+b") as f:
            text = f.read().replace(b"remove-file", b"remove-fil3")
            f.seek(0)
            f.write(text)
        return stick.make("%s/%s.img" % (self.s.work, name), FOLDER, other.folder + "/www/repository", **how)

    def content(self):
        product = self.world.vendor
        found = self.box.disk.read(product.content_path)
        return {None: "removed", product.bad: "malformed", product.good: "good"}.get(found, found)

    def of_incident(self, name):
        return self.box.disk.json("/var/lib/qmr/incidents/%s/%s.json" % (self.box.state()["incident"], name)) or {}

    def steps(self):
        """Of the incident's last run: step -> (result, text)."""
        return {step["step"]: (step["result"], step["text"]) for step in self.of_incident("timeline")["runs"][-1]["steps"]}

    def sources(self):
        """What was asked, in order: (kind of place, result)."""
        return [(f["url"].split(":")[0], f["result"]) for f in self.of_incident("plans/fetch").get("sources", [])]

    def applied(self):
        disk, folder = self.box.disk, "/var/lib/qmr/transactions"
        return [disk.json("%s/%s/journal.json" % (folder, n))["plan"] for n in disk.list(folder) if n.isdigit()]

    def verdict(self, stage, remediation, content):
        s, state = self.s, self.box.state()
        s.same("stage, remediation", (stage, remediation), (state["stage"], state["remediation"]))
        s.same("what was applied", [remediation] if remediation else [], self.applied())
        s.same("the content", content, self.content())

    def heals(self, remediation, content, **more):
        """Recovery, then a healthy boot."""
        self.s.same("resets: the way back", 1, self.s.boot_to_the_end(self.box, **more).resets)
        self.s.same("attempts", FAILED + ["healthy"], self.box.state()["outcomes"])
        self.verdict("healed", remediation, content)


def stick_behind_a_server_that_is_not_there(s):
    """https first, which nothing leads to; the stick has a partition, as they are sold."""
    offline = Offline(s)
    offline.box.hardware = stick.controller(stick.plugged(0, offline.stick("stick")))
    offline.heals(offline.world.plan["id"], "removed")
    s.same("the network", ("network", "no wired network adapter"), offline.steps()["network"])
    s.same("sources", [("https", "network"), ("media", "ok")], offline.sources())
    s.same("the one that won", "media:%s (sda1)" % FOLDER, offline.of_incident("plans/fetch")["url"])


def switched_off_by_the_plan(s):
    """The owner wants to see the machine first: it is off once the plan is applied, and on probation when somebody starts it."""
    offline = Offline(s)
    plan = dict(offline.world.plan, id="off-" + os.urandom(5).hex(), then="shutdown")
    repository.remove(s.build, offline.owner, offline.world.plan)
    repository.add(s.build, offline.owner, plan)
    offline.box.hardware = stick.controller(stick.plugged(0, offline.stick("stick")))
    s.same("resets: none, it is off", 0, s.boot_to_the_end(offline.box).resets)
    s.same("attempts", FAILED, offline.box.state()["outcomes"])
    offline.verdict("probation", plan["id"], "removed")
    s.same("how recovery ended", "shutdown", offline.of_incident("timeline")["runs"][-1]["end"])
    offline.box.hardware = ()
    s.same("resets: none, it is healthy", 0, s.boot_to_the_end(offline.box).resets)
    state = offline.box.state()
    s.same("attempts afterwards", FAILED + ["healthy"], state["outcomes"])
    s.same("the last one was on probation", [0, 4], [f & 4 for f in state["attempt_flags"][-2:]])
    offline.verdict("healed", plan["id"], "removed")


def held(s):
    """The owner holds the fleet: no plan, no revert. A machine that cannot ask any more goes by what it was told; once the hold is gone from
    the repository, it is repaired."""
    offline = Offline(s)
    box, kept = offline.box, "/var/lib/qmr/tuf/hold"
    hold = {"schema": 1, "id": "hold-" + os.urandom(5).hex(), "title": "Wait until we know more", "hold": True}
    number = [n for n, title in firmware.boot_entries(box.variables()) if title == "Quick machine recovery"][0]

    def run(name, fetch, sources, *sticks):
        box.hardware = stick.controller(*sticks)
        done = s.boot_to_the_end(box, scenario.PANIC_HALT)
        state, steps = box.state(), offline.steps()
        s.same(name + ": resets: the way back", 1, done.resets)
        s.same(name + ": final condition", "normal-boot", state["final"])
        s.same(name + ": fetch, apply", (fetch, "nothing"), (steps["fetch"][0], steps["apply"][0]))
        s.same(name + ": sources", sources, offline.sources())
        s.true(name + ": the note says why", "the owner holds the fleet" in state["note"], state["note"])
        s.same(name + ": the hold is remembered", hold["id"], (box.disk.json(kept) or {}).get("id"))
        offline.verdict("final", "", "malformed")

    repository.add(s.build, offline.owner, hold)
    run("held", "nothing", [("https", "network"), ("media", "ok")], stick.plugged(0, offline.stick("hold")))
    firmware.set_boot_next(box.vars, number)
    run("without the stick", "network", [("https", "network"), ("media", "network")])
    s.true("it is named", any("holds a folder '%s'" % FOLDER in str(f["error"]) for f in offline.of_incident("plans/fetch")["sources"]))
    repository.remove(s.build, offline.owner, hold)
    firmware.set_boot_next(box.vars, number)
    box.hardware = stick.controller(stick.plugged(0, offline.stick("lifted")))
    s.same("lifted: resets: the way back", 1, s.boot_to_the_end(box).resets)
    offline.verdict("healed", offline.world.plan["id"], "removed")
    s.same("the hold is forgotten", None, box.disk.read(kept))
    s.same("attempts", FAILED + ["panic", "panic", "healthy"], box.state()["outcomes"])
    s.same("incidents", 3, len(box.disk.list("/var/lib/qmr/incidents")))


def sticks_of_every_kind(s):
    """Tampered, without a partition table, by USB Attached SCSI: the good ones are not disturbed by the bad one."""
    offline = Offline(s)
    offline.box.hardware = stick.controller(stick.plugged(0, offline.tampered("tampered")), stick.attached(1, offline.stick("whole", whole=True)))
    offline.heals(offline.world.plan["id"], "removed")
    s.same("the one that won is a whole disk", True, offline.of_incident("plans/fetch")["url"] in ["media:%s (sd%s)" % (FOLDER, c) for c in "ab"])


def hostile_sticks(s):
    """A tampered repository, file systems that have no end, no sense, and no room where they say they are: nothing of it is applied, and the
    machine helps itself as it would without."""
    offline = Offline(s)
    sticks = (offline.tampered("tampered", whole=True), stick.loop(offline.stick("loop")),
              stick.scramble(offline.stick("noise"), s.random), stick.cut_short(offline.stick("short")))
    offline.box.hardware = stick.controller(*[stick.plugged(n, image) for n, image in enumerate(sticks)])
    offline.heals("local-revert", "good")
    s.same("fetch", "refused", offline.steps()["fetch"][0])
    sources = offline.sources()
    s.true("each source has its result, none is taken", ("media", "refused") in sources and "ok" not in dict(sources).values(), sources)


def stick_that_comes_late(s):
    """It is plugged in when recovery begins to look for it, as far as a slow one is found."""
    offline = Offline(s)
    hand = stick.Hand(s.work)

    def watch(run, what, text):
        if what == "line" and FETCHES in text:
            hand.plug(0)
    offline.box.hardware = hand.arguments + stick.controller(stick.drive(0, offline.stick("stick")))
    offline.heals(offline.world.plan["id"], "removed", watch=watch)
    s.same("sources", [("https", "network"), ("media", "ok")], offline.sources())


def dead_stick(s):
    """One answers to no read, from the first step on: neither the system's disk nor the good stick is missed, and the kernel's restart, which
    waits for it, is not waited for. Then somebody pulls it; the firmware would wait for it too."""
    offline = Offline(s)
    hand, restarts = stick.Hand(s.work), []

    def watch(run, what, text):
        if what == "line" and STARTS in text:
            hand.plug(0)
            hand.plug(1)
        if what == "line" and "sysrq: Resetting" in text:
            restarts.append(text)
        if what == "reset":
            hand.pull(0)
    offline.box.hardware = hand.arguments + stick.controller(stick.drive(0, offline.stick("dead", whole=True), ",throttling.bps-read=16"),
                                                             stick.drive(1, offline.stick("good", whole=True)))
    offline.heals(offline.world.plan["id"], "removed", watch=watch)
    s.same("a stick won", "ok", dict(offline.sources()).get("media"))
    s.same("the restart was forced", 1, len(restarts))


if __name__ == "__main__":
    scenario.main(stick_behind_a_server_that_is_not_there,
                  more=(held, switched_off_by_the_plan, sticks_of_every_kind, hostile_sticks, stick_that_comes_late, dead_stick))

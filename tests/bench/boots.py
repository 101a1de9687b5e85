# SPDX-License-Identifier: LGPL-2.1-or-later
"""A whole machine brought to two points from which copies are started again and again: about to enter recovery, and there with the
floor's image in recovery's place. Copies are bit by bit, so each run begins with the same disk and variables."""
import os
import re
import shutil
import time

import floor
import machine
import network
import repository
import vendor
from figures import load, ratio, say, show, spread
from machine import run

# Nobody gets time to object: it would be in every figure.
CONFIG = """[policy]
mode = automatic
local_rollback = yes
stability = 5
panic_timeout = 3
cancel = 0
[watch]
path = /opt
[image]
cmdline = console=ttyS0
"""
SCENARIO = """boot_1() {
	healthy
	%s
	switch_off
}
"""
RESETS_TO_RECOVERY = 3  # two panics, and the boot that switches
UKI = "/EFI/Linux/qmr-recovery.efi"
PATIENCE_S = 600
MEMORY_MIB, MEMORY_STEP_MIB = (96, 768), 16
# Recovery's steps beside what the floor does at that point.
SHARED = (("drivers", ("devices",)), ("address", ("network",)), ("transfers", ("upload", "fetch")))


class Still(machine.Disk):
    """A disk whose journal nobody replays behind recovery's back."""

    def rest(self):
        pass


class Copy(machine.Machine):
    """Another machine as it stands, with a firmware of its own. memory_mib: instead of the usual."""

    def __init__(self, source, memory_mib=None):
        self.nonce, self.memory_mib = source.nonce, memory_mib
        self.folder = source.folder + "-" + os.urandom(3).hex()
        os.makedirs(self.folder)
        self.vars = self.folder + "/vars.fd"
        run("cp", "--sparse=always", "--reflink=auto", source.disk.path, self.folder + "/disk.img")
        shutil.copy(source.vars, self.vars)
        self.disk = Still(self.folder + "/disk.img")

    def command(self, network_, log):
        command = super().command(network_, log)
        if self.memory_mib:
            command[command.index("-m") + 1] = str(self.memory_mib)
        return command

    def console(self):
        with open(self.folder + "/console.log", errors="replace") as f:
            return f.read()

    def remove(self):
        shutil.rmtree(self.folder)


class Stopwatch:
    """When the firmware last started something, by the host's clock."""

    def __init__(self):
        self.started = None

    def __call__(self, run_, what, text):
        if what == "line" and "BdsDxe: starting Boot" in text:
            self.started = time.monotonic()


class Fleet:
    """An owner, a vendor's product whose content breaks a machine, a signed plan against it, and that machine at the points where
    measurements begin. servers is set while a network is up."""

    def __init__(self, work, build):
        self.work, self.build = work, build
        self.product = vendor.Vendor(work)
        self.owner = network.Owner(work + "/owner")
        self.nonce, self.plan_id = os.urandom(4).hex(), "plan-" + os.urandom(5).hex()

    def prepare(self):
        say("  the owner's keys and repository, a Debian 12 with qmr")
        plan = repository.removal(self.plan_id, self.product.module, self.product)
        files = dict(self.product.files, **self.owner.trust)
        files["/etc/qmr/trust/root.json"] = repository.publish(self.build, self.owner, [plan])
        system = machine.System(self.work, self.build, CONFIG + self.owner.config, files)
        box = machine.Machine(system, self.work, "machine", SCENARIO % self.product.update)
        say("  its first boot: healthy; then a malformed content file arrives")
        with network.Network(self.owner, self.nonce) as self.servers:
            self.need(box.boot(network=self.servers).ended == "shutdown", "the first boot did not end", box)
            self.broken = Copy(box)
            say("  two panics, and the boot that switches to recovery")
            done = self.broken.boot(network=self.servers, max_resets=RESETS_TO_RECOVERY)
            state = self.broken.state() or {}
            self.need(done.ended == "resets" and state.get("stage") == "switching", "the machine does not switch to recovery: %s" % state,
                      self.broken)

    def need(self, good, why, box):
        if not good:
            raise RuntimeError("%s; its console: %s/console.log" % (why, box.folder))

    def requests(self):
        """Of the web server's log so far: (method, path, status, bytes of the answer, bytes received)."""
        with open(self.owner.folder + "/access.log") as f:
            return [(m, p, int(s), int(sent), int(got)) for _, m, p, s, sent, got in map(str.split, f)]

    def serve(self, box, **more):
        """Runs a box. Returns what happened: the run, the host's seconds from the firmware's start of it, requests."""
        watch, before = Stopwatch(), len(self.requests()) if os.path.exists(self.owner.folder + "/access.log") else 0
        done = box.boot(network=self.servers, watch=watch, limit_s=PATIENCE_S, **more)
        return done, time.monotonic() - (watch.started or 0), self.requests()[before:]

    def recover(self, memory_mib=None):
        """One recovery from the same point. Returns its figures, or None where the machine did not recover."""
        for name in os.listdir(self.servers.bundles):
            os.unlink(os.path.join(self.servers.bundles, name))
        box = Copy(self.broken, memory_mib)
        done, host_s, requests = self.serve(box, max_resets=1, until=memory_mib and r"Kernel panic - not syncing|^Welcome to ")
        state = box.state() or {}
        ends = re.findall(r"Recovery ends after ([0-9.]+) s", box.console())
        recovered = done.ended == "resets" and state.get("stage") == "probation" and ends and \
            state.get("remediation") == self.plan_id and len(os.listdir(self.servers.bundles)) == 1
        if memory_mib is None:
            self.need(recovered, "the machine did not recover: %s" % state, box)
        if not recovered:
            box.remove()
            return None
        incident = box.disk.json("/var/lib/qmr/incidents/%s/timeline.json" % state["incident"])
        steps = {s["step"]: s for s in incident["runs"][-1]["steps"]}
        box.remove()
        return {"seconds": float(ends[-1]), "host_seconds": host_s, "start": min(s["start_ms"] for s in steps.values()) / 1000,
                "steps": {n: s["duration_ms"] / 1000 for n, s in steps.items()}, "requests": requests}

    def make_floor(self, sample):
        """The floor sends and fetches what the sample recovery did: the bundle that the server has now."""
        bundle = os.path.join(self.servers.bundles, os.listdir(self.servers.bundles)[0])
        image = self.work + "/recovery.efi"
        run("mcopy", "-i", self.broken.disk.esp, "::" + UKI, image)
        path, sizes = floor.make(image, self.work + "/floor", network.HOST, [r[:2] for r in sample["requests"]], bundle,
                                 self.owner.folder + "/ca.pem")
        self.floor = Copy(self.broken)
        with open(path, "rb") as f:
            self.floor.disk.esp_put(UKI, f.read())
        return sizes

    def run_floor(self):
        for name in os.listdir(self.servers.bundles):
            os.unlink(os.path.join(self.servers.bundles, name))
        box = Copy(self.floor)
        done, host_s, requests = self.serve(box)
        marks = {n: float(t) for n, t in re.findall(r"floor: (\w+) ([0-9.]+)", box.console())}
        self.need(done.ended == "shutdown" and len(marks) == 4 and "curl failed" not in box.console(), "the floor did not come to its end",
                  box)
        box.remove()
        names = ("start", "drivers", "address", "transfers")
        return {"seconds": marks["transfers"], "host_seconds": host_s, "start": marks["start"], "requests": requests,
                "steps": {n: marks[n] - marks[p] for p, n in zip(names, names[1:])}}


def exchanged(requests):
    """What two runs must have in common: everything but a few bytes of headers in the requests."""
    return [r[:4] for r in requests]


def measure_recovery(fleet, rounds):
    result = {"load_before": load()}
    sample = fleet.recover()
    result["floor_image_bytes"] = fleet.make_floor(sample)
    recoveries, floors = [], []
    for number in range(rounds):
        say("  round %d of %d: recovery, floor" % (number + 1, rounds))
        recoveries.append(fleet.recover())
        floors.append(fleet.run_floor())
    strange = [r["requests"] for r in recoveries + floors if exchanged(r["requests"]) != exchanged(sample["requests"])]
    result["same_requests"] = not strange
    result["requests"] = sample["requests"]
    if strange:
        result["other_requests"] = strange[0]
    for name, runs in (("recovery", recoveries), ("floor", floors)):
        result[name] = {key: spread([r[key] for r in runs]) for key in ("seconds", "host_seconds", "start")}
        result[name]["steps"] = {s: spread([r["steps"][s] for r in runs]) for s in runs[0]["steps"]}
    result["ratio"] = ratio(result["recovery"]["seconds"], result["floor"]["seconds"])
    result["host_ratio"] = ratio(result["recovery"]["host_seconds"], result["floor"]["host_seconds"])
    result["load_after"] = load()
    return result


def report_recovery(result):
    recovery, bare = result["recovery"], result["floor"]
    sent = sum(r[4] for r in result["requests"] if r[0] == "PUT")
    got = sum(r[3] for r in result["requests"] if r[0] == "GET")
    say("\nTime in recovery against a floor (load of the host %.1f before, %.1f after)" % (result["load_before"], result["load_after"]))
    say("  both: %d requests, %d bytes sent, %d bytes received%s" % (len(result["requests"]), sent, got, "" if result["same_requests"]
        else "; NOT the same in every run, see result.json"))
    for title, key in (("kernel start to the end", "seconds"), ("firmware starts the image, to the end", "host_seconds"),
                       ("kernel start to the first process", "start")):
        say("  %-38s recovery %s, floor %s: x %.2f" % (title, show(recovery[key]), show(bare[key]), ratio(recovery[key], bare[key])))
    for name, steps in SHARED:
        say("  %-38s recovery %.2f s (%s), floor %s" % (name, sum(recovery["steps"][s]["median"] for s in steps), " + ".join(
            "%s %.2f" % (s, recovery["steps"][s]["median"]) for s in steps), show(bare["steps"][name])))
    shared = {s for _, steps in SHARED for s in steps}
    say("  recovery alone: " + ", ".join("%s %.2f" % (s, d["median"]) for s, d in recovery["steps"].items() if s not in shared))


def measure_memory(fleet):
    """The smallest memory of the machine with which it recovers, found by halving."""
    low, high = MEMORY_MIB
    while high - low > MEMORY_STEP_MIB:
        middle = (low + high) // 2 // MEMORY_STEP_MIB * MEMORY_STEP_MIB
        good = fleet.recover(middle) is not None
        say("  with %d MiB: %s" % (middle, "recovers" if good else "does not recover"))
        low, high = (low, middle) if good else (middle, high)
    return {"smallest_mib": high, "fails_mib": low}


def report_memory(result):
    say("\nMemory: the machine recovers with %d MiB, not with %d" % (result["smallest_mib"], result["fails_mib"]))

#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A machine that boot-loops on a vendor's malformed content comes back: with its owner's signed plan (the demo itself), without a
server, without a plan, and with a tampered repository. Usage: recovers.py -B BUILD [SCENARIO ...]"""
import glob
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True
import demo  # noqa: E402
import machine  # noqa: E402
import network  # noqa: E402
import repository  # noqa: E402
import scenario  # noqa: E402
import vendor  # noqa: E402


def signed_plan(s):
    """`make demo`, from nothing."""
    out = s.work + "/out"
    done = subprocess.run([sys.executable, machine.HERE + "/demo.py", "-B", s.build, "--out", out], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    if not s.same("the demo's exit status", 0, done.returncode):
        print("#   " + done.stdout.replace("\n", "\n#   "))
    with open(out + "/result.json") as f:
        result = json.load(f)
    s.true("its result", result["final"] == "healed" and result["bundle_sha256"] and result["remediation"].startswith("plan-"), result)


class World:
    """A machine whose driver will fail, and its owner with a plan for that; made once, each scenario spoils a copy."""

    def __init__(self, s, folder):
        self.vendor, self.owner = vendor.Vendor(folder), network.Owner(folder + "/owner")
        self.plan_id = "plan-" + os.urandom(5).hex()
        root = repository.publish(s.build, self.owner, [repository.removal(self.plan_id, self.vendor.module, self.vendor)])
        self.files = dict(self.vendor.files, **self.owner.trust, **{"/etc/qmr/trust/root.json": root})


def recovered(s, spoil, server=True):
    """Runs a copy of the machine with the bad content. spoil(s, owner) changes the copy of the owner's servers."""
    world = s.shared.get("world", lambda folder: World(s, folder))
    box = machine.Machine(s.settled("machine", lambda: demo.CONFIG + world.owner.config, lambda: world.files), s.work, "machine")
    box.disk.put(world.vendor.content_path, world.vendor.bad)
    owner = world.owner.copy(s.work + "/owner")
    spoil(s, owner)
    with network.Network(owner, box.nonce, server) as servers:
        done = s.boot_to_the_end(box, network=servers)
    result = demo.read_result(box, owner, world.vendor.function + "+0x")
    s.same("resets: two panics, the switch, the way back", 4, done.resets)
    s.same("failed boots", 2, result["failed_boots"])
    s.same("culprit", (world.vendor.module, world.vendor.function), (result["culprit_module"], result["culprit_function"]))
    s.same("remediation", "local-revert", result["remediation"])
    s.true("the content file is what it was when the machine was healthy",
           box.disk.read(world.vendor.content_path) == world.vendor.good)
    s.same("final", "healed", result["final"])
    state = box.state()
    s.same("attempts", ["healthy", "panic", "panic", "clean-shutdown", "healthy"], state["outcomes"])
    s.same("their flags: recovery asked for and run, on probation", [0, 0, 0, 1 | 8, 4], state["attempt_flags"])
    report = box.disk.json("/var/lib/qmr/incidents/%s/report.json" % result["incident"]) or {}
    s.same("report", ("healed", "local-revert", 2), tuple(report.get(k) for k in ("final", "remediation", "failed_boots")))
    s.same("healthy boots that were counted", 2, (box.disk.json("/var/lib/qmr/changes-state.json") or {}).get("healthy_boots"))
    log = box.disk.json("/var/lib/qmr/changes-state.json") or {}
    s.true("the change log knows the kernel and the initramfs", log.get("images") and "release" in log.get("kernel", {}), log)
    return world, box, owner, result


def no_server(s):
    """Nobody answers: the machine helps itself, and keeps the bundle to send it later."""
    world, box, owner, result = recovered(s, lambda *_: None, server=False)
    s.same("the server received nothing", (None, []), (result["bundle_sha256"], os.listdir(owner.folder + "/www/bundles")))
    bundle = box.disk.read("/var/lib/qmr/spool/%s.tar.zst.cms" % result["incident"])
    s.need("the bundle is in the spool", bundle, box.disk.list("/var/lib/qmr/spool"))
    machine.write(s.work + "/bundle", bundle)
    owner.open(s.work + "/bundle", s.work + "/opened")
    dumps = glob.glob("%s/opened/%s/dumps/*" % (s.work, result["incident"]))
    s.true("it opens and contains the oops", any(world.vendor.function + "+0x" in open(d, errors="replace").read() for d in dumps), dumps)


def no_plan(s):
    """The repository holds no plan for this fault any more."""
    def withdraw(s, owner):
        desk = ("--repository", owner.folder + "/www/repository", "--keys", owner.folder + "/desk/keys")
        plan = os.path.basename(glob.glob(owner.folder + "/desk/plan-*.json")[0])
        machine.run(s.build + "/qmr-publish", "remove", *desk, plan)
    _, _, _, result = recovered(s, withdraw)
    s.true("the server has the bundle", result["bundle_sha256"] and result["bundle_contains_oops"], result)
    s.same("fetch", "nothing", result["steps"].get("fetch"))


def tampered_repository(s):
    """One byte of the plan is not what its owner signed."""
    def tamper(s, owner):
        path = glob.glob(owner.folder + "/www/repository/targets/plans/*.json")[0]
        with open(path, "r+b") as f:
            text = f.read().replace(b"remove-file", b"remove-fil3")
            f.seek(0)
            f.write(text)
    _, box, _, result = recovered(s, tamper)
    s.true("the server has the bundle", result["bundle_sha256"] and result["bundle_contains_oops"], result)
    s.same("fetch", "refused", result["steps"].get("fetch"))


if __name__ == "__main__":
    scenario.main(signed_plan, more=(tampered_repository, no_server, no_plan))

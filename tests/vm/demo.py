# SPDX-License-Identifier: LGPL-2.1-or-later
"""A machine that boot-loops on a bad driver comes back by itself: the whole path, shown live. Run by `make demo`.

usage: python3 tests/vm/demo.py -B BUILD [--no-server] [--no-plan] [--keep]

BUILD/demo/result.json holds what was found afterwards on the guest's disk, in its firmware's variables and on the server. The exit
status is 0 only when all of it happened. Withholding the server or the plan shows the other ways it ends.
"""
import argparse
import glob
import hashlib
import json
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True
import machine  # noqa: E402
import network  # noqa: E402
import repository  # noqa: E402
import timeline  # noqa: E402
import vendor  # noqa: E402

CONFIG = """[policy]
mode = automatic
local_rollback = yes
stability = 5
panic_timeout = 3
cancel = 3
[watch]
path = /opt
[image]
cmdline = console=ttyS0
[network]
transfer_timeout = 30
"""
SCENARIO = """boot_1() {
	healthy
	%s
	say "an update of the vendor's content arrives; the machine restarts"
	restart
}
"""


class Demo:
    """One run. with_server, with_plan: whether the owner's server answers, and whether its repository holds the plan."""

    def __init__(self, work, build, with_server=True, with_plan=True):
        self.work, self.build, self.with_server, self.with_plan = work, os.path.abspath(build), with_server, with_plan
        self.timeline = timeline.Timeline()
        self.timeline.phase("a vendor's kernel module is built")
        self.vendor = vendor.Vendor(work)
        self.owner = network.Owner(work + "/owner")
        self.plan_id = "plan-" + os.urandom(5).hex()
        self.nonce = os.urandom(4).hex()

    def prepare(self):
        files = dict(self.vendor.files, **self.owner.trust)
        self.timeline.phase("the owner's keys and repository")
        files["/etc/qmr/trust/root.json"] = repository.publish(self.build, self.owner, [self.plan()])
        self.timeline.phase("a Debian 12 with qmr: make install, qmrctl install")
        system = machine.System(self.work, self.build, CONFIG + self.owner.config, files)
        self.box = machine.Machine(system, self.work, "machine", SCENARIO % self.vendor.update)

    def plan(self):
        """The plan for this fault, or one for another: a repository is never empty."""
        return repository.removal(self.plan_id, self.vendor.module if self.with_plan else vendor.word(), self.vendor)

    def play(self):
        with network.Network(self.owner, self.nonce, self.with_server) as servers:
            self.timeline.phase("power on (QEMU in software emulation, OVMF)")
            run = self.box.boot(watch=self.timeline.watch, network=servers)
        self.timeline.phase("the machine is off" if run.ended == "shutdown" else "the machine did not end by itself: " + run.ended)
        return run

    def read(self):
        return read_result(self.box, self.owner, self.vendor.function + "+0x")


def judge(run, result, box, product, plan_id):
    """What did not happen, as sentences; an empty list when all of it did."""
    wanted = (
        (run.ended == "shutdown", "the machine did not switch itself off"),
        (result["failed_boots"] == 2, "%s failed boots were counted, not 2" % result["failed_boots"]),
        (result["culprit_module"] == product.module, "module '%s' is named, not the culprit" % result["culprit_module"]),
        (result["culprit_function"] == product.function, "function '%s' is named, not the culprit's" % result["culprit_function"]),
        (result["bundle_sha256"], "the server received no bundle of the incident that can be opened"),
        (result["bundle_contains_oops"], "no bundle on the server contains the oops"),
        (result["remediation"] == plan_id, "the signed plan was not applied (%s)" % result["remediation"]),
        (box.disk.read(product.content_path) != product.bad, "the malformed content file is still there"),
        (result["final"] == "healed", "the machine is not healed: stage %s" % result["final"]),
        (result["recovery_seconds"] > 0 and result["phases"], "recovery left no timeline"),
    )
    return [why for good, why in wanted if not good]


def read_result(box, owner, oops):
    """What is left: from the server, the guest's disk and the firmware's variables. oops: what the bundle's dumps shall contain."""
    state = box.state() or {}
    folder = "/var/lib/qmr/incidents/%s" % state.get("incident")
    incident, steps, report = (box.disk.json("%s/%s.json" % (folder, n)) or {} for n in ("incident", "timeline", "report"))
    bundle = read_bundle(owner, state.get("incident"), oops)
    culprit = (bundle["incident"] if bundle else incident).get("culprit") or {}
    done = [step for run in steps.get("runs", []) for step in run["steps"]]
    runs = [run["steps"] for run in steps.get("runs", []) if run["steps"]]
    crashes = [c["time_unix_s"] for c in incident.get("crashes", []) if c.get("time_unix_s")]
    healthy = report.get("healthy_unix_s")
    return {
        "failed_boots": state.get("failed_boots"), "incident": state.get("incident"),
        "culprit_module": culprit.get("module"), "culprit_function": culprit.get("function"),
        "bundle_sha256": bundle["sha256"] if bundle else None,
        "bundle_contains_oops": bundle["oops"] if bundle else False,
        "remediation": state.get("remediation") or None, "final": state.get("stage"),
        "recovery_seconds": round(sum(max(s["start_ms"] + s["duration_ms"] for s in run) for run in runs) / 1000, 3),
        "first_crash_to_healthy_seconds": healthy - min(crashes) if healthy and crashes else None,
        "phases": {name: round(sum(s["duration_ms"] for s in done if s["step"] == name) / 1000, 3)
                   for name in dict.fromkeys(s["step"] for s in done)},
        "steps": {s["step"]: s["result"] for s in done},
    }


def read_bundle(owner, incident, oops):
    """The bundle that the server holds, opened with the owner's key; None where there is none, or not this incident's alone."""
    folder, out = owner.folder + "/www/bundles", owner.folder + "/opened"
    name = "%s.tar.zst.cms" % incident
    if not os.path.isdir(folder) or os.listdir(folder) != [name]:
        return None
    with open(os.path.join(folder, name), "rb") as f:
        digest = hashlib.sha256(f.read()).hexdigest()
    try:
        owner.open(os.path.join(folder, name), out)
        with open("%s/%s/incident.json" % (out, incident)) as f:
            found = json.load(f)
        dumps = glob.glob("%s/%s/dumps/*.txt" % (out, incident))
        contains = any(oops in open(path, errors="replace").read() for path in dumps)
    except (RuntimeError, OSError, ValueError) as e:
        print("the bundle cannot be opened: %s" % e)
        return None
    return {"sha256": digest, "incident": found, "oops": contains}


def summary(result, missing):
    lines = (
        ("failed boots", result["failed_boots"]),
        ("incident", result["incident"]),
        ("culprit", "module %s, function %s" % (result["culprit_module"], result["culprit_function"])),
        ("the server received", "bundle with sha256 " + result["bundle_sha256"] if result["bundle_sha256"] else "nothing"),
        ("remediation", result["remediation"]),
        ("first crash to healthy", "%s s" % result["first_crash_to_healthy_seconds"]),
        ("time in recovery", "%.1f s: %s" % (result["recovery_seconds"], ", ".join(
            "%s %.1f" % (n, s) for n, s in result["phases"].items() if s >= 0.05))),
        ("final", result["final"]),
    )
    print("\nSummary")
    for name, value in lines:
        print("  %-24s%s" % (name, value))
    for why in missing:
        print("  missing: " + why)
    print("All of it happened." if not missing else "Not all of it happened.", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("-B", dest="build", required=True)
    parser.add_argument("--no-server", action="store_true", help="nobody answers: the machine helps itself")
    parser.add_argument("--no-plan", action="store_true", help="the repository holds no plan for this fault")
    parser.add_argument("--out", help="folder of result.json, default BUILD/demo")
    parser.add_argument("--keep", action="store_true", help="keep the disk, the console's text and the server's files")
    arguments = parser.parse_args()
    if os.geteuid():
        sys.exit("make demo: making a machine's disk and a network for it needs root; run it as root")
    out = arguments.out or os.path.join(arguments.build, "demo")
    os.makedirs(out, exist_ok=True)
    machine.clean_up_on_signals()
    work = tempfile.TemporaryDirectory(prefix="qmr-demo-", dir=machine.TEMPORARY)
    demo = Demo(work.name, arguments.build, not arguments.no_server, not arguments.no_plan)
    demo.prepare()
    run = demo.play()
    result = demo.read()
    missing = judge(run, result, demo.box, demo.vendor, demo.plan_id)
    with open(out + "/result.json", "w") as f:
        json.dump(result, f, indent=2)
        f.write("\n")
    summary(result, missing)
    print("Result: %s/result.json" % out)
    if arguments.keep or missing:
        subprocess.run(["cp", demo.box.folder + "/console.log", out], check=False)
        print("Console: %s/console.log" % out)
    if arguments.keep:
        print("Kept: " + work.name)
        work._finalizer.detach()
    sys.exit(1 if missing else 0)


if __name__ == "__main__":
    main()

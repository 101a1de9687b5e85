# SPDX-License-Identifier: LGPL-2.1-or-later
"""A machine that boot-loops on a bad driver comes back by itself: the whole path, shown live. Run by `make demo`.

usage: python3 tests/vm/demo.py -B BUILD [--no-server] [--no-plan] [--keep]

BUILD/demo/result.json holds what was found afterwards on the guest's disk, in its firmware's variables and on the server. The exit
status is 0 only when all of it happened. Withholding the server or the plan shows the other ways it ends.
"""
import argparse
import contextlib
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

    def __init__(self, work, build, with_server=True, with_plan=True, show=timeline.Timeline):
        self.work, self.build, self.with_server, self.with_plan = work, os.path.abspath(build), with_server, with_plan
        self.timeline = show() if show else None
        self.phase("a vendor's kernel module is built")
        self.vendor = vendor.Vendor(work)
        self.owner = network.Owner(work + "/owner")
        self.plan_id = "plan-" + os.urandom(5).hex()
        self.nonce = os.urandom(4).hex()
        self.signs = all(os.path.exists(os.path.join(build, p)) for p in ("qmr-publish", "remediation-fetch"))

    def phase(self, text):
        if self.timeline:
            self.timeline.phase(text)

    def note(self, text):
        if self.timeline:
            self.timeline.note(text)

    def prepare(self):
        files = dict(self.vendor.files, **self.owner.trust)
        if self.signs:
            self.phase("the owner's keys and repository")
            files["/etc/qmr/trust/root.json"] = repository.publish(self.build, self.owner, self.plans())
        self.phase("a Debian 12 with qmr: make install, qmrctl install")
        system = machine.System(self.work, self.build, CONFIG + self.owner.config(self.signs), files)
        self.box = machine.Machine(system, self.work, "machine", SCENARIO % self.vendor.update)

    def plans(self):
        """The plan for this fault, or one for another: a repository is never empty."""
        module = self.vendor.module if self.with_plan else vendor.word()
        return [{"schema": 1, "id": self.plan_id, "title": "Remove the malformed content file",
                 "match": {"all": [{"culprit-module": module}, {"incident-kind": "panic"}]},
                 "actions": [{"type": "remove-file", "path": self.vendor.content_path,
                              "sha256": hashlib.sha256(self.vendor.bad).hexdigest()}]}]

    def play(self):
        with contextlib.ExitStack() as stack:
            self.servers = stack.enter_context(network.Network(self.owner, self.nonce, self.with_server))
            self.phase("power on (QEMU in software emulation, OVMF)")
            run = self.box.boot(watch=self.timeline.watch if self.timeline else None, network=self.servers)
        self.phase("the machine is off" if run.ended == "shutdown" else "the machine did not end by itself: " + run.ended)
        return run

    def read(self):
        """What is left: from the server, the guest's disk and the firmware's variables."""
        state = self.box.state() or {}
        folder = "/var/lib/qmr/incidents/%s" % state.get("incident")
        incident, steps, report = (self.box.disk.json("%s/%s.json" % (folder, n)) or {} for n in ("incident", "timeline", "report"))
        bundle = self.read_bundle(state.get("incident"))
        source = bundle["incident"] if bundle else incident
        runs = steps.get("runs") or [{"steps": []}]
        phases = {s["step"]: round(sum(t["duration_ms"] for r in runs for t in r["steps"] if t["step"] == s["step"]) / 1000, 3)
                  for r in runs for s in r["steps"]}
        crashes = [c["time_unix_s"] for c in incident.get("crashes", []) if c.get("time_unix_s")]
        healthy = report.get("healthy_unix_s")
        return {
            "failed_boots": state.get("failed_boots"), "incident": state.get("incident"),
            "culprit_module": (source.get("culprit") or {}).get("module"),
            "culprit_function": (source.get("culprit") or {}).get("function"),
            "bundle_sha256": bundle["sha256"] if bundle else None,
            "bundle_contains_oops": bundle["oops"] if bundle else False,
            "remediation": state.get("remediation") or None, "final": state.get("stage"),
            "recovery_seconds": round(sum(max(s["start_ms"] + s["duration_ms"] for s in r["steps"]) for r in runs if r["steps"]) / 1000, 3),
            "first_crash_to_healthy_seconds": healthy - min(crashes) if healthy and crashes else None,
            "phases": phases,
        }

    def read_bundle(self, incident):
        """The bundle that the server holds, opened with the owner's key; None if there is none."""
        names = os.listdir(self.servers.bundles)
        if names != ["%s.tar.zst.cms" % incident]:
            return None
        path = os.path.join(self.servers.bundles, names[0])
        with open(path, "rb") as f:
            digest = hashlib.sha256(f.read()).hexdigest()
        try:
            self.owner.open(path, self.work + "/opened")
            folder = "%s/opened/%s/" % (self.work, incident)
            with open(folder + "incident.json") as f:
                found = json.load(f)
            oops = False
            for name in os.listdir(folder + "dumps"):
                with open(folder + "dumps/" + name, errors="replace") as f:
                    oops = oops or "%s+0x" % self.vendor.function in f.read()
        except (RuntimeError, OSError, ValueError) as e:
            self.note("the bundle cannot be opened: %s" % e)
            return None
        return {"sha256": digest, "incident": found, "oops": oops}

    def judge(self, run, result):
        """What did not happen, as sentences; an empty list when all of it did."""
        content = self.box.disk.read(self.vendor.content_path)
        wanted = (
            (run.ended == "shutdown", "the machine did not switch itself off"),
            (result["failed_boots"] == 2, "%s failed boots were counted, not 2" % result["failed_boots"]),
            (result["culprit_module"] == self.vendor.module, "module '%s' is named, not the culprit" % result["culprit_module"]),
            (result["culprit_function"] == self.vendor.function, "function '%s' is named, not the culprit's" %
             result["culprit_function"]),
            (result["bundle_sha256"], "the server received no bundle of the incident that can be opened"),
            (result["bundle_contains_oops"], "no bundle on the server contains the oops"),
            (result["remediation"] == (self.plan_id if self.signs else "local-revert"), "the signed plan was not applied (%s)" % result["remediation"]),
            (content != self.vendor.bad, "the malformed content file is still there"),
            (result["final"] == "healed", "the machine is not healed: stage %s" % result["final"]),
            (result["recovery_seconds"] > 0 and result["phases"], "recovery left no timeline"),
        )
        return [why for good, why in wanted if not good]


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
    parser.add_argument("--keep", action="store_true", help="keep the disk, the console's text and the server's files")
    arguments = parser.parse_args()
    if os.geteuid():
        sys.exit("make demo: making a machine's disk and a network for it needs root; run it as root")
    out = os.path.join(arguments.build, "demo")
    os.makedirs(out, exist_ok=True)
    work = tempfile.TemporaryDirectory(prefix="qmr-demo-", dir=machine.TEMPORARY)
    demo = Demo(work.name, arguments.build, not arguments.no_server, not arguments.no_plan)
    demo.prepare()
    run = demo.play()
    result = demo.read()
    missing = demo.judge(run, result)
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

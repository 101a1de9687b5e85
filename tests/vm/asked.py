#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Recovery that somebody asked for, where nothing is wrong: from the boot menu, by BootNext, by `qmrctl recover`. Each leaves an
incident with its reason, and the machine as it was. Usage: asked.py -B BUILD"""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True
import firmware  # noqa: E402
import machine  # noqa: E402
import scenario  # noqa: E402

CONFIG = "[policy]\nmode = automatic\nlocal_rollback = yes\nstability = 5\ncancel = 2\n[watch]\npath = /opt\n[image]\ncmdline = console=ttyS0\n"
ENTRY = "Quick machine recovery"
# docs/remote.md says which reason each way gets. BootNext as a management controller would set it: attributes (non-volatile, boot, run time), then the number.
SCENARIO = """boot_1() { bootctl set-oneshot qmr-recovery.efi; restart; }
boot_2() { printf '\\7\\0\\0\\0\\%03o\\0' >/sys/firmware/efi/efivars/BootNext-8be4df61-93ca-11d2-aa0d-00e098032b8c; restart; }
boot_3() { qmrctl recover --reason "asked by %s" >/dev/console 2>&1; }
"""


def menu_bootnext_and_qmrctl(s):
    template = s.settled("machine", lambda: CONFIG, lambda: {"/opt/product/file": "content\n"}, small=True)
    number = [n for n, title in firmware.boot_entries(template.variables()) if title == ENTRY][0]
    box = machine.Machine(template, s.work, "machine")
    box.play(SCENARIO % (number, box.nonce))
    done = s.boot_to_the_end(box)
    state = box.state()
    s.same("resets: three into recovery, three back", 6, done.resets)
    s.same("attempts", ["healthy", "clean-shutdown", "clean-shutdown", "clean-shutdown", "healthy"], state["outcomes"])
    s.same("stage", "none", state["stage"])
    incidents = [box.disk.json("/var/lib/qmr/incidents/%s/incident.json" % i) for i in box.disk.list("/var/lib/qmr/incidents")]
    incidents.sort(key=lambda i: i["created_unix_s"])
    s.same("reasons", ["menu", "boot-order", "requested"], [i["reason"] for i in incidents])
    s.same("kinds", ["manual", "unknown", "manual"], [i["kind"] for i in incidents])
    s.same("culprits", [None] * 3, [i["culprit"] for i in incidents])
    s.same("the file", b"content\n", box.disk.read("/opt/product/file"))
    s.same("nothing was applied", [], [n for n in box.disk.list("/var/lib/qmr/transactions") if n.isdigit()])


# What the running system sees of a test, and of a run that collects only, although the mode would repair.
REQUESTS = """mkdir -p /var/out
boot_1() { qmrctl --test recover >/dev/console 2>&1; }
boot_2() { qmrctl --test --slot 2 recover >/dev/console 2>&1; }
boot_3() { healthy; qmrctl --json status >/var/out/tested; qmrctl --json check >/var/out/check; sync; qmrctl --collect-only --reason "by %s" recover >/dev/console 2>&1; }
"""


def a_test_and_collect_only(s):
    template = s.settled("machine", lambda: CONFIG, lambda: {"/opt/product/file": "content\n"}, small=True)
    box = machine.Machine(template, s.work, "machine")
    box.play(REQUESTS % box.nonce)
    done = s.boot_to_the_end(box)
    state = box.state()
    s.same("resets: three into recovery, three back", 6, done.resets)
    s.same("attempts", ["healthy", "clean-shutdown", "clean-shutdown", "healthy", "healthy"], state["outcomes"])
    s.same("flags of the state, stage, runs", (0, "none", 0), (state["flags"], state["stage"], state["recovery_runs"]))
    s.same("attempts that recovery followed", [0, 0, 0, 8, 0], [f & 8 for f in state["attempt_flags"]])
    test = box.disk.json("/var/lib/qmr/last-test.json")
    s.same("the test", ("ok", None), (test["result"], test["failed"]))
    results = {step["step"]: step["result"] for step in test["steps"]}
    s.same("what it tried", {"variables", "acknowledge", "watchdog", "devices", "announce", "mount-root-ro", "check-root"},
           {name for name, result in results.items() if result == "ok"})
    second = box.disk.json("/var/lib/qmr/last-test-2.json")
    s.same("the test of the second image", ("ok", None), (second["result"], second["failed"]))
    s.same("what ran", [False, True], [any(step["text"] == "this is the second image" for step in t["steps"]) for t in (test, second)])
    s.same("what it left out", {"skipped"}, {result for name, result in results.items() if result != "ok"})
    seen = box.disk.json("/var/out/tested")
    s.same("the running system knows", ("ok", "ok", "none"), (seen["test"]["result"], seen["second_test"]["result"], seen["stage"]))
    check = {c["name"]: c["result"] for c in box.disk.json("/var/out/check")["checks"]}
    s.same("nothing is wrong with this machine", (22, {}), (len(check), {name: r for name, r in check.items() if r != "ok"}))
    incidents = [box.disk.json("/var/lib/qmr/incidents/%s/incident.json" % i) for i in box.disk.list("/var/lib/qmr/incidents")]
    s.same("one incident, that of the second request", [("requested", "manual")], [(i["reason"], i["kind"]) for i in incidents])
    runs = box.disk.json("/var/lib/qmr/incidents/%s/timeline.json" % incidents[0]["id"])["runs"]
    applied = [step for step in runs[0]["steps"] if step["step"] == "apply"]
    s.same("mode automatic, and nothing was to be changed", ("skipped", "mode collect changes nothing"),
           (applied[0]["result"], applied[0]["text"]))


if __name__ == "__main__":
    scenario.main(menu_bootnext_and_qmrctl, more=(a_test_and_collect_only,))

#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Requests for recovery, as remediation-fetch --requests gets them. Usage: requests.py -B BUILD [NAME ...]"""
import json
import shutil
import subprocess
import sys

sys.dont_write_bytecode = True
from tuf_repository import main, same, start  # noqa: E402

MACHINE = {"schema": 1, "machine": {"machine_id": "0123456789abcdef0123456789abcdef", "os_id": "debian", "os_version": "12"},
           "kernel": "6.1.0-40-amd64", "notes": []}


def request(name, match=None, **more):
    return json.dumps({"schema": 1, "id": name, "title": f"request {name}", "match": match or {"os-id": "debian"}, "mode": "test", **more}).encode()


def begin(c, /, wanted=True, **requests):
    (c.folder / "incident.json").write_text(json.dumps(MACHINE))
    c.more += ["--root", str(c.folder / "root")] + (["--requests"] if wanted else [])
    (c.folder / "root/opt").mkdir(parents=True)
    c.repo.targets.update({f"requests/{name}.json": data for name, data in requests.items()})
    start(c)


def got(c):
    same("exit: no plan matches a machine that has not crashed", 3, c.fetch())
    return sorted(p.name for p in (c.out / "requests").iterdir())


def why(c, name):
    return next(entry["why"] for entry in c.report["not_matched"] if entry["id"] == name)


def test_those_that_match(c):
    begin(c, b=request("b-2"), a=request("a-1", {"machine-id": MACHINE["machine"]["machine_id"]}), c=request("c-3", {"os-id": "fedora"}))
    same("requests", ["01-a-1.json", "02-b-2.json"], got(c))
    same("as signed", request("b-2"), (c.out / "requests/02-b-2.json").read_bytes())
    same("why not", True, "do not match" in why(c, "c-3"))


def test_what_only_an_incident_tells_never_matches(c):
    begin(c, a=request("a", {"culprit-module": "csagent"}), b=request("b", {"not": {"culprit-module": "csagent"}}),
          c=request("c", {"any": [{"incident-kind": "panic"}, {"os-id": "debian"}]}))
    same("requests", ["01-c.json"], got(c))
    same("why not", True, "not known" in why(c, "b"))


def test_files_of_the_root(c):
    begin(c, a=request("a", {"file": {"path": "/opt/here"}}), b=request("b", {"file": {"path": "/opt/not-here"}}))
    (c.folder / "root/opt/here").write_text("x")
    same("requests", ["01-a.json"], got(c))


def test_what_is_no_request_stops_no_other_one(c):
    begin(c, a=request("a", mode="reboot"), b=request("b", {"phase-of-moon": "full"}), c=b"{", d=request("d"), e=request("e", when="now"))
    same("requests", ["01-d.json"], got(c))
    same("refused", ["requests/a.json", "requests/b.json", "requests/c.json", "requests/e.json"],
         sorted(entry["target"] for entry in c.report["refused_plans"]))
    same("field", True, any("phase-of-moon" in entry["why"] for entry in c.report["refused_plans"]))


def test_a_request_is_gone_with_the_next_run(c):
    begin(c, a=request("a"))
    same("requests", ["01-a.json"], got(c))
    del c.repo.targets["requests/a.json"]
    c.repo.bump()
    c.repo.publish()
    same("requests", [], got(c))


def test_a_hold_stops_requests(c):
    c.repo.targets["plans/00-hold.json"] = json.dumps({"schema": 1, "id": "stop", "title": "t", "hold": True}).encode()
    begin(c, a=request("a"))
    same("exit", 3, c.fetch())
    same("requests", False, (c.out / "requests").exists())


def test_recovery_does_not_ask_for_them(c):
    begin(c, wanted=False, a=request("a"))
    same("exit", 3, c.fetch())
    same("requests", False, (c.out / "requests").exists())
    same("asked for", [], [r for r in c.requests() if "requests/" in r])


def test_what_qmr_publish_made(c):
    """From the owner's file to the machine's, and gone again when it is withdrawn."""
    def publish(command, *arguments):
        done = subprocess.run([c.build / "qmr-publish", command, "--repository", c.repo.folder, "--keys", c.folder / "keys", *arguments],
                              capture_output=True, text=True, timeout=60)
        same(f"{command}: exit of {done.stdout + done.stderr!r}", 0, done.returncode)

    shutil.rmtree(c.repo.folder)
    (c.folder / "incident.json").write_text(json.dumps(MACHINE))
    c.more += ["--root", str(c.folder / "root"), "--requests"]
    (c.folder / "root/opt").mkdir(parents=True)
    (c.folder / "plan.json").write_text(json.dumps({"schema": 1, "id": "fix", "title": "t", "match": {"culprit-module": "csagent"},
                                                    "actions": [{"type": "block-module", "module": "csagent"}]}))
    wanted = request("i" * 63, {"all": [{"machine-id": MACHINE["machine"]["machine_id"]}, {"not": {"file": {"path": "/opt/x"}}}]})
    (c.folder / "wanted.json").write_bytes(wanted)
    (c.folder / "other.json").write_bytes(request("other", {"os-id": "fedora"}))
    publish("init")
    publish("add", c.folder / "plan.json", c.folder / "wanted.json", c.folder / "other.json")
    c.trust((c.repo.folder / "metadata/1.root.json").read_bytes())
    same("requests", ["01-" + "i" * 63 + ".json"], got(c))
    same("as its author wrote it", wanted, (c.out / "requests" / ("01-" + "i" * 63 + ".json")).read_bytes())
    same("refused", [], c.report["refused_plans"])
    same("not for this machine", True, "do not match" in why(c, "other"))
    publish("withdraw", "wanted.json")
    same("requests", [], got(c))


def test_what_was_not_signed(c):
    begin(c, a=request("a"))
    c.repo.edit_bytes["requests/a.json"] = lambda data: data.replace(b"test", b"TEST")
    c.repo.publish()
    same("exit", 4, c.fetch())
    same("requests", [], list((c.out / "requests").iterdir()) if (c.out / "requests").exists() else [])


if __name__ == "__main__":
    main("requests", globals())

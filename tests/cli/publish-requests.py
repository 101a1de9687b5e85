#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""qmr-publish: requests for recovery, beside plans. Usage: publish-requests.py [-B] BUILD_DIR"""
import glob
import json
import os
import re
import shutil
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import publish  # noqa: E402

check, run, unchanged, Owner = publish.check, publish.run, publish.unchanged, publish.Owner
REQUEST = {"schema": 1, "title": "Rack 12", "match": {"os-id": "debian"}, "mode": "collect-only", "grace_minutes": 30}


def request(owner, name, **changes):
    """A file of this name; what is None is left out."""
    path = os.path.join(owner.path, name)
    value = dict(REQUEST, **{"id": os.path.basename(name)[:-5], **changes})
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        json.dump({k: v for k, v in value.items() if v is not None}, file)
    return path


def listed(owner, what="requests"):
    return {p["name"]: p for p in json.loads(owner("list", "--json")[1])[what]}


def test_add():
    owner = Owner()
    shutil.rmtree(owner.repository + "/targets/requests", ignore_errors=True)  # as in a repository that is older than requests
    path = request(owner, "a.json")
    status, out = owner("add", path, owner.plan("p.json"))
    served = glob.glob(owner.repository + "/targets/requests/*.a.json")
    check("add", status == 0 and owner.is_valid() and owner.names() == ["plans/p.json"], out)
    check("it-is-said-what-machines-will-do", "requests/a.json: machines that match and look for requests restart into recovery "
          "(collect-only), 30 min" in out and "plans/p.json:" not in out, out)
    with open(path) as wanted, open(served[0]) as found:
        check("as-its-author-wrote-it", len(served) == 1 and wanted.read() == found.read(), served)
    check("list", [(n, p["id"], p["mode"], p["title"]) for n, p in listed(owner).items()] == [("requests/a.json", "a", "collect-only", "Rack 12")])
    check("list-for-people", "requests/a.json  a  Rack 12 (collect-only)" in owner("list")[1])
    unchanged("the-same-again-is-nothing", owner, "exactly this already", 3, "add", path)
    status, out = owner("add", request(owner, "b.json", grace_minutes=None, mode="test"))
    check("the-default-is-said", status == 0 and "(test), 15 min" in out, out)


def test_refusals():
    owner = Owner()
    good = request(owner, "good.json")
    for name, wanted, changes in (
            ("a-selector-that-is-none", "phase-of-moon: unknown selector", {"match": {"not": {"phase-of-moon": "full"}}}),
            ("a-selector-of-another-form", "percent: not a whole number", {"match": {"percent": 101}}),
            ("no-selector", "match: missing", {"match": None}),
            ("a-mode-that-is-none", "mode: missing or not recover", {"mode": "reboot"}),
            ("a-key-that-is-none", "when: unknown key", {"when": "now"}),
            ("a-request-that-is-a-plan-too", "actions: unknown key", {"actions": [{"type": "block-module", "module": "x"}]}),
            ("a-time-that-it-has-not", "published: unknown key", {"published": "2026-11-20T09:00:00Z"}),
            ("too-long-a-wait", "grace_minutes: not a whole number within", {"grace_minutes": 1441}),
            ("an-empty-id", "id: missing", {"id": ""}),
            ("an-id-of-64", "id: missing", {"id": "i" * 64}),
            ("an-id-that-is-an-option", "id: missing", {"id": "-x"}),
            ("no-mode", "unknown key", {"mode": None})):
        unchanged("refused-" + name, owner, wanted, 4, "add", good, request(owner, "bad.json", **changes))
    with open(owner.path + "/twice.json", "w") as file:
        file.write('{"mode": "test", "mode": "recover"}')
    unchanged("refused-a-key-twice", owner, "duplicate", 4, "add", good, owner.path + "/twice.json")
    unchanged("refused-one-name-twice", owner, "given twice", 4, "add", good, request(owner, "more/good.json", id="other"))
    unchanged("refused-one-id-twice", owner, "given twice", 4, "add", good, request(owner, "other.json", id="good"))
    check("an-id-of-63", owner("add", request(owner, "long.json", id="i" * 63))[0] == 0)
    unchanged("refused-an-id-that-is-there", owner, "is that of requests/long.json", 4, "add", request(owner, "x.json", id="i" * 63))
    check("an-id-of-a-plan-is-another-one", owner("add", owner.plan("q.json"), request(owner, "r.json", id="q"))[0] == 0)
    check("nothing-was-added-along", sorted(listed(owner)) == ["requests/long.json", "requests/r.json"], listed(owner))


def test_replaced():
    owner = Owner()
    owner("add", request(owner, "a.json"))
    status, out = owner("add", request(owner, "a.json", mode="recover"))
    check("replaced-with-its-id-is-warned-about", status == 0 and "do not follow this one" in out and
          listed(owner)["requests/a.json"]["mode"] == "recover", out)
    status, out = owner("add", request(owner, "a.json", mode="recover", id="a-2"))
    check("replaced-with-another-id-is-not", status == 0 and "do not follow this one" not in out, out)


def test_names():
    """A plan and a request of one file name; and how they go."""
    owner = Owner()
    owner("add", request(owner, "a.json"), owner.plan("p.json"), request(owner, "b.json"))
    owner("add", owner.plan("a.json"))
    for command in ("remove", "withdraw"):
        unchanged(command + "-of-a-name-that-two-have", owner, "say plans/a.json or requests/a.json", 2, command, "a.json")
    unchanged("remove-names-the-folder", owner, "no request 'requests/p.json'", 3, "remove", "requests/p.json")
    unchanged("remove-of-nothing", owner, "no plan or request 'x.json'", 3, "remove", "b.json", "x.json")
    check("remove-by-folder", owner("remove", "requests/a.json")[0] == 0 and sorted(listed(owner)) == ["requests/b.json"] and
          sorted(owner.names()) == ["plans/a.json", "plans/p.json"], listed(owner))
    check("remove-by-the-file-it-was-added-from", owner("remove", owner.path + "/b.json", "a.json")[0] == 0 and not listed(owner) and
          owner.names() == ["plans/p.json"])
    owner("add", request(owner, "b.json"))
    status, out = owner("withdraw", "b.json", "p.json")
    check("withdraw-takes-a-request-out", status == 0 and not listed(owner) and owner.names() == ["plans/p.json"] and owner.is_valid() and
          "requests/b.json: taken out; machines that have not restarted yet do not follow it" in out, out)
    unchanged("withdraw-again", owner, "no plan or request", 3, "withdraw", "b.json")


def test_signed_elsewhere():
    owner = Owner("--targets-keys", "2", "--targets-threshold", "2")
    desks = owner.take_away("targets")
    keys = sorted(glob.glob(desks + "/targets-*.pem"))
    shutil.copy(keys[0], owner.keys)
    status, out = owner("add", request(owner, "a.json"))
    check("staged", status == 3 and not listed(owner), out)
    status, out = owner("list")
    check("list-shows-what-is-staged", "add request requests/a.json" in out, out)
    placed = glob.glob(owner.repository + "/targets/requests/*.a.json")[0]
    os.rename(placed, placed + ".away")
    status, out = owner("sign", "--role", "targets", "--key", keys[1])
    check("nobody-signs-what-is-not-there", status == 4 and "a.json" in out and not listed(owner), out)
    os.rename(placed + ".away", placed)
    status, out = owner("sign", "--role", "targets", "--key", keys[1], "--keys", owner.keys)
    check("sign", status == 0 and list(listed(owner)) == ["requests/a.json"] and owner.is_valid(), out)
    change = owner.path + "/change"
    status, out = run("withdraw", "--repository", owner.repository, "--to", change, "a.json")
    check("export", status == 3 and "remove request requests/a.json" in out and list(listed(owner)) == ["requests/a.json"], out)


def test_check_and_diff():
    owner = Owner()
    owner("add", owner.plan("p.json"))
    old = owner.path + "/old"
    shutil.copytree(owner.repository, old)
    owner("add", request(owner, "a.json"))
    status, out = run("diff", owner.repository, "--repository", old)
    check("diff", status == 0 and "add request requests/a.json" in out, out)
    status, out = run("diff", old, "--repository", owner.repository)
    check("diff-the-other-way", status == 0 and "remove request requests/a.json" in out, out)
    status, out = owner("check")
    check("check", status == 0 and "published" not in out, out)
    placed = glob.glob(owner.repository + "/targets/requests/*.a.json")[0]
    with open(placed, "a") as file:
        file.write(" ")
    status, out = owner("check")
    check("check-of-other-bytes", status == 4 and "a.json" in out, out)


def test_simulate():
    owner = Owner()
    incidents, tree = owner.path + "/incidents", owner.path + "/tree"
    os.makedirs(tree + "/opt")
    open(tree + "/opt/here", "w").close()
    for name, os_id in (("one", "debian"), ("two", "fedora")):
        os.makedirs(f"{incidents}/{name}")
        with open(f"{incidents}/{name}/incident.json", "w") as file:
            json.dump({"schema": 1, "id": name, "kind": "panic", "kernel": "6.1.0-40-amd64", "culprit": {"module": "csagent"},
                       "machine": {"machine_id": name, "os_id": os_id}}, file)

    def simulate(*arguments):
        status, out = run("simulate", *arguments, "--incident", incidents, "--json")
        try:
            return status, {(a["id"], os.path.basename(os.path.dirname(a["incident"]))): a for a in json.loads(out)}
        except ValueError:
            return status, out

    plain, culprit = request(owner, "plain.json"), request(owner, "culprit.json", match={"not": {"culprit-module": "other"}})
    disk = request(owner, "disk.json", match={"all": [{"file": {"path": "/opt/here"}}, {"kernel-release": {"below": "6.1.0-41"}}]})
    status, answers = simulate(plain, culprit, disk, owner.plan("p.json"))
    check("simulate", status == 0 and {k: a["matches"] for k, a in answers.items()} == {
        ("plain", "one"): "yes", ("plain", "two"): "no", ("culprit", "one"): "unknown", ("culprit", "two"): "unknown",
        ("disk", "one"): "unknown", ("disk", "two"): "unknown", ("p", "one"): "yes", ("p", "two"): "yes"} and
        (answers["plain", "one"]["mode"], answers["plain", "one"]["grace_minutes"]) == ("collect-only", 30) and
        "--tree" in answers["disk", "one"]["why"] and "machine that runs" in answers["culprit", "one"]["why"], answers)
    status, answers = simulate(disk, "--tree", tree)
    check("simulate-on-a-tree", status == 0 and answers["disk", "two"]["matches"] == "yes" and "why" not in answers["disk", "two"], answers)
    for name, text, wanted in (("a-machine-that-does-not-look", "[policy]\nmode = automatic\n", "poll is not yes"),
                               ("one-that-observes", "[policy]\nmode = observe\n[requests]\npoll = yes\n", "observe"),
                               ("one-that-follows", "[policy]\nmode = collect\n[requests]\npoll = yes\n", None)):
        with open(owner.path + "/policy.conf", "w") as file:
            file.write(text)
        status, answers = simulate(plain, "--config", owner.path + "/policy.conf")
        found = answers["plain", "one"].get("why")
        check("simulate-" + name, status == (3 if wanted else 0) and (wanted in found if wanted else found is None), answers)
    status, out = run("simulate", plain, "--incident", incidents + "/one/incident.json")
    check("simulate-for-people", status == 0 and "plain: it would be followed: recovery (collect-only), 30 min after people are told" in out, out)
    status, out = run("simulate", plain, disk, owner.plan("p.json"))
    check("simulate-checks-the-form-alone", status == 0 and "1 plan of the right form\n2 requests of the right form" in out, out)
    check("simulate-refuses", run("simulate", request(owner, "bad.json", mode="x"))[0] == 4)


def test_cuts():
    owner = Owner()
    owner("add", owner.plan("p.json"))
    cut = publish.Cut("add-a-request", owner, "add", "--repository", owner.repository, "--keys", owner.keys, request(owner, "a.json"))
    cut.run(False)
    if os.geteuid() != 0:
        print("# the order of syncs: needs root, skipped", flush=True)
        return
    trace = publish.WORK + "/trace"
    subprocess.run(["strace", "-qq", "-y", "-o", trace, "-e", "trace=renameat,fsync,mkdirat", publish.PROGRAM, "add", "--repository",
                    owner.repository, "--keys", owner.keys, request(owner, "a.json")], check=True, stdout=subprocess.DEVNULL)
    with open(trace) as file:
        calls = file.read()
    made, synced = calls.find("mkdirat("), re.search(r"fsync\(\d+<[^>]*/targets>\) += 0", calls)
    check("the-new-folder-is-synced-before-it-is-seen", -1 < made < synced.start() < calls.find('timestamp.json"') if synced else False, calls)


if __name__ == "__main__":
    publish.main([test_add, test_refusals, test_replaced, test_names, test_signed_elsewhere, test_check_and_diff, test_simulate, test_cuts])

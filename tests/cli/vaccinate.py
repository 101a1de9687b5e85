#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Plans on healthy machines: what `remediation-apply vaccinate` and `unvaccinate` do to a root, and when `vaccinate` has them do it. Usage:
vaccinate.py -B BUILD"""
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile

import faults
import stand_ins

BUILD = os.path.abspath(sys.argv[2])
status = 0
BAD = b"bad content\n"
SHA256 = hashlib.sha256(BAD).hexdigest()
HEALTHY = {"all": [{"incident-kind": "none"}, {"file": {"path": "/opt/v/*.bin", "sha256": SHA256}}]}
REMOVE = {"type": "remove-file", "path": "/opt/v/291.bin", "sha256": SHA256}
BLOCK = {"type": "block-module", "module": "cs-agent"}
CONF = "etc/modprobe.d/qmr-block-cs_agent.conf"


def check(name, is_so, detail=""):
    global status
    print("ok %s" % name if is_so else "not ok %s: %s" % (name, detail), flush=True)
    status |= not is_so


class Root:
    """The root of one healthy machine."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="qmr-vaccinate-")
        self.root = self.folder + "/root"
        for name, data in (("opt/v/291.bin", BAD), ("opt/v/290.bin", b"good\n"), ("etc/machine-id", b"0123456789abcdef0123456789abcdef\n")):
            os.makedirs(os.path.dirname(self.root + "/" + name), exist_ok=True)
            with open(self.root + "/" + name, "wb") as f:
                f.write(data)
        os.makedirs(self.folder + "/efivars")
        os.makedirs(self.folder + "/plans")
        self.put("qmr.conf", "")
        self.put("incident.json", json.dumps({"schema": 1, "id": "5f0c2c44-0000-4000-8000-000000000001", "kind": "panic", "culprit": {"module": "cs_agent"},
                                              "machine": {"os_id": "debian"}}))
        self.put("next.json", json.dumps({"schema": 1, "id": "5f0c2c44-0000-4000-8000-000000000002", "kind": "panic", "machine": {}}))
        self.run("crash-collect", "machine", "--root", self.root, "--out", self.folder + "/facts.json")

    def put(self, name, text):
        with open(self.folder + "/" + name, "w") as f:
            f.write(text)

    def run(self, program, *arguments):
        done = subprocess.run(["%s/%s" % (BUILD, program), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              env={**os.environ, "EFIVARFS_PATH": self.folder + "/efivars/", "LC_ALL": "C"})
        self.code, self.errors = done.returncode, done.stderr
        self.lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        return self

    def offer(self, *plans):
        shutil.rmtree(self.folder + "/plans")
        os.mkdir(self.folder + "/plans")
        for number, plan in enumerate(plans, 1):
            self.put("plans/%02d-%s.json" % (number, plan["id"]), json.dumps(plan))

    def vaccinate(self, *plans, boot=7, more=()):
        if plans:
            self.offer(*plans)
        return self.run("remediation-apply", "vaccinate", "--root", self.root, "--plans", self.folder + "/plans", "--incident",
                        self.folder + "/facts.json", "--boot", str(boot), "--config", self.folder + "/qmr.conf", *more)

    def unvaccinate(self, boot, incident="incident.json"):
        return self.run("remediation-apply", "unvaccinate", "--root", self.root, "--incident", self.folder + "/" + incident, "--boot", str(boot))

    def has(self, name):
        return os.path.lexists(self.root + "/" + name)

    def journal(self, number):
        with open("%s/var/lib/qmr/transactions/%d/journal.json" % (self.root, number)) as f:
            return json.load(f)

    def done(self):
        shutil.rmtree(self.folder)


def plan(name="p1", match=None, actions=(REMOVE, BLOCK), **more):
    return {"schema": 1, "id": name, "title": "t", "match": match or HEALTHY, "actions": list(actions), **more}


def applies_once():
    r = Root().vaccinate(plan())
    check("applied: exit", r.code == 0, r.errors)
    check("applied: says what", r.lines == [{"transaction": 1, "plan": "p1", "changed": ["/opt/v/291.bin", "/" + CONF]}], r.lines)
    check("applied: file and module", not r.has("opt/v/291.bin") and r.has(CONF))
    check("applied: the journal has the boot", r.journal(1).get("boot") == 7 and r.journal(1)["incident"] is None, r.journal(1))
    with open(r.root + "/opt/v/291.bin", "wb") as f:
        f.write(BAD)
    r.vaccinate(boot=8)
    check("once", r.code == 3 and r.has("opt/v/291.bin") and "applied on this machine before" in r.errors, (r.code, r.errors))
    r.run("remediation-apply", "undo", "--root", r.root, "--id", "1")
    r.vaccinate(boot=9)
    check("who undid it wanted that", r.code == 3 and not r.has(CONF), (r.code, r.errors))
    r.done()
    r = Root()
    r.offer(plan(match={"incident-kind": "panic"}))
    r.run("remediation-apply", "apply", "--root", r.root, "--plan", r.folder + "/plans/01-p1.json", "--incident", r.folder + "/incident.json")
    check("applied in an incident: exit", r.code == 0, r.errors)
    os.unlink(r.root + "/" + CONF)
    r.vaccinate(plan())
    check("not what an incident had applied", r.code == 3 and not r.has(CONF), (r.code, r.errors))
    r.done()


def who_matches():
    cases = (("only a culprit", {"culprit-module": "cs_agent"}, 3),
             ("not a culprit", {"not": {"culprit-module": "cs_agent"}}, 3),
             ("culprit or healthy", {"any": [{"culprit-module": "cs_agent"}, HEALTHY]}, 0),
             ("only what failed", {"not": {"incident-kind": "none"}}, 3),
             ("by the root alone", {"file": {"path": "/opt/v/291.bin"}}, 0),
             ("by the root, no", {"file": {"path": "/opt/v/292.bin"}}, 3),
             ("machine", {"machine-id": "0123456789abcdef0123456789abcdef"}, 0))
    for name, match, code in cases:
        r = Root().vaccinate(plan(match=match))
        check("matches: " + name, r.code == code and r.has("opt/v/291.bin") == bool(code), (r.code, r.errors))
        r.done()
    for name, more, config in (("too young", {}, "[fleet]\nminimum_age = * 2\n"), ("withdrawn", {"withdrawn": True}, ""),
                               ("requires what is not there", {"requires": ["p0"]}, "")):
        r = Root()
        r.put("qmr.conf", config)
        r.vaccinate(plan(**more))
        check("not for it: " + name, r.code == 3 and r.has("opt/v/291.bin"), (r.code, r.errors))
        r.done()
    r = Root()
    r.put("qmr.conf", "[policy]\nprotect = path /opt/v\nprotect = module other\n")
    r.vaccinate(plan(actions=[BLOCK, {"type": "remove-file", "path": "/opt/v/291.bin"}]))
    check("protected paths are named by the action", r.code == 0, (r.code, r.errors))
    r.done()
    r = Root()
    os.makedirs(r.root + "/usr/lib/modules/6.1/extra")
    open(r.root + "/usr/lib/modules/6.1/extra/other.ko", "w").close()
    r.put("qmr.conf", "[policy]\nprotect = module other\n")
    r.vaccinate(plan(actions=[BLOCK, {"type": "remove-file", "path": "/usr/lib/modules/6.1/extra/other.ko"}]), plan("p2"))
    check("a plan that is refused stops no other one", r.code == 0 and not r.has("opt/v/291.bin") and r.has("usr/lib/modules/6.1/extra/other.ko")
          and [line["plan"] for line in r.lines] == ["p2"] and "protected" in r.errors, (r.code, r.errors))
    r.done()


def what_of_them():
    restore = {"type": "restore-file", "path": "/opt/v/290.bin"}
    r = Root().vaccinate(plan(actions=[restore, REMOVE], then="shutdown"))
    check("restore-file is left out", r.code == 0 and r.lines[0]["changed"] == ["/opt/v/291.bin"] and "then" not in r.lines[0]
          and "1 of its 2 actions" in r.errors, (r.code, r.lines, r.errors))
    r.done()
    r = Root().vaccinate(plan(actions=[restore]))
    check("nothing else: nothing is done", r.code == 3 and not os.listdir(r.root + "/var/lib/qmr/transactions"), (r.code, r.errors))
    r.done()
    r = Root().vaccinate(plan(match={"incident-kind": "none"}, actions=[{"type": "remove-file", "path": "/opt/v/gone.bin"}]))
    check("all is so already: no transaction", r.code == 3 and not os.listdir(r.root + "/var/lib/qmr/transactions"), (r.code, r.errors))
    r.done()
    r = Root().vaccinate(plan(actions=[{**REMOVE, "sha256": "0" * 64}, BLOCK]))
    check("other content than the plan says: refused as a whole", r.code == 4 and not r.has(CONF), (r.code, r.errors))
    r.done()
    r = Root().vaccinate(plan("new", actions=[BLOCK], supersedes=["old"]), plan("old", actions=[REMOVE], supersedes=["oldest"]), plan("oldest", actions=[REMOVE]))
    check("superseded plans", r.code == 0 and r.has("opt/v/291.bin") and r.has(CONF), (r.code, r.errors))
    r.vaccinate(boot=8)
    check("superseded plans, once the first was applied", r.code == 3 and r.has("opt/v/291.bin"), (r.code, r.errors))
    r.done()
    r = Root().vaccinate(plan("new", match={"file": {"path": "/opt/none"}}, supersedes=["old"]), plan("old"))
    check("what does not match supersedes nothing", r.code == 0 and [line["plan"] for line in r.lines] == ["old"], (r.code, r.errors))
    r.done()
    r = Root()
    r.offer(plan("b"))
    r.put("plans/00-a.json", "{")
    r.vaccinate()
    check("what is no plan stops no other one", r.code == 0 and [line["plan"] for line in r.lines] == ["b"], (r.code, r.errors))
    r.done()


def taken_back():
    r = Root()
    before = faults.state(r.root)
    check("nothing to undo", r.unvaccinate(1).code == 3 and not r.has("var/lib/qmr"), r.errors)
    r.vaccinate(plan("p1", actions=[REMOVE]), plan("p2", match={"incident-kind": "none"}, actions=[BLOCK]))
    check("proven: nothing to undo", r.unvaccinate(8).code == 3 and not r.has("opt/v/291.bin"), r.errors)
    r.unvaccinate(7)
    check("undone: says what", r.code == 0 and r.lines == [{"transaction": 4, "plan": "undo-vaccinations", "changed": ["/opt/v/291.bin", "/" + CONF]}], r.lines)
    check("undone: all is as it was", faults.state(r.root) == before, set(faults.state(r.root).items()) ^ set(before.items()))
    r.unvaccinate(7)
    check("undone: said once more for the same incident", r.code == 0 and r.lines[0]["transaction"] == 4, (r.code, r.lines))
    check("undone: no other incident's", r.unvaccinate(7, "next.json").code == 3, (r.code, r.errors))
    r.vaccinate(boot=9)
    check("undone: not applied once more", r.code == 3 and r.has("opt/v/291.bin"), (r.code, r.errors))
    r.done()
    r = Root().vaccinate(plan("p1", actions=[REMOVE]), boot=5)
    r.vaccinate(plan("p2", match={"incident-kind": "none"}, actions=[BLOCK]), boot=7)
    check("only what is not proven", r.unvaccinate(7).code == 0 and not r.has("opt/v/291.bin") and not r.has(CONF), r.errors)
    r.done()
    r = Root()
    r.offer(plan(match={"incident-kind": "panic"}))
    r.run("remediation-apply", "apply", "--root", r.root, "--plan", r.folder + "/plans/01-p1.json", "--incident", r.folder + "/incident.json")
    check("what recovery applied is no vaccination", r.unvaccinate(1).code == 3 and not r.has("opt/v/291.bin"), r.errors)
    r.run("remediation-apply", "undo", "--root", r.root, "--id", "1")
    check("nor is what a person undid", r.unvaccinate(1).code == 3, (r.code, r.lines))
    r.done()
    r = Root().vaccinate(plan(match={"any": [{"incident-kind": "panic"}, HEALTHY]}))
    r.run("remediation-apply", "apply", "--root", r.root, "--plan", r.folder + "/plans/01-p1.json", "--incident", r.folder + "/incident.json")
    check("the plan that vaccinated cannot help an incident", r.code == 4 and "so already" in r.errors, (r.code, r.errors))
    r.done()


def withdrawn():
    r = Root()
    before = faults.state(r.root)
    r.vaccinate(plan("p1", actions=[REMOVE]), plan("p2", match={"incident-kind": "none"}, actions=[BLOCK]))
    r.offer()
    for name, ids, code, left in (("another one", ["p0"], 3, (False, True)), ("one of two", ["p1"], 0, (True, True)), ("both", ["p1", "p2"], 0, (True, False)),
                                  ("and once more", ["p1", "p2"], 3, (True, False))):
        r.put("fetch.json", json.dumps({"schema": 1, "withdrawn": ids}))
        r.vaccinate(boot=9, more=("--report", r.folder + "/fetch.json"))
        check("withdrawn: " + name, r.code == code and (r.has("opt/v/291.bin"), r.has(CONF)) == left, (r.code, r.errors))
    check("withdrawn: all is as it was", faults.state(r.root) == before, set(faults.state(r.root).items()) ^ set(before.items()))
    check("withdrawn: of no incident", r.unvaccinate(1).code == 3, (r.code, r.lines))
    r.done()


def changed_since():
    """What the vendor mended since is not replaced by what was taken away; a person who asks for it gets it."""
    for name, back in (("withdrawn", lambda r: r.vaccinate(boot=9, more=("--report", r.folder + "/fetch.json"))), ("unvaccinated", lambda r: r.unvaccinate(1))):
        r = Root().vaccinate(plan())
        r.offer()
        r.put("fetch.json", json.dumps({"schema": 1, "withdrawn": ["p1"]}))
        with open(r.root + "/opt/v/291.bin", "wb") as f:
            f.write(b"mended\n")
        back(r)
        with open(r.root + "/opt/v/291.bin", "rb") as f:
            check("changed since: it stays, " + name, r.code == 0 and f.read() == b"mended\n" and not r.has(CONF) and "changed since" in r.errors,
                  (r.code, r.errors))
        r.run("remediation-apply", "list", "--root", r.root)
        check("changed since: it is undone, " + name, r.lines[0]["transactions"][1]["undone"], r.lines)
        r.done()
    r = Root().vaccinate(plan())
    with open(r.root + "/opt/v/291.bin", "wb") as f:
        f.write(b"mended\n")
    r.run("remediation-apply", "undo", "--root", r.root, "--id", "1")
    with open(r.root + "/opt/v/291.bin", "rb") as f:
        check("changed since: undo brings back what was", r.code == 0 and f.read() == BAD, (r.code, r.errors))
    r.done()


def proven():
    """Another boot that was healthy proves a vaccination for good: a boot state that is lost, and counts from 1 again, takes nothing back."""
    r = Root().vaccinate(plan("p1", actions=[REMOVE]), boot=40)
    r.vaccinate(plan("p1", actions=[REMOVE]), boot=40)
    check("proven: not by its own boot", "proven" not in r.journal(1), r.journal(1))
    r.vaccinate(plan("p2", match={"incident-kind": "none"}, actions=[BLOCK]), boot=3)
    check("proven: by another one", r.journal(1).get("proven") is True and "proven" not in r.journal(2), (r.journal(1), r.errors))
    r.unvaccinate(1)
    check("proven: the other one alone is undone", r.code == 0 and r.lines[0]["changed"] == ["/" + CONF] and not r.has("opt/v/291.bin"), (r.code, r.lines))
    r.put("fetch.json", json.dumps({"schema": 1, "withdrawn": ["p1"]}))
    r.vaccinate(boot=4, more=("--report", r.folder + "/fetch.json"))
    check("proven: withdrawn it is undone all the same", r.code == 0 and r.has("opt/v/291.bin"), (r.code, r.errors))
    r.done()


def one_that_cannot_be_undone():
    """It keeps neither the others nor new plans."""
    for name, back in (("withdrawn", lambda r: r.vaccinate(plan("p3", match={"incident-kind": "none"}, actions=[dict(BLOCK, module="other")]), boot=9,
                                                            more=("--report", r.folder + "/fetch.json"))), ("unvaccinated", lambda r: r.unvaccinate(1))):
        r = Root().vaccinate(plan("p1", match={"incident-kind": "none"}, actions=[BLOCK]), plan("p2", actions=[REMOVE]))
        r.put("fetch.json", json.dumps({"schema": 1, "withdrawn": ["p1", "p2"]}))
        with open(r.root + "/var/lib/qmr/transactions/2/undo/001", "wb") as f:
            f.write(b"damaged")
        back(r)
        check("one that cannot be undone: not the others, " + name, r.code == 0 and not r.has(CONF) and not r.has("opt/v/291.bin") and
              "transaction 2 stays" in r.errors, (r.code, r.errors))
        check("one that cannot be undone: nor new plans, " + name, r.has(CONF.replace("cs_agent", "other")) == (name == "withdrawn"), r.errors)
        r.done()
    r = Root().vaccinate(plan("p2", actions=[REMOVE]))
    with open(r.root + "/var/lib/qmr/transactions/1/undo/001", "wb") as f:
        f.write(b"damaged")
    check("one that cannot be undone: alone", r.unvaccinate(1).code == 4 and "transaction 1 stays" in r.errors, (r.code, r.errors))
    r.done()


def file_systems():
    """Recovery mounts the root alone; and what cannot be changed leaves nothing behind, however often it is tried."""
    if os.geteuid():
        print("ok file systems: left out, it needs root")
        return
    r = Root()
    with open(r.root + "/opt/v/291.bin", "rb") as f:
        content = f.read()
    r.offer(plan())
    command = ("%s/remediation-apply vaccinate --root %s --plans %s/plans --incident %s/facts.json --boot 7 --config %s/qmr.conf" %
               (BUILD, r.root, r.folder, r.folder, r.folder))
    for name, mount, code, text in (
            ("another one", "mount -t tmpfs tmpfs %s/opt/v; cp %s/bad %s/opt/v/291.bin" % (r.root, r.folder, r.root), 4, "another file system"),
            ("read-only", "mount --bind %s/opt/v %s/opt/v; mount -o remount,bind,ro %s/opt/v" % ((r.root,) * 3), 1, "Read-only")):
        with open(r.folder + "/bad", "wb") as f:
            f.write(content)
        done = subprocess.run(["unshare", "-m", "sh", "-c", "set -e; %s; %s" % (mount, command)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        left = os.listdir(r.root + "/var/lib/qmr/transactions")
        check("file systems: " + name, done.returncode == code and text in done.stdout and not r.has(CONF) and not left, (done.returncode, done.stdout, left))
    r.done()


def arguments():
    r = Root()
    for name, options in (("boot 0", ["--boot", "0"]), ("boot of words", ["--boot", "seven"]), ("a boot too large", ["--boot", "99999999999"])):
        r.run("remediation-apply", "vaccinate", "--root", r.root, "--plans", r.folder + "/plans", "--incident", r.folder + "/facts.json", *options)
        check("arguments: " + name, r.code == 2 and options[1] in r.errors, (r.code, r.errors))
    r.run("remediation-apply", "vaccinate", "--root", r.root, "--plans", r.folder + "/none", "--incident", r.folder + "/facts.json", "--boot", "1")
    check("arguments: no folder of plans", r.code == 1 and "/none" in r.errors, (r.code, r.errors))
    r.run("remediation-apply", "vaccinate", "--root", r.root, "--incident", r.folder + "/facts.json", "--boot", "1")
    check("arguments: --plans is missing", r.code == 2 and "--plans" in r.errors, (r.code, r.errors))
    r.run("remediation-apply", "apply", "--root", r.root, "--plan", "p", "--boot", "1")
    check("arguments: --boot is not for apply", r.code == 2 and "--boot" in r.errors, (r.code, r.errors))
    r.done()


def cuts():
    """Every system call of both is the last in turn: a later run makes it whole."""
    for name, undo in (("vaccinate", 0), ("unvaccinate", 1)):
        r = Root()
        old = faults.state(r.root)
        r.offer(plan("p1", actions=[REMOVE]), plan("p2", match={"incident-kind": "none"}, actions=[BLOCK]))
        shutil.copytree(r.root, r.folder + "/kept")
        r.vaccinate()
        new = faults.state(r.root)
        if not undo:
            shutil.rmtree(r.root)
            os.rename(r.folder + "/kept", r.root)
        command = ["%s/remediation-apply" % BUILD, name, "--root", "{root}", "--boot", "7", "--incident",
                   "%s/%s.json" % (r.folder, "incident" if undo else "facts")] + ([] if undo else ["--plans", r.folder + "/plans"])
        wanted = old if undo else new

        def whole(root, code, output, fault):
            again = subprocess.run([word.replace("{root}", root) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            if faults.state(root) != wanted:
                return "not as a whole run leaves it: " + again.stderr
            if again.returncode not in ((0,) if undo else (0, 3)):
                return "exit %d: %s" % (again.returncode, again.stderr)
            return "left over: %s" % faults.left_over(root) if faults.left_over(root) else None

        runs = faults.Faults(r.root, command, whole)
        global status
        status |= not runs.report("cut at every call of " + name, runs.kills(), 50)
        runs.done()
        r.done()


STATUS = {"stage": "none", "state": {"boots": 7, "attempts": [{"phase": "healthy", "outcome": "healthy"}]}}
PROGRAMS = {
    "/usr/lib/qmr/crash-collect": 'while [ $# -gt 1 ]; do [ "$1" != --out ] || echo "{}" >"$2"; shift; done',
    "/usr/lib/qmr/boot-guard": ":",
    "/usr/lib/qmr/remediation-fetch": 'cp $T/fetch.json /run/qmr/vaccinate/; exit $(cat $T/fetch-code)',
    "/usr/lib/qmr/remediation-apply": 'exit $(cat $T/apply-code)',
    "/usr/sbin/qmrctl": 'cat $T/status',
}


def timer(mode="automatic", policy="vaccinate = yes\n", url="https://example.org/tuf", status=STATUS, plans=("p1",), withdrawn=(), fetch=0, apply=0):
    """One run of the timer: output, exit code, calls without qmrctl's and crash-collect's."""
    folder = tempfile.mkdtemp(prefix="qmr-vaccinate-")
    files = {"qmr.conf": "[policy]\nmode = %s\n%s[repository]\nurl = %s\n" % (mode, policy, url), "status": json.dumps(status), "fetch-code": str(fetch),
             "apply-code": str(apply), "fetch.json": json.dumps({"schema": 1, "plans": [{"id": plan} for plan in plans], "withdrawn": withdrawn})}
    os.mkdir(folder + "/var")
    for name, text in files.items():
        with open(folder + "/" + name, "w") as f:
            f.write(text)
    output, code, calls = stand_ins.run(folder, PROGRAMS, BUILD + "/vaccinate --config $T/qmr.conf", "$T/var")
    shutil.rmtree(folder)
    return output, code, [call.replace(folder, "") for call in calls if call.split()[0] in ("remediation-fetch", "remediation-apply")]


def when():
    if os.geteuid():
        print("ok vaccinate: left out, it needs root")
        return
    output, code, calls = timer()
    check("when: a healthy machine", code == 0 and [c.split()[0] for c in calls] == ["remediation-fetch", "remediation-apply"], (calls, output))
    check("when: how it is applied", "vaccinate --plans /run/qmr/vaccinate --report /run/qmr/vaccinate/fetch.json --incident /run/qmr/vaccinate/facts.json --boot 7 --config" in calls[-1], calls)
    check("when: plans alone are fetched", "--requests" not in calls[0], calls)
    for name, options in (("vaccinate = no", {"policy": ""}), ("mode off", {"mode": "off"}), ("no repository", {"url": ""}),
                          ("recovery is asked for", {"status": {**STATUS, "stage": "switching"}}), ("on probation", {"status": {**STATUS, "stage": "probation"}}),
                          ("not healthy yet", {"status": {**STATUS, "state": {"boots": 7, "attempts": [{"phase": "userspace"}, {"phase": "healthy"}]}}}),
                          ("boots are not counted", {"status": {**STATUS, "state": {"boots": 0, "attempts": []}}})):
        output, code, calls = timer(**options)
        check("when: nothing, " + name, code == 0 and not calls, (calls, output))
    output, code, calls = timer(status={**STATUS, "stage": "healed"})
    check("when: a healed machine", code == 0 and len(calls) == 2, (calls, output))
    for mode in ("observe", "collect", "ask"):
        output, code, calls = timer(mode=mode)
        check("when: mode %s says what it would try" % mode, code == 0 and len(calls) == 1 and "plan 'p1' would be tried" in output, (calls, output))
    output, code, calls = timer(plans=())
    check("when: no plan", code == 0 and len(calls) == 1, (calls, output))
    output, code, calls = timer(plans=(), withdrawn=("p0",))
    check("when: a plan was withdrawn", code == 0 and len(calls) == 2, (calls, output))
    output, code, calls = timer(fetch=5)
    check("when: no network", code == 1 and len(calls) == 1, (calls, output))
    output, code, calls = timer(apply=3)
    check("when: none was for it", code == 0, output)
    output, code, calls = timer(apply=4)
    check("when: one was refused, as the log says", code == 0, output)
    output, code, calls = timer(apply=1)
    check("when: one failed", code == 1 and "exit code 1" in output, output)


for case in (when, applies_once, who_matches, what_of_them, taken_back, withdrawn, changed_since, proven, one_that_cannot_be_undone, file_systems, arguments, cuts):
    case()
sys.exit(status)

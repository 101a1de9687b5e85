#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""docs/plan.schema.json and plan.c agree on a corpus of good and bad plans: each is put before a validator of JSON Schema and before
`qmr-publish simulate`. What a schema cannot say is listed by itself.
Usage: plan-schema.py [-B] BUILD_DIR"""
import copy
import json
import os
import subprocess
import sys
import tempfile

import jsonschema

HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAM = os.path.join(os.path.abspath(sys.argv[-1]), "qmr-publish")
HASH = "0123456789abcdef" * 4
BASE = {"schema": 1, "id": "p", "title": "t", "match": {"os-id": "debian"}, "actions": [{"type": "block-module", "module": "m"}]}
HOLD = {"schema": 1, "id": "h", "title": "t", "hold": True}


def plan(**changes):
    return {k: v for k, v in dict(copy.deepcopy(BASE), **changes).items() if v is not ...}


def match(value):
    return plan(match=value)


def action(**keys):
    return plan(actions=[keys])


def deep(n):
    return {"not": deep(n - 1)} if n > 1 else {"os-id": "x"}


VERSIONS = ["1", "6.1.0-40-amd64", "1:2~3+4_5", {"at-least": "1"}, {"at-most": "1", "above": "0"}, {"below": "9", "at-least": "1"}]
NO_VERSIONS = ["", "1 2", "1/2", "ä", 1, None, [], {}, {"from": "1"}, {"below": 1}, {"below": ""}, {"below": "1\n"}, "1" * 128]
PATHS = ["/a", "/opt/v/*.bin", "/a b/ü", "/.a/..b/c...", "/procs/x", "/var/lib/qmrs", "/" + "x" * 255, "/x" * 512]
NO_PATHS = ["", "a", "/", "/a/", "//a", "/a//b", "/.", "/a/.", "/a/./b", "/..", "/a/../b", "/a/..", "/" + "x" * 256, "/proc", "/proc/1", "/var/lib/qmr", "/var/lib/qmr/x", "/sys/x", "/dev", "/run/x", 3,
            "/" + "x" * 1024]

GOOD = [BASE, HOLD, dict(HOLD, published="2026-11-20T09:00:00Z"), plan(title=""), plan(title="x" * 200), plan(id="A.b_c-9" * 9), plan(id="undo"), plan(id="local-reverts"),
        plan(published="2028-02-29T23:59:59Z"), plan(names={}), plan(names={"modules": [], "packages": ["a", "b+c.d-e"]}),
        plan(names={"modules": ["A-b_9"]}), plan(supersedes=[]), plan(supersedes=["a", "b"], requires=["c"]), plan(withdrawn=True),
        plan(actions=BASE["actions"] * 64), match(deep(8)), match({"all": [{"os-id": "x"}] * 63}),
        action(type="remove-file", path="/a", sha256=HASH), action(type="block-module", module="m" * 55)]
GOOD += [plan(then=t) for t in ("reboot", "shutdown", "next-rung")]
GOOD += [match({k: ""}) for k in ("culprit-module", "oops-function", "incident-kind", "os-id", "architecture", "machine-id", "dmi-vendor",
                                  "dmi-product")]
GOOD += [match({k: v}) for k in ("kernel-release", "os-version", "culprit-module-version") for v in VERSIONS + ["a:b:c"]]
GOOD += [match({"package": {"name": "libc6", "version": v}}) for v in VERSIONS]
GOOD += [match({"package": {"name": "0ad"}}), match({"file": {"path": "/a", "sha256": HASH}}), match({"label": "a.b_c-9"})]
GOOD += [match({"percent": n}) for n in (0, 50, 100)]
GOOD += [match({"any": [{"not": {"all": [{"label": "x"}, {"file": {"path": p}}]}}]}) for p in PATHS]
GOOD += [action(type=t, path=p) for t in ("remove-file", "restore-file") for p in PATHS]

BAD = [{}, [], "x", 3, None, plan(schema=2), plan(schema="1"), plan(schema=...), plan(id=...), plan(title=...), plan(match=...), plan(actions=...),
       plan(id=""), plan(id=".a"), plan(id="a/b"), plan(id="a\n"), plan(id="undo-3"), plan(id="undo-"), plan(id="local-revert"), plan(id="x" * 64), plan(id=3), plan(title="x" * 201), plan(title=3),
       plan(colour="red"), plan(**{"": 1}), plan(**{"schema id": 1}), plan(hold=True), plan(hold=False), dict(HOLD, hold=1), dict(HOLD, then="reboot"),
       dict(HOLD, withdrawn=True), dict(HOLD, match={"os-id": "x"}), dict(HOLD, names={}), dict(HOLD, supersedes=[]), plan(withdrawn=False),
       plan(withdrawn=1), plan(then="halt"), plan(then=None), plan(names=[]), plan(names={"files": []}), plan(names={"modules": "m"}),
       plan(names={"modules": ["a b"]}), plan(names={"packages": ["A"]}), plan(names={"packages": ["+a"]}), plan(names={"modules": ["m"] * 65}),
       plan(supersedes="a"), plan(supersedes=[3]), plan(supersedes=["../a"]), plan(supersedes=["a"] * 65), plan(requires={}), plan(requires=[""]),
       plan(actions=[]), plan(actions={}), plan(actions=BASE["actions"] * 65), plan(actions=[3]), action(), action(type="run"), action(type=3),
       action(type="remove-file"), action(type="remove-file", path="/a", mode="x"), action(type="remove-file", path="/a", sha256="x"),
       action(type="remove-file", path="/a", sha256=HASH.upper()), action(type="remove-file", path="/a", sha256=HASH + "\n"),
       action(type="restore-file", path="/a", sha256=HASH), action(type="block-module"), action(type="block-module", module=""),
       action(type="block-module", module="a b"), action(type="block-module", module="m" * 56), action(type="block-module", module="m", path="/a"),
       match({}), match([]), match("x"), match({"os-id": "x", "label": "y"}), match({"all": []}), match({"any": {}}), match({"not": []}),
       match({"not": {}}), match({"all": [{}]}), match({"phase-of-moon": "full"}), match({"any": [{"phase-of-moon": "full"}]}),
       match({"label": ""}), match({"label": "a b"}), match({"label": "x" * 64}), match({"percent": 101}), match({"percent": -1}),
       match({"percent": 1.5}), match({"percent": "1"}), match({"percent": True}), match({"file": "/a"}), match({"file": {}}),
       match({"file": {"path": "/a", "size": 1}}), match({"file": {"path": "/a", "sha256": "x"}}), match({"file": {"sha256": HASH}}),
       match({"package": "a"}), match({"package": {"version": "1"}}), match({"package": {"name": ""}}), match({"package": {"name": "A"}}),
       match({"package": {"name": "a", "arch": "amd64"}}), match({"package": {"name": "a\n"}})]
BAD += [plan(published=p) for p in (3, "", "now", "2026-11-20", "2026-11-20T09:00:00", "2026-11-20T09:00:00+00:00", "2026-13-01T00:00:00Z",
                                    "2026-11-20T24:00:00Z", "2026-11-20T09:00:00.5Z", " 2026-11-20T09:00:00Z", "2026-11-20T09:00:00Z\n")]
BAD += [match({k: v}) for k in ("culprit-module", "oops-function", "incident-kind", "os-id", "architecture", "machine-id", "dmi-vendor", "dmi-product")
        for v in (3, None, ["x"], {"below": "1"})]
BAD += [match({k: v}) for k in ("kernel-release", "os-version", "culprit-module-version") for v in NO_VERSIONS]
BAD += [match({"package": {"name": "a", "version": v}}) for v in NO_VERSIONS + ["a:1", "1:", ":1", "1:2:3", "1234567890:1", {"above": "a:1"}]]
BAD += [match({"file": {"path": p}}) for p in NO_PATHS]
BAD += [action(type=t, path=p) for t in ("remove-file", "restore-file") for p in NO_PATHS]

# Bad, and a schema takes them: it counts characters, not bytes, knows no calendar, and does not compare one part with another.
BEYOND = [match(deep(9)), match({"all": [{"os-id": "x"}] * 64}), plan(title="ä" * 101), plan(published="2026-02-29T00:00:00Z"), plan(supersedes=["p"]),
          plan(requires=["p"]), plan(supersedes=["a"], requires=["a"])]


def takes(value):
    """Whether plan.c does."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(value, file)
        file.flush()
        done = subprocess.run([PROGRAM, "simulate", file.name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode not in (0, 4):
        raise SystemExit(f"not ok plan-schema: exit status {done.returncode}: {done.stdout}")
    return done.returncode == 0


with open(HERE + "/../../docs/plan.schema.json") as file:
    schema = json.load(file)
jsonschema.Draft202012Validator.check_schema(schema)
validator = jsonschema.Draft202012Validator(schema)
failed = False
for name, plans, by_schema, by_program in (("good-plans", GOOD, True, True), ("bad-plans", BAD, False, False),
                                           ("what-a-schema-cannot-say", BEYOND, True, False)):
    wrong = [(p, validator.is_valid(p), takes(p)) for p in plans if (validator.is_valid(p), takes(p)) != (by_schema, by_program)]
    print(f"not ok {name}: {str(wrong[:3])[:900]}" if wrong else f"ok {name} ({len(plans)})")
    failed = failed or bool(wrong)

# The tables of plan.c and plan-match.c, and the words of the schema.
with open(HERE + "/../../remediation/plan-match.c") as file:
    selectors = {line.split('"')[1] for line in file if line.startswith('\t{"') and ", check_" in line}
with open(HERE + "/../../remediation/plan.c") as file:
    text = file.read()
actions = {line.split('"')[1] for line in text.splitlines() if line.startswith('\t{"') and "QMR_ACTION_" in line}
keys = {line.split('"')[1] for line in text.splitlines() if line.startswith('\t{"') and ", parse_" in line}
for name, words, said in (("selectors", selectors, set(schema["$defs"]["selector"]["properties"]) - {"all", "any", "not"}),
                          ("actions", actions, {a["properties"]["type"]["const"] for a in schema["$defs"]["action"]["oneOf"]}),
                          ("keys", keys, set(schema["then"]["properties"]) | set(schema["else"]["properties"]))):
    print(f"ok the-same-{name} ({len(words)})" if words and words == said else f"not ok the-same-{name}: {words ^ said}")
    failed = failed or words != said
sys.exit(failed)

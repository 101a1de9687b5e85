#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What remediation-fetch accepts and refuses, against a real nginx on loopback: each repository is right but for one
thing. Debian's own Python, for its python3-securesystemslib. Usage: tuf.py -B BUILD [NAME ...]
"""
import copy
import datetime
import hashlib
import shutil
import sys
import time

sys.dont_write_bytecode = True
from tuf_repository import (ROLES, future, key_id, main, make_key, next_root, plan, public, same,  # noqa: E402
                            start)


# --- what is right ---

def test_good(c):
    start(c)
    c.accept()
    path = c.out / "01-fix.json"
    same("content", c.repo.targets["plans/10-fix.json"], path.read_bytes())
    same("mode", 0o600, path.stat().st_mode & 0o777)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    same("report", {"schema": 1, "url": c.report["url"], "result": "plans", "error": None,
                    "sources": [{"url": c.report["url"], "result": "ok", "error": None}], "time": c.report["time"],
                    "versions": {"root": 1, "timestamp": 1, "snapshot": 1, "targets": 1}, "floor": c.report["floor"],
                    "plans": [{"file": "01-fix.json", "id": "fix", "sha256": digest}],
                    "not_matched": [], "withdrawn": [], "refused_plans": []}, c.report)
    same("requests", ["metadata/2.root.json", "metadata/timestamp.json", "metadata/1.snapshot.json",
                      "metadata/1.targets.json", f"targets/plans/{digest}.10-fix.json"], c.requests())
    same("kept", ["snapshot.json", "targets.json", "time", "timestamp.json"], sorted(p.name for p in c.metadata.iterdir()))


def test_two_plans_in_order(c):
    c.repo.targets = {"plans/20-b.json": plan("b"), "plans/10-z.json": plan("z"), "plans/30-a.json": plan("a", "other"),
                      "other/x.json": plan("x"), "plans/readme.txt": b"no plan"}
    start(c)
    c.accept(["01-z.json", "02-b.json"])
    same("not matched", ["a"], [p["id"] for p in c.report["not_matched"]])


def test_none_matches(c):
    c.repo.targets = {"plans/10-fix.json": plan("fix", "other"), "plans/20-id.json": plan("by-id", match={"machine-id": "1"})}
    start(c)
    same("exit", 3, c.fetch())
    same("plans", [], c.plans())
    same("report", ("none", ["fix", "by-id"]), (c.report["result"], [p["id"] for p in c.report["not_matched"]]))
    same("unknown is said", True, "does not say" in c.report["not_matched"][1]["why"])


def test_no_plans_at_all(c):
    c.repo.targets = {}
    start(c)
    same("exit", 3, c.fetch())


def test_malformed_plan_stops_no_other(c):
    c.repo.targets = {"plans/10-bad.json": plan("bad", actions=[{"type": "run", "path": "/x"}]),
                      "plans/15-big.json": plan("big", title="x" * 70000), "plans/20-fix.json": plan("fix")}
    start(c)
    c.accept()
    same("refused", ["plans/15-big.json", "plans/10-bad.json"], [p["target"] for p in c.report["refused_plans"]])
    same("field", True, "actions[0].type" in c.report["refused_plans"][1]["why"])


def test_odd_target_names(c):
    c.repo.targets = {"plans/a b#%ü.json": plan("odd"), "plans/sub/../../x.json": plan("escape")}
    start(c)
    c.accept(["01-odd.json"])
    same("refused", ["plans/sub/../../x.json"], [p["target"] for p in c.report["refused_plans"]])


def test_earlier_plans_are_removed(c):
    start(c)
    c.accept()
    c.repo.targets = {"plans/10-new.json": plan("new")}
    c.repo.bump()
    c.repo.publish()
    c.accept(["01-new.json"])


def test_consistent_snapshot_off(c):
    c.repo.consistent = False
    start(c)
    c.accept()
    same("requests", ["metadata/2.root.json", "metadata/timestamp.json", "metadata/snapshot.json", "metadata/targets.json",
                      "targets/plans/10-fix.json"], c.requests())


def test_without_lengths_and_hashes(c):
    c.repo.with_lengths = False
    start(c)
    c.accept()


def test_sha512(c):
    c.repo.hashes = ["sha512"]
    start(c)
    c.accept()


def test_key_kinds(c):
    c.repo.keys = {"root": [make_key("rsa"), make_key("ecdsa")], "timestamp": [make_key("ecdsa")],
                   "snapshot": [make_key("rsa")], "targets": [make_key("ed25519"), make_key("ecdsa"), make_key("rsa")]}
    c.repo.threshold.update(root=2, targets=3)
    start(c)
    c.accept()


def test_unknown_key_kind_is_skipped(c):
    c.repo.root_keys = {"f" * 64: {"keytype": "sphincs", "scheme": "sphincs-1", "keyval": {"public": "x"}}}
    c.repo.edit["root"] = lambda s: s["roles"]["targets"]["keyids"].append("f" * 64)
    c.repo.edit_envelope["targets"] = lambda e: e["signatures"].append({"keyid": "f" * 64, "sig": "00"})
    start(c)
    c.accept()


def test_unknown_fields(c):
    def edit(signed):
        signed["x-more"] = {"b": [1, "ü\n\"\\"], "a": None}
    c.repo.edit = {role: edit for role in ROLES}
    start(c)
    c.accept()


def test_fractional_expiry(c):
    c.repo.expires = {role: future().replace("Z", ".123456Z") for role in ROLES}
    start(c)
    c.accept()


def test_second_run_fetches_only_the_timestamp(c):
    start(c)
    c.accept()
    n = len(c.requests())
    c.accept()
    same("requests", ["metadata/2.root.json", "metadata/timestamp.json"], c.requests()[n:n + 2])
    same("no metadata again", 3, len(c.requests()[n:]))


def test_no_url(c):
    start(c)
    c.configure("")
    same("exit", 3, c.fetch())
    same("result", "none", c.report["result"])


# --- signatures ---

def test_wrong_signature(c):
    start(c)
    for role in ROLES[1:]:
        c.repo.signers = {role: [make_key()]}
        c.repo.bump()
        c.repo.publish()
        c.refuse(role, "0 different keys")
        c.repo.signers = {}


def test_damaged_signature(c):
    def damage(envelope):
        sig = envelope["signatures"][0]["sig"]
        envelope["signatures"][0]["sig"] = ("0" if sig[0] != "0" else "1") + sig[1:]
    for role in ROLES[1:]:
        c.repo.edit_envelope = {role: damage}
        c.repo.bump()
        c.trust(c.repo.publish()["root"])
        c.refuse(role, "0 different keys")


def test_content_changed_after_signing(c):
    def change(envelope):
        envelope["signed"]["targets"]["plans/10-fix.json"]["length"] += 1
    c.repo.edit_envelope = {"targets": change}
    start(c)
    c.refuse("targets", "0 different keys")


def test_too_few_keys(c):
    c.repo.keys["targets"] = [make_key(), make_key()]
    c.repo.threshold["targets"] = 2
    c.repo.signers["targets"] = c.repo.keys["targets"][:1]
    start(c)
    c.refuse("targets", "1 different keys", "asks for 2")


def test_signed_twice_by_one_key(c):
    c.repo.keys["targets"] = [make_key(), make_key()]
    c.repo.threshold["targets"] = 2
    c.repo.signers["targets"] = c.repo.keys["targets"][:1] * 2
    start(c)
    c.refuse("targets", "signed twice")


def test_one_key_under_two_ids(c):
    """The same key, written in another way, is one key."""
    key = make_key()
    twin = public(key)
    twin["keyval"]["public"] = twin["keyval"]["public"].upper()
    c.repo.keys["targets"] = [key]
    c.repo.threshold["targets"] = 2
    c.repo.root_keys = {key_id(twin): twin}
    c.repo.edit["root"] = lambda s: s["roles"]["targets"]["keyids"].append(key_id(twin))

    def sign_again(envelope):
        envelope["signatures"].append({"keyid": key_id(twin), "sig": envelope["signatures"][0]["sig"]})
    c.repo.edit_envelope["targets"] = sign_again
    start(c)
    c.refuse("targets", "1 different keys")


def test_key_listed_twice(c):
    c.repo.edit["root"] = lambda s: s["roles"]["targets"]["keyids"].extend(s["roles"]["targets"]["keyids"])
    start(c)
    c.refuse("root", "listed twice")


def test_key_of_another_role(c):
    c.repo.signers["targets"] = c.repo.keys["snapshot"]
    start(c)
    c.refuse("targets", "0 different keys")


def test_key_id_is_not_the_hash(c):
    def edit(signed):
        keyid = signed["roles"]["targets"]["keyids"][0]
        signed["keys"]["a" * 64] = signed["keys"].pop(keyid)
        signed["roles"]["targets"]["keyids"] = ["a" * 64]
    c.repo.edit["root"] = edit
    start(c)
    c.refuse("root", "not the hash of the key")


def test_threshold_zero(c):
    c.repo.threshold["targets"] = 0
    start(c)
    c.refuse("root", "threshold")


# --- versions ---

def rollback(c, role, *words):
    """Seen in an earlier run: version 5 of everything. Then one role goes back, correctly signed."""
    c.repo.version = {"root": 1, "timestamp": 5, "snapshot": 5, "targets": 5}
    start(c)
    c.accept()
    c.repo.bump("timestamp")
    if role != "timestamp":
        c.repo.bump("snapshot")
    c.repo.version[role] = 4
    c.repo.publish()
    c.refuse(*words)


def test_rollback_of_timestamp(c):
    rollback(c, "timestamp", "timestamp", "version 4", "rollback")
    same("kept", 5, c.kept("timestamp"))


def test_rollback_of_snapshot(c):
    rollback(c, "snapshot", "timestamp", "version 4 of snapshot", "rollback")
    same("kept", 5, c.kept("snapshot"))


def test_rollback_of_targets(c):
    rollback(c, "targets", "snapshot", "version 4 of 'targets.json'", "rollback")
    same("kept", 5, c.kept("targets"))


def test_rollback_of_expired_cache(c):
    """What was kept has expired meanwhile; it sets the lowest version nevertheless."""
    c.repo.version["timestamp"] = 5
    start(c)
    c.accept()
    c.repo.expires["timestamp"] = future(-1)
    c.repo.publish()
    shutil.copy(c.folder / "r/metadata/timestamp.json", c.metadata)
    c.repo.expires["timestamp"] = future()
    c.repo.version["timestamp"] = 4
    c.repo.publish()
    c.refuse("timestamp", "rollback")


def test_snapshot_drops_a_file(c):
    c.repo.edit["snapshot"] = lambda s: s["meta"].update({"team.json": {"version": 1}})
    start(c)
    c.accept()
    c.repo.edit = {}
    c.repo.bump()
    c.repo.publish()
    c.refuse("snapshot", "team.json", "rollback")


def test_same_timestamp_version_keeps_the_old_one(c):
    start(c)
    c.accept()
    c.repo.bump("snapshot", "targets")
    c.repo.targets = {}
    c.repo.publish()
    c.accept()
    same("kept", 1, c.kept("snapshot"))


def test_version_zero(c):
    c.repo.version["timestamp"] = 0
    start(c)
    c.refuse("timestamp", "version")


def test_timestamp_names_another_snapshot(c):
    """Mix and match: both are genuine, but they do not belong together."""
    c.repo.with_lengths = False
    start(c)
    old = (c.repo.folder / "metadata/1.snapshot.json").read_bytes()
    c.repo.bump()
    c.repo.publish()
    (c.repo.folder / "metadata/2.snapshot.json").write_bytes(old)
    c.refuse("snapshot", "version 1", "timestamp names, 2")


def test_snapshot_names_another_targets(c):
    c.repo.with_lengths = False
    start(c)
    old = (c.repo.folder / "metadata/1.targets.json").read_bytes()
    c.repo.bump()
    c.repo.publish()
    (c.repo.folder / "metadata/2.targets.json").write_bytes(old)
    c.refuse("targets", "version 1", "snapshot names, 2")


# --- hashes and lengths ---

def swap_byte(data):
    return data.replace(b"1.0.31", b"1.0.32") if b"1.0.31" in data else data[:-2] + b" }"


def test_hash_of_metadata(c):
    for role in ["snapshot", "targets"]:
        c.repo.edit_bytes = {role: swap_byte}
        c.repo.bump()
        c.trust(c.repo.publish()["root"])
        c.refuse(role, "sha256")


def test_length_of_metadata(c):
    for role in ["snapshot", "targets"]:
        c.repo.edit_bytes = {role: lambda data: data + b"\n"}
        c.repo.bump()
        c.trust(c.repo.publish()["root"])
        c.refuse(role, "more than")


def test_short_metadata(c):
    for role in ["snapshot", "targets"]:
        c.repo.edit_bytes = {role: lambda data: data[:-1]}
        c.repo.bump()
        c.trust(c.repo.publish()["root"])
        c.refuse(role, "signed length")


def test_hash_of_target(c):
    c.repo.edit_bytes = {"plans/10-fix.json": lambda data: data.replace(b"291", b"292")}
    start(c)
    c.refuse("plans/10-fix.json", "sha256")


def test_length_of_target(c):
    c.repo.edit_bytes = {"plans/10-fix.json": lambda data: data + b" "}
    start(c)
    c.refuse("plans/10-fix.json", "more than")
    c.repo.edit_bytes = {"plans/10-fix.json": lambda data: data[:-1]}
    c.repo.publish()
    c.refuse("plans/10-fix.json", "signed length")


def test_one_of_two_hashes_wrong(c):
    c.repo.hashes = ["sha256", "sha512"]
    c.repo.edit["targets"] = lambda s: s["targets"]["plans/10-fix.json"]["hashes"].update(sha512="0" * 128)
    start(c)
    c.refuse("plans/10-fix.json", "sha512")


def test_no_known_hash(c):
    c.repo.edit["targets"] = lambda s: s["targets"]["plans/10-fix.json"].update(hashes={"md5": "0" * 32})
    start(c)
    c.refuse("plans/10-fix.json", "hash")


# --- expiry ---

def test_expired(c):
    for role in ROLES:
        c.repo.expires = {r: future(-1 if r == role else 30) for r in ROLES}
        c.repo.bump()
        c.trust(c.repo.publish()["root"])
        c.refuse(role, "expired at")


def test_freeze(c):
    """The server goes on serving what was right when it was seen, until it expires."""
    c.repo.expires["timestamp"] = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=4)).strftime("%Y-%m-%dT%H:%M:%SZ")
    start(c)
    c.accept()
    time.sleep(5)
    c.refuse("timestamp", "expired at")


# --- form ---

def test_missing_files(c):
    for role in ROLES[1:]:
        c.repo.edit_bytes = {role: lambda data: None}
        c.repo.bump()
        c.trust(c.repo.publish()["root"])
        c.refuse(role, "the repository has no")


def test_missing_target(c):
    c.repo.edit_bytes = {"plans/10-fix.json": lambda data: None}
    start(c)
    c.refuse("plans/10-fix.json", "the repository has no")


def test_wrong_type(c):
    for role in ROLES[1:]:
        c.repo.edit = {role: lambda s: s.update(_type="root")}
        c.repo.bump()
        c.trust(c.repo.publish()["root"])
        c.refuse(role, "type is 'root'")


def test_wrong_spec_version(c):
    c.repo.edit["timestamp"] = lambda s: s.update(spec_version="2.0.0")
    start(c)
    c.refuse("timestamp", "spec_version")


def test_not_json(c):
    c.repo.edit_bytes["timestamp"] = lambda data: data[:len(data) // 2]
    start(c)
    c.refuse("timestamp", "JSON")


def test_duplicate_json_key(c):
    c.repo.edit_bytes["timestamp"] = lambda data: data.replace(b'"signed": {', b'"signed": {"version": 9, ')
    start(c)
    c.refuse("timestamp", "duplicate")


def test_oversized_root(c):
    start(c)
    (c.repo.folder / "metadata/2.root.json").write_bytes(b" " * 600000)
    c.refuse("root", "more than 512000 bytes")


def test_own_root_is_damaged(c):
    start(c)
    c.trust((c.folder / "root.json").read_bytes().replace(b'"threshold": 1', b'"threshold": 2'))
    c.refuse("trusted root of this system")
    same("no request", [], c.requests())


# --- rotation of the root ---

def test_root_rotation(c):
    start(c)
    old = c.repo.keys["root"]
    c.repo.keys["root"] = [make_key(), make_key()]
    c.repo.threshold["root"] = 2
    next_root(c, root=old + c.repo.keys["root"])
    second = c.repo.keys["root"]
    c.repo.keys["root"] = [make_key()]
    c.repo.threshold["root"] = 1
    c.repo.keys["targets"] = [make_key()]
    next_root(c, root=second + c.repo.keys["root"])
    c.accept()
    same("version", 3, c.report["versions"]["root"])
    same("kept", ["2.root.json", "3.root.json"], sorted(p.name for p in (c.metadata / "root_history").iterdir()))
    same("newest", 3, c.kept("root"))
    n = len(c.requests())
    c.accept()
    same("goes on from what was kept", "metadata/4.root.json", c.requests()[n])


def test_root_expired_on_the_way(c):
    c.repo.expires["root"] = future(-1)
    start(c)
    c.repo.expires["root"] = future()
    next_root(c)
    c.accept()


def test_root_skips_a_version(c):
    start(c)
    c.repo.edit["root"] = lambda s: s.update(version=3)
    next_root(c)
    c.refuse("root", "version 3", "version 2 is due")


def test_root_goes_back(c):
    start(c)
    c.repo.edit["root"] = lambda s: s.update(version=1)
    next_root(c)
    c.refuse("root", "version 1", "version 2 is due")


def test_root_not_signed_by_old(c):
    start(c)
    c.repo.keys["root"] = [make_key()]
    next_root(c, root=c.repo.keys["root"])
    c.refuse("root", "root version 1 asks for 1")


def test_root_not_signed_by_new(c):
    start(c)
    old = c.repo.keys["root"]
    c.repo.keys["root"] = [make_key()]
    next_root(c, root=old)
    c.refuse("root", "root version 2 asks for 1")


def test_root_kept_prevents_rollback(c):
    """The server hides a root that was seen: what the old root's keys sign is not accepted any more."""
    start(c)
    old = copy.copy(c.repo.keys)
    c.repo.keys = {**old, "timestamp": [make_key()]}
    next_root(c)
    c.accept()
    (c.repo.folder / "metadata/2.root.json").unlink()
    c.repo.keys = old
    c.repo.bump()
    c.repo.publish(root=False)
    c.refuse("timestamp", "0 different keys", "root version 2")


def test_fast_forward_recovery(c):
    """Stolen keys made versions jump; replacing the keys of timestamp and snapshot lets them go back."""
    c.repo.version = {"root": 1, "timestamp": 1000000, "snapshot": 1000000, "targets": 1000000}
    start(c)
    c.accept()
    c.repo.version.update(timestamp=2, snapshot=2, targets=2)
    c.repo.publish()
    c.refuse("rollback")
    c.repo.keys["timestamp"] = [make_key()]
    c.repo.keys["snapshot"] = [make_key()]
    next_root(c)
    c.accept()
    same("versions", {"root": 2, "timestamp": 2, "snapshot": 2, "targets": 2}, c.report["versions"])
    same("kept", (2, 2, 2), tuple(c.kept(role) for role in ROLES[1:]))


def test_fast_forward_recovery_by_an_added_key(c):
    """The old key stays valid beside a new one, so that the kept files still verify: they go nevertheless."""
    c.repo.version["timestamp"] = 1000000
    start(c)
    c.accept()
    old = c.repo.keys["timestamp"]
    c.repo.keys["timestamp"] = old + [make_key()]
    c.repo.version["timestamp"] = 2
    next_root(c)
    c.accept()
    same("kept", 2, c.kept("timestamp"))


def test_fast_forward_recovery_in_two_runs(c):
    """The root with new keys came, what follows it did not: the kept files are gone nevertheless."""
    c.repo.version["timestamp"] = 1000000
    start(c)
    c.accept()
    c.repo.keys["snapshot"] = [make_key()]
    c.repo.version["timestamp"] = 2
    c.repo.edit_bytes["timestamp"] = lambda data: None
    next_root(c)
    c.refuse("timestamp", "the repository has no")
    same("kept", (2, None, None, 1), tuple(c.kept(role) for role in ROLES))
    c.repo.edit_bytes = {}
    c.repo.publish()
    c.accept()
    same("kept then", 2, c.kept("timestamp"))


def test_other_rotations_keep_versions(c):
    c.repo.version["timestamp"] = 5
    start(c)
    c.accept()
    c.repo.keys["targets"] = [make_key()]
    c.repo.version["timestamp"] = 4
    next_root(c)
    c.refuse("timestamp", "rollback")


if __name__ == "__main__":
    main("tuf", globals())

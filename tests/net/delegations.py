#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Targets and delegated roles, as public conformance tests of TUF clients look at them and beyond: the order of the search, who
vouches for what, where files are put. Usage: delegations.py -B BUILD [NAME ...]
"""
import hashlib
import json
import os
import sys

sys.dont_write_bytecode = True
from tuf_repository import public, same  # noqa: E402
from tuf_simulator import TOP, cases, main, utc  # noqa: E402


def visited(c):
    """Delegated roles that were asked for, in their order, all in version 1."""
    found = [r for r in c.repo.requests if r[0] not in TOP]
    same("versions", {1} if found else set(), {version for _, version in found})
    return [role for role, _ in found]


def publish(c, *roles):
    c.repo.publish(*roles, "targets", "snapshot", "timestamp")
    c.good(c.init())


# --- downloads ---

def test_download(c):
    c.repo.add_artifact("targets", "path/to/a/file.txt", b"content")
    publish(c)
    c.good(c.refresh())
    same("nothing yet", [], c.downloaded())
    c.good(c.download("path/to/a/file.txt"))
    same("content", [b"content"], c.downloaded())
    same("where", ["targets/path%2Fto%2Fa%2Ffile.txt"], [p for p in c.everything() if p.startswith("targets/")])


def test_several_in_order_up_to_the_first_failure(c):
    for name in "abc":
        c.repo.add_artifact("targets", name, name.encode())
    publish(c)
    c.good(c.download("b", "a"))
    same("order", [b"b", b"a"], c.downloaded())
    c.bad(c.download("a", "missing", "c"))
    same("c was not asked for", ["b", "a"], [name for name, _ in c.repo.target_requests])


def test_substituted_target(c):
    c.repo.add_artifact("targets", "a", b"good a")
    c.repo.add_artifact("targets", "b", b"good b")
    publish(c)
    c.good(c.download("a"))
    c.repo.artifacts = {"a": b"malicious", "b": b"malicious"}
    c.good(c.download("a"))
    c.bad(c.download("b"))
    same("content", [b"good a"], c.downloaded())


def test_changing_target(c):
    """A file is fetched again when what is signed for it has changed, and only then; it is replaced."""
    c.repo.add_artifact("targets", "a", b"0")
    c.repo.add_artifact("targets", "b", b"b")
    publish(c)
    c.good(c.download("a", "b"))
    for i in range(1, 4):
        c.repo.add_artifact("targets", "a", b"%d" % i)
        c.repo.publish_all()
        c.good(c.download("b", "a"))
        same("content", [b"b", b"%d" % i], c.downloaded())
        c.repo.artifacts["a"] = b"other than signed"
        c.repo.publish_all()
        c.good(c.download("a"))
        same("content", [b"b", b"%d" % i], c.downloaded())
    same("requests", ["a", "b", "a", "a", "a"], [name for name, _ in c.repo.target_requests])


@cases("sha256", "sha512", "sha256 sha512")
def test_hashes(c, names):
    c.repo.add_artifact("targets", "a", b"content", names.split())
    publish(c)
    c.good(c.download("a"))
    same("request", True, c.repo.target_requests[0][1] in c.repo.signed["targets"]["targets"]["a"]["hashes"].values())


def test_large_error_page(c):
    """It is larger than the target; what counts is that there is none."""
    c.repo.add_artifact("targets", "a", b"1")
    publish(c)
    c.repo.artifacts = {}
    c.bad(c.download("a"), "the repository has no")


def test_unknown_hash(c):
    c.repo.add_artifact("targets", "a", b"content")
    c.repo.signed["targets"]["targets"]["a"]["hashes"] = {"unknown": hashlib.sha256(b"content").hexdigest()}
    publish(c)
    c.bad(c.download("a"))
    same("content", [], c.downloaded())


@cases("../a", "a/../../b", "/etc/a", "a//b", ".", "..", "a/", "./a", "a\nb", "\u007f", "x" * 600)
def test_names_that_are_no_paths(c, name):
    c.repo.add_artifact("targets", name, b"content")
    publish(c)
    before = c.everything()
    c.bad(c.download(name))
    same("files", [], [p for p in c.everything() if p not in before and not p.startswith("metadata/")])
    same("requests", [], c.repo.target_requests)


@cases("a b", "%2e%2e%2fa", "\u00fc/\u00fc", "a?b#c", "..a", "a\\..\\b", "-rf", "~", "a" * 300, "\u00fc" * 200)
def test_odd_names(c, name):
    c.repo.add_artifact("targets", name, b"content")
    publish(c)
    c.good(c.download(name))
    same("request", [name], [n for n, _ in c.repo.target_requests])
    same("content", [b"content"], c.downloaded())
    same("in one folder", 1, len([p for p in c.everything() if p.startswith("targets/")]))
    c.good(c.download(name))
    same("not again", 1, len(c.repo.target_requests))


def test_no_link_is_followed(c):
    c.repo.add_artifact("targets", "a", b"content")
    publish(c)
    outside = c.folder / "outside"
    outside.write_bytes(b"mine")
    (c.targets / "a").symlink_to(outside)
    (c.metadata / "timestamp.json").symlink_to(outside)
    c.good(c.download("a"))
    same("outside", b"mine", outside.read_bytes())
    same("inside", False, os.path.islink(c.targets / "a") or os.path.islink(c.metadata / "timestamp.json"))


# --- the order of the search: (delegator, role, patterns, terminating), what is visited for a name that nobody lists ---

GRAPHS = [
    ("one", [("targets", "A")], "A"),
    ("two", [("targets", "A"), ("targets", "B")], "A B"),
    ("two levels", [("targets", "A"), ("targets", "B"), ("B", "C")], "A B C"),
    ("depth first", [("targets", "A"), ("targets", "B"), ("A", "C"), ("A", "D")], "A C D B"),
    ("depth first, three levels", [("targets", "A"), ("targets", "B"), ("A", "C"), ("C", "D")], "A C D B"),
    ("terminating", [("targets", "A"), ("targets", "B"), ("A", "C", "*", True), ("A", "D")], "A C"),
    ("terminating, but for those below", [("targets", "A"), ("targets", "B"), ("A", "C", "*", True), ("C", "D")], "A C D"),
    ("terminating, that does not match", [("targets", "A", "*.py", True), ("targets", "B")], "B"),
    ("not matching", [("targets", "A", "*.py"), ("targets", "B"), ("A", "C")], "B"),
    ("not matching below", [("targets", "A"), ("targets", "B"), ("A", "C", "*.py"), ("C", "D")], "A B"),
    ("cycle", [("targets", "A"), ("targets", "B"), ("B", "C"), ("C", "D"), ("D", "B")], "A B C D"),
    ("to itself", [("targets", "A"), ("A", "A"), ("targets", "B")], "A B"),
    ("one role, two ways", [("targets", "A"), ("targets", "B"), ("B", "C"), ("A", "C")], "A C B"),
    ("one role, two ways, one matches", [("targets", "A"), ("targets", "B"), ("B", "C"), ("A", "C", "*.py")], "A B C"),
]


@cases(*GRAPHS)
def test_order(c, case):
    for delegator, role, *more in case[1]:
        c.repo.delegate(delegator, role, [more[0] if more else "*"], bool(more[1:]))
    publish(c, *sorted({role for _, role, *_ in case[1]}))
    c.bad(c.download("missing"), "no target")
    same("visited", case[2].split(), visited(c))
    same("kept", sorted(TOP + case[2].split()), sorted(c.trusted()))
    c.bad(c.download("missing"))
    same("kept ones are not asked for again", case[2].split(), visited(c))


TREE = {"targetfile": "", "README.md": "A", "releases/x/x_v1": "B C", "releases/y/y_v1.zip": "B D", "releases/z/z_v1.zip": "B",
        "sub/README.md": "", "releases/x/y/z": "", "releases/y/y_v1.tar": "B"}


@cases(*TREE)
def test_search(c, name):
    for delegator, role, paths in [("targets", "A", ["*.doc", "*.md"]), ("targets", "B", ["releases/*/*"]), ("B", "C", ["releases/x/*"]),
                                   ("B", "D", ["releases/y/*.zip"])]:
        c.repo.delegate(delegator, role, paths)
    for role, path in [("targets", "targetfile"), ("A", "README.md"), ("C", "releases/x/x_v1"), ("D", "releases/y/y_v1.zip"),
                       ("D", "releases/z/z_v1.zip"), ("A", "sub/README.md"), ("C", "releases/x/y/z"), ("D", "releases/y/y_v1.tar")]:
        c.repo.add_artifact(role, path, f"{path} by {role}".encode())
    publish(c, *"ABCD")
    found = name in ("targetfile", "README.md", "releases/x/x_v1", "releases/y/y_v1.zip")
    (c.good if found else c.bad)(c.download(name))
    same("visited", TREE[name].split(), visited(c))
    same("content", [c.repo.artifacts[name]] if found else [], c.downloaded())


def test_the_first_that_lists_it_counts(c):
    for role in "AB":
        c.repo.delegate("targets", role)
        c.repo.add_artifact(role, "a", role.encode())
    c.repo.artifacts["a"] = b"A"
    publish(c, *"AB")
    c.good(c.download("a"))
    same("content", [b"A"], c.downloaded())
    c.repo.add_artifact("targets", "a", b"top")
    c.repo.publish_all()
    c.good(c.download("a"))
    same("the top level comes first", [b"top"], c.downloaded())


@cases(1, 4, 8, 9)
def test_bins(c, bits):
    names = c.repo.delegate_bins("targets", bits, "bin")
    number = int(hashlib.sha256(b"a").hexdigest()[:8], 16) >> (32 - bits)
    c.repo.add_artifact(names[number], "a", b"content")
    publish(c, *names)
    c.good(c.download("a"))
    same("visited", [names[number]], visited(c))
    same("content", [b"content"], c.downloaded())


def test_hash_prefixes(c):
    digest = hashlib.sha256(b"a/b").hexdigest()
    c.repo.delegate("targets", "wrong", prefixes=[digest[:5] + ("0" if digest[5] != "0" else "1")])
    c.repo.delegate("targets", "right", prefixes=["zz", digest[:3]])
    c.repo.add_artifact("right", "a/b", b"content")
    publish(c, "wrong", "right")
    c.good(c.download("a/b"))
    same("visited", ["right"], visited(c))


@cases(32, 33)
def test_32_roles_are_visited(c, n):
    names = [f"r{i}" for i in range(n)]
    for above, name in zip(["targets"] + names, names):
        c.repo.delegate(above, name, key=next(iter(c.repo.signers["targets"].values())))
    c.repo.add_artifact(names[-1], "a", b"content")
    publish(c, *names)
    (c.good if n == 32 else c.bad)(c.download("a"))
    same("visited", names[:32], visited(c))


@cases("?", "#", "/role", "../role", "a b", "%2F", "\u00fc", "1.root", "root_history/x", "." * 3, "n" * 255)
def test_role_names(c, role):
    c.repo.delegate("targets", role)
    c.repo.add_artifact(role, "a", b"content")
    publish(c, role)
    c.good(c.download("a"))
    kept = [p for p in c.everything() if p.startswith("metadata/")]
    same("kept", len(TOP) + (len(role) < 230), len(kept))
    if len(role) < 230:
        same("kept", c.repo.served[role][-1], c.kept(role))
    c.good(c.download("a"))


def test_role_names_without_versions(c):
    c.repo.root["consistent_snapshot"] = False
    c.repo.delegate("targets", "../role")
    c.repo.publish("../role", "targets", "snapshot", "timestamp", "root")
    c.good(c.init(c.repo.served["root"][-1]))
    c.bad(c.download("missing"), "no target")
    same("request", ("..%2Frole", None), c.repo.requests[-1])


# --- who vouches ---

def delegated(c, **kwargs):
    """One role that lists "a"."""
    c.repo.delegate("targets", "role", **kwargs)
    c.repo.add_artifact("role", "a", b"content")


def refused(c, *words):
    c.bad(c.download("a"), *words)
    same("content", [], c.downloaded())
    same("kept", None, c.kept("role"))


def test_role_by_another_key(c):
    delegated(c)
    c.repo.signers["role"] = {keyid: c.repo.new_key() for keyid in c.repo.signers["role"]}
    publish(c, "role")
    refused(c, "role 'role'", "0 different keys")


def test_role_by_a_key_of_the_top_level(c):
    delegated(c)
    c.repo.signers["role"] = c.repo.signers["targets"]
    publish(c, "role")
    refused(c, "role 'role'", "0 different keys")


def test_threshold_of_a_role(c):
    delegated(c, threshold=2)
    c.repo.add_key("role", "targets")
    both = c.repo.signers["role"]
    c.repo.signers["role"] = dict(list(both.items())[:1])
    publish(c, "role")
    refused(c, "role 'role'", "1 different keys", "asks for 2")
    c.repo.signers["role"] = both
    c.repo.publish_all("role")
    c.good(c.download("a"))


def test_one_signature_many_times(c):
    """The same signature again, or the same key under another id, is one key."""
    delegated(c, threshold=2)
    key = next(iter(c.repo.signers["role"].values()))
    c.repo.add_key("role", "targets", key=key, more={"x": 1})
    publish(c, "role")
    refused(c, "1 different keys")
    c.repo.signers["role"].popitem()
    c.repo.publish_all("role")
    role = json.loads(c.repo.served["role"][-1])
    role["signatures"] *= 2
    c.repo.served["role"][-1] = json.dumps(role).encode()
    refused(c, "signed twice")


@cases(0, -1)
def test_threshold_below_1(c, threshold):
    delegated(c, threshold=threshold)
    c.repo.signers["role"] = {}
    publish(c, "role")
    c.bad(c.refresh(), "targets", "threshold")


def test_key_id_of_a_role_is_not_the_hash(c):
    delegated(c)
    c.repo.add_key("role", "targets", keyid="a" * 64)
    publish(c, "role")
    c.bad(c.refresh(), "targets", "not the hash of the key")


def test_unknown_key_of_a_role(c):
    delegated(c)
    c.repo.signed["targets"]["delegations"]["keys"]["f" * 64] = {"keytype": "sphincs", "scheme": "x", "keyval": {"public": "x"}}
    c.repo.entry("role", "targets")["keyids"].append("f" * 64)
    publish(c, "role")
    c.good(c.download("a"))


def test_role_twice(c):
    delegated(c)
    c.repo.delegate("targets", "role", ["x"])
    publish(c, "role")
    c.bad(c.refresh(), "twice")


def test_role_with_the_name_of_the_top_level(c):
    c.repo.signed["targets"]["delegations"] = {"keys": {}, "roles": [
        {"name": "snapshot", "keyids": [], "threshold": 1, "terminating": False, "paths": ["*"]}]}
    publish(c)
    c.bad(c.refresh(), "top-level role 'snapshot'")


def test_one_role_two_delegators(c):
    """A and B give "role" other keys. What A vouches for does not pass for what B does, in the same run or from what was kept."""
    good, evil = c.repo.new_key(), c.repo.new_key()
    c.repo.delegate("targets", "A", ["a/*"])
    c.repo.delegate("targets", "B", ["b/*"])
    c.repo.delegate("A", "role", ["*/*"], key=evil)
    c.repo.delegate("B", "role", ["*/*"], key=good)
    evil_only = {k: v for k, v in c.repo.signers["role"].items() if v == evil}
    c.repo.signers["role"] = evil_only
    c.repo.add_artifact("role", "a/1", b"a")
    c.repo.add_artifact("role", "b/1", b"b")
    publish(c, "role", "A", "B")
    c.good(c.download("a/1"))
    same("kept", True, c.kept("role") is not None)
    c.bad(c.download("b/1"), "role 'role'", "0 different keys")
    c.bad(c.download("a/1", "b/1"), "role 'role'", "0 different keys")
    same("content", [b"a"], c.downloaded())


def test_visited_once_by_its_name(c):
    """A vouches for "role" first; the top level, with another key, is not asked any more."""
    c.repo.delegate("targets", "A")
    c.repo.delegate("targets", "role")
    c.repo.signers["role"] = {}
    c.repo.delegate("A", "role")
    publish(c, "A", "role")
    c.bad(c.download("missing"), "there is no target")


def test_kept_role_and_the_delegation_of_today(c):
    """The delegation's key was replaced, the role's file is the same: what was kept is not enough."""
    delegated(c)
    c.repo.add_artifact("role", "b", b"more")
    publish(c, "role")
    c.good(c.download("a"))
    c.repo.entry("role", "targets")["keyids"] = []
    c.repo.signers["role"] = {}
    c.repo.add_key("role", "targets")
    c.repo.publish_all()
    c.bad(c.download("b"), "role 'role'", "0 different keys")
    c.repo.publish_all("role")
    c.good(c.download("b"))


# --- versions, hashes, expiry of delegated roles ---

def test_role_that_snapshot_does_not_list(c):
    delegated(c)
    c.repo.publish("role")
    del c.repo.signed["snapshot"]["meta"]["role.json"]
    publish(c)
    refused(c, "snapshot does not list it")
    same("visited", [], visited(c))


def test_missing_role_ends_the_search(c):
    delegated(c)
    c.repo.delegate("targets", "other")
    c.repo.add_artifact("other", "a", b"by other")
    publish(c, "role", "other")
    c.repo.served["role"] = []
    refused(c, "the repository has no")
    same("visited", ["role"], visited(c))


def test_version_of_a_role(c):
    delegated(c)
    publish(c, "role")
    c.good(c.download("a"))
    old = c.repo.served["role"][0]
    c.repo.publish_all("role")
    c.repo.served["role"][1] = old
    c.bad(c.download("a"), "role 'role'", "version 1", "snapshot names, 2")


def test_rollback_of_a_role(c):
    delegated(c)
    publish(c, "role")
    c.repo.publish_all("role")
    c.good(c.download("a"))
    c.repo.signed["snapshot"]["meta"]["role.json"]["version"] = 1
    c.repo.publish("snapshot", "timestamp")
    c.bad(c.download("a"), "rollback")


def test_role_is_withdrawn_from_snapshot(c):
    delegated(c)
    publish(c, "role")
    c.good(c.download("a"))
    del c.repo.signed["snapshot"]["meta"]["role.json"]
    c.repo.publish("snapshot", "timestamp")
    c.bad(c.download("a"), "no longer lists 'role.json'")


def test_hash_of_a_role(c):
    c.repo.with_hashes = True
    delegated(c)
    publish(c, "role")
    data = c.repo.served["role"][-1]
    c.repo.served["role"][-1] = data.replace(b"1.0.31", b"1.0.32")
    refused(c, "sha256")
    c.repo.served["role"][-1] = data + b" "
    refused(c, "more than")
    c.repo.served["role"][-1] = data[:-1]
    refused(c, "signed length")


def test_oversized_role(c):
    delegated(c)
    publish(c, "role")
    c.repo.served["role"][-1] += b" " * 5000000
    refused(c, "more than 5000000 bytes")


def test_wrong_type_of_a_role(c):
    delegated(c)
    c.repo.signed["role"]["_type"] = "snapshot"
    publish(c, "role")
    refused(c, "type is 'snapshot'")


def test_expired_role(c):
    delegated(c)
    c.repo.signed["role"]["expires"] = utc(-1)
    publish(c, "role")
    c.good(c.refresh())
    refused(c, "role 'role'", "expired")
    c.versions(root=1, timestamp=2, snapshot=2, targets=2)


def test_kept_role_that_expires(c):
    delegated(c)
    c.repo.add_artifact("role", "b", b"more")
    c.repo.signed["role"]["expires"] = utc(7)
    publish(c, "role")
    c.good(c.download("a"))
    c.bad(c.download("b", days=18), "role 'role'", "expired")
    c.repo.signed["role"]["expires"] = utc(21)
    c.repo.publish_all("role")
    c.good(c.download("b", days=18))
    same("content", [b"content", b"more"], c.downloaded())


# What a power cut leaves of a file that was not synced: the bytes that should be there, those of the version before, and another file's.
TORN = {"missing": lambda new, old, other: None, "empty": lambda new, old, other: b"", "older": lambda new, old, other: old,
        "zeroes": lambda new, old, other: bytes(len(new)), "cut": lambda new, old, other: new[:len(new) // 2],
        "end is zeroes": lambda new, old, other: new[:100] + bytes(len(new) - 100), "other": lambda new, old, other: other,
        "other, longer": lambda new, old, other: other[:len(new)].ljust(len(new), b" "), "larger": lambda new, old, other: new + bytes(6000000),
        "not text": lambda new, old, other: bytes(range(256)) * 30}


@cases(*[(f"{torn} {role}", torn, role) for role in ("targets", "role") for torn in TORN])
def test_torn_kept_role(c, case):
    """It is as if it had never been kept: fetched again, and the versions seen, which snapshot lists, still hold."""
    _, torn, role = case
    delegated(c)
    publish(c, "role")
    old = {"targets": c.repo.served["targets"][-1], "role": c.repo.served["role"][-1]}
    c.repo.add_artifact("role", "b", b"more")
    c.repo.publish_all("role")
    c.good(c.download("a"))
    new, path = c.kept(role), c.metadata / f"{role}.json"

    def tear():
        data = TORN[torn](new, old[role], c.kept("snapshot"))
        path.unlink() if data is None else path.write_bytes(data)
    tear()
    before = len(c.repo.requests)
    c.good(c.download("b"))
    same("fetched again", [role], [name for name, _ in c.repo.requests[before:] if name not in ("root", "timestamp")])
    same("whole again", new, c.kept(role))
    tear()
    c.repo.signed["snapshot"]["meta"][role + ".json"]["version"] -= 1
    c.repo.publish("snapshot", "timestamp")
    before = len(c.repo.requests)
    c.bad(c.download("a"), "rollback")
    same("the older one was not asked for", [], [name for name, _ in c.repo.requests[before:] if name == role])


def test_keys_of_a_role_are_those_of_its_delegator(c):
    """The id is known to the top level, not to the role that delegates."""
    c.repo.delegate("targets", "A")
    entry = c.repo.delegate("A", "role")
    keyid = entry["keyids"][0]
    c.repo.signed["targets"]["delegations"]["keys"][keyid] = c.repo.signed["A"]["delegations"]["keys"].pop(keyid)
    c.repo.add_artifact("role", "a", b"content")
    publish(c, "A", "role")
    refused(c, "role 'role'", "0 different keys")
    same("the key is there", public(c.repo.signers["role"][keyid]), c.repo.signed["targets"]["delegations"]["keys"][keyid])


if __name__ == "__main__":
    main("delegations", globals())

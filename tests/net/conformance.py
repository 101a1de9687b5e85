#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The top-level roles, as public conformance tests of TUF clients look at them (docs/remediation.md, "Conformance"): exit codes, what
is kept, what is asked for. Debian's own Python, for its python3-securesystemslib. Usage: conformance.py -B BUILD [NAME ...]
"""
import json
import sys

sys.dont_write_bytecode = True
from tuf_repository import same  # noqa: E402
from tuf_simulator import TOP, Simulator, cases, main, utc  # noqa: E402

FIRST = [("root", 2), ("timestamp", None), ("snapshot", 1), ("targets", 1)]


# --- the command line ---

def test_init_asks_nothing(c):
    c.good(c.init())
    same("requests", [], c.repo.requests)
    same("root as it came", c.repo.served["root"][0], c.kept("root"))
    same("and nothing else", ["metadata/root.json"], [p for p in c.everything() if p.startswith("metadata/")])


def test_refresh(c):
    c.start()
    same("requests", FIRST, c.repo.requests)
    same("bytes as received", [c.repo.served[role][-1] for role in TOP], [c.kept(role) for role in TOP])


def test_exit_is_1(c):
    for arguments in [(), ("refresh",), ("init",), ("--metadata-dir", c.metadata, "init"), ("--nonsense", "refresh"),
                      ("--metadata-dir", c.metadata, "init", c.folder / "missing"), ("--metadata-dir", c.metadata, "polish"),
                      ("--metadata-dir", c.metadata, "--metadata-url", c.url, "download")]:
        same(f"exit of {arguments}", 1, c.run(*arguments))
    same("without a root", 1, c.refresh())
    same("requests", [], c.repo.requests)


def test_download_refreshes_first(c):
    c.good(c.init())
    c.bad(c.download("nothing of that name"))
    same("requests", FIRST, c.repo.requests)
    c.versions(root=1, timestamp=1, snapshot=1, targets=1)


def test_bytes_are_kept_as_they_came(c):
    c.good(c.init())
    for role in TOP[1:]:
        c.repo.served[role][-1] = b" " + c.repo.served[role][-1] + b"\n \n"
    c.good(c.refresh())
    same("bytes", [c.repo.served[role][-1] for role in TOP[1:]], [c.kept(role) for role in TOP[1:]])


def test_only_roles_at_the_top(c):
    c.start()
    c.repo.publish("root", "root")
    c.good(c.refresh())
    c.versions(root=3, timestamp=1, snapshot=1, targets=1)


# --- the trusted root ---

def test_trusted_root_without_a_version(c):
    root = json.loads(c.repo.served["root"][0])
    del root["signed"]["version"]
    c.init(json.dumps(root).encode())
    c.bad(c.refresh())
    same("requests", [], c.repo.requests)


def test_trusted_root_not_signed(c):
    root = json.loads(c.repo.served["root"][0])
    root["signatures"][0]["sig"] = "3045" + "00" * 69
    c.init(json.dumps(root).encode())
    c.bad(c.refresh())
    same("requests", [], c.repo.requests)


def test_trusted_root_has_expired(c):
    c.repo.root["expires"] = utc(-1)
    c.repo.publish("root")
    expired = c.repo.served["root"][-1]
    c.repo.root["expires"] = utc()
    c.repo.publish("root")
    c.good(c.init(expired))
    c.good(c.refresh())
    same("root", 3, c.trusted()["root"])


# --- signatures, versions, types ---

@cases("root", "timestamp", "snapshot", "targets")
def test_not_signed(c, role):
    c.repo.signers[role].popitem()
    c.repo.publish("root", "targets", "snapshot", "timestamp")
    c.good(c.init())
    c.bad(c.refresh(), role)
    expected = {"root": {"root": 1}, "timestamp": {"root": 2}, "snapshot": {"root": 2, "timestamp": 2},
                "targets": {"root": 2, "timestamp": 2, "snapshot": 2}}
    c.versions(**expected[role])


@cases("root", "snapshot", "targets")
def test_version_is_not_that_of_the_url(c, role):
    c.repo.signed[role]["version"] += 1
    c.repo.publish("root", "targets", "snapshot", "timestamp")
    if role != "root":  # the file is where it is looked for, and has another version
        c.repo.signed["snapshot"]["meta"]["targets.json"]["version"] = 2
        c.repo.signed["timestamp"]["meta"]["snapshot.json"]["version"] = 2
        c.repo.served["snapshot"][-1] = c.repo.sign("snapshot") if role == "targets" else c.repo.served["snapshot"][-1]
        c.repo.served["timestamp"][-1] = c.repo.sign("timestamp")
    c.good(c.init())
    c.bad(c.refresh(), "version 3")
    expected = {"root": {"root": 1}, "snapshot": {"root": 2, "timestamp": 2}, "targets": {"root": 2, "timestamp": 2, "snapshot": 2}}
    c.versions(**expected[role])


def test_wrong_type(c):
    """A snapshot that could be a timestamp by its signature and all that it says."""
    c.good(c.init())
    c.repo.add_key("snapshot", key=next(iter(c.repo.signers["timestamp"].values())))
    c.repo.signed["snapshot"]["meta"] = {"snapshot.json": {"version": 1}}
    c.repo.publish("root", "snapshot")
    c.repo.served["timestamp"].append(c.repo.served["snapshot"].pop())
    c.bad(c.refresh(), "type is 'snapshot'")
    c.versions(root=2)


def test_same_version_of_timestamp(c):
    c.start()
    kept = c.kept("timestamp")
    c.repo.signed["timestamp"]["meta"]["snapshot.json"]["version"] = 100
    c.repo.served["timestamp"] = [c.repo.sign("timestamp")]
    c.good(c.refresh())
    same("last request", ("timestamp", None), c.repo.requests[-1])
    same("kept", kept, c.kept("timestamp"))


def test_hashes_of_metadata(c):
    c.repo.with_hashes = True
    c.repo.publish_all()
    c.start()
    c.repo.publish("targets")
    c.repo.signed["snapshot"]["meta"]["targets.json"]["hashes"]["sha256"] = "46" * 32
    c.repo.publish("snapshot", "timestamp")
    c.bad(c.refresh(), "sha256")
    c.versions(root=1, timestamp=3, snapshot=3, targets=2)


@cases("timestamp", "snapshot", "targets")
def test_missing(c, role):
    c.start()
    if role == "timestamp":
        c.repo.served[role] = []
    else:
        name = role + ".json"
        above = "timestamp" if role == "snapshot" else "snapshot"
        c.repo.signed[above]["meta"][name]["version"] += 1
        c.repo.publish(*(["timestamp"] if role == "snapshot" else ["snapshot", "timestamp"]))
    c.bad(c.refresh(), "the repository has no")
    same("last request", (role, None if role == "timestamp" else 2), c.repo.requests[-1])
    expected = {"timestamp": (1, 1, 1), "snapshot": (2, 1, 1), "targets": (2, 2, 1)}
    c.versions(root=1, **dict(zip(TOP[1:], expected[role])))


def test_server_errors_end_the_run(c):
    c.start()
    for status in (500, 503, 429):
        c.repo.bodies["metadata/timestamp.json"] = status
        c.bad(c.refresh())


def test_custom_fields(c):
    c.start()
    c.repo.root["custom-field"] = "value"
    c.repo.root["roles"]["root"]["another-field"] = {"x": [1, None, True]}
    c.repo.add_key("root", more={"extra-field": {"a": 1, "b": 2}})
    c.repo.publish("root")
    c.good(c.refresh())
    same("root", 2, c.trusted()["root"])


def test_deprecated_hash_algorithms_of_ids(c):
    c.good(c.init())
    c.repo.root["roles"]["snapshot"]["keyids"] = []
    c.repo.signers["snapshot"] = {}
    c.repo.add_key("snapshot", more={"keyid_hash_algorithms": "md5"})
    c.repo.publish("root", "snapshot", "timestamp")
    c.good(c.refresh())
    c.versions(root=2, timestamp=2, snapshot=2, targets=1)


# --- keys ---

def test_threshold(c):
    c.repo.root["roles"]["snapshot"]["threshold"] = 3
    c.repo.add_key("snapshot")
    c.repo.add_key("snapshot")
    c.repo.publish("root", "targets", "snapshot", "timestamp")
    c.start()
    c.repo.signers["snapshot"].popitem()
    c.repo.publish_all()
    c.bad(c.refresh(), "2 different keys")
    same("kept", 2, c.trusted()["snapshot"])


def test_more_asked_than_keys(c):
    c.good(c.init())
    for _ in range(4):
        c.repo.add_key("snapshot")
    c.repo.root["roles"]["snapshot"]["threshold"] = 6
    c.repo.publish("root", "snapshot", "timestamp")
    c.bad(c.refresh(), "5 different keys")
    c.versions(root=2, timestamp=2)


def test_one_key_listed_and_signing_many_times(c):
    c.good(c.init())
    keyid = c.repo.add_key("snapshot")
    c.repo.root["roles"]["snapshot"]["keyids"] += [keyid] * 8
    c.repo.root["roles"]["snapshot"]["threshold"] = 6
    c.repo.publish("root", "snapshot", "timestamp")
    snapshot = json.loads(c.repo.served["snapshot"][-1])
    snapshot["signatures"] += [s for s in snapshot["signatures"] if s["keyid"] == keyid] * 8
    c.repo.served["snapshot"][-1] = json.dumps(snapshot).encode()
    c.bad(c.refresh())
    same("kept", None, c.kept("snapshot"))


@cases("timestamp", "snapshot", "targets")
def test_same_key_id_twice(c, role):
    c.good(c.init())
    file = json.loads(c.repo.served[role][-1])
    file["signatures"].append(file["signatures"][0])
    c.repo.served[role][-1] = json.dumps(file).encode()
    c.bad(c.refresh(), "signed twice")
    same("kept", None, c.kept(role))


@cases("rsa", "ecdsa", "ed25519")
def test_kinds_of_keys(c, kind):
    c.good(c.init())
    keyid = c.repo.add_key("root", key=c.repo.new_key(kind))
    c.repo.root["roles"]["root"]["threshold"] = 2
    c.repo.publish("root")
    c.good(c.refresh())
    same("root", 2, c.trusted()["root"])
    c.repo.publish("root")
    root = json.loads(c.repo.served["root"][-1])
    signature = next(s for s in root["signatures"] if s["keyid"] == keyid)
    signature["sig"] = json.loads(c.repo.served["root"][-2])["signatures"][-1]["sig"]  # a good one, of what is not this
    c.repo.served["root"][-1] = json.dumps(root).encode()
    c.bad(c.refresh(), "1 different keys")
    same("root", 2, c.trusted()["root"])


@cases("", "00", "zz", "3045022100ee", "0" * 4096, "\u00fc")
def test_bad_signature_beside_a_good_one(c, sig):
    c.good(c.init())
    old = next(iter(c.repo.signers["timestamp"]))
    c.repo.add_key("timestamp")
    c.repo.publish("root", "timestamp")
    file = json.loads(c.repo.served["timestamp"][-1])
    next(s for s in file["signatures"] if s["keyid"] == old)["sig"] = sig
    file["signatures"].append({"keyid": "unknown", "sig": sig})
    c.repo.served["timestamp"][-1] = json.dumps(file).encode()
    c.good(c.refresh())


# Which of ten keys a root lists, its threshold, which sign; whether the last is taken.
ROOTS = [
    ("replaced", [([1], 1, [1]), ([2], 1, [2, 1]), ([2], 1, [2])], True),
    ("replaced, others sign too", [([1], 1, [3, 1, 4]), ([2], 1, [3, 2, 1, 4]), ([2], 1, [3, 2, 4])], True),
    ("3 of 5, in turn", [(range(5), 3, [0, 2, 4]), (range(5), 3, [0, 4, 1]), (range(5), 3, [0, 1, 3]), (range(5), 3, [0, 1, 3])], True),
    ("3 of 5, one replaced", [(range(5), 3, [0, 2, 4]), ([0, 1, 3, 4, 5], 3, [0, 4, 1])], True),
    ("3 of 5, one replaced in two steps", [(range(5), 3, [0, 2, 4]), ([0, 1, 3, 4, 5], 3, [0, 2, 4, 5]), ([0, 1, 3, 4, 5], 3, [0, 4, 5])], True),
    ("3 of 5, all replaced", [(range(5), 3, [0, 2, 4]), (range(5, 10), 3, [0, 2, 4, 5, 6, 7]), (range(5, 10), 3, [5, 6, 7])], True),
    ("threshold up", [([1, 2, 3], 1, [1]), ([1, 2, 3], 2, [1, 2])], True),
    ("threshold down", [([1, 2, 3], 2, [1, 2]), ([1, 2, 3], 1, [1, 2]), ([1, 2, 3], 1, [1])], True),
    ("a key more", [([1], 1, [1]), ([1, 2], 2, [1, 2])], True),
    ("not by the old", [([1], 1, [1]), ([2], 1, [2, 3, 4])], False),
    ("not by the new", [([1], 1, [1]), ([2], 1, [1, 3, 4])], False),
    ("not by 3 new", [(range(5), 3, [0, 2, 4]), ([0, 1, 3, 4, 5], 3, [0, 2, 4])], False),
    ("not by 3 old", [(range(5), 3, [0, 2, 4]), ([0, 1, 3, 4, 5], 3, [0, 4, 5])], False),
    ("new threshold not met", [([1, 2, 3], 1, [1]), ([1, 2, 3], 2, [2])], False),
    ("old threshold not met", [([1, 2, 3], 2, [1, 2]), ([1, 2, 3], 1, [1])], False),
]


@cases(*ROOTS)
def test_root_rotation(c, case):
    keys = [c.repo.new_key() for _ in range(10)]
    c.repo.served["root"] = []
    c.repo.root["version"] = 0
    for listed, threshold, sign in case[1]:
        c.repo.root["roles"]["root"].update(keyids=[], threshold=threshold)
        for i in listed:
            c.repo.add_key("root", key=keys[i])
        ids = {i: c.repo.add_key("root", key=keys[i]) for i in sign}
        c.repo.root["roles"]["root"]["keyids"] = [k for n, k in enumerate(c.repo.root["roles"]["root"]["keyids"]) if n < len(listed)]
        c.repo.signers["root"] = {ids[i]: keys[i] for i in sign}
        c.repo.publish("root")
    c.good(c.init())
    (c.good if case[2] else c.bad)(c.refresh())
    same("kept", c.repo.served["root"][-1 if case[2] else -2], c.kept("root"))


OTHERS = [("replaced", [2], 1, [2], True), ("others sign too", [1], 1, [3, 1, 4], True), ("by the wrong ones", [2], 1, [1, 3, 4], False),
          ("one of three wrong", [0, 1, 3, 4, 5], 3, [0, 2, 4], False), ("one too few", [0, 1, 3, 4, 5], 3, [0, 4], False),
          ("3 of 5", range(5), 3, [1, 2, 3], True)]


@cases(*OTHERS)
def test_rotation_of_the_others(c, case):
    _, listed, threshold, sign, is_good = case
    keys = [c.repo.new_key() for _ in range(6)]
    c.good(c.init())
    for role in TOP[1:]:
        c.repo.root["roles"][role].update(keyids=[], threshold=threshold)
        c.repo.signers[role] = {}
        for i in listed:
            c.repo.add_key(role, key=keys[i])
        ids = {i: c.repo.add_key("root", key=keys[i]) for i in sign if i not in listed}
        c.repo.root["roles"]["root"]["keyids"] = c.repo.root["roles"]["root"]["keyids"][:1]
        c.repo.signers["root"] = dict(list(c.repo.signers["root"].items())[:1])
        c.repo.signers[role] = {(ids.get(i) or c.repo.root["roles"][role]["keyids"][list(listed).index(i)]): keys[i] for i in sign}
    c.repo.publish("root", *reversed(TOP[1:]))
    (c.good if is_good else c.bad)(c.refresh())
    same("kept", is_good, c.kept("targets") == c.repo.served["targets"][-1])


# --- rollback, and the way back after stolen keys ---

def test_rollback_of_timestamp(c):
    c.repo.publish("timestamp")
    c.start()
    c.repo.served["timestamp"].pop()
    c.bad(c.refresh(), "rollback")
    same("kept", 2, c.trusted()["timestamp"])
    same("last request", ("timestamp", None), c.repo.requests[-1])


@cases("without hashes", "with hashes")
def test_rollback_of_snapshot(c, hashes):
    c.repo.with_hashes = hashes == "with hashes"
    c.repo.publish_all()
    c.start()
    c.repo.signed["timestamp"]["meta"]["snapshot.json"]["version"] = 1
    c.repo.publish("timestamp")
    c.bad(c.refresh(), "rollback")
    c.versions(root=1, timestamp=2, snapshot=2, targets=2)
    same("last request", ("timestamp", None), c.repo.requests[-1])


@cases("without hashes", "with hashes")
def test_rollback_of_targets(c, hashes):
    c.repo.with_hashes = hashes == "with hashes"
    c.repo.publish_all()
    c.start()
    c.repo.signed["targets"]["version"] = 1
    c.repo.signed["snapshot"]["meta"]["targets.json"] = c.repo.about("targets")
    c.repo.publish("snapshot", "timestamp")
    c.bad(c.refresh(), "rollback")
    c.versions(root=1, timestamp=3, snapshot=2, targets=2)


@cases("timestamp", "snapshot", "targets")
def test_fast_forward_recovery(c, role):
    c.good(c.init())
    c.repo.signed[role]["version"] = 99999
    c.repo.served[role] += [None] * 99998
    c.repo.publish(*[r for r in ("targets", "snapshot", "timestamp") if r != role or role != "timestamp"])
    if role == "timestamp":
        c.repo.publish("timestamp")
    c.good(c.refresh())
    same("kept", True, c.trusted()[role] >= 99999)
    for other in ("snapshot", "timestamp"):
        if role in ("targets", other) or other == "timestamp":
            c.repo.rotate(other)
    c.repo.signed[role]["version"] = 1
    c.repo.served[role] = c.repo.served[role][:1]
    c.repo.publish("root", *[r for r in ("targets", "snapshot", "timestamp")])
    c.good(c.refresh())
    same("kept", 2, c.trusted()[role])


# --- expiry ---

@cases("root", "timestamp", "snapshot", "targets")
def test_expired(c, role):
    c.start()
    c.repo.signed[role]["expires"] = utc(-1)
    c.repo.publish(*{"root": ["root"], "timestamp": ["timestamp"], "snapshot": ["snapshot", "timestamp"],
                     "targets": ["targets", "snapshot", "timestamp"]}[role])
    c.bad(c.refresh(), "expired")
    expected = {"root": (2, 1, 1, 1), "timestamp": (1, 1, 1, 1), "snapshot": (1, 2, 1, 1), "targets": (1, 2, 2, 1)}
    c.versions(**dict(zip(TOP, expected[role])))


def test_clock(c):
    """A clock that was moved is seen; the trusted root may have expired if the repository has the next."""
    c.repo.root["expires"] = utc(7)
    c.repo.publish("root")
    c.start()
    c.bad(c.refresh(days=8), "root")
    c.repo.root["expires"] = utc(21)
    c.repo.publish("root")
    c.good(c.refresh(days=18))
    same("root", 3, c.trusted()["root"])


def test_expired_kept_timestamp(c):
    """What was kept has expired; the newer one is taken, and the old one still says which versions are too old."""
    c.repo.signed["timestamp"]["expires"] = c.repo.signed["snapshot"]["expires"] = utc(7)
    c.repo.publish("snapshot", "timestamp")
    c.start()
    c.repo.signed["timestamp"]["expires"] = c.repo.signed["snapshot"]["expires"] = utc(21)
    c.repo.publish_all()
    newer = c.repo.served["timestamp"][-1]
    c.repo.signed["timestamp"]["version"] = 1
    c.repo.served["timestamp"].append(c.repo.sign("timestamp"))
    c.bad(c.refresh(days=18), "rollback")
    c.repo.served["timestamp"].append(newer)
    c.good(c.refresh(days=18))
    c.versions(root=1, timestamp=3, snapshot=3, targets=2)


def test_fractions_of_a_second(c):
    for role in TOP:
        c.repo.signed[role]["expires"] = utc().replace("Z", ".123456Z")
    c.repo.publish("root", "targets", "snapshot", "timestamp")
    c.start()


# --- form and limits ---

def test_line_feeds_and_control_characters(c):
    """What is signed has them as they are, while JSON has them escaped."""
    for role in TOP:
        c.repo.signed[role]["x"] = "line\nfeed \t tab \u0001 \u001f \u007f quote \" backslash \\ \u00fc \U0001f600"
        c.repo.signed[role]["key\nwith \"all\" that \\"] = []
    c.repo.publish("root", "targets", "snapshot", "timestamp")
    c.start()


def test_duplicate_keys(c):
    c.good(c.init())
    data = c.repo.served["timestamp"][-1]
    c.repo.served["timestamp"][-1] = data.replace(b'"version"', b'"version": 7, "version"', 1)
    c.bad(c.refresh(), "duplicate")


@cases("root", "timestamp", "snapshot", "targets")
def test_largest_files(c, role):
    """As large as is allowed, without a signed length; then one byte more."""
    size = {"root": 512000, "timestamp": 16384, "snapshot": 2000000, "targets": 5000000}[role]
    c.good(c.init())
    c.repo.publish("root", "targets", "snapshot", "timestamp")
    data = c.repo.served[role][-1]
    c.repo.served[role][-1] = data + b" " * (size - len(data))
    c.good(c.refresh())
    c.repo.publish("root", "targets", "snapshot", "timestamp")
    data = c.repo.served[role][-1]
    c.repo.served[role][-1] = data + b" " * (size - len(data) + 1)
    c.bad(c.refresh(), f"more than {size}")


def test_256_roots_a_run(c):
    c.good(c.init())
    c.repo.publish(*["root"] * 300)
    c.good(c.refresh())
    same("root", 257, c.trusted()["root"])
    c.good(c.refresh())
    same("then", 301, c.trusted()["root"])


@cases("consistent", "inconsistent")
def test_consistent_snapshots(c, kind):
    c.repo.root["consistent_snapshot"] = kind == "consistent"
    c.repo.add_artifact("targets", "a/b/c.txt", b"content")
    c.repo.publish("root", "targets", "snapshot", "timestamp")
    c.repo.served["root"] = c.repo.served["root"][1:]
    c.repo.served["root"] = [None, *c.repo.served["root"]]
    c.good(c.init(c.repo.served["root"][1]))
    c.good(c.download("a/b/c.txt"))
    version = 2 if kind == "consistent" else None
    same("requests", [("root", 3), ("timestamp", None), ("snapshot", version), ("targets", version)], c.repo.requests)
    same("target", ["a/b/c.txt"], [name for name, _ in c.repo.target_requests])
    same("its hash stands before its last component", kind == "consistent", c.repo.target_requests[0][1] is not None)


def test_damaged_cache(c):
    c.start()
    for role in TOP[1:]:
        (c.metadata / f"{role}.json").write_bytes(b"{")
    c.good(c.refresh())
    same("kept", [c.repo.served[role][-1] for role in TOP], [c.kept(role) for role in TOP])


def test_kept_of_another_repository(c):
    """Well-formed and signed, by other keys."""
    c.start()
    other = Simulator(first_key=20)
    other.publish("timestamp", "timestamp")
    for role in TOP[1:]:
        (c.metadata / f"{role}.json").write_bytes(other.served[role][-1])
    c.good(c.refresh())
    c.versions(root=1, timestamp=1, snapshot=1, targets=1)


if __name__ == "__main__":
    main("conformance", globals())

#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Metadata, keys and targets that no specification gives as an example: whatever a repository holds, the exit code is 0 or 1, what is
kept stays good, and the next good repository is taken. Usage: hostile.py -B BUILD [NAME ...]
"""
import base64
import hashlib
import json
import re
import sys
import time

import securesystemslib.keys
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

sys.dont_write_bytecode = True
from tuf_repository import key_id, same  # noqa: E402
from tuf_simulator import TOP, cases, main, utc  # noqa: E402


def republish(c, role="timestamp"):
    """The next version of a role, and of what names it."""
    c.repo.publish(*{"root": ["root"], "timestamp": ["timestamp"], "snapshot": ["snapshot", "timestamp"],
                     "targets": ["targets", "snapshot", "timestamp"]}[role])


# --- JSON ---

def put(c, role, old, new, signed=True):
    """Publishes a role in which a text stands in place of another; what was signed is what the old text says."""
    republish(c, role)
    data = c.repo.served[role][-1]
    head, tail = (data[:data.index(b'"signed"')], data[data.index(b'"signed"'):])
    same("there once", 1, (tail if signed else head).count(old))
    c.repo.served[role][-1] = head + tail.replace(old, new) if signed else head.replace(old, new) + tail


@cases((b"7.0", "fraction"), (b"7e0", "exponent"), (b"70e-1", "exponent"), (b"07", "octal"), (b"+7", "sign"), (b"0x7", "hexadecimal"),
       (b"\"7\"", "string"), (b"NaN", "no number"), (b"9223372036854775808", "large"), (b"7\x00", "NUL"), (b"7 // seven", "comment"))
def test_number_in_another_form(c, case):
    """Of the same value, where that can be: only one form was signed."""
    c.start()
    c.repo.signed["timestamp"]["x"] = 7
    put(c, "timestamp", b'"x": 7', b'"x": ' + case[0])
    c.stays()


@cases(2 ** 63 - 1, -2 ** 63, 0)
def test_extreme_integers(c, number):
    for role in TOP:
        c.repo.signed[role]["x"] = [number, {"y": number}]
    c.repo.publish("root", "targets", "snapshot", "timestamp")
    c.start()


def test_minus_zero(c):
    c.start()
    c.repo.signed["timestamp"]["x"] = 0
    put(c, "timestamp", b'"x": 0', b'"x": -0')
    c.good(c.refresh())


@cases(("name", b'"x"', b'"\\u0078"'), ("value", b'"y"', b'"\\u0079"'), ("slash", b'"a/b"', b'"a\\/b"'))
def test_escapes_mean_the_same(c, case):
    c.start()
    c.repo.signed["timestamp"].update(x="y", z="a/b")
    put(c, "timestamp", case[1], case[2])
    c.good(c.refresh())
    same("as it came", c.repo.served["timestamp"][-1], c.kept("timestamp"))


@cases(("half a pair", b"\\ud800"), ("the other half", b"\\udc00"), ("pair turned round", b"\\udc00\\ud800"), ("NUL", b"\\u0000"),
       ("surrogate in UTF-8", b"\xed\xa0\x80"), ("too long a form", b"\xc0\xaf"), ("above Unicode", b"\xf4\x90\x80\x80"), ("cut", b"\xc3"),
       ("line feed", b"\n"), ("unknown escape", b"\\a"))
def test_strings_that_are_none(c, case):
    c.start()
    c.repo.signed["timestamp"]["x"] = "yyy"
    put(c, "timestamp", b"yyy", case[1])
    c.stays()


def test_order_of_names(c):
    """By code points, which is not the order of UTF-16; the file may have them in any."""
    c.start()
    names = ["\uffee", "\U0001f600", "\ue000", "z", "", "a", "A", "a b", "\u00e9"]
    c.repo.signed["timestamp"]["x"] = {name: 1 for name in names}
    c.repo.publish("timestamp")
    file = json.loads(c.repo.served["timestamp"][-1])
    file["signed"] = dict(reversed(file["signed"].items()))
    c.repo.served["timestamp"][-1] = json.dumps(file, ensure_ascii=False, separators=(" ,\t", "\r\n: ")).encode()
    c.good(c.refresh())


def test_name_twice_by_an_escape(c):
    c.start()
    put(c, "timestamp", b'"expires":', b'"v\\u0065rsion": 9, "expires":')
    c.stays("duplicate")


@cases(b"", b" ", b"{", b"null", b"[]", b"\"\"", b"{}", b"\xef\xbb\xbf%", b"%x", b"%{}", b"%\x00", b"UTF-16", b"<html></html>")
def test_files_that_are_none(c, text):
    """% stands for the good file."""
    c.start()
    c.repo.publish("timestamp")
    good = c.repo.served["timestamp"][-1]
    c.repo.served["timestamp"][-1] = good.decode().encode("utf-16") if text == b"UTF-16" else text.replace(b"%", good)
    c.stays()


@cases((200, True), (300, False), (3000, False), (8000, False))
def test_nesting(c, case):
    c.start()
    c.repo.publish("timestamp")
    file = json.loads(c.repo.served["timestamp"][-1])
    text = json.dumps({**file["signed"], "x": 1}, sort_keys=True, separators=(",", ":")).replace('"x":1', '"x":' + "[" * case[0] + "]" * case[0])
    keyid, key = next(iter(c.repo.signers["timestamp"].items()))
    sig = securesystemslib.keys.create_signature(key, text.encode())["sig"]
    c.repo.served["timestamp"][-1] = f'{{"signatures": [{{"keyid": "{keyid}", "sig": "{sig}"}}], "signed": {text}}}'.encode()
    c.good(c.refresh()) if case[1] else c.stays()


def test_unknown_fields_everywhere(c):
    """Where they are signed for, without fractions; elsewhere with whatever JSON has."""
    more = {"x": None, "y": [True, {"z": "\u00fc"}]}
    c.repo.delegate("targets", "role")
    c.repo.add_artifact("role", "a", b"content")
    c.repo.publish("role")
    for role in TOP:
        c.repo.signed[role].update(more)
        c.repo.root["roles"][role].update(more)
    c.repo.root["roles"]["mirrors"] = more
    c.repo.signed["snapshot"]["meta"]["role.json"].update(more)
    c.repo.signed["snapshot"]["meta"]["root.json"] = {"version": 1, **more}
    c.repo.signed["targets"]["delegations"].update(more)
    c.repo.signed["targets"]["delegations"]["roles"][0].update(more)
    c.repo.signed["role"]["targets"]["a"].update(more, custom={"q": [0]})
    c.repo.publish("root", "role", "targets", "snapshot")
    c.repo.signed["timestamp"]["meta"]["snapshot.json"].update(more)
    c.repo.signed["timestamp"]["meta"]["other.json"] = {"version": 1, **more}
    c.repo.publish("timestamp")
    for role in (*TOP, "role"):
        file = json.loads(c.repo.served[role][-1])
        file["signatures"][0].update(more, q=0.5)
        c.repo.served[role][-1] = json.dumps({**file, **more, "q": 1e99}).encode()
    c.good(c.init())
    c.good(c.download("a"))
    same("kept", 5, len(c.trusted()))


# --- what metadata say ---

@cases("0", "-1", "true", "null", "1.0", "[1]", "\"1\"", "9223372036854775807", "9" * 30)
def test_versions_that_are_none(c, version):
    for role in TOP:
        c.repo.served = {r: v[:1] for r, v in c.repo.served.items()}
        data = json.loads(c.repo.served[role][0])
        data["signed"]["version"] = "VERSION"
        c.repo.bodies = {"metadata/2.root.json" if role == "root" else f"metadata/{'' if role == 'timestamp' else '1.'}{role}.json":
                         json.dumps(data).replace('"VERSION"', version).encode()}
        for path in c.metadata.iterdir():
            if path.is_file():
                path.unlink()
        c.good(c.init())
        c.bad(c.refresh(), role)
        same("kept", None if role != "root" else c.repo.served["root"][0], c.kept(role))


def test_the_highest_versions(c):
    """The highest of all has no next one, which a root needs."""
    for role in TOP:
        c.repo.signed[role]["version"] = 2 ** 63 - 3
    c.repo.publish("targets", "snapshot", "timestamp", "root")
    for role in ("snapshot", "targets"):
        c.repo.bodies[f"metadata/{2 ** 63 - 2}.{role}.json"] = c.repo.served[role][-1]
    c.good(c.init(c.repo.served["root"][-1]))
    c.good(c.refresh())
    same("asked for", ("root", 2 ** 63 - 1), c.repo.requests[0])
    c.repo.publish("root")
    c.bad(c.init(c.repo.served["root"][-1]), "no next")
    c.repo.bodies[f"metadata/{2 ** 63 - 1}.root.json"] = c.repo.served["root"][-1]
    c.bad(c.refresh(), "no next")
    same("kept", c.repo.served["root"][-2], c.kept("root"))


GOOD_TIMES = ["9999-12-31T23:59:59Z", "2096-02-29T00:00:00Z", "2100-01-01T00:00:00.000000001Z"]
BAD_TIMES = ["2095-02-29T00:00:00Z", "2090-13-01T00:00:00Z", "2090-00-01T00:00:00Z", "2090-01-01T24:00:00Z", "2090-01-01T23:60:00Z",
             "2090-01-01T00:00:00", "2090-01-01T00:00:00z", "2090-01-01 00:00:00Z", "2090-01-01T00:00:00+00:00", "20900101T000000Z",
             "10000-01-01T00:00:00Z", "2090-01-01T00:00:00Z ", " 2090-01-01T00:00:00Z", "+090-01-01T00:00:00Z", "2090-01-01T00:00:00.Z", "",
             "\u0662\u0660\u0669\u0660-01-01T00:00:00Z", 4000000000]


@cases(*GOOD_TIMES, *BAD_TIMES)
def test_times(c, expires):
    c.start()
    c.repo.signed["timestamp"]["expires"] = expires
    c.repo.publish("timestamp")
    if expires in GOOD_TIMES:
        c.good(c.refresh())
        return
    c.repo.signed["timestamp"]["expires"] = utc()
    c.stays("expires")


def test_time_of_the_start(c):
    """All expires while the run waits for an answer; what counts is when it began."""
    end = time.time() + 5

    def wait():
        time.sleep(max(0, end + 1 - time.time()))
        return 404

    for role in TOP:
        c.repo.signed[role]["expires"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(end))
    c.repo.publish("root", "targets", "snapshot", "timestamp")
    c.repo.bodies["metadata/3.root.json"] = wait
    c.good(c.init(c.repo.served["root"][-1]))
    c.good(c.refresh())
    same("kept", 4, len(c.trusted()))
    c.bad(c.refresh(), "expired")


@cases("snapshot, with its hash", "targets, with its hash", "snapshot", "targets")
def test_same_version_other_bytes(c, case):
    """A hash says which one is meant; without it the one that is kept is as good."""
    role, _, hashed = case.partition(",")
    c.repo.with_hashes = bool(hashed)
    c.repo.publish_all()
    c.start()
    kept = c.kept(role)
    c.repo.signed[role]["x"] = 1
    c.repo.served[role][-1] = c.repo.sign(role)
    above = "snapshot" if role == "targets" else "timestamp"
    c.repo.signed[above]["meta"][role + ".json"] = c.repo.about(role)
    c.repo.publish(*(["snapshot", "timestamp"] if role == "targets" else ["timestamp"]))
    c.good(c.refresh())
    same("kept", c.repo.served[role][-1] if hashed else kept, c.kept(role))


def test_roots_in_between(c):
    """They may have expired, by now or long ago; what they took away and gave back counts."""
    c.repo.publish("timestamp", "timestamp")
    c.start()
    role = c.repo.root["roles"]["timestamp"]
    keyids, signers = role["keyids"], c.repo.signers["timestamp"]
    c.repo.rotate("timestamp")
    c.repo.root["expires"] = "1999-01-01T00:00:00Z"
    c.repo.publish("root")
    role["keyids"], c.repo.signers["timestamp"] = keyids, signers
    c.repo.root["expires"] = utc()
    c.repo.publish("root")
    c.repo.served["timestamp"] = c.repo.served["timestamp"][:1]
    c.good(c.refresh())
    c.versions(root=3, timestamp=1, snapshot=1, targets=1)


@cases("two signatures of old keys", "new keys alone", "old keys alone", "each root by the one before")
def test_chain_of_roots(c, case):
    """A run of three roots of which the middle one is not good: the last is not looked at."""
    c.start()
    old = dict(c.repo.signers["root"])
    c.repo.publish("root")
    c.repo.rotate("root")
    new = dict(c.repo.signers["root"])
    c.repo.signers["root"] = {"two signatures of old keys": old, "new keys alone": new, "old keys alone": old}.get(case, {**old, **new})
    c.repo.publish("root")
    c.repo.signers["root"] = new
    c.repo.publish("root")
    is_good = case.startswith("each")
    (c.good if is_good else c.bad)(c.refresh())
    same("kept", c.repo.served["root"][3 if is_good else 1], c.kept("root"))
    same("asked for", 5 if is_good else 3, max(v for r, v in c.repo.requests if r == "root"))


def entry(c, change, role="targets", above="snapshot"):
    """The entry of a role in what names it, with its length and hashes, changed by a function."""
    c.start()
    c.repo.with_hashes = True
    c.repo.publish(*(["targets", "snapshot"] if role == "targets" else ["snapshot"]))
    about = c.repo.signed[above]["meta"][role + ".json"] if above == "timestamp" else None
    if above == "snapshot":
        c.repo.served["snapshot"].pop()
        c.repo.signed["snapshot"]["version"] -= 1
        about = c.repo.signed["snapshot"]["meta"]["targets.json"]
    change(about, c.repo.served[role][-1])
    c.repo.publish(*(["snapshot", "timestamp"] if above == "snapshot" else ["timestamp"]))


GOOD_ENTRIES = {
    "length alone": lambda e, d: e.pop("hashes"),
    "hashes alone": lambda e, d: e.pop("length"),
    "neither": lambda e, d: (e.pop("hashes"), e.pop("length")),
    "sha512": lambda e, d: e.update(hashes={"sha512": hashlib.sha512(d).hexdigest()}),
    "a known one and others": lambda e, d: e["hashes"].update({"blake2b-256": "00", "md5": "zz", "": ""}),
    "both": lambda e, d: e["hashes"].update(sha512=hashlib.sha512(d).hexdigest()),
}
BAD_ENTRIES = {
    "length 0": lambda e, d: e.update(length=0),
    "length less 1": lambda e, d: e.update(length=len(d) - 1),
    "length and 1": lambda e, d: e.update(length=len(d) + 1),
    "length below 0": lambda e, d: e.update(length=-1),
    "length of a string": lambda e, d: e.update(length=str(len(d))),
    "length beyond the limit": lambda e, d: e.update(length=2 ** 62),
    "no hash": lambda e, d: e.update(hashes={}),
    "hashes are a list": lambda e, d: e.update(hashes=[hashlib.sha256(d).hexdigest()]),
    "hash is no string": lambda e, d: e.update(hashes={"sha256": 0}),
    "hash is empty": lambda e, d: e.update(hashes={"sha256": ""}),
    "hash is short": lambda e, d: e["hashes"].update(sha256=hashlib.sha256(d).hexdigest()[:-2]),
    "hash is odd": lambda e, d: e["hashes"].update(sha256=hashlib.sha256(d).hexdigest()[:-1]),
    "hash is long": lambda e, d: e["hashes"].update(sha256=hashlib.sha256(d).hexdigest() + "00"),
    "one of two is wrong": lambda e, d: e["hashes"].update(sha512="00" * 64),
    "unknown ones alone": lambda e, d: e.update(hashes={"md5": hashlib.md5(d).hexdigest(), "SHA256": hashlib.sha256(d).hexdigest()}),
    "no version": lambda e, d: e.pop("version"),
}


@cases(*[(f"{name}, {role}", name, role) for name in (*GOOD_ENTRIES, *BAD_ENTRIES) for role in ("snapshot", "targets")])
def test_entries(c, case):
    _, name, role = case
    entry(c, {**GOOD_ENTRIES, **BAD_ENTRIES}[name], role, "timestamp" if role == "snapshot" else "snapshot")
    if name in GOOD_ENTRIES:
        c.good(c.refresh())
        same("kept", c.repo.served[role][-1], c.kept(role))
    else:
        c.bad(c.refresh())
        same("kept", c.repo.served[role][0], c.kept(role))


# --- keys ---

def test_one_point_in_two_forms(c):
    """A key of P-256 may be written compressed or not: its ids differ, its signature counts once."""
    c.good(c.init())
    key = c.repo.new_key("ecdsa")
    point = serialization.load_pem_public_key(key["keyval"]["public"].encode())
    raw = point.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint)
    der = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200") + raw
    same("the same key", point.public_numbers(), serialization.load_der_public_key(der).public_numbers())
    pem = "-----BEGIN PUBLIC KEY-----\n" + "\n".join(re.findall(".{1,64}", base64.b64encode(der).decode())) + "\n-----END PUBLIC KEY-----\n"
    c.repo.root["roles"]["timestamp"].update(keyids=[], threshold=1)
    c.repo.signers["timestamp"] = {}
    c.repo.add_key("timestamp", key={**key, "keyval": {**key["keyval"], "public": pem}})
    c.repo.publish("root", "timestamp")
    c.good(c.refresh())
    c.repo.add_key("timestamp", key=key)
    c.repo.root["roles"]["timestamp"]["threshold"] = 2
    c.repo.publish("root", "timestamp")
    c.bad(c.refresh(), "1 different keys")


def with_key(c, key):
    """The timestamp is signed by one more key, without which its threshold is not met."""
    c.start()
    c.repo.add_key("timestamp", key=key)
    c.repo.root["roles"]["timestamp"]["threshold"] = 2
    c.repo.publish("root", "timestamp")
    return c.refresh()


FORMS = {"as it is": lambda pem: pem, "CR LF": lambda pem: pem.replace("\n", "\r\n"), "no last line feed": str.strip,
         "text before": lambda pem: "key:\n" + pem, "long lines": lambda pem: re.sub("(?<=[A-Za-z0-9+/])\n(?=[A-Za-z0-9+/])", "", pem)}


@cases(*[(f"{kind}, {form}", kind, form) for form in FORMS for kind in ("rsa", "ecdsa")])
def test_forms_of_pem(c, case):
    key = c.repo.new_key(case[1])
    key["keyval"]["public"] = FORMS[case[2]](key["keyval"]["public"])
    c.good(with_key(c, key))


def test_large_key(c):
    c.good(with_key(c, securesystemslib.keys.generate_rsa_key(4096)))


@cases("rsa 1024", "P-384", "P-256 by another name", "ed25519 of 31 bytes", "private", "certificate", "empty", "number", "unknown scheme")
def test_keys_that_cannot_be_used(c, case):
    """They sign nothing, and do no harm where the others are enough."""
    kind = "rsa" if case.startswith("rsa") else "ed25519" if case.startswith("ed") else "ecdsa"
    key = c.repo.new_key(kind)
    good = dict(key["keyval"])
    listed = {"keytype": key["keytype"], "scheme": key["scheme"], "keyval": {"public": good["public"]}}
    value = listed["keyval"]
    if case == "rsa 1024":
        value["public"] = rsa.generate_private_key(65537, 1024).public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
    elif case == "P-384":
        value["public"] = ec.generate_private_key(ec.SECP384R1()).public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
    elif case == "P-256 by another name":
        listed["keytype"] = "rsa"
    elif case.startswith("ed25519"):
        value["public"] = value["public"][:-2]
    elif case == "private":
        value["public"] = good["private"]
    elif case == "unknown scheme":
        listed["scheme"] = "sphincs"
    else:
        value["public"] = {"certificate": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "empty": "", "number": 5}[case]
    keyid = key_id(listed)
    c.start()
    c.repo.root["keys"][keyid] = listed
    c.repo.root["roles"]["timestamp"]["keyids"].append(keyid)
    c.repo.signers["timestamp"][keyid] = key
    c.repo.publish("root", "timestamp")
    c.good(c.refresh())
    c.repo.root["roles"]["timestamp"]["threshold"] = 2
    c.repo.publish("root", "timestamp")
    c.bad(c.refresh(), "1 different keys")


# --- delegations and targets ---

@cases(*range(1, 33))
def test_every_number_of_bins(c, bits):
    c.repo.signed["targets"]["delegations"] = {
        "keys": {}, "succinct_roles": {"keyids": [], "threshold": 1, "bit_length": bits, "name_prefix": "b/%"}}
    c.repo.add_key("b/%", "targets")
    name = f"b/%-{int(hashlib.sha256(b'a').hexdigest()[:8], 16) >> (32 - bits):0{len(f'{2 ** bits - 1:x}')}x}"
    c.repo.signed[name] = {"_type": "targets", "spec_version": "1.0.31", "version": 1, "expires": utc(), "targets": {}}
    c.repo.signers[name] = c.repo.signers["b/%"]
    c.repo.add_artifact(name, "a", b"content")
    c.repo.publish(name, "targets", "snapshot", "timestamp")
    c.good(c.init())
    c.good(c.download("a"))
    same("kept", c.repo.served[name][-1], c.kept(name))


@cases("0", "33", "-1", "\"8\"", "8.5", "null", "1099511627776")
def test_numbers_of_bins_that_are_none(c, bits):
    c.start()
    c.repo.signed["targets"]["delegations"] = {
        "keys": {}, "succinct_roles": {"keyids": [], "threshold": 1, "bit_length": 1, "name_prefix": "b"}}
    c.repo.publish("targets")
    c.repo.served["targets"][-1] = c.repo.served["targets"][-1].replace(b'"bit_length": 1', b'"bit_length": ' + bits.encode())
    c.repo.publish("snapshot", "timestamp")
    c.bad(c.refresh(), "targets")


@cases(("", True), (1, True), (7, True), (63, True), (64, True), ("upper case", False), ("65", False), ("none", False))
def test_lengths_of_hash_prefixes(c, case):
    digest = hashlib.sha256(b"a").hexdigest()
    prefix = {"": "", "upper case": digest.upper(), "65": digest + "0"}.get(case[0], digest[:case[0]] if isinstance(case[0], int) else "")
    c.repo.delegate("targets", "role", prefixes=[] if case[0] == "none" else [prefix])
    c.repo.add_artifact("role", "a", b"content")
    c.repo.publish("role", "targets", "snapshot", "timestamp")
    c.good(c.init())
    (c.good if case[1] else c.bad)(c.download("a"))


def test_empty_target(c):
    c.repo.add_artifact("targets", "a", b"")
    c.repo.publish_all()
    c.good(c.init())
    c.good(c.download("a"))
    c.good(c.download("a"))
    same("fetched once", 1, len(c.repo.target_requests))
    same("there", [b""], c.downloaded())
    c.repo.artifacts["a"] = b"1"
    (c.targets / "a").unlink()
    c.bad(c.download("a"))
    same("not there", [], c.downloaded())


@cases("more", "less", "none", "same length")
def test_other_bytes_of_a_target(c, case):
    c.repo.add_artifact("targets", "a", b"content")
    c.repo.publish_all()
    c.good(c.init())
    (c.targets / "a").write_bytes(b"CONTENT")
    c.repo.artifacts["a"] = {"more": b"content1", "less": b"conten", "none": b"", "same length": b"c0ntent"}[case]
    c.bad(c.download("a"))
    same("as it was", [b"CONTENT"], c.downloaded())
    c.repo.artifacts["a"] = b"content"
    c.good(c.download("a"))
    same("replaced", [b"content"], c.downloaded())


if __name__ == "__main__":
    main("hostile", globals())

#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""qmr-publish from the outside: what it publishes is read by somebody else's TUF client, signatures are made and read by the openssl
program. Usage: qmr-publish.py [-B] BUILD_DIR"""
import glob
import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import termios
import threading

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from publish import HERE, PROGRAM, ROLES, WORK, Client, Owner, both_clients, canonical, check, keyid_of, main, printed, run, \
    test_secrets, unchanged  # noqa: E402
import npm  # noqa: E402


def resign(owner, name, key, **changes):
    """Changes a published document and signs it anew with the openssl program; returns what it wrote."""
    document = owner.document(name)
    document["signed"].update(changes)
    with open(WORK + "/signed", "wb") as file:
        file.write(canonical(document["signed"]))
    signature = subprocess.run(["openssl", "pkeyutl", "-sign", "-rawin", "-inkey", key, "-in", WORK + "/signed"],
                               stdout=subprocess.PIPE, check=True).stdout
    document["signatures"] = [{"keyid": keyid_of(key), "sig": signature.hex()}]
    with open(f"{owner.repository}/metadata/{name}.json", "w") as file:
        json.dump(document, file)


def test_init():
    owner = Owner()
    check("init", owner.status == 0, owner.output)
    check("init-says-where-root-is", "1.root.json" in owner.output and "/etc/qmr/trust/root.json" in owner.output, owner.output)
    check("init-says-what-is-kept-offline", re.search(r"^root: 1 of 2 keys, to be kept offline", owner.output, re.M) and
          re.search(r"^timestamp: .*refresh", owner.output, re.M), owner.output)
    check("init-valid", owner.is_valid(), owner("check"))
    keys = glob.glob(owner.keys + "/*")
    check("keys-are-closed", len(keys) == 5 and all(os.stat(k).st_mode & 0o777 == 0o600 for k in keys) and
          os.stat(owner.keys).st_mode & 0o777 == 0o700, keys)
    root = owner.document("1.root")
    check("key-ids-are-what-openssl-says", all(keyid_of(k) in root["signed"]["keys"] and
                                                keyid_of(k)[:16] in k for k in keys), root)
    status, out = run("init", "--repository", owner.repository, "--keys", owner.path + "/k2")
    check("init-refuses-a-repository", status == 1 and "already" in out, out)
    status, out = run("init", "--repository", owner.path + "/r2", "--keys", owner.keys)
    check("init-refuses-keys-that-are-there", status == 1 and "holds" in out, out)
    other = Owner("--expires", "timestamp=1", "--expires", "root=30")
    days = {r: v["expires"] for r, v in json.loads(other("list", "--json")[1])["roles"].items()}
    check("init-expires", days["timestamp"] < days["snapshot"] < days["root"] < days["targets"], days)
    status, out = other("check", "--warn-days", "2")
    check("check-warns-before-expiry", status == 0 and "warning: timestamp expires" in out and "root" not in out, out)


def test_usage():
    owner = Owner()
    for arguments in ([], ["nonsense"], ["add", "--repository", owner.repository], ["init", "--keys", "x"],
                      ["add", "--repository", owner.repository, "--keys", owner.keys],
                      ["check", "--repository", owner.repository, "--keys", owner.keys],
                      ["init", "--repository", "x", "--keys", "y", "--targets-threshold", "2"],
                      ["init", "--repository", "x", "--keys", "y", "--expires", "targets=0"],
                      ["init", "--repository", "x", "--keys", "y", "--expires", "mirrors=3"],
                      ["rotate", "mirrors", "--repository", owner.repository, "--keys", owner.keys],
                      ["rotate", "root", "--repository", owner.repository, "--keys", owner.keys],
                      ["sign", "--repository", owner.repository, "--role", "timestamp", "--key", owner.key("timestamp")]):
        status, out = run(*arguments)
        if status != 2:
            check("wrong-arguments", False, (arguments, status, out))
            return
    check("wrong-arguments", True)
    status, out = run("--help")
    with open(HERE + "/../../docs/man/qmr-publish.1") as file:
        page = file.read().replace("\\-", "-")
    wanted = set(re.findall(r"^  (--[a-z-]+|[a-z]+(?= ))", out, re.M))
    check("help-and-manual-agree", status == 0 and len(wanted) > 20 and all(w in page for w in wanted),
          [w for w in wanted if w not in page])


def test_interop():
    owner = Owner()
    client = Client(owner)
    both_clients("fresh", owner, client)
    status, out = owner("add", owner.plan("a.json"), owner.plan("b.json"))
    check("add", status == 0 and "targets 2" in out, out)
    found = both_clients("add", owner, client, "plans/a.json", "plans/b.json", "plans/c.json")
    with open(owner.path + "/a.json") as file:
        check("the-plan-arrives", found.get("plans/a.json") == file.read() and found.get("plans/c.json") is None, found)
    check("add-again-is-nothing", owner("add", owner.path + "/a.json")[0] == 3)
    owner.plan("a.json", title="changed")
    check("add-replaces", owner("add", owner.path + "/a.json")[0] == 0)
    found = both_clients("replace", owner, client, "plans/a.json")
    check("the-new-plan-arrives", "changed" in (found.get("plans/a.json") or ""), found)
    check("remove", owner("remove", "plans/b.json")[0] == 0)
    check("remove-unknown", owner("remove", "b.json")[0] == 3)
    found = both_clients("remove", owner, client, "plans/a.json", "plans/b.json")
    check("the-plan-is-gone", found.get("plans/b.json") is None and found.get("plans/a.json"), found)
    before = owner.versions()
    check("refresh", owner("refresh")[0] == 0 and owner.versions() == dict(before, timestamp=before["timestamp"] + 1))
    both_clients("refresh", owner, client)
    for role in ("targets", "snapshot", "root"):
        before = owner.versions()
        status, out = owner("refresh", "--role", role)
        check(f"refresh-{role}", status == 0 and owner.versions()[role] == before[role] + 1, out)
    both_clients("refresh-of-each-role", owner, client, "plans/a.json")
    for role in ROLES:
        old = keyid_of(owner.key(role))
        status, out = owner("rotate", role, *(("--replace", old[:12]) if role == "root" else ()))
        check(f"rotate-{role}", status == 0 and "new key" in out and owner.is_valid(), (out, owner("check")))
        found = both_clients(f"rotation-of-{role}", owner, client, "plans/a.json")
        check(f"plans-stay-after-rotation-of-{role}", found.get("plans/a.json"), found)
        root = owner.document(f"{owner.versions()['root']}.root")["signed"]
        check(f"the-old-key-of-{role}-is-gone", old not in root["keys"] and
              all(old not in r["keyids"] for r in root["roles"].values()), root)
        os.unlink(owner.key(role))  # the old one is not needed for what follows
        check(f"refresh-after-rotation-of-{role}", owner("refresh")[0] == 0 and owner("refresh", "--role", "targets")[0] == 0 and
              owner.is_valid())
        both_clients(f"refresh-after-rotation-of-{role}", owner, client, "plans/a.json")
    status, out = owner("check", "--root", owner.repository + "/metadata/3.root.json")
    check("check-from-a-later-root", status == 0, out)
    other = Owner()
    status, out = owner("check", "--root", other.repository + "/metadata/1.root.json")
    check("check-from-a-foreign-root", status == 4, out)
    client.done()


def test_lost_keys():
    """The old key of the role is not there: the root has to go first."""
    for role in ("targets", "snapshot", "timestamp"):
        owner = Owner()
        owner("add", owner.plan("a.json"))
        client = Client(owner)
        client()
        owner.take_away(role)
        status, out = owner("rotate", role)
        check(f"rotate-lost-{role}", status == 0 and owner.is_valid(), out)
        both_clients(f"rotation-of-lost-{role}", owner, client, "plans/a.json")
        client.done()
    # A cut between the new root and timestamp.json, and what was staged for that case deleted.
    owner = Owner()
    owner.take_away("targets")
    with open(owner.repository + "/metadata/timestamp.json") as file:
        timestamp = file.read()
    owner("rotate", "targets")
    with open(owner.repository + "/metadata/timestamp.json", "w") as file:
        file.write(timestamp)
    check("a-root-too-early-is-found", owner("check")[0] == 4)
    unchanged("a-root-too-early-is-explained", owner, "refresh --role targets", 4, "refresh")
    status, out = owner("refresh", "--role", "targets")
    check("a-root-too-early-is-repaired", status == 0 and owner.is_valid(), out)
    owner = Owner()
    lost = owner.key("root")
    keyid = keyid_of(lost)
    os.unlink(lost)
    status, out = owner("rotate", "root", "--replace", keyid)
    check("rotate-lost-root-with-the-other", status == 0 and owner.is_valid(), out)
    owner.take_away("root")
    before = os.listdir(owner.keys)
    status, out = owner("rotate", "timestamp")
    check("rotate-without-root-key", status == 1 and os.listdir(owner.keys) == before and owner.is_valid(), out)


def test_staged():
    owner = Owner("--targets-keys", "2", "--targets-threshold", "2", "--root-keys", "3", "--root-threshold", "2")
    client = Client(owner)
    second = owner.path + "/second"
    os.mkdir(second, 0o700)
    shutil.move(owner.key("targets"), second)
    before = owner.versions()
    status, out = owner("add", owner.plan("a.json"))
    check("one-of-two-is-staged", status == 3 and "1 signature missing" in out and owner.versions() == before, out)
    check("staged-is-not-published", owner.is_valid() and client("plans/a.json")["found"]["plans/a.json"] is None)
    status, out = owner("list")
    check("list-shows-what-is-staged", "add plan plans/a.json" in out, out)
    status, out = owner("add", owner.plan("b.json"))
    check("a-second-change-waits", status == 1 and "staged" in out, out)
    check("refresh-does-not-sign", owner("refresh")[0] == 0 and owner.versions()["targets"] == before["targets"])
    status, out = owner("sign", "--role", "targets", "--key", owner.key("targets"), "--keys", owner.keys)
    check("the-same-key-twice-is-one", status == 3 and owner.versions()["targets"] == before["targets"], out)
    status, out = owner("sign", "--role", "targets", "--key", owner.key("root"))
    check("key-of-another-role", status == 4 and "no key of role targets" in out, out)
    placed = glob.glob(owner.repository + "/targets/plans/*.a.json")[0]
    os.rename(placed, owner.path + "/hidden")
    status, out = owner("sign", "--role", "targets", "--key", glob.glob(second + "/*")[0])
    check("no-signature-on-a-missing-plan", status == 4 and "missing" in out, out)
    with open(placed, "w") as file:
        file.write("{}")
    status, out = owner("sign", "--role", "targets", "--key", glob.glob(second + "/*")[0])
    check("no-signature-on-a-changed-plan", status == 4 and "length" in out, out)
    os.rename(owner.path + "/hidden", placed)
    foreign = Owner()
    status, out = owner("sign", "--role", "targets", "--key", foreign.key("targets"))
    check("key-of-nobody", status == 4, out)
    status, out = owner("sign", "--role", "targets", "--key", glob.glob(second + "/*")[0])
    check("signed-but-no-online-keys", status == 3 and "refresh" in out and "add plan plans/a.json" in out, out)
    status, out = owner("refresh")
    check("refresh-publishes-what-is-signed", status == 0 and "targets 2" in out and owner.is_valid(), out)
    check("threshold-two", all(len(owner.document(n)["signatures"]) == 2 for n in ("1.root", "2.targets")))
    both_clients("threshold-two", owner, client, "plans/a.json")
    check("staged-is-empty", os.listdir(owner.repository + "/staged") == [])
    check("nothing-to-sign", owner("sign", "--role", "targets", "--key", owner.key("targets"))[0] == 3)
    shutil.move(glob.glob(second + "/*")[0], owner.keys)

    # Two root keys on other desks, and a key of targets replaced: root and targets wait for each other.
    desks = owner.take_away("root")
    one, two, three = sorted(glob.glob(desks + "/*"))
    shutil.copy(one, owner.keys)
    lost = owner.key("targets")
    lost_id = keyid_of(lost)
    os.unlink(lost)
    status, out = owner("rotate", "targets", "--replace", lost_id)
    check("rotation-is-staged", status == 3 and sorted(os.listdir(owner.repository + "/staged")) ==
          ["root.json", "targets.json"] and owner.is_valid(), out)
    status, out = owner("sign", "--role", "root", "--key", two, "--keys", owner.keys)
    check("rotation-is-completed", status == 0 and owner.versions()["root"] == 2 and owner.is_valid(), out)
    both_clients("rotation-by-two", owner, client, "plans/a.json")
    status, out = owner("rotate", "root", "--replace", keyid_of(three))
    check("root-rotation-is-staged", status == 3, out)
    status, out = owner("sign", "--role", "root", "--key", two)
    check("root-rotation-is-completed", status == 0 and owner.versions()["root"] == 3 and owner.is_valid(), out)
    both_clients("root-rotation-by-two", owner, client)
    client.done()


def test_more_keys():
    """From one key to two of three, the others' made on other desks."""
    owner = Owner()
    client = Client(owner)
    owner("add", owner.plan("a.json"))
    desks = []
    for i in range(2):
        private, public = f"{owner.path}/desk{i}.pem", f"{owner.path}/desk{i}.pub"
        for command in (["genpkey", "-algorithm", "ed25519", "-out", private], ["pkey", "-in", private, "-pubout", "-out", public]):
            subprocess.run(["openssl", *command], check=True)
        os.chmod(private, 0o600)
        desks.append(private)
        status, out = owner("rotate", "targets", "--add", "--public", public, *(("--threshold", "2") if i else ()))
        if i == 0:
            check("add-a-public-key", status == 0 and owner.is_valid() and "new key" not in out, out)
            both_clients("an-added-key", owner, client, "plans/a.json")
    check("a-higher-threshold-waits", status == 3 and owner.versions()["root"] == 2 and owner.is_valid(), out)
    check("an-old-plan-is-still-there", client("plans/a.json")["ok"])
    status, out = owner("sign", "--role", "targets", "--key", desks[1], "--keys", owner.keys)
    root = owner.document(f"{owner.versions()['root']}.root")["signed"]["roles"]["targets"]
    check("a-higher-threshold-is-published", status == 0 and root["threshold"] == 2 and len(root["keyids"]) == 3 and
          owner.is_valid(), (out, root))
    both_clients("a-higher-threshold", owner, client, "plans/a.json")
    check("now-two-are-needed", owner("add", owner.plan("b.json"))[0] == 3)
    check("and-two-will-do", owner("sign", "--role", "targets", "--key", desks[0], "--keys", owner.keys)[0] == 0)
    both_clients("two-of-three", owner, client, "plans/b.json")
    for name, expected, wanted, arguments in (
            ("unknown-key-dropped", 2, "no key", ("--drop", "zz")),
            ("threshold-out-of-reach", 2, "3 keys and threshold 4", ("--threshold", "4")),
            ("add-and-drop", 2, "exclude", ("--add", "--drop", keyid_of(desks[0]))),
            ("key-twice", 2, "already", ("--add", "--public", owner.path + "/desk0.pub")),
            ("public-key-missing", 1, "No such file", ("--add", "--public", owner.path + "/none.pub")),
            ("public-key-that-is-none", 4, "no public key", ("--add", "--public", owner.path + "/a.json"))):
        before = sorted(os.listdir(owner.keys))
        unchanged(name, owner, wanted, expected, "rotate", "targets", *arguments)
        check(f"{name}-makes-no-key", sorted(os.listdir(owner.keys)) == before)
    unchanged("no-threshold-for-timestamp", owner, "by itself", 2, "rotate", "timestamp", "--threshold", "1")
    status, out = owner("rotate", "targets", "--drop", keyid_of(desks[1]), "--threshold", "1")
    check("drop-a-key", status == 0 and owner.is_valid(), out)
    both_clients("a-dropped-key", owner, client, "plans/b.json")
    check("one-will-do-again", owner("remove", "b.json")[0] == 0)

    # The only key is lost, and its successor was made elsewhere: root waits for it.
    owner.take_away("targets")
    for keyid in owner.document(f"{owner.versions()['root']}.root")["signed"]["roles"]["targets"]["keyids"]:
        if keyid != keyid_of(desks[0]):
            check("drop-the-lost-key", owner("rotate", "targets", "--drop", keyid)[0] == 3)
    desk = owner.take_away()
    shutil.copy(desks[0], f"{desk}/targets-{keyid_of(desks[0])[:16]}.pem")
    status, out = owner("refresh", "--role", "targets", keys=desk)
    check("the-successor-signs", status == 3 and "signed" in out, out)
    check("and-the-online-machine-publishes", owner("refresh")[0] == 0 and owner.versions()["root"] == 5 and owner.is_valid(),
          (owner.versions(), owner("check")))
    both_clients("a-successor", owner, client, "plans/a.json")
    client.done()


def test_refusals():
    owner = Owner()
    good = owner.plan("good.json")
    owner("add", owner.plan("there.json"))
    unchanged("malformed-plan-refuses-all", owner, "actions[0].type", 4, "add", good,
              owner.plan("bad.json", actions=[{"type": "run"}]))
    unchanged("unknown-key-in-plan", owner, "extra", 4, "add", good, owner.plan("bad.json", extra=1))
    unchanged("plan-too-large", owner, "larger", 1, "add", owner.plan("bad.json", title="x" * 70000))
    unchanged("plan-missing", owner, "No such file", 1, "add", good, owner.path + "/none.json")
    unchanged("plan-name", owner, "file name", 4, "add", shutil.copy(good, owner.path + "/a b.json"))
    unchanged("plan-id-in-use", owner, "remove that plan first", 4, "add", owner.plan("other.json", id="there"))
    unchanged("plan-id-twice", owner, "given twice", 4, "add", good, owner.plan("other.json", id="good"))
    key = owner.key("targets")
    os.chmod(key, 0o640)
    unchanged("key-open-to-others", owner, "chmod 600", 1, "add", good)
    os.chmod(key, 0o600)
    shutil.copy(owner.key("root"), key)
    unchanged("key-under-a-wrong-name", owner, "another key", 4, "add", good)
    with open(key, "w") as file:
        file.write("-----BEGIN PRIVATE KEY-----\nMC4CAQ==\n-----END PRIVATE KEY-----\n")
    unchanged("damaged-key", owner, "no private key", 4, "add", good)
    os.unlink(key)
    unchanged("missing-key", owner, "no key of role targets", 1, "add", good)

    owner = Owner()
    online = owner.take_away("snapshot", "timestamp")
    before = owner.versions()
    status, out = owner("add", owner.plan("a.json"))
    check("missing-online-keys-are-staged", status == 3 and "staged: targets 2, signed" in out and owner.versions() == before, out)
    status, out = owner("refresh", keys=online)
    check("the-online-machine-publishes", status == 0 and owner.names() == ["plans/a.json"] and owner.is_valid(), out)

    # Whoever can write the folder puts a change in front of the owner.
    document = owner.document("2.targets")
    document["signed"].update(version=3, targets={})
    os.makedirs(owner.repository + "/staged", exist_ok=True)
    for signatures in ([], [{"keyid": document["signatures"][0]["keyid"], "sig": "00" * 64}], document["signatures"]):
        with open(owner.repository + "/staged/targets.json", "w") as file:
            json.dump(dict(document, signatures=signatures), file)
        unchanged("planted-change", owner, "none of a key", 4, "sign", "--role", "targets", "--key", owner.key("targets"))


def test_passphrase():
    secret = WORK + "/passphrase"
    for path, text in ((secret, "open sesame\n"), (secret + "-wrong", "sesame\n")):
        with open(path, "w") as file:
            file.write(text)
        os.chmod(path, 0o600)
    owner = Owner("--passphrase-file", secret)
    kinds = {os.path.basename(k).split("-")[0]: open(k).readline().strip() for k in glob.glob(owner.keys + "/*")}
    check("offline-keys-are-encrypted", kinds == {r: "-----BEGIN ENCRYPTED PRIVATE KEY-----" if r in ("root", "targets") else
                                                   "-----BEGIN PRIVATE KEY-----" for r in ROLES}, kinds)
    done = subprocess.run(["openssl", "pkey", "-in", owner.key("targets"), "-passin", "file:" + secret, "-noout"],
                          stderr=subprocess.PIPE)
    check("openssl-opens-them", done.returncode == 0, done.stderr)
    plan = owner.plan("a.json")
    unchanged("wrong-passphrase", owner, "passphrase is wrong", 4, "add", plan, "--passphrase-file", secret + "-wrong")
    unchanged("no-passphrase", owner, "no terminal", 1, "add", plan)
    check("refresh-needs-none", owner("refresh")[0] == 0)
    os.chmod(secret, 0o644)
    unchanged("passphrase-open-to-others", owner, "chmod 600", 1, "add", plan, "--passphrase-file", secret)
    os.chmod(secret, 0o600)
    status, out = owner("add", plan, "--passphrase-file", secret)
    check("passphrase-from-file", status == 0, out)
    status, out = owner("remove", "a.json", environment={"QMR_PASSPHRASE": "open sesame"})
    check("passphrase-from-environment", status == 0, out)
    status, out = owner("rotate", "targets", "--passphrase-file", secret)
    with open(owner.key("targets", -1)) as file:
        check("the-new-key-is-encrypted", status == 0 and "ENCRYPTED" in file.readline() and owner.is_valid(), out)

    # On a terminal: first a slip, then right.
    arguments = [PROGRAM, "add", "--repository", owner.repository, "--keys", owner.keys, plan]
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(PROGRAM, arguments)
    seen, answers = "", ["sesame\n", "open sesame\n"]
    while select.select([terminal], [], [], 60)[0]:
        try:
            data = os.read(terminal, 4096).decode(errors="replace")
        except OSError:
            break
        if not data:
            break
        seen += data
        if answers and seen.count("Passphrase of") > 2 - len(answers):
            while termios.tcgetattr(terminal)[3] & termios.ECHO:  # nobody types in the moment before it is off
                threading.Event().wait(0.01)
            os.write(terminal, answers.pop(0).encode())
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    printed.append(seen.replace("open sesame", "echoed"))
    check("passphrase-from-terminal", status == 0 and owner.names() == ["plans/a.json"], (status, seen))
    check("the-terminal-does-not-echo-it", "sesame" not in seen, seen)


def test_damage():
    owner = Owner()
    owner("add", owner.plan("a.json"), owner.plan("b.json"))
    files = [os.path.relpath(os.path.join(f, n), owner.repository) for f, _, names in os.walk(owner.repository) for n in names]
    current = [f for f in files if "qmr-publish.json" not in f and not re.search(r"/1\.(targets|snapshot)", f)]
    check("files-to-damage", len(current) == 6, current)
    wrong = []
    for name in current:
        path = os.path.join(owner.repository, name)
        with open(path, "rb") as file:
            content = file.read()
        # A flipped bit in the middle, a digit (JSON stays JSON), a cut, and nothing at all.
        digit = re.search(rb'"(version|schema)": (\d)', content).start(2)
        for bad in (content[:len(content) // 2] + bytes([content[len(content) // 2] ^ 1]) + content[len(content) // 2 + 1:],
                    content[:digit] + b"7" + content[digit + 1:], content[:-9], b"", None):
            if bad is None:
                os.unlink(path)
            else:
                with open(path, "wb") as file:
                    file.write(bad)
            status, out = owner("check")
            if status != 4 or "problem" not in out:
                wrong.append((name, bad if bad is None else len(bad), status, out))
        with open(path, "wb") as file:
            file.write(content)
    check("check-finds-every-damage", not wrong, wrong)
    check("check-after-repair", owner.is_valid())

    client = Client(owner)
    check("client-before-expiry", client()["ok"])
    resign(owner, "timestamp", owner.key("timestamp"), expires="2026-01-02T03:04:05Z", version=9)
    status, out = owner("check")
    check("check-finds-expiry", status == 4 and "timestamp expired on 2026-01-02T03:04:05Z" in out, out)
    status, out = owner("check", "--json")
    answer = json.loads(out)
    check("check-json", status == 4 and answer["valid"] is False and len(answer["problems"]) == 1 and
          answer["roles"]["targets"]["version"] == 2, out)
    check("tuf-js-finds-expiry", not client()["ok"])
    status, out = owner("refresh")
    check("refresh-heals-expiry", status == 0 and owner.is_valid() and client("plans/a.json")["ok"], out)

    owner("rotate", "timestamp")
    for version in (1, 2):  # an older root, which the right keys did sign, as the next one
        shutil.copy(f"{owner.repository}/metadata/{version}.root.json", owner.repository + "/metadata/3.root.json")
        status, out = owner("check")
        check(f"root-{version}-is-not-root-3", status == 4 and "3.root.json': version" in out, out)
    os.unlink(owner.repository + "/metadata/3.root.json")

    # Somebody with the web server but without keys: what they write is not built upon.
    document = owner.document("timestamp")
    document["signed"]["version"] += 1
    with open(owner.repository + "/metadata/timestamp.json", "w") as file:
        json.dump(document, file)
    unchanged("a-forged-repository-is-not-built-upon", owner, "signatures: 0 of the 1", 4, "add", owner.plan("c.json"))
    client.done()


if __name__ == "__main__":
    npm.install()
    main([test_init, test_usage, test_interop, test_lost_keys, test_staged, test_more_keys, test_refusals, test_passphrase, test_damage,
          test_secrets])

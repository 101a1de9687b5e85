#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""qmr-publish: what it makes of plans (time, withdrawal, relations, holds), simulate, diff, keys by URI, signatures made elsewhere.
Usage: publish-plans.py [-B] BUILD_DIR"""
import calendar
import glob
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import publish  # noqa: E402

check, run, unchanged, Owner = publish.check, publish.run, publish.unchanged, publish.Owner
YES, NO = {"incident-kind": "panic"}, {"incident-kind": "hang"}
PLAIN = {k: v for k, v in publish.PLAN.items() if k != "published"}


def at(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))


def write(owner, name, value):
    path = os.path.join(owner.path, name)
    with open(path, "w") as file:
        file.write(value if isinstance(value, str) else json.dumps(value))
    return path


def plain(owner, name, **changes):
    """A plan without a time."""
    return write(owner, name, dict(PLAIN, **{"id": name[:-5], **changes}))


def published(owner, name):
    """The newest bytes of a plan, as they are served."""
    entry = owner.document(f"{owner.versions()['targets']}.targets")["signed"]["targets"]["plans/" + name]
    with open(f"{owner.repository}/targets/plans/{entry['hashes']['sha256']}.{name}") as file:
        return file.read()


def openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def test_time():
    owner = Owner()
    text = '\n {  "title" : "as its author wrote it",\n' + json.dumps(dict(PLAIN, id="a"))[1:].replace('"title": "a test", ', "")
    status, out = owner("add", write(owner, "a.json", text))
    served = published(owner, "a.json") if status == 0 else out
    stamped = json.loads(served)["published"] if status == 0 else ""
    check("add-writes-the-time", status == 0 and abs(calendar.timegm(time.strptime(stamped, "%Y-%m-%dT%H:%M:%SZ")) - time.time()) < 60,
          served)
    check("and-nothing-else", served.replace(f'\n  "published": "{stamped}",', "") == text, served)
    check("the-same-plan-again-is-nothing", owner("add", owner.path + "/a.json")[0] == 3)
    time.sleep(1.1)
    check("even-later", owner("add", owner.path + "/a.json")[0] == 3 and json.loads(published(owner, "a.json"))["published"] == stamped)
    check("a-changed-plan-gets-a-new-time", owner("add", plain(owner, "a.json", title="changed"))[0] == 0 and
          json.loads(published(owner, "a.json"))["published"] > stamped)
    for name, seconds in (("old", -2 * 3600), ("future", 3600)):
        unchanged(f"{name}-time-is-refused", owner, "published", 4, "add", plain(owner, f"{name}.json", published=at(seconds)))
    check("a-time-of-now-is-kept", owner("add", plain(owner, "b.json", published=at(-600)))[0] == 0)
    unchanged("a-time-that-is-none", owner, "published", 4, "add", plain(owner, "c.json", published="yesterday"))
    # The file of 64 KiB that has no room for it.
    big = dict(PLAIN, id="big", actions=[{"type": "remove-file", "path": "/" + "x/" * 500 + str(i)} for i in range(60)])
    text = json.dumps(big)
    unchanged("no-room-for-the-time", owner, "64 KiB", 4, "add", write(owner, "big.json", text[:-1] + " " * (65536 - len(text)) + "}"))


def test_withdraw():
    owner = Owner()
    owner("add", plain(owner, "a.json"), plain(owner, "b.json"), write(owner, "h.json", {"schema": 1, "id": "h", "title": "t", "hold": True}))
    before = json.loads(published(owner, "a.json"))
    status, out = owner("withdraw", "a.json")
    after = json.loads(published(owner, "a.json"))
    check("withdraw", status == 0 and after == dict(before, withdrawn=True) and owner.is_valid(), (out, after))
    unchanged("withdraw-again-is-nothing", owner, "already", 3, "withdraw", "a.json")
    unchanged("withdraw-unknown", owner, "no plan", 3, "withdraw", "b.json", "x.json")
    unchanged("a-hold-is-removed-instead", owner, "hold", 4, "withdraw", "h.json")
    status, out = owner("check")
    check("check-tells-of-a-hold", status == 0 and "h.json holds the fleet" in out, out)
    check("remove-ends-a-hold", owner("remove", "h.json")[0] == 0 and "holds" not in owner("check")[1])


def test_relations():
    owner = Owner()
    unchanged("supersedes-itself", owner, "supersedes", 4, "add", plain(owner, "a.json", supersedes=["a"]))
    unchanged("a-circle-is-refused", owner, "circle", 4, "add", plain(owner, "a.json", supersedes=["b"]),
              plain(owner, "b.json", supersedes=["c"]), plain(owner, "c.json", supersedes=["a"]))
    check("a-chain-is-not", owner("add", plain(owner, "a.json", requires=["b"]), plain(owner, "b.json", requires=["c"]))[0] == 0)
    unchanged("a-circle-with-what-is-there", owner, "requires", 4, "add", plain(owner, "c.json", requires=["a"]))
    status, out = owner("check")
    check("check-tells-what-is-missing", status == 0 and "plan 'b' requires 'c', which is not here" in out, out)
    unchanged("unknown-selector", owner, "phase-of-moon: unknown selector", 4, "add",
              plain(owner, "d.json", match={"any": [YES, {"phase-of-moon": "full"}]}))
    unchanged("half-a-hold", owner, "not in a hold", 4, "add", plain(owner, "d.json", hold=True))


def test_offline():
    owner = Owner("--targets-keys", "2", "--targets-threshold", "2")
    desks = [shutil.move(owner.key("targets"), owner.path + f"/desk{i}.pem") for i in range(2)]
    publics = [d + ".pub" for d in desks]
    for desk, public in zip(desks, publics):
        openssl("pkey", "-in", desk, "-pubout", "-out", public)
    change, signature = owner.path + "/change", owner.path + "/signature"

    def sign(key, file=None):
        openssl("pkeyutl", "-sign", "-rawin", "-inkey", key, "-in", file or change, "-out", signature)

    def take(i, *more, **options):
        return owner("import", "--role", "targets", "--signature", signature, "--public", publics[i], *more, **options)

    before = owner.versions()
    status, out = run("add", "--repository", owner.repository, "--to", change, plain(owner, "a.json"))
    check("export-instead-of-signing", status == 3 and owner.versions() == before and not glob.glob(owner.repository + "/staged/*")
          and "add plan plans/a.json" in out, out)
    with open(change, "rb") as file:
        exported = file.read()
    check("what-is-exported-is-canonical", publish.canonical(json.loads(exported)) == exported and json.loads(exported)["version"] == 2)
    sign(desks[0])
    unchanged("a-signature-without-the-change", owner, "--from", 3, "import", "--role", "targets", "--signature", signature,
              "--public", publics[0])
    unchanged("a-signature-of-another-key", owner, "is not that of key", 4, "import", "--role", "targets", "--signature", signature,
              "--public", publics[1], "--from", change)
    stranger = owner.path + "/stranger.pem"
    openssl("genpkey", "-algorithm", "ed25519", "-out", stranger)
    openssl("pkey", "-in", stranger, "-pubout", "-out", stranger + ".pub")
    sign(stranger)
    unchanged("a-key-of-nobody", owner, "no key of role", 4, "import", "--role", "targets", "--signature", signature, "--public",
              stranger + ".pub", "--from", change)
    for name, bad, wanted in (
            ("changed", exported.replace(b'"version":2', b'"version":3'), "does not follow"),
            ("spaced", exported.replace(b'"version":2', b'"version": 2'), "form"),
            ("of-another-role", json.dumps(owner.document("1.root")["signed"]).encode(), ""),
            ("no-json", b"x", "exported"),
            ("with-a-plan-that-is-not-there", exported.replace(b"plans/a.json", b"plans/b.json"), "b.json"),
            ("expired", b'{"_type":"targets","expires":"2026-01-01T00:00:00Z",' + exported.split(b",", 2)[2], "expired")):
        with open(change, "wb") as file:
            file.write(bad)
        sign(desks[0])
        unchanged(f"import-{name}", owner, wanted, 4, "import", "--role", "targets", "--signature", signature, "--public", publics[0],
                  "--from", change)
    with open(change, "wb") as file:
        file.write(exported)
    for content, why in ((b"", "not that of key"), (b"x" * 63, "not that of key"), (b"x" * 64, "not that of key"), (b"x" * 1025, "1024 bytes")):
        with open(signature, "wb") as file:
            file.write(content)
        unchanged(f"a-signature-of-{len(content)}-bytes", owner, why, 4, "import", "--role", "targets", "--signature", signature,
                  "--public", publics[0], "--from", change)
    sign(desks[0])
    status, out = take(0, "--from", change)
    check("one-of-two-is-staged", status == 3 and "1 signature missing" in out and owner.versions() == before, out)
    status, out = run(
        "export", "--repository", owner.repository, "--role", "targets", "--to", change + "2")
    with open(change + "2", "rb") as file:
        check("export-of-what-is-staged", status == 0 and file.read() == exported, out)
    sign(desks[1], change + "2")
    status, out = run("import", "--repository", owner.repository, "--keys", owner.keys, "--role", "targets", "--signature", signature,
                      "--public", publics[1])
    check("the-second-publishes", status == 0 and owner.versions()["targets"] == 2 and owner.is_valid() and
          owner.names() == ["plans/a.json"], out)
    check("nothing-to-export", run("export", "--repository", owner.repository, "--role", "targets", "--to", change)[0] == 3)
    check("nothing-else-is-signed-offline", run("export", "--repository", owner.repository, "--role", "snapshot", "--to", change)[0] == 2)

    # Root, whose keys are not here at all: another key for targets.
    root = [shutil.move(k, owner.path) for k in glob.glob(owner.keys + "/root-*")][0]
    openssl("pkey", "-in", root, "-pubout", "-out", root + ".pub")
    status, out = run("rotate", "targets", "--repository", owner.repository, "--add", "--public", stranger + ".pub", "--to", change)
    check("rotation-is-exported", status == 3 and owner.versions()["root"] == 1, out)
    sign(root)
    status, out = owner("import", "--role", "root", "--signature", signature, "--public", root + ".pub", "--from", change,
                        "--keys", owner.keys)
    check("rotation-is-imported", status == 0 and owner.versions()["root"] == 2 and owner.is_valid(), out)
    check("a-new-key-is-made-elsewhere", run("rotate", "root", "--repository", owner.repository, "--add", "--to", change)[0] == 2)


def test_keys():
    owner, desk = Owner(), tempfile.mkdtemp(dir=publish.WORK)
    status, out = run("key", "targets", "--keys", desk + "/k")
    made = glob.glob(desk + "/k/targets-*.pem")
    private = [m for m in made if not m.endswith(".pub.pem")]
    check("key", status == 0 and len(made) == 2 and len(private) == 1 and os.stat(private[0]).st_mode & 0o777 == 0o600, (out, made))
    public = private[0][:-4] + ".pub.pem"
    check("its-public-half-is-it", publish.keyid_of(private[0]) in out, out)
    check("key-of-no-role", run("key", "mirrors", "--keys", desk + "/k")[0] == 2)
    check("rotate-to-it", owner("rotate", "targets", "--add", "--public", public)[0] == 0)

    # The same through OpenSSL's stores: the folder of keys has a note and no key.
    hidden = shutil.move(private[0], desk + "/elsewhere.pem")
    status, out = run("key", "targets", "--keys", desk + "/u", "--uri", "file:" + hidden)
    note = glob.glob(desk + "/u/*.uri")
    check("key-by-uri", status == 0 and len(note) == 1 and os.stat(note[0]).st_mode & 0o777 == 0o600 and
          glob.glob(desk + "/u/*.pub.pem") and publish.keyid_of(hidden) in out, out)
    for role in ("snapshot", "timestamp"):
        shutil.copy(owner.key(role), desk + "/u")
    status, out = owner("add", plain(owner, "a.json"), keys=desk + "/u")
    check("signing-by-uri", status == 0 and owner.is_valid(), out)
    signers = {s["keyid"] for s in owner.document(f"{owner.versions()['targets']}.targets")["signatures"]}
    check("it-is-that-key-that-signed", signers == {publish.keyid_of(hidden)}, signers)
    check("a-second-signature-is-asked-for", owner("rotate", "targets", "--threshold", "2")[0] == 3)
    status, out = owner("sign", "--role", "targets", "--key", "file:" + hidden, "--keys", owner.keys)
    check("sign-by-uri", status == 0 and owner.is_valid(), out)
    with open(note[0], "w") as file:
        file.write("file:" + owner.key("root") + "\n")
    unchanged("a-uri-of-another-key", owner, "another key", 4, "add", plain(owner, "c.json"), keys=desk + "/u")
    with open(note[0], "w") as file:
        file.write(f"file:{desk}/nothing.pem\n")
    unchanged("a-uri-of-nothing", owner, "no private key", 4, "add", plain(owner, "c.json"), keys=desk + "/u")
    os.chmod(note[0], 0o644)
    unchanged("a-note-open-to-others", owner, "chmod 600", 1, "add", plain(owner, "c.json"), keys=desk + "/u")
    rsa = desk + "/rsa.pem"
    for bits, wanted in (("1024", 4), ("2048", 0)):
        openssl("genpkey", "-algorithm", "rsa", "-pkeyopt", "rsa_keygen_bits:" + bits, "-out", rsa)
        status, out = run("key", "targets", "--keys", desk + "/r", "--uri", "file:" + rsa)
        check(f"an-rsa-key-of-{bits}-bits", status == wanted and (wanted == 0 or "machines take" in out), out)
    status, out = run("key", "targets", "--keys", desk + "/u", "--uri", "pkcs11:token=none")
    check("a-scheme-without-a-loader", status == 4 and "no private key" in out, out)
    encrypted = desk + "/encrypted.pem"
    openssl("pkey", "-in", hidden, "-aes-256-cbc", "-passout", "pass:open sesame", "-out", encrypted)
    status, out = run("key", "root", "--keys", desk + "/e", "--uri", "file:" + encrypted, environment={"QMR_PASSPHRASE": "open sesame"})
    check("a-uri-with-a-passphrase", status == 0, out)
    status, out = run("key", "root", "--keys", desk + "/e", "--uri", "file:" + encrypted, environment={"QMR_PASSPHRASE": "close"})
    check("a-uri-with-a-wrong-one", status == 4 and "passphrase" in out, out)


def test_simulate():
    owner = Owner()
    tree, incidents = owner.path + "/tree", owner.path + "/incidents"
    for path, text in (("opt/v/a.bin", "a"), ("opt/v/b.bin", "b"), ("var/lib/dpkg/status", "Package: sensor\nStatus: install ok installed\nVersion: 7\n"),
                       ("var/lib/dpkg/info/sensor.list", "/opt/v/b.bin\n")):
        os.makedirs(os.path.dirname(f"{tree}/{path}"), exist_ok=True)
        with open(f"{tree}/{path}", "w") as file:
            file.write(text)
    for name, kind in (("one", "panic"), ("deep/two", "hang")):
        os.makedirs(f"{incidents}/{name}")
        with open(f"{incidents}/{name}/incident.json", "w") as file:
            json.dump({"schema": 1, "id": name, "kind": kind, "machine": {"machine_id": "m"}}, file)
    kind = plain(owner, "kind.json", match=YES, then="shutdown", requires=["first"], actions=[
        {"type": "remove-file", "path": "/opt/v/a.bin"}, {"type": "block-module", "module": "cs-agent"}])
    disk = plain(owner, "disk.json", match={"package": {"name": "sensor", "version": {"at-least": "7"}}},
                 actions=[{"type": "remove-file", "path": "/opt/v/b.bin"}])
    before = publish.faults.state(tree)

    def simulate(*arguments):
        status, out = run("simulate", *arguments, "--incident", incidents, "--json")
        try:
            return status, {(a["id"], os.path.basename(os.path.dirname(a["incident"]))): a for a in json.loads(out)}
        except ValueError:
            return status, out

    status, answers = simulate(kind, disk)
    check("simulate-without-a-tree", status == 0 and {k: a["matches"] for k, a in answers.items()} == {
        ("kind", "one"): "yes", ("kind", "two"): "no", ("disk", "one"): "unknown", ("disk", "two"): "unknown"} and
        "--tree" in answers["disk", "one"]["why"] and answers["kind", "one"]["then"] == "shutdown" and
        answers["kind", "one"]["requires"] == ["first"] and len(answers["kind", "one"]["actions"]) == 2, answers)
    status, answers = simulate(kind, disk, "--tree", tree)
    check("simulate-on-a-tree", status == 0 and answers["disk", "two"]["would"] == [{"change": "remove", "path": "/opt/v/b.bin"}] and
          {"change": "block", "module": "cs_agent"} in answers["kind", "one"]["would"] and
          {"change": "write", "path": "/etc/modprobe.d/qmr-block-cs_agent.conf"} in answers["kind", "one"]["would"], answers)
    policy = write(owner, "policy.conf", "[policy]\nprotect = package sensor\n[fleet]\nlabel = office\nminimum_age = * 24\n")
    status, answers = simulate(disk, "--tree", tree, "--config", policy)
    check("simulate-what-is-protected", status == 3 and "protected" in answers["disk", "one"]["refused"], answers)
    status, answers = simulate(plain(owner, "label.json", match={"label": "office"}), "--config", policy)
    check("simulate-labels", status == 0 and answers["label", "one"]["matches"] == "yes", answers)
    status, answers = simulate(plain(owner, "young.json", match=YES, published=at(-3600)), "--config", policy)
    check("simulate-an-age", status == 3 and "minimum_age" in answers["young", "one"]["why"], answers)
    status, answers = simulate(plain(owner, "gone.json", match=YES, withdrawn=True))
    check("simulate-what-is-withdrawn", status == 3 and "withdrawn" in answers["gone", "one"]["why"], answers)
    status, answers = simulate(plain(owner, "wrong.json", match=YES, actions=[{"type": "restore-file", "path": "/opt/v/a.bin"}]), "--tree", tree)
    check("simulate-what-is-refused", status == 3 and "no restore point" in answers["wrong", "one"]["refused"], answers)
    check("the-tree-is-as-it-was", publish.faults.state(tree) == before)
    status, out = run("simulate", kind, "--incident", incidents + "/one/incident.json", "--tree", tree)
    check("simulate-for-people", status == 0 and "it would be applied, then shutdown" in out and "if 'first' was applied" in out and
          "remove /opt/v/a.bin" in out, out)
    status, out = run("simulate", kind, plain(owner, "bad.json", colour=1))
    check("simulate-refuses-a-bad-plan", status == 4 and "colour: unknown key" in out, out)
    check("simulate-checks-the-form-alone", run("simulate", kind, disk)[0] == 0)
    check("simulate-without-incidents-below", run("simulate", kind, "--incident", tree)[0] == 3)
    check("simulate-takes-no-repository", run("simulate", kind, "--repository", owner.repository)[0] == 2)


def test_diff():
    owner = Owner()
    owner("add", plain(owner, "a.json"), plain(owner, "b.json"))
    old = owner.path + "/old"
    shutil.copytree(owner.repository, old)
    check("no-difference", run("diff", old, "--repository", owner.repository)[0] == 3)
    owner("add", plain(owner, "c.json"), plain(owner, "b.json", title="other"))
    owner("remove", "a.json")
    owner("rotate", "snapshot")
    status, out = run("diff", owner.repository, "--repository", old, "--json")
    seen = {(c["change"], c["of"], c["name"]) for c in json.loads(out)} if status == 0 else out
    check("diff", status == 0 and {("remove", "plan", "plans/a.json"), ("replace", "plan", "plans/b.json"), ("add", "plan", "plans/c.json"),
                                   ("replace", "version", "root 1 to 2")} <= seen and
          {(c, o) for c, o, n in seen} >= {("add", "snapshot"), ("remove", "snapshot")}, seen)
    status, out = run("diff", old, "--repository", owner.repository)
    check("diff-the-other-way", status == 0 and "add plan plans/a.json" in out and "remove plan plans/c.json" in out, out)
    check("diff-leaves-timestamps-aside", owner("refresh")[0] == 0)
    with open(old + "/metadata/timestamp.json", "a") as file:
        file.write("x")
    check("diff-verifies", run("diff", old, "--repository", owner.repository)[0] == 4)


def test_too_many():
    owner = Owner()
    paths = [plain(owner, f"{n:03}.json") for n in range(257)]
    check("256-plans", owner("add", *paths[:256])[0] == 0)
    unchanged("257-plans", owner, "257 plans, and machines fetch 256", 4, "add", paths[256])
    hold = {"schema": 1, "title": "stop", "hold": True}
    unchanged("a-hold-that-is-fetched-too-late", owner, "a file name that begins with hold", 4, "add", write(owner, "stop.json", dict(hold, id="stop")))
    check("a-hold-that-is-fetched-first", owner("add", write(owner, "hold-all.json", dict(hold, id="hold-all")))[0] == 0)


if __name__ == "__main__":
    publish.main([test_time, test_withdraw, test_relations, test_offline, test_keys, test_simulate, test_diff, test_too_many, publish.test_secrets])

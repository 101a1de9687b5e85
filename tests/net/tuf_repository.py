# SPDX-License-Identifier: LGPL-2.1-or-later
"""Repositories, servers and machines for tuf.py and fetch.py.

Repositories are made with securesystemslib (Debian's python3-securesystemslib, the library under python-tuf), so that
what is signed here does not come from the code under test.
"""
import argparse
import datetime
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import securesystemslib.formats
import securesystemslib.keys

from servers import Nginx

ROLES = ["root", "timestamp", "snapshot", "targets"]
INCIDENT = {"schema": 1, "id": "5f0c1d2e-0000-4000-8000-00000000beef", "kind": "panic", "kernel": "6.1.0-40-amd64",
            "machine": {"os_id": "debian"}, "culprit": {"module": "csagent", "function": "parse"}}


def run(*argv, **kwargs):
    return subprocess.run(argv, check=True, capture_output=True, **kwargs)


def make_ca(folder, name):
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
        "-subj", f"/CN={name}", "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem")


def make_server_certificate(folder, ca, name, san):
    ext = folder / f"{name}.ext"
    ext.write_text(f"subjectAltName={san}\n")
    run("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
        "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.csr")
    run("openssl", "x509", "-req", "-in", folder / f"{name}.csr", "-CA", folder / f"{ca}.pem", "-CAkey",
        folder / f"{ca}.key", "-CAcreateserial", "-days", "2", "-extfile", ext, "-out", folder / f"{name}.pem")


def make_key(kind="ed25519"):
    if kind == "rsa":
        return securesystemslib.keys.generate_rsa_key(2048)
    if kind == "ecdsa":
        return securesystemslib.keys.generate_ecdsa_key()
    return securesystemslib.keys.generate_ed25519_key()


def public(key):
    return {"keytype": key["keytype"], "scheme": key["scheme"], "keyval": {"public": key["keyval"]["public"]}}


def key_id(entry):
    return hashlib.sha256(securesystemslib.formats.encode_canonical(entry).encode()).hexdigest()


def future(days=30):
    return (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")


def plan(name, module="csagent", **more):
    return json.dumps({"schema": 1, "id": name, "title": f"plan {name}", "match": {"all": [{"culprit-module": module}]},
                       "actions": [{"type": "remove-file", "path": "/opt/vendor/291.bin"}], **more}).encode()


class Repository:
    """What a repository holds; publish() signs and writes it. Tests change one thing between the two."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "metadata").mkdir(parents=True)
        self.keys = {role: [make_key()] for role in ROLES}
        self.threshold = {role: 1 for role in ROLES}
        self.version = {role: 1 for role in ROLES}
        self.expires = {role: future() for role in ROLES}
        self.consistent = True
        self.targets = {"plans/10-fix.json": plan("fix")}
        self.hashes = ["sha256"]
        self.with_lengths = True
        self.signers = {}        # role: other keys to sign with than the role's
        self.edit = {}           # role: changes its "signed" before it is signed
        self.edit_envelope = {}  # role: changes the whole file after that
        self.edit_bytes = {}     # role or target: changes only what is served, not what is signed about it
        self.root_keys = {}      # more entries of root's "keys"

    def sign(self, role, signed, keys):
        if role in self.edit:
            self.edit[role](signed)
        data = securesystemslib.formats.encode_canonical(signed).encode()
        signatures = []
        for key in keys:
            signature = securesystemslib.keys.create_signature(key, data)
            signatures.append({"keyid": key_id(public(key)), "sig": signature["sig"]})
        envelope = {"signatures": signatures, "signed": signed}
        if role in self.edit_envelope:
            self.edit_envelope[role](envelope)
        return json.dumps(envelope, indent=1).encode()

    def common(self, role):
        return {"_type": role, "spec_version": "1.0.31", "version": self.version[role], "expires": self.expires[role]}

    def about(self, data, version=None):
        entry = {"version": version} if version is not None else {}
        if self.with_lengths or version is None:
            entry["length"] = len(data)
            entry["hashes"] = {name: hashlib.new(name, data).hexdigest() for name in self.hashes}
        return entry

    def write(self, path, role, data):
        path = self.folder / path
        path.parent.mkdir(parents=True, exist_ok=True)
        data = self.edit_bytes[role](data) if role in self.edit_bytes else data
        if data is None:
            path.unlink(missing_ok=True)
        else:
            path.write_bytes(data)

    def name(self, role):
        return f"metadata/{self.version[role]}.{role}.json" if self.consistent else f"metadata/{role}.json"

    def make_root(self):
        signed = self.common("root")
        signed["consistent_snapshot"] = self.consistent
        signed["keys"] = {key_id(public(k)): public(k) for role in ROLES for k in self.keys[role]}
        signed["keys"].update(self.root_keys)
        signed["roles"] = {role: {"keyids": [key_id(public(k)) for k in self.keys[role]],
                                  "threshold": self.threshold[role]} for role in ROLES}
        return self.sign("root", signed, self.signers.get("root", self.keys["root"]))

    def publish_root(self):
        data = self.make_root()
        self.write(f"metadata/{self.version['root']}.root.json", "root", data)
        return data

    def publish(self, root=True):
        data = {}
        if root:
            data["root"] = self.publish_root()
        signed = self.common("targets")
        signed["targets"] = {name: self.about(content) for name, content in self.targets.items()}
        data["targets"] = self.sign("targets", signed, self.signers.get("targets", self.keys["targets"]))
        signed = self.common("snapshot")
        signed["meta"] = {"targets.json": self.about(data["targets"], self.version["targets"])}
        data["snapshot"] = self.sign("snapshot", signed, self.signers.get("snapshot", self.keys["snapshot"]))
        signed = self.common("timestamp")
        signed["meta"] = {"snapshot.json": self.about(data["snapshot"], self.version["snapshot"])}
        data["timestamp"] = self.sign("timestamp", signed, self.signers.get("timestamp", self.keys["timestamp"]))
        self.write("metadata/timestamp.json", "timestamp", data["timestamp"])
        self.write(self.name("snapshot"), "snapshot", data["snapshot"])
        self.write(self.name("targets"), "targets", data["targets"])
        for name, content in self.targets.items():
            folder, _, base = name.rpartition("/")
            for algorithm in self.hashes if self.consistent else [None]:
                prefix = hashlib.new(algorithm, content).hexdigest() + "." if algorithm else ""
                self.write(f"targets/{folder}/{prefix}{base}", name, content)
        return data

    def bump(self, *roles):
        for role in roles or ROLES[1:]:
            self.version[role] += 1


class Case:
    """One machine and one repository."""

    def __init__(self, build, shared, server):
        self.build, self.shared, self.server = build, shared, server
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="case-", dir=shared / "store"))
        os.chmod(self.folder, 0o755)
        self.repo = Repository(self.folder / "r")
        self.out = self.folder / "out"
        self.more = []  # arguments
        self.metadata = self.folder / "metadata"
        (self.folder / "incident.json").write_text(json.dumps(INCIDENT))
        self.configure(f"https://127.0.0.1:{server.port}/{self.folder.name}/r")

    def configure(self, url, ca="ca", timeout=20):
        (self.folder / "qmr.conf").write_text(
            f"[repository]\nurl = {url}\nroot = {self.folder}/root.json\n"
            f"[network]\nca = {self.shared}/{ca}.pem\ntransfer_timeout = {timeout}\n")

    def mirror(self, name):
        """A copy of what is published now, and its URL."""
        shutil.copytree(self.repo.folder, self.folder / name)
        return f"https://127.0.0.1:{self.server.port}/{self.folder.name}/{name}"

    def trust(self, data):
        (self.folder / "root.json").write_bytes(data)

    def fetch(self, **kwargs):
        done = subprocess.run(
            [self.build / "remediation-fetch", "--incident", self.folder / "incident.json", "--metadata", self.metadata,
             "--out", self.out, "--config", self.folder / "qmr.conf", *self.more],
            capture_output=True, text=True, timeout=120, **kwargs)
        self.text = done.stderr
        self.report = json.loads((self.out / "fetch.json").read_text())
        return done.returncode

    def plans(self):
        return sorted(p.name for p in self.out.iterdir() if p.name != "fetch.json")

    def kept(self, role):
        path = self.metadata / f"{role}.json"
        return json.loads(path.read_text())["signed"]["version"] if path.exists() else None

    def requests(self):
        prefix = f"/{self.folder.name}/r/"
        return [line.split()[0][len(prefix):] for line in self.server.log.read_text().splitlines()
                if line.startswith(prefix)]

    def accept(self, plans=("01-fix.json",)):
        same("exit", 0, self.fetch())
        same("plans", list(plans), self.plans())
        same("result", "plans", self.report["result"])
        same("error", None, self.report["error"])

    def refuse(self, *words):
        """Exit code 4, nothing but the report, and a message with all the words."""
        same("exit", 4, self.fetch())
        same("plans", [], self.plans())
        same("result", "refused", self.report["result"])
        for word in words:
            same(f"'{word}' in the error {self.report['error']!r}", True, word in self.report["error"])
        same("the message is the report's", True, self.report["error"] in self.text)


def same(what, expected, found):
    if expected != found:
        raise AssertionError(f"{what}: expected {expected!r}, found {found!r}")


def start(case):
    """A good repository, trusted."""
    case.trust(case.repo.publish()["root"])


def next_root(c, **signers):
    c.repo.bump("root")
    c.repo.signers.update(signers)
    return c.repo.publish()["root"]


def main(kind, tests):
    """Runs the test_ functions of a script, or those named on the command line."""
    failures = 0
    parser = argparse.ArgumentParser()
    parser.add_argument("-B", dest="build", type=pathlib.Path, required=True)
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    shared = pathlib.Path(tempfile.mkdtemp(prefix="qmr-tuf-"))
    os.chmod(shared, 0o755)
    server = None
    try:
        make_ca(shared, "ca")
        make_ca(shared, "other")
        make_server_certificate(shared, "ca", "server", "IP:127.0.0.1,DNS:localhost,DNS:repository.qmr.test")
        make_server_certificate(shared, "ca", "elsewhere", "DNS:elsewhere.example")
        server = Nginx(shared, shared / "server")
        for name, test in sorted(tests.items()):
            if not name.startswith("test_") or (args.names and name[5:] not in args.names):
                continue
            case = None
            try:
                case = Case(args.build.resolve(), shared, server)
                test(case)
                print(f"ok {kind}/{name[5:]}", flush=True)
            except Exception as e:
                failures += 1
                why = f"{type(e).__name__} {e}".replace("\n", " ")
                print(f"not ok {kind}/{name[5:]}: {why} {getattr(case, 'text', '')[-400:]!r}", flush=True)
    finally:
        if server:
            server.stop()
        shutil.rmtree(shared, ignore_errors=True)
    sys.exit(1 if failures else 0)

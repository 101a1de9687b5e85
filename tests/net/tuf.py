#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""remediation-fetch against a real nginx on loopback, serving repositories that are right but for one thing.

They are made with securesystemslib (Debian's python3-securesystemslib, the library under python-tuf), so that what
is signed here does not come from the code under test; hence Debian's own Python. Usage: tuf.py -B BUILD [NAME ...]
"""
import argparse
import copy
import datetime
import hashlib
import http.server
import json
import os
import pathlib
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

import securesystemslib.formats
import securesystemslib.keys

ROLES = ["root", "timestamp", "snapshot", "targets"]
INCIDENT = {"schema": 1, "id": "5f0c1d2e-0000-4000-8000-00000000beef", "kind": "panic", "kernel": "6.1.0-40-amd64",
            "machine": {"os_id": "debian"}, "culprit": {"module": "csagent", "function": "parse"}}
failures = 0


def run(*argv, **kwargs):
    return subprocess.run(argv, check=True, capture_output=True, **kwargs)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


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


class Nginx:
    def __init__(self, folder):
        self.port = free_port()
        self.log = folder / "access.log"
        (folder / "store").mkdir()
        conf = folder / "nginx.conf"
        conf.write_text(f"""
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; worker_processes 1;
user root;
events {{ worker_connections 64; }}
http {{
  log_format path '$uri $status'; access_log {folder}/access.log path;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{
    listen 127.0.0.1:{self.port} ssl; ssl_certificate {folder}/server.pem; ssl_certificate_key {folder}/server.key;
    root {folder}/store;
  }}
}}
""")
        self.process = subprocess.Popen(["nginx", "-c", str(conf), "-p", str(folder)], stderr=subprocess.DEVNULL)
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError("nginx did not start: " + (folder / "error.log").read_text())

    def stop(self):
        self.process.terminate()
        self.process.wait(10)


class Odd:
    """Serves a folder, but answers paths that end in suffix by odd(handler, number of the request)."""

    def __init__(self, certificate, folder, suffix, odd):
        self.requests = 0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def do_GET(self):
                if self.path.endswith(suffix):
                    outer.requests += 1
                    odd(self, outer.requests)
                    return
                path = folder / self.path.lstrip("/")
                self.answer(path.read_bytes() if path.is_file() else None)

            def answer(self, data):
                self.send_response(404 if data is None else 200)
                self.send_header("Content-Length", str(len(data or b"")))
                self.end_headers()
                self.wfile.write(data or b"")

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(f"{certificate}.pem", f"{certificate}.key")
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *args: None
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


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
        self.metadata = self.folder / "metadata"
        (self.folder / "incident.json").write_text(json.dumps(INCIDENT))
        self.configure(f"https://127.0.0.1:{server.port}/{self.folder.name}/r")

    def configure(self, url, ca="ca", timeout=20):
        (self.folder / "qmr.conf").write_text(
            f"[repository]\nurl = {url}\nroot = {self.folder}/root.json\n"
            f"[network]\nca = {self.shared}/{ca}.pem\ntransfer_timeout = {timeout}\n")

    def trust(self, data):
        (self.folder / "root.json").write_bytes(data)

    def fetch(self, **kwargs):
        done = subprocess.run(
            [self.build / "remediation-fetch", "--incident", self.folder / "incident.json", "--metadata", self.metadata,
             "--out", self.out, "--config", self.folder / "qmr.conf"],
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


# --- what is right ---

def test_good(c):
    start(c)
    c.accept()
    path = c.out / "01-fix.json"
    same("content", c.repo.targets["plans/10-fix.json"], path.read_bytes())
    same("mode", 0o600, path.stat().st_mode & 0o777)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    same("report", {"schema": 1, "url": c.report["url"], "result": "plans", "error": None,
                    "versions": {"root": 1, "timestamp": 1, "snapshot": 1, "targets": 1},
                    "plans": [{"file": "01-fix.json", "id": "fix", "sha256": digest}],
                    "not_matched": [], "refused_plans": []}, c.report)
    same("requests", ["metadata/2.root.json", "metadata/timestamp.json", "metadata/1.snapshot.json",
                      "metadata/1.targets.json", f"targets/plans/{digest}.10-fix.json"], c.requests())
    same("kept", ["snapshot.json", "targets.json", "timestamp.json"], sorted(p.name for p in c.metadata.iterdir()))


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


def test_unprivileged(c):
    if os.geteuid() != 0:
        return
    start(c)
    for folder in [c.out, c.metadata]:
        folder.mkdir()
        os.chown(folder, 12345, 12345)
    same("exit", 0, c.fetch(user=12345, group=12345, extra_groups=[]))
    same("plans", ["01-fix.json"], c.plans())


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

def next_root(c, **signers):
    c.repo.bump("root")
    c.repo.signers.update(signers)
    return c.repo.publish()["root"]


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
    same("kept", ["2.root.json", "3.root.json", "root.json"], sorted(p.name for p in c.metadata.glob("*root.json")))
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


def test_other_rotations_keep_versions(c):
    c.repo.version["timestamp"] = 5
    start(c)
    c.accept()
    c.repo.keys["targets"] = [make_key()]
    c.repo.version["timestamp"] = 4
    next_root(c)
    c.refuse("timestamp", "rollback")


# --- what is kept ---

def test_damaged_cache(c):
    start(c)
    next_root(c)
    c.accept()
    for path in c.metadata.iterdir():
        path.write_bytes(b"\0garbage")
    c.accept()
    same("said", True, "going on without it" in c.text)
    same("whole again", (2, 1, 1, 1), tuple(c.kept(role) for role in ROLES))


def test_hostile_cache(c):
    """Links, folders and forgeries where kept files are."""
    start(c)
    next_root(c)
    forged = Repository(c.folder / "forged")
    forged.version["root"] = 2
    data = forged.publish()
    c.metadata.mkdir()
    (c.metadata / "2.root.json").write_bytes(data["root"])
    (c.metadata / "timestamp.json").write_bytes(data["timestamp"])
    (c.metadata / "snapshot.json").symlink_to("/etc/passwd")
    (c.metadata / "targets.json").symlink_to(c.folder / "root.json")
    c.accept()
    same("replaced", (2, 1, 1, 1), tuple(c.kept(role) for role in ROLES))
    same("no link was followed", "root", json.loads((c.folder / "root.json").read_text())["signed"]["_type"])


def test_unwritable_metadata_folder(c):
    start(c)
    c.metadata.write_text("a file")
    c.accept()
    same("said", True, "none is kept" in c.text)


def test_partial_update_is_kept(c):
    """A new root is not lost because the snapshot is wrong."""
    start(c)
    c.repo.signers["snapshot"] = [make_key()]
    next_root(c)
    c.refuse("snapshot")
    same("kept", (2, 1, None, None), tuple(c.kept(role) for role in ROLES))


# --- the server ---

def test_wrong_ca(c):
    start(c)
    c.configure(f"https://127.0.0.1:{c.server.port}/{c.folder.name}/r", ca="other")
    c.refuse("certificate")
    same("no request", [], c.requests())


def test_wrong_host(c):
    start(c)
    server = Odd(c.shared / "elsewhere", c.repo.folder, "never", None)
    c.configure(server.url)
    c.refuse("certificate")
    server.stop()


def test_plain_http(c):
    start(c)
    c.configure("http://127.0.0.1:1/")
    same("exit", 1, c.fetch())
    same("said", True, "https" in c.report["error"])


def network(c, timeout, seconds):
    begin = time.monotonic()
    same("exit", 5, c.fetch())
    same("in time", True, timeout - 2.5 < time.monotonic() - begin < seconds)
    same("report", ("network", []), (c.report["result"], c.plans()))


def test_server_gone(c):
    start(c)
    port = free_port()
    c.configure(f"https://127.0.0.1:{port}", timeout=4)
    network(c, 4, 7)
    same("named", True, str(port) in c.report["error"] and "attempts" in c.report["error"])


def test_unknown_host(c):
    start(c)
    c.configure("https://nowhere.invalid/", timeout=3)
    same("exit", 5, c.fetch())
    same("named", True, "nowhere.invalid" in c.report["error"])


def test_localhost_by_name(c):
    """Names are resolved inside the sandbox."""
    start(c)
    c.configure(f"https://localhost:{c.server.port}/{c.folder.name}/r")
    c.accept()


def odd(c, suffix, answer, **kwargs):
    start(c)
    server = Odd(c.shared / "server", c.repo.folder, suffix, answer)
    c.configure(server.url, **kwargs)
    return server


def test_stalled_server(c):
    server = odd(c, "timestamp.json", lambda h, n: time.sleep(30), timeout=4)
    network(c, 4, 7)
    server.stop()


def test_trickling_server(c):
    def trickle(handler, n):
        handler.send_response(200)
        handler.send_header("Content-Length", "10000")
        handler.end_headers()
        for _ in range(100):
            handler.wfile.write(b" ")
            time.sleep(0.2)
    server = odd(c, "timestamp.json", trickle, timeout=4)
    network(c, 4, 7)
    server.stop()


def test_endless_file(c):
    def endless(handler, n):
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.close_connection = True
        while True:
            handler.wfile.write(b" " * 65536)
    for suffix, limit in [("2.root.json", "512000"), ("timestamp.json", "16384")]:
        server = odd(c, suffix, endless)
        c.refuse("more than " + limit)
        server.stop()


def test_truncated_transfer(c):
    def half(handler, n):
        handler.send_response(200)
        handler.send_header("Content-Length", "5000")
        handler.end_headers()
        handler.wfile.write(b"{")
        handler.close_connection = True
        handler.connection.shutdown(socket.SHUT_RDWR)
    server = odd(c, "timestamp.json", half, timeout=4)
    network(c, 4, 7)
    server.stop()


def test_errors_then_success(c):
    def twice(handler, n):
        if n <= 2:
            handler.send_response([503, 429][n - 1])
            handler.send_header("Content-Length", "0")
            handler.end_headers()
        else:
            handler.answer((c.repo.folder / "metadata/timestamp.json").read_bytes())
    server = odd(c, "timestamp.json", twice)
    c.accept()
    same("requests", 3, server.requests)
    server.stop()


def test_missing_root_is_asked_for_once(c):
    server = odd(c, "2.root.json", lambda h, n: h.answer(None))
    c.accept()
    same("requests", 1, server.requests)
    server.stop()


def test_403_is_a_missing_root(c):
    """Object stores that do not let one list say so."""
    def forbidden(handler, n):
        handler.send_response(403)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
    server = odd(c, "2.root.json", forbidden)
    c.accept()
    server.stop()


def redirect(location):
    def answer(handler, n):
        handler.send_response(302)
        handler.send_header("Location", location)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
    return answer


def test_redirect_to_https(c):
    target = f"https://127.0.0.1:{c.server.port}/{c.folder.name}/r/metadata/timestamp.json"
    server = odd(c, "timestamp.json", redirect(target))
    c.accept()
    server.stop()


def test_redirect_to_another_protocol(c):
    for location in ["http://127.0.0.1:1/", "file:///etc/passwd"]:
        server = odd(c, "timestamp.json", redirect(location))
        same("exit", 1, c.fetch())
        same("result", "failed", c.report["result"])
        server.stop()


def test_redirects_without_end(c):
    server = odd(c, "timestamp.json", redirect("/metadata/timestamp.json"))
    same("exit", 1, c.fetch())
    same("requests", 4, server.requests)
    server.stop()


def main():
    global failures
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
        make_server_certificate(shared, "ca", "server", "IP:127.0.0.1,DNS:localhost")
        make_server_certificate(shared, "ca", "elsewhere", "DNS:elsewhere.example")
        server = Nginx(shared)
        for name, test in sorted(globals().items()):
            if not name.startswith("test_") or (args.names and name[5:] not in args.names):
                continue
            case = None
            try:
                case = Case(args.build.resolve(), shared, server)
                test(case)
                print(f"ok tuf/{name[5:]}", flush=True)
            except Exception as e:
                failures += 1
                why = f"{type(e).__name__} {e}".replace("\n", " ")
                print(f"not ok tuf/{name[5:]}: {why} {getattr(case, 'text', '')[-400:]!r}", flush=True)
    finally:
        if server:
            server.stop()
        shutil.rmtree(shared, ignore_errors=True)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()

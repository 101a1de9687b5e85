# SPDX-License-Identifier: LGPL-2.1-or-later
"""A TUF repository in memory, its web server on loopback and the client under test, for conformance.py.

What public conformance tests do, done by our own code: the client is a program behind the command line of docs/remediation.md,
"Conformance"; what it did is told from its exit code, its metadata folder, its targets' folder and the requests that came.
Signed with securesystemslib, not with the code under test.
"""
import argparse
import copy
import datetime
import hashlib
import http.server
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import urllib.parse

import securesystemslib.formats
import securesystemslib.keys

from tuf_repository import key_id, make_key, public, same

TOP = ["root", "timestamp", "snapshot", "targets"]
_pool = {}


def pooled_key(kind, number):
    """Keys are costly to make, so tests share them."""
    keys = _pool.setdefault(kind, [])
    while len(keys) <= number:
        keys.append(make_key(kind))
    return keys[number]


def utc(days=30, now=None):
    now = now or datetime.datetime.now(datetime.timezone.utc)
    return (now + datetime.timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")


class Raw(bytes):
    """A whole answer, with its status line and headers; the connection is closed after it."""


class Simulator:
    """signed[role] is what is signed by publish(); served[role] is the list of files that publish() made, by version."""

    def __init__(self, first_key=0):
        self.used = {"ed25519": first_key}
        self.signers = {}
        self.served = {}
        self.artifacts = {}
        self.requests = []
        self.target_requests = []
        self.with_hashes = False
        self.bodies = {}  # path: bytes, Raw, status or function
        self.signed = {role: {"_type": role, "spec_version": "1.0.31", "version": 1, "expires": utc()} for role in TOP}
        self.signed["root"].update(consistent_snapshot=True, keys={}, roles={r: {"keyids": [], "threshold": 1} for r in TOP})
        self.signed["timestamp"]["meta"] = {"snapshot.json": {"version": 1}}
        self.signed["snapshot"]["meta"] = {"targets.json": {"version": 1}}
        self.signed["targets"]["targets"] = {}
        for role in TOP:
            self.add_key(role)
        self.publish("targets", "snapshot", "timestamp", "root")

    @property
    def root(self):
        return self.signed["root"]

    def new_key(self, kind="ed25519"):
        self.used[kind] = self.used.get(kind, 0) + 1
        return copy.deepcopy(pooled_key(kind, self.used[kind] - 1))

    def entry(self, role, delegator="root"):
        if delegator == "root":
            return self.root["roles"][role]
        delegations = self.signed[delegator]["delegations"]
        return next((r for r in delegations.get("roles", []) if r["name"] == role), delegations.get("succinct_roles"))

    def add_key(self, role, delegator="root", key=None, more=None, keyid=None):
        """Lists a key for a role and signs with it from now on. more: further fields of the key."""
        key = key or self.new_key()
        listed = {**public(key), **(more or {})}
        keyid = keyid or key_id(listed)
        holder = self.root if delegator == "root" else self.signed[delegator]["delegations"]
        holder["keys"][keyid] = listed
        self.entry(role, delegator)["keyids"].append(keyid)
        self.signers.setdefault(role, {})[keyid] = key
        return keyid

    def rotate(self, role):
        self.root["roles"][role]["keyids"] = []
        self.signers[role] = {}
        for _ in range(self.root["roles"][role]["threshold"]):
            self.add_key(role)

    def sign(self, role, signed=None, signers=None):
        signed = signed or self.signed[role]
        data = securesystemslib.formats.encode_canonical(signed).encode()
        signatures = [{"keyid": keyid, "sig": securesystemslib.keys.create_signature(key, data)["sig"]}
                      for keyid, key in (self.signers[role] if signers is None else signers).items()]
        return json.dumps({"signatures": signatures, "signed": signed}, indent=1).encode()

    def about(self, role):
        entry = {"version": self.signed[role]["version"]}
        if self.with_hashes:
            data = self.served[role][-1]
            entry.update(length=len(data), hashes={"sha256": hashlib.sha256(data).hexdigest()})
        return entry

    def publish(self, *roles, bump=True):
        """The next version of each role, in this order; the one that names it is changed, not published."""
        for role in roles:
            if role in self.served and bump:
                self.signed[role]["version"] += 1
            self.served.setdefault(role, []).append(self.sign(role))
            if role == "snapshot":
                self.signed["timestamp"]["meta"]["snapshot.json"] = self.about(role)
            elif role not in ("root", "timestamp"):
                self.signed["snapshot"]["meta"][role + ".json"] = self.about(role)

    def publish_all(self, *more):
        self.publish(*more, "targets", "snapshot", "timestamp")

    def add_artifact(self, role, name, data, hashes=("sha256",)):
        self.artifacts[name] = data
        self.signed[role]["targets"][name] = {"length": len(data), "hashes": {h: hashlib.new(h, data).hexdigest() for h in hashes}}

    def delegate(self, delegator, role, paths=("*",), terminating=False, threshold=1, key=None, prefixes=None):
        delegations = self.signed[delegator].setdefault("delegations", {"keys": {}, "roles": []})
        entry = {"name": role, "keyids": [], "threshold": threshold, "terminating": terminating}
        entry.update({"path_hash_prefixes": list(prefixes)} if prefixes is not None else {"paths": list(paths)})
        delegations["roles"].append(entry)
        if role not in self.signed:
            self.signed[role] = {"_type": "targets", "spec_version": "1.0.31", "version": 1, "expires": utc(), "targets": {}}
        self.add_key(role, delegator, key)
        return entry

    def delegate_bins(self, delegator, bits, prefix):
        self.signed[delegator]["delegations"] = {
            "keys": {}, "succinct_roles": {"keyids": [], "threshold": 1, "bit_length": bits, "name_prefix": prefix}}
        self.add_key(prefix, delegator)
        width = len(f"{2 ** bits - 1:x}")
        names = [f"{prefix}-{i:0{width}x}" for i in range(2 ** bits)]
        for name in names:
            self.signed[name] = {"_type": "targets", "spec_version": "1.0.31", "version": 1, "expires": utc(), "targets": {}}
            self.signers[name] = self.signers[prefix]
        return names

    # --- what the server answers: bytes, Raw, or a status

    def answer(self, path):
        if path in self.bodies:
            body = self.bodies[path]
            return body() if callable(body) else body
        folder, _, rest = path.partition("/")
        if folder == "metadata" and rest.endswith(".json"):
            return self.answer_metadata(rest[:-5])
        if folder == "targets":
            directory, _, base = rest.rpartition("/")
            prefix = None
            if self.root["consistent_snapshot"]:
                prefix, _, base = base.partition(".")
            name = urllib.parse.unquote(f"{directory}/{base}" if directory else base)
            self.target_requests.append((name, prefix))
            data = self.artifacts.get(name)
            hashes = [h for s in self.signed.values() for h in s.get("targets", {}).get(name, {}).get("hashes", {}).values()]
            return data if data is not None and (prefix is None or prefix in hashes) else 404
        return 404

    def answer_metadata(self, name):
        version, _, role = name.partition(".")
        if name == "timestamp" or not (role == "root" or self.root["consistent_snapshot"]):
            version, role = None, name
        self.requests.append((role, int(version) if version is not None else None))
        versions = self.served.get(urllib.parse.unquote(role), [])
        if version is None:
            return versions[-1] if versions else 404
        return versions[int(version) - 1] if 0 < int(version) <= len(versions) else 404


class Server:
    def __init__(self):
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                case, _, path = self.path.lstrip("/").partition("/")
                try:
                    answer = server.simulators[case].answer(path)
                except Exception as e:  # shown by the test that sees a 500
                    answer = 500
                    print(f"# {self.path}: {e}", flush=True)
                if isinstance(answer, int):
                    self.send_error(answer)
                    return
                if isinstance(answer, Raw):
                    self.wfile.write(answer)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *args):
                pass

        self.simulators = {}
        http.server.ThreadingHTTPServer.handle_error = lambda *args: None  # a client that has had enough
        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def url(self, name):
        return f"http://127.0.0.1:{self.http.server_port}/{name}"

    def stop(self):
        self.http.shutdown()
        self.http.server_close()


class Client:
    """The program under test with its folders, and a repository of its own."""

    def __init__(self, program, server, name, folder):
        self.program, self.name = [program], name
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"{name}-", dir=folder))
        self.metadata, self.targets = self.folder / "metadata", self.folder / "targets"
        self.metadata.mkdir()
        self.targets.mkdir()
        self.repo = server.simulators[name] = Simulator()
        self.url = server.url(name)
        self.text = ""

    def run(self, *arguments, days=0):
        fake = ["faketime", "-f", f"+{days}d"] if days else []
        env = {**os.environ, "ASAN_OPTIONS": "verify_asan_link_order=0"} if days else None  # faketime is loaded before it
        done = subprocess.run([*fake, *self.program, *arguments], capture_output=True, text=True, timeout=60, env=env)
        self.text = done.stderr
        return done.returncode

    def init(self, root=None):
        path = self.folder / "initial_root.json"
        path.write_bytes(root or self.repo.served["root"][0])
        return self.run("--metadata-dir", self.metadata, "init", path)

    def refresh(self, **kwargs):
        return self.run("--metadata-url", self.url + "/metadata/", "--metadata-dir", self.metadata, "refresh", **kwargs)

    def download(self, *names, **kwargs):
        wanted = [argument for name in names for argument in ("--target-name", name)]
        return self.run("--metadata-url", self.url + "/metadata/", "--metadata-dir", self.metadata, *wanted, "--target-dir", self.targets,
                        "--target-base-url", self.url + "/targets/", "download", **kwargs)

    # --- what is looked at

    def good(self, result, *words):
        same(f"exit ({self.text[-300:]!r})", 0, result)

    def bad(self, result, *words):
        same(f"exit ({self.text[-300:]!r})", 1, result)
        for word in words:
            same(f"'{word}' in {self.text!r}", True, word in self.text)

    def stays(self, *words):
        """The run fails, the timestamp stays that of before, and a good next repository is taken."""
        before = self.kept("timestamp")
        self.bad(self.refresh(), *words)
        same("kept", before, self.kept("timestamp"))
        self.repo.bodies = {}
        self.repo.publish("root", "targets", "snapshot", "timestamp")
        self.good(self.refresh())
        same("then", [self.repo.served[role][-1] for role in TOP], [self.kept(role) for role in TOP])

    def start(self):
        self.good(self.init())
        self.good(self.refresh())

    def trusted(self):
        return {urllib.parse.unquote(p.name[:-5]): json.loads(p.read_text())["signed"]["version"]
                for p in self.metadata.iterdir() if p.name.endswith(".json")}

    def kept(self, role):
        path = self.metadata / (urllib.parse.quote(role, "") + ".json")
        return path.read_bytes() if path.exists() else None

    def downloaded(self):
        return [p.read_bytes() for p in sorted(self.targets.rglob("*"), key=lambda p: p.stat().st_mtime_ns) if p.is_file()]

    def versions(self, **expected):
        same("trusted", expected, self.trusted())

    def everything(self):
        return [str(p.relative_to(self.folder)) for p in sorted(self.folder.rglob("*"))]


def main(kind, tests):
    """Runs the test_ functions of a script, or those named on the command line; each of test_x.cases is one of its own."""
    parser = argparse.ArgumentParser()
    parser.add_argument("-B", dest="build", type=pathlib.Path, required=True)
    parser.add_argument("--client", type=pathlib.Path, help="another client behind the same command line")
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    program = (args.client or args.build / "tests/tuf-client").resolve()
    failures = 0
    server = Server()
    with tempfile.TemporaryDirectory(prefix="qmr-conformance-") as folder:
        for name, test in sorted(tests.items()):
            if not name.startswith("test_") or (args.names and name[5:] not in args.names):
                continue
            for case in getattr(test, "cases", [None]):
                case_name = ascii(case[0] if isinstance(case, tuple) else case).strip("'")[:40]
                label = name[5:] + (f"[{case_name}]" if case is not None else "")
                client = Client(program, server, f"t{len(server.simulators)}", folder)
                try:
                    test(client) if case is None else test(client, case)
                    print(f"ok {kind}/{label}", flush=True)
                except Exception as e:
                    failures += 1
                    why = f"{type(e).__name__} {e}".replace("\n", " ")
                    print(f"not ok {kind}/{label}: {why} {client.text[-300:]!r}", flush=True)
    server.stop()
    sys.exit(1 if failures else 0)


def cases(*values):
    def mark(test):
        test.cases = values
        return test
    return mark

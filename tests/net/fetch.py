#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""remediation-fetch and what is around the verification: kept metadata, servers that misbehave, privilege.
Usage: fetch.py -B BUILD [NAME ...]
"""
import json
import os
import pathlib
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time

sys.dont_write_bytecode = True
from servers import Odd, free_port, own_address  # noqa: E402
from tuf_repository import ROLES, Repository, main, make_key, next_root, plan, same, start  # noqa: E402


class Names:
    """A name server for one name; counts what it was asked. Its port cannot be chosen, so its address is one of its own."""

    def __init__(self, name):
        self.asked, self.address = 0, own_address()
        question = b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0"
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((self.address, 53))

        def serve():
            while True:
                try:
                    query, client = self.socket.recvfrom(512)
                except OSError:
                    return
                self.asked += 1
                end = query.index(b"\0", 12) + 5
                is_a = query[12:end - 4] == question and query[end - 4:end - 2] == b"\0\1"
                record = b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4\x7f\0\0\1"
                self.socket.sendto(query[:2] + b"\x81\x80\0\1" + (b"\0\1" if is_a else b"\0\0") + b"\0\0\0\0"
                                   + query[12:end] + (record if is_a else b""), client)
        threading.Thread(target=serve, daemon=True).start()


def copy_into(root, path):
    target = root / str(path).lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, target)


def test_in_a_bare_root(c):
    """As in the recovery image: no users, no nsswitch.conf, a resolv.conf that a hook wrote, a name to resolve."""
    program = c.build / "remediation-fetch"
    # A program with sanitizers needs /proc to end.
    if os.geteuid() != 0 or b"__asan_init" in program.read_bytes():
        return
    start(c)
    c.configure(f"https://repository.qmr.test:{c.server.port}/{c.folder.name}/r")
    names = Names("repository.qmr.test")
    bare = c.folder / "bare"
    libraries = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    for word in libraries.split():
        if word.startswith("/"):
            copy_into(bare, word)
    for path in [program, c.folder / "qmr.conf", c.folder / "root.json", c.folder / "incident.json", c.shared / "ca.pem"]:
        copy_into(bare, path)
    (bare / "etc").mkdir()
    (bare / "etc/resolv.conf").write_text(f"nameserver {names.address}\n")
    (bare / "dev").mkdir()
    os.mknod(bare / "dev/null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    (bare / str(c.out).lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
    c.out.symlink_to(bare / str(c.out).lstrip("/"))
    same("exit", 0, c.fetch(preexec_fn=lambda: os.chroot(bare), env={}))
    same("plans", ["01-fix.json"], c.plans())
    same("asked for the name", True, names.asked > 0)
    names.socket.close()


def test_unprivileged(c):
    if os.geteuid() != 0:
        return
    start(c)
    for folder in [c.out, c.metadata]:
        folder.mkdir()
        os.chown(folder, 12345, 12345)
    same("exit", 0, c.fetch(user=12345, group=12345, extra_groups=[]))
    same("plans", ["01-fix.json"], c.plans())


def publish(c, *argv, code=0):
    keys = c.folder / "keys"
    done = subprocess.run([c.build / "qmr-publish", *argv, "--repository", c.folder / "published", "--keys", keys,
                           "--passphrase-file", c.folder / "passphrase"], capture_output=True, text=True)
    same(f"qmr-publish {argv[0]} ({done.stderr.strip()})", code, done.returncode)


def test_hold(c):
    """The owner stops the fleet; a machine that reaches nobody afterwards is stopped too, until it reaches the owner again."""
    (c.folder / "passphrase").write_text("correct horse\n")
    os.chmod(c.folder / "passphrase", 0o600)
    publish(c, "init")
    c.trust((c.folder / "published/metadata/1.root.json").read_bytes())
    c.configure(f"https://127.0.0.1:{c.server.port}/{c.folder.name}/published")
    hold = {"schema": 1, "id": "stop", "title": "all hands off", "hold": True}
    (c.folder / "10-fix.json").write_bytes(plan("fix"))
    (c.folder / "00-stop.json").write_text(json.dumps(hold))
    publish(c, "add", c.folder / "10-fix.json")
    same("exit", 0, c.fetch())
    publish(c, "add", c.folder / "00-stop.json")
    same("exit under a hold", 3, c.fetch())
    same("plans under a hold", ["hold.json"], c.plans())
    same("hold", "stop", json.loads((c.out / "hold.json").read_text())["id"])
    same("report", {"id": "stop", "title": "all hands off"}, json.loads((c.out / "fetch.json").read_text())["hold"])
    url = f"https://127.0.0.1:{c.server.port}/{c.folder.name}/published"
    c.configure(f"https://127.0.0.1:{free_port()}/nobody")
    same("exit without a network", True, c.fetch() != 0)
    same("the hold goes on", "stop", json.loads((c.out / "hold.json").read_text())["id"])
    c.configure(url)
    publish(c, "remove", "00-stop.json")
    same("exit after the hold", 0, c.fetch())
    same("no hold", False, (c.out / "hold.json").exists() or (c.metadata / "hold").exists())
    same("plans after the hold", ["01-fix.json"], c.plans())


def test_a_hold_among_too_many_plans(c):
    c.repo.targets = {f"plans/{n:03}.json": plan(f"p{n}") for n in range(300)}
    c.repo.targets["plans/hold-all.json"] = json.dumps({"schema": 1, "id": "stop", "title": "all hands off", "hold": True}).encode()
    start(c)
    same("exit", 3, c.fetch())
    same("plans", ["hold.json"], c.plans())


def test_what_the_owner_publishes(c):
    """qmr-publish on one side, remediation-fetch on the other: plans come, change and go, and every key is replaced."""
    (c.folder / "passphrase").write_text("correct horse\n")
    os.chmod(c.folder / "passphrase", 0o600)
    publish(c, "init")
    root = json.loads((c.folder / "published/metadata/1.root.json").read_bytes())
    c.trust(json.dumps(root).encode())
    c.configure(f"https://127.0.0.1:{c.server.port}/{c.folder.name}/published")
    same("exit", 3, c.fetch())
    for name in ["10-fix", "20-more"]:
        (c.folder / f"{name}.json").write_bytes(plan(name))
        publish(c, "add", c.folder / f"{name}.json")
    c.accept(["01-10-fix.json", "02-20-more.json"])
    # As its author wrote it, but for when it was published.
    content = json.loads((c.out / "01-10-fix.json").read_bytes())
    same("time", 20, len(content.pop("published")))
    same("content", json.loads(plan("10-fix")), content)
    for role in ROLES:
        publish(c, "rotate", role, "--replace", root["signed"]["roles"][role]["keyids"][0])
        c.accept(["01-10-fix.json", "02-20-more.json"])
    same("roots", len(ROLES) + 1, c.report["versions"]["root"])
    publish(c, "remove", "10-fix.json")
    c.accept(["01-20-more.json"])


# --- what is kept ---

def test_damaged_cache(c):
    start(c)
    next_root(c)
    c.accept()
    for path in c.metadata.rglob("*.json"):
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
    (c.metadata / "root_history").mkdir()
    (c.metadata / "root_history/2.root.json").write_bytes(data["root"])
    (c.metadata / "timestamp.json").write_bytes(data["timestamp"])
    (c.metadata / "snapshot.json").symlink_to("/etc/passwd")
    (c.metadata / "targets.json").symlink_to(c.folder / "root.json")
    c.accept()
    same("replaced", (2, 1, 1, 1), tuple(c.kept(role) for role in ROLES))
    same("no link was followed", "root", json.loads((c.folder / "root.json").read_text())["signed"]["_type"])


def test_cache_leads_nowhere(c):
    """The folder of roots is a link to another folder: nothing is read or written there."""
    start(c)
    next_root(c)
    outside = c.folder / "outside"
    outside.mkdir()
    c.metadata.mkdir()
    (c.metadata / "root_history").symlink_to(outside)
    c.accept()
    same("outside", [], list(outside.iterdir()))


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


def test_trust_through_links(c):
    """Where the owner's CA is that of the system, ca.pem is a link."""
    start(c)
    (c.folder / "root.json").rename(c.folder / "real.json")
    (c.folder / "root.json").symlink_to("real.json")
    (c.shared / "link.pem").symlink_to("ca.pem")
    c.configure(f"https://127.0.0.1:{c.server.port}/{c.folder.name}/r", ca="link")
    c.accept()


def test_missing_trust(c):
    start(c)
    c.configure(f"https://127.0.0.1:{c.server.port}/{c.folder.name}/r", ca="missing")
    same("exit", 1, c.fetch())
    same("said", True, "missing.pem" in c.report["error"])
    (c.folder / "root.json").unlink()
    c.configure(f"https://127.0.0.1:{c.server.port}/{c.folder.name}/r")
    same("exit", 1, c.fetch())
    same("report", ("failed", True), (c.report["result"], "root.json" in c.report["error"]))
    same("no request", [], c.requests())


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


class Stalled:
    """A run whose server has accepted a request and says nothing; child is the process that downloads."""

    def __init__(self, c):
        self.reached = threading.Event()

        def stall(handler, n):
            self.reached.set()
            time.sleep(30)
        self.server = odd(c, "timestamp.json", stall)
        self.result = []
        self.thread = threading.Thread(target=lambda: self.result.append(c.fetch()))
        self.thread.start()
        if not self.reached.wait(20):
            raise AssertionError("no request came")
        self.child = next(int(p.name) for p in pathlib.Path("/proc").iterdir() if p.name.isdigit()
                          and str(c.folder).encode() in self.read(p / "cmdline")
                          and f"\nPPid:\t{os.getpid()}\n".encode() not in self.read(p / "status"))

    @staticmethod
    def read(path):
        try:
            return path.read_bytes()
        except OSError:
            return b""

    def end(self):
        if pathlib.Path(f"/proc/{self.child}").exists():
            os.kill(self.child, signal.SIGKILL)
        self.thread.join(20)
        self.server.stop()
        return self.result[0]


def test_downloads_are_sandboxed(c):
    """The process that talks to the server, while it does: what tests/unit/test-tuf-sandbox.c tests is really in force."""
    run = Stalled(c)
    status = dict(line.split(":\t", 1) for line in pathlib.Path(f"/proc/{run.child}/status").read_text().splitlines())
    files = []
    if os.geteuid() == 0:  # others may not look into a process that cannot be dumped
        files = [os.readlink(p) for p in pathlib.Path(f"/proc/{run.child}/fd").iterdir()]
    run.end()
    same("filter, capabilities, new privileges", ("2", "0" * 16, "1"),
         (status["Seccomp"], status["CapEff"], status["NoNewPrivs"]))
    if os.geteuid() != 0:
        return
    same("user, group", ("65533\t" * 4, "65533\t" * 4), (status["Uid"] + "\t", status["Gid"] + "\t"))
    same("open", ["/dev/null", "pipe", "socket"],
         sorted({f.split(":")[0] for f in files if not f.startswith("anon_inode:")}))


def test_a_child_that_dies(c):
    run = Stalled(c)
    same("exit", 1, run.end())
    same("said", True, "died of signal 9" in c.report["error"])
    same("result", ("failed", []), (c.report["result"], c.plans()))


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


if __name__ == "__main__":
    main("fetch", globals())

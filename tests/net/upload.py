#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""diag-upload against real servers on loopback: nginx with DAV, and one that misbehaves. Usage: upload.py -B BUILD"""
import argparse
import hashlib
import http.server
import json
import os
import pathlib
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
from servers import HttpProxy, Nginx, free_port  # noqa: E402

ID = "5f0c1d2e-0000-4000-8000-00000000beef"
NAME = ID + ".tar.zst.cms"
OOPS = "BUG: kernel NULL pointer dereference, address: 0000000000000010"
failures = 0


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


def make_recipient(folder, name, *key):
    run("openssl", "req", "-x509", "-newkey", *key, "-nodes", "-days", "2", "-subj", f"/CN={name}",
        "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem")


def nginx(folder, certificate):
    """Debian's nginx with DAV and TLS, as the README recommends it."""
    os.chmod(folder, 0o755)
    return Nginx(folder, certificate, more="client_max_body_size 200m; "
                 "location / { dav_methods PUT; create_full_put_path off; limit_except PUT { deny all; } }")


class Odd:
    """Answers each PUT with the next entry of a script; the last one repeats."""

    def __init__(self, certificate, script, exists=False):
        self.requests, self.bodies, self.headers = 0, [], []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def do_HEAD(self):
                self.send_response(200 if exists else 404)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def do_PUT(self):
                step = script[min(outer.requests, len(script) - 1)]
                outer.requests += 1
                outer.headers.append(dict(self.headers))
                if step == "close":
                    self.rfile.read(100)
                    self.connection.shutdown(socket.SHUT_RDWR)
                    self.close_connection = True
                    return
                if step == "stall":
                    time.sleep(60)
                    return
                outer.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(step)
                if step == 302:
                    self.send_header("Location", "https://127.0.0.1:1/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(f"{certificate}.pem", f"{certificate}.key")
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *args: None
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


class Machine:
    """An incident folder, a spool and a configuration; everything below one temporary folder."""

    def __init__(self, build, keys):
        self.build, self.keys = build, keys
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="case-", dir=keys))
        self.incident = self.folder / "incident"
        self.spool = self.folder / "spool"
        (self.incident / "dumps").mkdir(parents=True)
        (self.incident / "records").mkdir()
        (self.incident / "incident.json").write_text(json.dumps({"schema": 1, "id": ID, "kind": "panic"}))
        (self.incident / "dumps/001.txt").write_text(f"<1>[    7.1] {OOPS}\n" + "log line\n" * 2000)
        (self.incident / "records/dmesg-efi-179000000001001").write_bytes(os.urandom(70000))
        (self.incident / "secret.key").write_text("must stay here")
        (self.incident / "dumps/leak.txt").symlink_to("/etc/passwd")

    def configure(self, url, ca="ca", certificate="rsa", timeout=20):
        (self.folder / "qmr.conf").write_text(
            f"[upload]\nurl = {url}\ncertificate = {self.keys}/{certificate}.pem\n"
            f"[network]\nca = {self.keys}/{ca}.pem\ntransfer_timeout = {timeout}\n")

    def argv(self, *more):
        return [self.build / "diag-upload", "send", *more, "--config", self.folder / "qmr.conf"]

    def send(self, *more):
        if not more:
            more = ("--incident", self.incident, "--spool", self.spool)
        done = subprocess.run(self.argv(*more), capture_output=True, text=True, timeout=120)
        self.text = done.stderr
        return done.returncode

    def upload(self):
        return json.loads((self.incident / "upload.json").read_text())

    def spooled(self):
        return sorted(p.name for p in self.spool.iterdir()) if self.spool.exists() else []

    def unpack(self, bundle, key="rsa"):
        out = pathlib.Path(tempfile.mkdtemp(prefix="out-", dir=self.folder))
        run("sh", "-c", f"openssl cms -decrypt -inform DER -inkey '{self.keys}/{key}.key' -in '{bundle}' "
            f"| tar --zstd -x -C '{out}'")
        return out


def same(what, expected, found):
    if expected != found:
        raise AssertionError(f"{what}: expected {expected!r}, found {found!r}")


def check_unpacked(out):
    same("dump", True, OOPS in (out / ID / "dumps/001.txt").read_text())
    same("files", ["dumps", "dumps/001.txt", "incident.json", "records", "records/dmesg-efi-179000000001001"],
         sorted(str(p.relative_to(out / ID)) for p in (out / ID).rglob("*")))


def with_nginx(m, **kwargs):
    folder = m.folder / "nginx"
    folder.mkdir()
    server = nginx(folder, m.keys / "server")
    m.configure(f"https://127.0.0.1:{server.port}/", **kwargs)
    return server


def test_sent_and_decrypts(m):
    for path in [m.keys, m.folder]:
        os.chmod(path, 0o755)
    server = with_nginx(m)
    try:
        same("exit", 0, m.send())
    finally:
        server.stop()
    stored = server.store / NAME
    data = stored.read_bytes()
    same("no plain text", False, OOPS.encode() in data)
    same("upload.json", ("sent", hashlib.sha256(data).hexdigest(), len(data), None),
         tuple(m.upload().get(k) for k in ("result", "bundle_sha256", "bytes", "error")))
    text = run("openssl", "cms", "-cmsout", "-print", "-noout", "-inform", "DER", "-in", stored).stdout.decode()
    same("AuthEnvelopedData", True, "id-smime-ct-authEnvelopedData" in text and "aes-256-gcm" in text)
    same("OAEP", True, "rsaesOaep" in text)
    check_unpacked(m.unpack(stored))
    same("spool", [], m.spooled())


def test_ec_certificate(m):
    server = with_nginx(m, certificate="ec")
    try:
        same("exit", 0, m.send())
    finally:
        server.stop()
    check_unpacked(m.unpack(server.store / NAME, "ec"))


def test_tampered_bundle_does_not_decrypt(m):
    m.configure("https://127.0.0.1:1/")
    out = m.folder / "b.cms"
    subprocess.run([m.build / "diag-upload", "pack", "--incident", m.incident, "--out", out, "--config",
                    m.folder / "qmr.conf"], check=True)
    check_unpacked(m.unpack(out))
    data = bytearray(out.read_bytes())
    data[-40] ^= 1
    out.write_bytes(data)
    done = subprocess.run(["openssl", "cms", "-decrypt", "-inform", "DER", "-inkey", m.keys / "rsa.key", "-in", out,
                           "-out", "/dev/null"], capture_output=True)
    same("refused", True, done.returncode != 0)


def test_wrong_ca_refused(m):
    server = Odd(m.keys / "server", [201])
    m.configure(f"https://127.0.0.1:{server.port}", ca="other")
    same("exit", 4, m.send())
    server.stop()
    same("requests", 0, server.requests)
    same("spool", [NAME], m.spooled())


def test_wrong_host_refused(m):
    server = Odd(m.keys / "elsewhere", [201])
    m.configure(f"https://127.0.0.1:{server.port}")
    same("exit", 4, m.send())
    server.stop()
    same("requests", 0, server.requests)


def test_plain_http_refused(m):
    m.configure("http://127.0.0.1:1/")
    same("exit", 2, m.send())
    same("says why", True, "https" in m.text)


def test_through_a_proxy_with_a_user(m):
    """The secret is the system's, outside of the configuration."""
    for path in [m.keys, m.folder]:
        os.chmod(path, 0o755)
    secrets = m.folder / "root/etc/qmr/secrets"
    secrets.mkdir(parents=True)
    (secrets / "proxy-user").write_text("recovery:s3cret\n")
    (secrets / "proxy-user").chmod(0o600)
    proxy = HttpProxy(m.folder, "recovery s3cret")
    server = with_nginx(m)
    with open(m.folder / "qmr.conf", "a") as conf:
        conf.write(f"proxy = http://127.0.0.1:{proxy.port}\n")
    try:
        options = ("--incident", m.incident, "--spool", m.spool, "--root", m.folder / "root")
        same("exit", 0, m.send(*options))
        same("asked", True, f"CONNECT 127.0.0.1:" in proxy.log.read_text())
        (server.store / NAME).unlink()
        (secrets / "proxy-user").chmod(0o604)
        (m.folder / "qmr.conf").write_text((m.folder / "qmr.conf").read_text().replace("transfer_timeout = 20", "transfer_timeout = 2"))
        same("without a user", True, m.send(*options) != 0)
        same("said", True, "nobody but root may open a secret" in m.text)
        same("it waits", [NAME], m.spooled())
    finally:
        server.stop()
        proxy.stop()


def test_missing_ca_is_refused(m):
    m.configure("https://127.0.0.1:1/", ca="missing")
    same("exit", 4, m.send())
    same("named", True, "missing.pem" in m.text)
    same("it waits", [NAME], m.spooled())


def test_403_is_final(m):
    server = Odd(m.keys / "server", [403, 201])
    m.configure(f"https://127.0.0.1:{server.port}")
    same("exit", 1, m.send())
    server.stop()
    same("requests", 1, server.requests)
    same("spool", [NAME], m.spooled())
    same("upload.json", ("spooled", True), (m.upload()["result"], "403" in m.upload()["error"]))


def test_redirect_not_followed(m):
    server = Odd(m.keys / "server", [302])
    m.configure(f"https://127.0.0.1:{server.port}")
    same("exit", 1, m.send())
    server.stop()
    same("requests", 1, server.requests)


def test_500_then_success(m):
    server = Odd(m.keys / "server", [500, 503, 429, 201])
    m.configure(f"https://127.0.0.1:{server.port}/in")
    same("exit", 0, m.send())
    server.stop()
    same("requests", 4, server.requests)
    same("header", "*", server.headers[-1].get("If-None-Match"))
    same("same bytes each time", 1, len(set(server.bodies)))


def test_500_for_ever(m):
    server = Odd(m.keys / "server", [500])
    m.configure(f"https://127.0.0.1:{server.port}", timeout=4)
    begin = time.monotonic()
    same("exit", 5, m.send())
    same("in time", True, time.monotonic() - begin < 8)
    same("requests, bounded", True, 2 <= server.requests <= 5)
    server.stop()
    same("spool", [NAME], m.spooled())


def test_stalled_server(m):
    server = Odd(m.keys / "server", ["stall"])
    m.configure(f"https://127.0.0.1:{server.port}", timeout=8)
    begin = time.monotonic()
    same("exit", 5, m.send())
    same("in time", True, time.monotonic() - begin < 14)
    server.stop()
    same("spool", [NAME], m.spooled())


def test_stalled_once(m):
    server = Odd(m.keys / "server", ["stall", 201])
    m.configure(f"https://127.0.0.1:{server.port}", timeout=12)
    same("exit", 0, m.send())
    server.stop()
    same("requests", 2, server.requests)


def test_closed_midway(m):
    server = Odd(m.keys / "server", ["close", 201])
    m.configure(f"https://127.0.0.1:{server.port}")
    same("exit", 0, m.send())
    server.stop()
    bundle = m.folder / "b.cms"
    bundle.write_bytes(server.bodies[-1])
    check_unpacked(m.unpack(bundle))


def test_down_then_spool_sent(m):
    port = free_port()
    m.configure(f"https://127.0.0.1:{port}", timeout=3)
    same("exit", 5, m.send())
    same("spool", [NAME], m.spooled())
    same("upload.json", "spooled", m.upload()["result"])
    same("mode", 0o600, (m.spool / NAME).stat().st_mode & 0o777)
    same("spool while down", 5, m.send("--spool", m.spool))
    same("spool kept", [NAME], m.spooled())
    server = Odd(m.keys / "server", [201])
    m.configure(f"https://127.0.0.1:{server.port}")
    (m.spool / "not-a-bundle").write_text("x")
    same("spool sent", 0, m.send("--spool", m.spool))
    server.stop()
    same("only the other file", ["not-a-bundle"], m.spooled())
    bundle = m.folder / "b.cms"
    bundle.write_bytes(server.bodies[-1])
    check_unpacked(m.unpack(bundle))
    same("nothing left", 3, m.send("--spool", m.spool))


def test_success_sends_what_waited(m):
    m.spool.mkdir()
    old = "00000000-0000-4000-8000-000000000001.tar.zst.cms"
    (m.spool / old).write_bytes(b"older bundle")
    (m.spool / NAME).write_bytes(b"the same incident, earlier")
    server = Odd(m.keys / "server", [201])
    m.configure(f"https://127.0.0.1:{server.port}")
    same("exit", 0, m.send())
    server.stop()
    same("requests", 2, server.requests)
    same("spool", [], m.spooled())


def test_spool_is_bounded(m):
    m.spool.mkdir()
    for i in range(20):
        path = m.spool / f"00000000-0000-4000-8000-0000000000{i:02x}.tar.zst.cms"
        path.write_bytes(b"x")
        os.utime(path, (1000 + i, 1000 + i))
    m.configure(f"https://127.0.0.1:{free_port()}", timeout=2)
    same("exit", 5, m.send())
    names = m.spooled()
    same("count", 16, len(names))
    same("newest kept", True, NAME in names and "00000000-0000-4000-8000-000000000013.tar.zst.cms" in names)


def test_already_there(m):
    server = Odd(m.keys / "server", [412])
    m.configure(f"https://127.0.0.1:{server.port}")
    same("exit", 0, m.send())
    server.stop()
    same("upload.json", "sent", m.upload()["result"])
    same("spool", [], m.spooled())


def test_conflict_with_file_there(m):
    server = Odd(m.keys / "server", [409], exists=True)
    m.configure(f"https://127.0.0.1:{server.port}")
    same("exit", 0, m.send())
    server.stop()


def test_conflict_without_file(m):
    server = Odd(m.keys / "server", [409], exists=False)
    m.configure(f"https://127.0.0.1:{server.port}")
    same("exit", 1, m.send())
    server.stop()
    same("says so", True, "409" in m.upload()["error"])
    same("spool", [NAME], m.spooled())


def test_nginx_without_folder(m):
    server = with_nginx(m, timeout=3)
    path = m.folder / "qmr.conf"
    path.write_text(path.read_text().replace("/\n", "/missing/folder\n", 1))
    try:
        same("not sent", True, m.send() in (1, 5))
    finally:
        server.stop()
    same("spool", [NAME], m.spooled())


def test_killed_midway_is_spooled(m):
    server = Odd(m.keys / "server", ["stall"])
    m.configure(f"https://127.0.0.1:{server.port}", timeout=60)
    process = subprocess.Popen(m.argv("--incident", m.incident, "--spool", m.spool), stderr=subprocess.DEVNULL)
    for _ in range(200):
        if server.requests:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    server.stop()
    same("spool", [NAME], m.spooled())
    same("upload.json", "spooled", m.upload()["result"])


def test_no_url_is_nothing(m):
    (m.folder / "qmr.conf").write_text("[upload]\n")
    same("exit", 3, m.send())


def test_no_certificate_is_refused(m):
    server = Odd(m.keys / "server", [201])
    m.configure(f"https://127.0.0.1:{server.port}", certificate="missing")
    same("exit", 4, m.send())
    server.stop()
    same("requests", 0, server.requests)


def test_weak_key_is_refused(m):
    m.configure("https://127.0.0.1:1/", certificate="weak")
    same("exit", 4, m.send())


def main():
    global failures
    parser = argparse.ArgumentParser()
    parser.add_argument("-B", dest="build", type=pathlib.Path, required=True)
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    keys = pathlib.Path(tempfile.mkdtemp(prefix="qmr-upload-"))
    try:
        make_ca(keys, "ca")
        make_ca(keys, "other")
        make_server_certificate(keys, "ca", "server", "IP:127.0.0.1")
        make_server_certificate(keys, "ca", "elsewhere", "DNS:elsewhere.example")
        make_recipient(keys, "rsa", "rsa:2048")
        make_recipient(keys, "weak", "rsa:1024")
        make_recipient(keys, "ec", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
        for name, test in sorted(globals().items()):
            if not name.startswith("test_") or (args.names and name[5:] not in args.names):
                continue
            machine = Machine(args.build.resolve(), keys)
            try:
                test(machine)
                print(f"ok upload/{name[5:]}", flush=True)
            except Exception as e:
                failures += 1
                why = f"{e}".replace("\n", " ")
                print(f"not ok upload/{name[5:]}: {why} {getattr(machine, 'text', '')[-300:]!r}", flush=True)
    finally:
        shutil.rmtree(keys, ignore_errors=True)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: LGPL-2.1-or-later
"""Servers, those that misbehave, and proxies, for all scripts here."""
import http.server
import os
import pathlib
import pwd
import select
import socket
import ssl
import subprocess
import tempfile
import threading
import time


_held = []


def free_port():
    """A port of 127.0.0.1 that nobody else is given while this process lives: it stays bound, but does not listen, so that a server which sets
    SO_REUSEADDR, as all of these do, can listen on it, and connections are refused as long as none does."""
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", 0))
    _held.append(holder)
    return holder.getsockname()[1]


def own_address():
    """A loopback address that no other process's test uses, for a service whose port is fixed."""
    pid = os.getpid()  # 22 bits
    return f"127.{64 + (pid >> 16)}.{pid >> 8 & 255}.{pid & 255}"


def wait_for(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("what was waited for did not come")
        time.sleep(0.02)


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


class Odd:
    """Serves a folder, but answers paths that end in suffix by odd(handler, number of the request)."""

    def __init__(self, certificate, folder, suffix, odd):
        self.requests = 0
        self.times = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def do_GET(self):
                if self.path.endswith(suffix):
                    outer.requests += 1
                    outer.times.append(time.monotonic())
                    odd(self, outer.requests)
                    return
                path = folder / self.path.lstrip("/")
                self.answer(path.read_bytes() if path.is_file() else None)

            def refuse(self, status, **headers):
                self.send_response(status)
                for name, value in {"Content-Length": "0", **headers}.items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()

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


class Program:
    """A server that is a program of its own."""

    def __init__(self, port, *argv):
        self.port = port
        with tempfile.TemporaryFile("w+") as errors:
            self.process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=errors)
            wait_for(lambda: listens(port) or self.process.poll() is not None)
            if self.process.returncode is not None:
                errors.seek(0)
                raise RuntimeError(f"{argv[0]} did not start: {errors.read()}")

    def stop(self):
        self.process.terminate()
        self.process.wait(10)


class HttpProxy(Program):
    """tinyproxy; log: what it was asked for."""

    def __init__(self, folder, user=None):
        port = free_port()
        self.log = folder / f"tinyproxy-{port}.log"
        conf = folder / f"tinyproxy-{port}.conf"
        nobody = pwd.getpwnam("nobody")
        self.log.touch()
        self.log.chmod(0o666)
        conf.write_text(f"User {nobody.pw_uid}\nGroup {nobody.pw_gid}\nPort {port}\nListen 127.0.0.1\nAllow 127.0.0.1\n"
                        f'LogFile "{self.log}"\nLogLevel Connect\n' + (f"BasicAuth {user}\n" if user else ""))
        super().__init__(port, "tinyproxy", "-d", "-c", conf)


class SocksProxy(Program):
    """microsocks."""

    def __init__(self, *options):
        port = free_port()
        super().__init__(port, "microsocks", "-i", "127.0.0.1", "-p", str(port), *options)


class TlsProxy:
    """CONNECT inside TLS; tunnels: what was asked for."""

    def __init__(self, certificate):
        self.tunnels = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(f"{certificate}.pem", f"{certificate}.key")
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        self.listener = context.wrap_socket(listener, server_side=True)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except ssl.SSLError:
                continue
            except OSError:
                return
            threading.Thread(target=self.serve, args=[client], daemon=True).start()

    def serve(self, client):
        request = b""
        while b"\r\n\r\n" not in request:
            data = client.recv(4096)
            if not data:
                return
            request += data
        target = request.split()[1].decode()
        self.tunnels.append(target)
        host, port = target.rsplit(":", 1)
        server = socket.create_connection((host, int(port)))
        client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            ready = [client] if client.pending() else select.select([client, server], [], [])[0]
            for one in ready:
                data = one.recv(65536)
                if not data:
                    client.close()
                    server.close()
                    return
                (server if one is client else client).sendall(data)

    def stop(self):
        self.listener.close()


class Nginx(Program):
    """Serves store, folder/store by default, over TLS if there is a certificate (a path without ".pem" and ".key"), to programs of all users. more: of
    the server's block; log_format: of log, the file of what was asked for."""

    def __init__(self, folder, certificate=None, store=None, more="", log_format="$uri $status"):
        port = free_port()
        self.store, self.log = store or folder / "store", folder / "access.log"
        self.store.mkdir(exist_ok=True)
        tls = f"ssl; ssl_certificate {certificate}.pem; ssl_certificate_key {certificate}.key" if certificate else ""
        paths = " ".join(f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        (folder / "nginx.conf").write_text(f"""
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; worker_processes 1; user root;
events {{ worker_connections 64; }}
http {{
  log_format asked '{log_format}'; access_log {self.log} asked; {paths}
  server {{ listen 127.0.0.1:{port} {tls}; root {self.store}; {more} }}
}}
""")
        super().__init__(port, "nginx", "-c", str(folder / "nginx.conf"), "-p", str(folder))


class ClientCertificateServer(Nginx):
    """Wants a certificate of the CA ca."""

    def __init__(self, shared, ca):
        folder = pathlib.Path(tempfile.mkdtemp(prefix="client-", dir=shared))
        super().__init__(folder, shared / "server", shared / "store",
                         f"ssl_client_certificate {shared}/{ca}.pem; ssl_verify_client on;")

# SPDX-License-Identifier: LGPL-2.1-or-later
"""The owner's side of the wire, in a network namespace of its own: DHCP and DNS (dnsmasq), and one web server (nginx with
TLS and DAV) that takes bundles and serves the repository as static files."""
import copy
import os
import shutil
import subprocess
import time

import machine
from machine import run

HOST = "recovery.test"
ADDRESS = "192.0.2.1"

NGINX = """daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; worker_processes 1; user root;
events {{ worker_connections 64; }}
http {{
  log_format line '$msec $request_method $uri $status $body_bytes_sent $request_length';
  access_log {folder}/access.log line;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3; uwsgi_temp_path {folder}/t4;
  scgi_temp_path {folder}/t5;
  server {{
    listen {address}:443 ssl; server_name {host}; root {folder}/www;
    ssl_certificate {folder}/server.pem; ssl_certificate_key {folder}/server.key;
    client_max_body_size 200m;
    location /bundles/ {{ dav_methods PUT; create_full_put_path off; limit_except PUT {{ deny all; }} }}
    location /repository/ {{ }}
  }}
}}
"""


class Owner:
    """Keys and certificates of the machine's owner. trust: what goes to /etc/qmr/trust of the owner's machines."""

    def __init__(self, folder):
        self.folder = folder
        os.makedirs(folder, exist_ok=True)
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        run("openssl", "req", "-x509", *key, "-days", "2", "-subj", "/CN=owner CA", "-keyout", folder + "/ca.key", "-out",
            folder + "/ca.pem")
        machine.write(folder + "/server.ext", "subjectAltName=DNS:%s\n" % HOST)
        run("openssl", "req", *key, "-subj", "/CN=" + HOST, "-keyout", folder + "/server.key", "-out", folder + "/server.csr")
        run("openssl", "x509", "-req", "-in", folder + "/server.csr", "-CA", folder + "/ca.pem", "-CAkey", folder + "/ca.key",
            "-CAcreateserial", "-days", "2", "-extfile", folder + "/server.ext", "-out", folder + "/server.pem")
        run("openssl", "req", "-x509", "-newkey", "rsa:3072", "-nodes", "-days", "2", "-subj", "/CN=owner of bundles", "-keyout",
            folder + "/recipient.key", "-out", folder + "/recipient.pem")
        self.trust = {}
        for name, source in (("ca.pem", "ca.pem"), ("upload-cert.pem", "recipient.pem")):
            with open("%s/%s" % (folder, source)) as f:
                self.trust["/etc/qmr/trust/" + name] = f.read()
        self.config = "[upload]\nurl = https://%s/bundles\n[repository]\nurl = https://%s/repository\n" % (HOST, HOST)

    def copy(self, folder):
        """The same owner with servers of its own: another folder of bundles, another repository."""
        shutil.copytree(self.folder, folder)
        other = copy.copy(self)
        other.folder = folder
        return other

    def open(self, bundle, out):
        """Decrypts and unpacks a bundle with the owner's key."""
        os.makedirs(out)
        run("openssl", "cms", "-decrypt", "-inform", "DER", "-inkey", self.folder + "/recipient.key", "-in", bundle, "-out",
            out + ".tar.zst")
        run("tar", "--zstd", "-C", out, "-xf", out + ".tar.zst")


class Network:
    """with Network(owner, nonce) as network: … machine.boot(network=network). server=False: addresses and names, but nobody answers."""

    def __init__(self, owner, nonce, server=True):
        self.namespace, self.tap, self.owner = "qmr-" + nonce, "tap0", owner
        self.www, self.bundles, self.repository = (owner.folder + "/www" + p for p in ("", "/bundles", "/repository"))
        self.server, self.processes = server, []
        for folder in (self.bundles, self.repository):
            os.makedirs(folder, exist_ok=True)

    def __enter__(self):
        run("ip", "netns", "add", self.namespace)
        try:
            for command in ("link set lo up", "tuntap add dev %s mode tap" % self.tap,
                            "addr add %s/24 dev %s" % (ADDRESS, self.tap), "link set %s up" % self.tap):
                run("ip", "-n", self.namespace, *command.split())
            self.start("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root",
                       "--interface=" + self.tap, "--bind-interfaces", "--except-interface=lo",
                       "--dhcp-range=192.0.2.50,192.0.2.99,1h", "--dhcp-authoritative", "--address=/%s/%s" % (HOST, ADDRESS),
                       "--dhcp-leasefile=%s/leases" % self.owner.folder, "--pid-file=")
            if self.server:
                machine.write(self.owner.folder + "/nginx.conf", NGINX.format(folder=self.owner.folder, address=ADDRESS, host=HOST))
                self.start("nginx", "-c", self.owner.folder + "/nginx.conf", "-p", self.owner.folder, "-e",
                           self.owner.folder + "/error.log")
                self.wait_for_server()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(20)
        run("ip", "netns", "del", self.namespace)

    def start(self, *command):
        with open(self.owner.folder + "/servers.log", "ab") as log:
            self.processes.append(subprocess.Popen(["ip", "netns", "exec", self.namespace, *command], stdout=log, stderr=log))

    def wait_for_server(self):
        for _ in range(200):
            if any(p.poll() is not None for p in self.processes):
                break
            try:
                run("ip", "netns", "exec", self.namespace, "curl", "-sS", "-o", "/dev/null", "--cacert", self.owner.folder + "/ca.pem",
                    "--resolve", "%s:443:%s" % (HOST, ADDRESS), "https://%s/" % HOST)
                return
            except RuntimeError:
                time.sleep(0.05)
        raise RuntimeError("the servers did not start, see " + self.owner.folder + "/servers.log")

    def requests(self):
        """What was asked of the web server: (time, method, path, status)."""
        path = self.owner.folder + "/access.log"
        if not os.path.exists(path):
            return []
        with open(path) as f:
            return [(float(t), method, uri, int(status)) for t, method, uri, status, *_ in map(str.split, f)]

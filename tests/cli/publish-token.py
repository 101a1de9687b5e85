#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""qmr-publish with keys that are in tokens: a TPM (swtpm, through the provider of tpm2-openssl) and a PKCS#11 token (SoftHSM, through
pkcs11-provider). What the tokens signed is verified by the openssl program, which knows of no token then, and by the client.
Usage: publish-token.py [-B] BUILD_DIR"""
import functools
import glob
import http.server
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import faults  # noqa: E402

BUILD = os.path.abspath(sys.argv[-1])
SOFTHSM = "/usr/lib/softhsm/libsofthsm2.so"
PIN = "open-sesame"
KEY = "?" * 16 + ".pem"  # a private key of 16 digits
CONFIG = """openssl_conf = all
[all]
providers = providers
[providers]
{providers}
[default_provider]
activate = 1
[token_provider]
activate = 1
{more}"""
failed = False
printed = []  # everything the program wrote


def check(name, good, why=""):
    global failed
    print(f"ok {name}" if good else f"not ok {name}: {str(why)[:600]}", flush=True)
    failed = failed or not good


def call(*command, **environment):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(os.environ, **environment)).stdout


def read(path):
    with open(path) as file:
        return file.read()


def is_there(provider):
    folder = call("openssl", "version", "-m").decode().split('"')[1]
    return os.path.exists(f"{folder}/{provider}.so")


class Desk:
    """A repository r and its keys k; environment is what leads OpenSSL to the token."""

    def __init__(self, name, **environment):
        self.name, self.environment = name, environment
        self.path = tempfile.mkdtemp(dir=WORK)
        self.repository, self.keys = self.path + "/r", self.path + "/k"
        self("init")
        shutil.copy(self.repository + "/metadata/1.root.json", self.path)

    def __call__(self, command, *arguments, pin=None):
        """Without a terminal to ask on."""
        repository = () if command == "key" else ("--repository", self.repository)
        keys = () if command in ("check", "export") else ("--keys", self.keys)
        environment = dict(os.environ, LC_ALL="C", **self.environment)
        if pin:
            environment["QMR_PASSPHRASE"] = pin
        done = subprocess.run([BUILD + "/qmr-publish", command, *arguments, *repository, *keys], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True, env=environment,
                              timeout=120)
        printed.append(done.stdout)
        return done.returncode, done.stdout

    def does(self, name, *arguments, status=0, pin=PIN):
        is_status, out = self(*arguments, pin=pin)
        valid, problems = self("check")
        check(f"{self.name}-{name}", is_status == status and valid == 0, (is_status, out, problems))
        return out

    def refuses(self, name, wanted, *arguments, status=4, pin=PIN):
        """wanted: what the message has to say. Nothing is changed."""
        before = faults.state(self.path)
        is_status, out = self(*arguments, pin=pin)
        check(f"{self.name}-{name}", is_status == status and all(w in out for w in wanted), (is_status, out))
        check(f"{self.name}-{name}-changes-nothing", faults.state(self.path) == before)

    def plan(self, name):
        path = os.path.join(self.path, name)
        with open(path, "w") as file:
            json.dump({"schema": 1, "id": name[:-5], "title": "a test", "match": {"incident-kind": "panic"},
                       "actions": [{"type": "block-module", "module": "cs-agent"}]}, file)
        return path

    def newest(self, role):
        paths = glob.glob(f"{self.repository}/metadata/*.{role}.json")
        return json.loads(read(max(paths, key=lambda p: int(os.path.basename(p).split(".")[0]))))

    def key(self, role, end):
        """The newest file of a role that ends so."""
        return max(glob.glob(f"{self.keys}/{role}-{end}" if end == KEY else f"{self.keys}/{role}-*.{end}"), key=os.path.getmtime)

    def keyid(self, public):
        pem = read(public)
        value = call("openssl", "pkey", "-pubin", "-in", public, "-outform", "DER")[-32:].hex()
        return [i for i, k in self.newest("root")["signed"]["keys"].items() if k["keyval"]["public"] in (pem, value)][0]

    def is_signed_by(self, role, public, *options):
        """By the openssl program, over the bytes that the specification says."""
        document, signature, text = self.newest(role), self.path + "/signature", self.path + "/signed"
        with open(text, "w") as file:  # canonical JSON does not escape the newlines of PEM
            file.write(json.dumps(document["signed"], sort_keys=True, separators=(",", ":"), ensure_ascii=False).replace("\\n", "\n"))
        wanted = self.keyid(public)
        with open(signature, "wb") as file:
            file.write(bytes.fromhex([s["sig"] for s in document["signatures"] if s["keyid"] == wanted][0]))
        return subprocess.run(["openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", public, "-in", text, "-sigfile", signature,
                               *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0

    def client_finds(self, *names):
        """A machine that trusts the first root follows from there to these plans."""
        folder = tempfile.mkdtemp(dir=WORK)
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=self.repository))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url, client = f"http://127.0.0.1:{server.server_port}", [BUILD + "/tests/tuf-client", "--metadata-dir", folder + "/m"]
        done = [subprocess.run([*client, "init", self.path + "/1.root.json"], stderr=subprocess.PIPE, text=True)]
        for name in names:
            done.append(subprocess.run([*client, "--metadata-url", url + "/metadata", "--target-name", "plans/" + name, "--target-dir",
                                        folder + "/t", "--target-base-url", url + "/targets", "download"], stderr=subprocess.PIPE, text=True))
        server.shutdown()
        server.server_close()
        check(f"{self.name}-machines-take-{'-and-'.join(names)}", all(d.returncode == 0 for d in done), done)

    def keeps_secrets(self, *notes):
        """Only what was made by software has a private half on disk, and the PIN is nowhere but in these notes."""
        found, private = [], 0
        for folder, _, names in os.walk(self.path):
            for name in names:
                with open(os.path.join(folder, name), "rb") as file:
                    content = file.read()
                private += b"PRIVATE KEY" in content
                if PIN.encode() in content:
                    found.append(os.path.join(folder, name))
        check(f"{self.name}-private-keys-stay-in-the-token", private == len(glob.glob(self.keys + "/*-" + KEY)), private)
        check(f"{self.name}-the-pin-is-nowhere-else", sorted(found) == sorted(notes) and not any(PIN in p for p in printed), found)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


class Tpm:
    """A TPM of software on a socket; what is persistent in it is in a folder."""

    def __init__(self):
        self.path = tempfile.mkdtemp(dir=WORK)
        tcti = f"swtpm:path={self.path}/socket"
        self.environment = {"TPM2OPENSSL_TCTI": tcti, "TPM2TOOLS_TCTI": tcti, "TSS2_LOG": "all+none", "OPENSSL_CONF": self.path + "/openssl.cnf"}
        with open(self.path + "/openssl.cnf", "w") as file:
            file.write(CONFIG.format(providers="default = default_provider\ntpm2 = token_provider", more=""))
        self.start()
        self("createprimary", "-C", "o", "-G", "ecc", "-c", self.path + "/primary")

    def start(self):
        self.process = subprocess.Popen(["swtpm", "socket", "--tpm2", "--tpmstate", "dir=" + self.path, "--server",
                                         f"type=unixio,path={self.path}/socket", "--ctrl", f"type=unixio,path={self.path}/socket.ctrl",
                                         "--flags", "not-need-init,startup-clear"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while True:
            try:
                with socket.socket(socket.AF_UNIX) as ours:
                    ours.connect(self.path + "/socket.ctrl")
                return
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise
                time.sleep(0.02)

    def stop(self):
        self.process.terminate()
        self.process.wait(30)

    def __call__(self, command, *arguments):
        call("tpm2_" + command, "-Q", *arguments, TPM2TOOLS_TCTI=self.environment["TPM2TOOLS_TCTI"])
        if command != "flushcontext":
            self("flushcontext", "-t")

    def make(self, handle, kind, pin=None):
        """A key that never leaves the TPM; returns its public half, as the TPM's own tools tell it."""
        files, public = [f"{self.path}/{n}" for n in ("public", "private", "loaded")], f"{self.path}/{handle}.pem"
        self("create", "-C", self.path + "/primary", "-G", kind, "-u", files[0], "-r", files[1], "-a",
             "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|sign", *(("-p", pin) if pin else ()))
        self("load", "-C", self.path + "/primary", "-u", files[0], "-r", files[1], "-c", files[2])
        self("evictcontrol", "-C", "o", "-c", files[2], handle)
        self("readpublic", "-c", handle, "-f", "pem", "-o", public)
        return public


def tpm_key(tpm, desk):
    """A key of the TPM, of P-256 and with a PIN, takes the place of the key of targets."""
    uri, public = "handle:0x81000001?pass", tpm.make("0x81000001", "ecc256", PIN)
    tpm.make("0x81000003", "ecc384")
    desk.refuses("without-a-pin", ["handle:0x81000001'", "QMR_PASSPHRASE"], "key", "targets", "--uri", uri, status=1, pin=None)
    desk.refuses("with-a-wrong-pin", ["handle:0x81000001'", "authorization failure"], "key", "targets", "--uri", uri, pin="wrong")
    desk.refuses("of-no-key", ["handle:0x81000009'", "no private key"], "key", "targets", "--uri", "handle:0x81000009")
    desk.refuses("of-another-kind", ["handle:0x81000003'", "ECDSA on P-256"], "key", "targets", "--uri", "handle:0x81000003")
    desk.does("key-by-uri", "key", "targets", "--uri", uri)
    note, ours = desk.key("targets", "uri"), desk.key("targets", "pub.pem")
    check("tpm-the-note-is-closed-and-has-no-pin", os.stat(note).st_mode & 0o777 == 0o600 and read(note) == uri + "\n", read(note))
    check("tpm-the-public-half-is-what-the-tpm-says", read(ours) == read(public), read(ours))
    old = desk.key("targets", KEY)
    desk.does("rotate-to-it", "rotate", "targets", "--public", ours)
    os.remove(old)
    desk.does("add", "add", desk.plan("a.json"))
    check("tpm-openssl-verifies-ecdsa", desk.is_signed_by("targets", public))
    desk.client_finds("a.json")
    desk.refuses("add-with-a-wrong-pin", ["handle:0x81000001'", "authorization failure"], "add", desk.plan("b.json"), pin="wrong")
    return uri


def tpm_root(tpm, desk):
    """Root is signed by an RSA key of the TPM, which has no PIN, and by no other."""
    public, old = tpm.make("0x81000002", "rsa2048"), sorted(glob.glob(f"{desk.keys}/root-{KEY}"))
    desk.does("key-of-root", "key", "root", "--uri", "handle:0x81000002", pin=None)
    ids = [os.path.basename(path)[5:21] for path in old]
    desk.does("rotate-root-to-it", "rotate", "root", "--replace", ids[0], "--public", desk.key("root", "pub.pem"), pin=None)
    desk.does("rotate-the-other-root-key-out", "rotate", "root", "--drop", ids[1], pin=None)
    for path in old:
        os.remove(path)
    desk.does("rotate-timestamp", "rotate", "timestamp", pin=None)
    check("tpm-openssl-verifies-rsa", desk.is_signed_by("root", public, "-pkeyopt", "rsa_padding_mode:pss", "-pkeyopt", "rsa_pss_saltlen:auto"))
    desk.client_finds("a.json")


def tpm_second(desk, uri):
    """The token signs what somebody else began, by sign and by the openssl program, and goes."""
    desk.does("a-second-key", "rotate", "targets", "--add", "--threshold", "2")
    second = desk.key("targets", KEY)
    note = desk.key("targets", "uri")
    os.rename(note, desk.path + "/note")
    desk.does("a-change-waits-for-the-token", "add", desk.plan("b.json"), status=3)
    desk.refuses("sign-with-a-wrong-pin", ["handle:0x81000001'", "authorization failure"], "sign", "--role", "targets", "--key", uri, pin="wrong")
    desk.does("sign-by-uri", "sign", "--role", "targets", "--key", uri)
    desk.client_finds("a.json", "b.json")
    desk.does("another-change-waits", "remove", "b.json", status=3)
    desk.does("export", "export", "--role", "targets", "--to", desk.path + "/change")
    call("openssl", "pkeyutl", "-propquery", "?provider=tpm2", "-sign", "-rawin", "-digest", "sha256", "-inkey", uri, "-passin", "pass:" + PIN,
         "-in", desk.path + "/change", "-out", desk.path + "/signature", **desk.environment)
    public = desk.key("targets", "pub.pem")
    desk.does("import", "import", "--role", "targets", "--signature", desk.path + "/signature", "--public", public)
    os.rename(desk.path + "/note", note)
    desk.does("rotate-away", "rotate", "targets", "--drop", os.path.basename(note)[8:24], "--threshold", "1")
    os.rename(note, desk.path + "/note")
    desk.does("add-without-the-token", "add", desk.plan("c.json"))
    os.rename(desk.path + "/note", note)
    desk.does("rotate-back", "rotate", "targets", "--replace", os.path.basename(second)[8:24], "--public", public)
    os.remove(second)
    desk.does("add-again", "add", desk.plan("d.json"))
    desk.client_finds("a.json", "c.json", "d.json")


def test_tpm():
    if not is_there("tpm2") or not shutil.which("swtpm") or not shutil.which("tpm2_create"):
        print("# tpm: tpm2-openssl, swtpm or tpm2-tools is not installed: left out")
        return
    tpm = Tpm()
    try:
        desk = Desk("tpm", **tpm.environment)
        uri = tpm_key(tpm, desk)
        tpm_root(tpm, desk)
        tpm_second(desk, uri)
        desk.keeps_secrets()
        tpm.stop()
        desk.refuses("add-without-a-tpm", ["handle:0x81000001'", "without their token"], "add", desk.plan("e.json"))
        tpm.start()
        desk.does("add-with-the-tpm-back", "add", desk.path + "/e.json")
    finally:
        tpm.stop()


def test_pkcs11():
    if not is_there("pkcs11") or not os.path.exists(SOFTHSM):
        print("# pkcs11: pkcs11-provider or softhsm2 is not installed: left out")
        return
    token = tempfile.mkdtemp(dir=WORK)
    os.mkdir(token + "/tokens")
    with open(token + "/softhsm2.conf", "w") as file:
        file.write(f"directories.tokendir = {token}/tokens\n")
    more = f"pkcs11-module-path = {SOFTHSM}\npkcs11-module-quirks = no-deinit\n"  # SoftHSM is gone before its user when a process ends
    for name, providers in (("openssl.cnf", "default = default_provider\npkcs11 = token_provider"),
                            ("reversed.cnf", "pkcs11 = token_provider\ndefault = default_provider")):
        with open(f"{token}/{name}", "w") as file:
            file.write(CONFIG.format(providers=providers, more=more))
    environment = {"SOFTHSM2_CONF": token + "/softhsm2.conf"}
    call("softhsm2-util", "--init-token", "--free", "--label", "qmr", "--pin", PIN, "--so-pin", PIN, **environment)
    publics = []
    for number, (name, *options) in enumerate((("ed", "ed25519"), ("ec", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"), ("stranger", "ed25519"))):
        private = token + "/private.pem"
        call("openssl", "genpkey", "-algorithm", *options, "-out", private)
        publics.append(f"{token}/{name}.pem")
        call("openssl", "pkey", "-in", private, "-pubout", "-out", publics[-1])
        call("softhsm2-util", "--import", private, "--token", "qmr", "--label", name, "--id", f"0{number}", "--pin", PIN, **environment)
        os.remove(private)
    desk = Desk("pkcs11", OPENSSL_CONF=token + "/openssl.cnf", **environment)
    ed, ec = "pkcs11:token=qmr;object=ed", "pkcs11:token=qmr;object=ec"
    desk.refuses("with-a-wrong-pin", [ec + "'", "passphrase is wrong"], "key", "targets", "--uri", ec, pin="wrong")
    desk.refuses("of-no-key", ["object=none'"], "key", "targets", "--uri", f"pkcs11:token=qmr;object=none?pin-value={PIN}")
    desk.refuses("with-a-wrong-pin-in-the-uri", [ed + "'"], "key", "targets", "--uri", ed + "?pin-value=wrong", pin=None)
    old = desk.key("targets", KEY)
    desk.does("key-by-uri", "key", "targets", "--uri", f"{ed}?pin-value={PIN}", pin=None)
    note = desk.key("targets", "uri")
    desk.does("rotate-to-it", "rotate", "targets", "--public", desk.key("targets", "pub.pem"), pin=None)
    os.remove(old)
    desk.does("add", "add", desk.plan("a.json"), pin=None)
    check("pkcs11-openssl-verifies-ed25519", desk.is_signed_by("targets", publics[0]))
    desk.does("key-on-p-256", "key", "targets", "--uri", ec)
    desk.does("a-second-key", "rotate", "targets", "--add", "--public", publics[1], "--threshold", "2")
    desk.does("add-with-two-keys", "add", desk.plan("b.json"))
    check("pkcs11-openssl-verifies-ecdsa", desk.is_signed_by("targets", publics[1]) and desk.is_signed_by("targets", publics[0]))
    desk.client_finds("a.json", "b.json")
    os.rename(note, token + "/note")  # its PIN opens the token for the other key, too
    desk.does("a-change-waits", "remove", "b.json", status=3)
    desk.refuses("sign-with-a-key-of-nobody", ["object=stranger'", "no key of role"], "sign", "--role", "targets", "--key",
                 f"pkcs11:token=qmr;object=stranger?pin-value={PIN}", pin=None)
    desk.does("sign-by-uri", "sign", "--role", "targets", "--key", f"{ed}?pin-value={PIN}", pin=None)
    os.rename(token + "/note", note)
    desk.does("threshold", "rotate", "targets", "--threshold", "1")
    os.rename(note, token + "/note")
    desk.refuses("add-with-a-wrong-pin", [ec + "'", "passphrase is wrong"], "add", desk.plan("c.json"), pin="wrong")
    os.rename(token + "/note", note)
    desk.keeps_secrets(note)
    os.rename(token + "/tokens", token + "/away")
    desk.refuses("add-without-the-token", ["'pkcs11:token=qmr;object=", "no private key"], "add", desk.path + "/c.json")
    os.rename(token + "/away", token + "/tokens")
    desk.does("add-with-the-token-back", "add", desk.path + "/c.json")

    # Keys that are files have nothing to do with a token, though its provider be the first that OpenSSL knows.
    desk = Desk("no-token", OPENSSL_CONF=token + "/reversed.cnf", **environment)
    desk.does("add", "add", desk.plan("a.json"), pin=None)
    desk.does("rotate", "rotate", "targets", pin=None)
    desk.client_finds("a.json")


if __name__ == "__main__":
    WORK = tempfile.mkdtemp(prefix="qmr-token-")
    try:
        for test in (test_tpm, test_pkcs11):
            try:
                test()
            except Exception as why:  # a test that breaks is a failure of that test alone
                check(test.__name__, False, f"{type(why).__name__}: {why} {getattr(why, 'stderr', '')}")
    finally:
        shutil.rmtree(WORK, ignore_errors=True)
    sys.exit(1 if failed else 0)

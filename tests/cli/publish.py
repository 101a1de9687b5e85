# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the tests of qmr-publish share: a repository and its owner, and a client that is not ours: tuf-js (tuf-client.js) over
HTTP; and a change that is cut."""
import atexit
import functools
import glob
import hashlib
import http.server
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time

import faults

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.append(os.path.dirname(HERE))
import npm  # noqa: E402

PROGRAM = os.path.join(os.path.abspath(sys.argv[-1]), "qmr-publish")
WORK = tempfile.mkdtemp(prefix="qmr-publish-")
atexit.register(shutil.rmtree, WORK, ignore_errors=True)
ROLES = ("root", "targets", "snapshot", "timestamp")
PLAN = {"schema": 1, "id": "p1", "title": "a test", "match": {"all": [{"incident-kind": "panic"}]},
        "actions": [{"type": "block-module", "module": "cs-agent"}],
        "published": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}  # given, so that the same plan has the same bytes
failed = False
printed = []  # everything the program wrote


def count(good):
    """For what prints its own lines."""
    global failed
    failed = failed or not good


def check(name, good, why=""):
    print(f"ok {name}" if good else f"not ok {name}: {str(why)[:600]}", flush=True)
    count(good)
    return good


def run(*arguments, **options):
    """In a session of its own, so that there is no terminal to ask on."""
    environment = dict(os.environ, LC_ALL="C", **options.pop("environment", {}))
    done = subprocess.run([PROGRAM, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, start_new_session=True, env=environment, timeout=120)
    printed.append(done.stdout)
    return done.returncode, done.stdout


def canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


class Owner:
    """A folder with a repository r, keys k, and plans."""

    def __init__(self, *init):
        self.path = tempfile.mkdtemp(dir=WORK)
        self.repository, self.keys = self.path + "/r", self.path + "/k"
        self.status, self.output = run("init", "--repository", self.repository, "--keys", self.keys, *init)

    def __call__(self, command, *arguments, keys=None, **options):
        if command not in ("list", "check", "sign", "export", "import", "diff"):
            arguments = ("--keys", keys or self.keys, *arguments)
        return run(command, "--repository", self.repository, *arguments, **options)

    def plan(self, name, **changes):
        path = os.path.join(self.path, name)
        with open(path, "w") as file:
            json.dump(dict(PLAN, **{"id": name[:-5], **changes}), file)
        return path

    def key(self, role, number=0):
        return sorted(glob.glob(f"{self.keys}/{role}-*.pem"), key=os.path.getmtime)[number]

    def take_away(self, *roles):
        """A folder with the keys of these roles, which KEYDIR does not have any more."""
        folder = tempfile.mkdtemp(dir=self.path)
        for role in roles:
            for path in glob.glob(f"{self.keys}/{role}-*.pem"):
                shutil.move(path, folder)
        return folder

    def document(self, name):
        with open(f"{self.repository}/metadata/{name}.json") as file:
            return json.load(file)

    def is_valid(self):
        return self("check")[0] == 0

    def versions(self):
        status, out = self("list", "--json")
        return {r: v["version"] for r, v in json.loads(out)["roles"].items()} if status == 0 else out

    def names(self):
        return [p["name"] for p in json.loads(self("list", "--json")[1])["plans"]]


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


class Client:
    """tuf-js with a state that it keeps, and a web server on the loopback interface."""

    def __init__(self, owner, root="1.root.json"):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=owner.repository))
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.state, self.targets = tempfile.mkdtemp(dir=WORK), tempfile.mkdtemp(dir=WORK)
        shutil.copy(f"{owner.repository}/metadata/{root}", self.state + "/root.json")

    def command(self, *names):
        return ["node", HERE + "/tuf-client.js", npm.MODULES, f"http://127.0.0.1:{self.server.server_port}", self.state, self.targets,
                *names]

    def __call__(self, *names):
        done = subprocess.run(self.command(*names), stdout=subprocess.PIPE, text=True, timeout=120)
        return json.loads(done.stdout)

    def done(self):
        self.server.shutdown()
        self.server.server_close()


def both_clients(name, owner, kept, *names):
    """A machine that has followed from the start, and one that begins now."""
    fresh = Client(owner)
    answers = [kept(*names), fresh(*names)]
    fresh.done()
    check(f"tuf-js-accepts-{name}", all(a["ok"] for a in answers), answers)
    return answers[0].get("found", {})


def keyid_of(key):
    der = subprocess.run(["openssl", "pkey", "-in", key, "-pubout", "-outform", "DER"], stdout=subprocess.PIPE, check=True).stdout
    return hashlib.sha256(canonical({"keytype": "ed25519", "scheme": "ed25519",
                                     "keyval": {"public": der[-32:].hex()}})).hexdigest()


def unchanged(name, owner, wanted, expected, *arguments, **options):
    before = faults.state(owner.repository)
    status, out = owner(*arguments, **options)
    check(name, status == expected and wanted in out and faults.state(owner.repository) == before, (status, out))


class Cut:
    """One command, cut or failing at every system call; afterwards the repository is the old or the new one."""

    def __init__(self, name, owner, *command, may_break=False, again=0):
        self.name, self.may_break, self.again = name, may_break, again
        self.owner = owner
        self.command = [a.replace(owner.path, "{root}") for a in command]
        self.old = self.look(owner.path)
        copy = tempfile.mkdtemp(dir=WORK)
        subprocess.run(["cp", "-a", owner.path + "/.", copy], check=True)
        done = run(*[a.replace("{root}", copy) for a in self.command])
        self.new = self.look(copy)
        check(f"{name}-uncut", done[0] == 0 and self.new != self.old, done)

    def look(self, root):
        """Everything a client is told, but what differs from run to run: keys, signatures, times."""
        status, out = run("check", "--repository", root + "/r", "--json")
        answer = json.loads(out) if status in (0, 4) else {}
        listed = json.loads(run("list", "--repository", root + "/r", "--json")[1]) if status == 0 else {}
        return (status, {r: v["version"] for r, v in answer.get("roles", {}).items()},
                [p["sha256"] for p in listed.get("plans", []) + listed.get("requests", [])])

    def judge(self, root, status, output, fault):
        seen = self.look(root)
        if status == 0 and "KILL" not in fault and seen != self.new:
            return f"it says done, but {seen}"
        if seen[0] == 4 and self.may_break:  # the window of a lost key: refresh ends it
            done = run("refresh", "--repository", root + "/r", "--keys", root + "/k")
            seen = self.look(root)
            return None if seen[0] == 0 else f"refresh does not repair it: {done} {seen}"
        if seen not in (self.old, self.new) and not self.is_between(seen):
            return f"neither old nor new: {seen}"
        done = run(*[a.replace("{root}", root) for a in self.command])
        if self.may_break:  # or it is all staged, and the next run of the cron job completes it
            run("refresh", "--repository", root + "/r", "--keys", root + "/k")
        after = run("check", "--repository", root + "/r")
        if done[0] not in (0, 3, self.again) or after[0] != 0:
            return f"the next run: {done} {after}"
        if "KILL" not in fault and status != 0 and not output.strip() and not fault.startswith("write:"):
            return "it fails without a word"
        return None

    def is_between(self, seen):
        """A rotation whose other documents are out, signed by old and new keys, and whose root is not."""
        return (seen[0] == 0 and seen[1]["root"] == self.old[1]["root"] and
                all(seen[1][r] in (self.old[1][r], self.new[1][r]) for r in ROLES) and seen[2] in (self.old[2], self.new[2]))

    def run(self, with_errors):
        faulty = faults.Faults(self.owner.path, [PROGRAM, *self.command], self.judge)
        good = faulty.report(f"{self.name}-killed-at-any-call", faulty.kills(), 15)
        if with_errors:
            good = faulty.report(f"{self.name}-any-call-fails", faulty.errors(), 15) and good
        faulty.done()
        return good


def test_secrets():
    """Nothing of a private key was ever printed."""
    lines = set()
    for path in glob.glob(WORK + "/**/*.pem", recursive=True):
        with open(path) as file:
            lines.update(line.strip() for line in file if len(line) > 30 and "-----" not in line)
    text = "".join(printed)
    check("no-secret-was-printed", len(lines) > 3 and "PRIVATE KEY" not in text and not any(line in text for line in lines) and
          "sesame" not in text)


def main(tests):
    """Runs them, or those that the environment's ONLY names, and exits."""
    for test in tests:
        if os.environ.get("ONLY") and test.__name__ not in os.environ["ONLY"].split():
            continue
        try:
            test()
        except Exception as why:  # a test that breaks is a failure of that test alone
            check(test.__name__, False, f"{type(why).__name__}: {why}")
    sys.exit(1 if failed else 0)

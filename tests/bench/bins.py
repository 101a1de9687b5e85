# SPDX-License-Identifier: LGPL-2.1-or-later
"""A repository of 10,000 targets in hashed bins, verified by this project's client and by tuf-js, in turns: the same files from the same nginx,
over plain HTTP on loopback, each run with nothing but the trusted root at its beginning."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.parse

from figures import load, ratio, say, show, spread

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [TESTS + "/net", TESTS]
import npm  # noqa: E402
import servers  # noqa: E402
import tuf_repository  # noqa: E402
import tuf_simulator  # noqa: E402

TARGETS = 10000
BITS = 8  # 256 bins, some 39 targets each
WANTED = 20  # targets fetched in a run, each from a bin of its own
CLIENTS = {"ours": "tuf-client", "init": "tuf-client init", "tuf-js": "tuf-js 3.0.1", "node": "node -e 0"}
MEASURES = (("seconds", "time", "s"), ("processor", "processor time", "s"), ("mib", "most memory", "MiB"), ("own", "its own at the end", "MiB"),
            ("bytes", "bytes received", "B"), ("requests", "requests", ""))
GOALS = (("seconds", "of tuf-js's time", 0.1),)
MEMORY_MIB = 8


def make(folder):
    """Writes the repository below folder. Returns the trusted root and the names to fetch."""
    repository = tuf_simulator.Simulator()
    bins = repository.delegate_bins("targets", BITS, "bin")
    places = {}
    for number in range(TARGETS):
        name = "files/%05d.bin" % number
        place = bins[int(tuf_repository.hashlib.sha256(name.encode()).hexdigest()[:8], 16) >> (32 - BITS)]
        repository.add_artifact(place, name, name.encode() * 8)
        places.setdefault(place, name)
    repository.publish_all(*bins)
    (folder / "metadata").mkdir()
    (folder / "targets/files").mkdir(parents=True)
    for role, versions in repository.served.items():
        for version, data in enumerate(versions, 1):
            if role != "timestamp":
                (folder / "metadata" / ("%d.%s.json" % (version, urllib.parse.quote(role, safe="")))).write_bytes(data)
        if role == "timestamp":
            (folder / "metadata/timestamp.json").write_bytes(versions[-1])
    for name, data in repository.artifacts.items():
        sha256 = tuf_repository.hashlib.sha256(data).hexdigest()
        (folder / "targets/files" / (sha256 + "." + name.split("/")[1])).write_bytes(data)
    return repository.served["root"][0], list(places.values())[:WANTED]


def asked(server):
    """Bytes of each answer so far."""
    return [int(line) for line in server.log.read_text().split()]


def spent(command):
    """Seconds, processor time and most memory of a command; its output. By time(1): what this program has itself would count as the command's
    memory otherwise, until it is another program."""
    with tempfile.NamedTemporaryFile() as figures:
        begin = time.monotonic()
        done = subprocess.run(["/usr/bin/time", "-q", "-o", figures.name, "-f", "%U %S %M"] + [str(c) for c in command],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, errors="replace")
        seconds = time.monotonic() - begin
        user, system, kib = open(figures.name).read().split()
    if done.returncode:
        raise RuntimeError("%s: exit status %d: %s" % (command[0], done.returncode, done.stdout[-2000:]))
    return {"seconds": seconds, "processor": float(user) + float(system), "mib": int(kib) / 1024}, done.stdout


class Resident:
    """What a program has of memory, when it ends, that it wrote itself, and so cannot share: its resident memory holds code of libraries as well,
    which is in the host's memory once, whoever uses it."""

    def __init__(self, work):
        self.path, library = work / "resident", work / "resident.so"
        subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", library, os.path.dirname(os.path.abspath(__file__)) + "/resident.c"], check=True)
        self.command = ["env", f"LD_PRELOAD={library}", f"QMR_RESIDENT={self.path}"]

    def own_mib(self):
        fields = dict(line.split(":", 1) for line in self.path.read_text().splitlines()[1:])
        return int(fields["Private_Dirty"].split()[0]) / 1024


def run_client(name, build, server, work, root, names, before=()):
    """before: a command that runs the client."""
    state, got = work / "state", work / "got"
    for folder in (state, got):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    url, n_asked = "http://127.0.0.1:%d" % server.port, len(asked(server))
    if name == "node":
        return spent([*before, "node", "-e", "0"])[0]
    (work / "root.json").write_bytes(root)
    client = build + "/tests/tuf-client"
    init = [client, "--metadata-dir", state, "init", work / "root.json"]
    if name == "init":
        return spent([*before, *init])[0]
    if name == "ours":
        subprocess.run(init, check=True)
        figures, _ = spent([*before, client, "--metadata-url", url + "/metadata", "--metadata-dir", state]
                           + [word for n in names for word in ("--target-name", n)]
                           + ["--target-dir", got, "--target-base-url", url + "/targets", "download"])
    else:
        shutil.copy(work / "root.json", state / "root.json")
        figures, text = spent([*before, "node", TESTS + "/cli/tuf-client.js", npm.MODULES, url, state, got] + names)
        if not json.loads(text.splitlines()[-1])["ok"]:
            raise RuntimeError("tuf-js: " + text[-2000:])
    found = sorted(path.read_bytes() for path in got.iterdir())
    if found != sorted(n.encode() * 8 for n in names):
        raise RuntimeError("%s: %d of %d targets came" % (name, len(found), len(names)))
    answers = asked(server)[n_asked:]
    return {**figures, "bytes": sum(answers), "requests": len(answers)}


def measure(build, rounds):
    npm.install()
    with tempfile.TemporaryDirectory(prefix="qmr-bench-") as name:
        work = pathlib.Path(name)
        (work / "store").mkdir()
        root, names = make(work / "store")
        server, runs = servers.Nginx(work, log_format="$bytes_sent"), {client: [] for client in CLIENTS}
        try:
            for _ in range(rounds + 1):  # the first of each finds nothing in the host's memory, and is not counted
                for client, found in runs.items():
                    found.append(run_client(client, build, server, work, root, names))
            resident = Resident(work)
            for client in ("ours", "init"):  # node has given back what it had by then
                run_client(client, build, server, work, root, names, resident.command)
                for run in runs[client]:
                    run["own"] = resident.own_mib()
        finally:
            server.stop()
    values = {client: {key: spread([r[key] for r in found[1:]], 4) for key in found[0]} for client, found in runs.items()}
    return {"targets": TARGETS, "bins": 2 ** BITS, "fetched": len(names), "load": load(), "clients": values,
            "ratios": {key: ratio(values["ours"][key], values["tuf-js"][key]) for key, *_ in MEASURES if key in values["tuf-js"]}}


def report(result):
    say("\nA repository of %(targets)d targets in %(bins)d hashed bins, %(fetched)d of them fetched (load of the host %(load).1f)" % result)
    for client, title in CLIENTS.items():
        values = result["clients"][client]
        say("  %-14s %s" % (title, ", ".join("%s %s" % (name, show(values[key], unit, 3 if unit == "s" else 1 if unit == "MiB" else 0))
                                             for key, name, unit in MEASURES if key in values)))
    for key, name, _ in MEASURES:
        if key in result["ratios"]:
            say("  %-16s x %.3f" % (name, result["ratios"][key]))
    for key, title, goal in GOALS:
        say("  goal: at most x %.1f %s: %s" % (goal, title, "reached" if result["ratios"][key] <= goal else "not reached"))
    most = result["clients"]["ours"]["mib"]["max"]
    say("  goal: less than %d MiB of memory: %s" % (MEMORY_MIB, "reached" if most < MEMORY_MIB else "not reached"))

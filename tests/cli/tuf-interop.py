#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Repositories with delegated roles that were made by somebody else's code are read by our client, and by tuf-js: both find the same.
Usage: tuf-interop.py -B BUILD
"""
import functools
import http.server
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading

HERE = pathlib.Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))
import npm  # noqa: E402

CLIENT = pathlib.Path(sys.argv[-1]).resolve() / "tests/tuf-client"
failed = False


def check(name, good, why=""):
    global failed
    print(f"ok {name}" if good else f"not ok {name}: {str(why)[:600]}", flush=True)
    failed |= not good


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Files whose names are percent-encoded, as an object store has them: what is asked for is the name."""

    def translate_path(self, path):
        return self.directory + path

    def log_message(self, *_):
        pass


def theirs(url, folder, names):
    state, targets = folder / "js", folder / "js-targets"
    state.mkdir()
    targets.mkdir()
    shutil.copy(folder / "root.json", state / "root.json")
    done = subprocess.run(["node", HERE / "tuf-client.js", npm.MODULES, url, state, targets, *names], stdout=subprocess.PIPE, text=True, timeout=120)
    answer = json.loads(done.stdout)
    return {name: text is not None for name, text in answer["found"].items()} if answer["ok"] else answer


def ours(url, folder, names, *options):
    metadata, targets = folder / "ours", folder / "our-targets"
    subprocess.run([CLIENT, *options, "--metadata-dir", metadata, "init", folder / "root.json"], check=True)
    found = {}
    for name in names:
        done = subprocess.run([CLIENT, *options, "--metadata-url", url + "/metadata", "--metadata-dir", metadata, "--target-name", name,
                               "--target-dir", targets, "--target-base-url", url + "/targets", "download"], stderr=subprocess.PIPE, text=True)
        found[name] = done.returncode == 0
        if done.returncode and "there is no target" not in done.stderr:
            found[name] = done.stderr
    wanted = sorted(f"content of {name}" for name in names if found[name] is True)
    same = wanted == sorted(path.read_text() for path in targets.iterdir())
    return found if same else {"contents": sorted(path.read_text() for path in targets.iterdir())}


def test(kind, work):
    folder = work / kind
    done = subprocess.run(["node", HERE / "tuf-repository.js", npm.MODULES, folder, kind], stdout=subprocess.PIPE, text=True, timeout=120)
    if done.returncode:
        check(f"{kind}-is-made", False, done.returncode)
        return
    expected = json.loads(done.stdout)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    if kind == "mock":
        check("mock-is-refused-for-its-key-ids", subprocess.run([CLIENT, "--metadata-dir", folder / "strict", "init", folder / "root.json"],
                                                                capture_output=True).returncode == 1)
    found = ours(url, folder, expected, *(["--any-key-ids"] if kind == "mock" else []))
    check(f"{kind}-read-by-us", found == expected, {n: f for n, f in found.items() if f != expected.get(n)})
    found = theirs(url, folder, expected)
    check(f"{kind}-read-by-tuf-js", found == expected, found)
    server.shutdown()
    server.server_close()


if __name__ == "__main__":
    work = pathlib.Path(tempfile.mkdtemp(prefix="qmr-interop-"))
    try:
        npm.install()
        for kind in ("delegations", "bins", "mock"):
            test(kind, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    sys.exit(1 if failed else 0)

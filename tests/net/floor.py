#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The highest versions that the boot state remembers (docs/remediation.md, "Highest versions"), when the disk does not.
Usage: floor.py -B BUILD [NAME ...]
"""
import hashlib
import shutil
import sys

sys.dont_write_bytecode = True
from tuf_repository import Repository, key_id, main, make_key, next_root, public, same, start  # noqa: E402


def forget(c):
    """What somebody can do who writes to the disk."""
    shutil.rmtree(c.metadata)


def remember(c):
    """What recovery does between two runs, by the boot state."""
    c.more = ["--floor", c.report["floor"]]


def seen(c):
    """Version 5 of all but the root, accepted and remembered; what is on disk is gone."""
    c.repo.version = {"root": 1, "timestamp": 5, "snapshot": 5, "targets": 5}
    start(c)
    c.accept()
    remember(c)
    forget(c)


def test_floor(c):
    seen(c)
    trust = hashlib.sha256((c.folder / "root.json").read_bytes()).hexdigest()[:16]
    ids = [f"{role}\n" + "".join(f"{key_id(public(key))}\n" for key in c.repo.keys[role]) for role in ("timestamp", "snapshot")]
    keys = hashlib.sha256("".join(ids).encode()).hexdigest()[:16]
    same("floor", f"{trust}:{keys}:1:5:5:5", c.report["floor"])
    c.accept()
    same("it stays", c.more[1], c.report["floor"])


def test_floor_of_timestamp(c):
    seen(c)
    c.repo.version["timestamp"] = 4
    c.repo.publish()
    c.refuse("timestamp", "version 4", "older than 5, which the boot state remembers")
    same("it stays", c.more[1], c.report["floor"])
    c.more = []
    c.accept()


def test_floor_of_snapshot(c):
    seen(c)
    c.repo.version.update(timestamp=6, snapshot=4)
    c.repo.publish()
    c.refuse("timestamp", "version 4 of snapshot", "older than 5")
    same("not kept", None, c.kept("timestamp"))


def test_floor_of_targets(c):
    seen(c)
    c.repo.version.update(timestamp=6, snapshot=6, targets=4)
    c.repo.publish()
    c.refuse("snapshot", "version 4 of targets", "older than 5")


def test_floor_and_an_older_cache(c):
    """The disk is put back to what it was before; the repository is that old too."""
    start(c)
    c.accept()
    shutil.copytree(c.metadata, c.folder / "old")
    shutil.copytree(c.repo.folder, c.folder / "old-repository")
    c.repo.bump()
    c.repo.publish()
    c.accept()
    remember(c)
    forget(c)
    shutil.copytree(c.folder / "old", c.metadata)
    shutil.copytree(c.folder / "old-repository", c.repo.folder, dirs_exist_ok=True)
    c.refuse("timestamp", "version 1", "older than 2")


def test_floor_of_root(c):
    """A root that was seen is withheld: what its predecessor's keys sign does not count any more."""
    start(c)
    old = dict(c.repo.keys)
    c.repo.keys = {**old, "timestamp": [make_key()]}
    next_root(c)
    c.accept()
    remember(c)
    forget(c)
    (c.repo.folder / "metadata/2.root.json").unlink()
    c.repo.keys = old
    c.repo.bump()
    c.repo.publish(root=False)
    c.refuse("root", "version 1 is older than 2, which the boot state remembers")
    same("it stays", c.more[1], c.report["floor"])


def test_floor_lets_recover(c):
    """Stolen keys made versions jump; other keys of timestamp let them go back, and that is remembered."""
    c.repo.version = {"root": 1, "timestamp": 1000000, "snapshot": 2 ** 40, "targets": 5}
    start(c)
    c.accept()
    same("cut off", "4294967295", c.report["floor"].split(":")[4])
    remember(c)
    c.repo.keys["timestamp"] = [make_key()]
    c.repo.version.update(timestamp=2, snapshot=2, targets=2)
    next_root(c)
    c.accept()
    same("floor", ["2", "2", "2", "2"], c.report["floor"].split(":")[2:])


def test_floor_of_another_trusted_root(c):
    start(c)
    next_root(c)
    c.accept()
    same("root", "2", c.report["floor"].split(":")[2])
    remember(c)
    forget(c)
    other = Repository(c.folder / "other")
    c.trust(other.publish()["root"])
    c.configure(f"https://127.0.0.1:{c.server.port}/{c.folder.name}/other")
    c.accept()
    same("floor", ["1", "1", "1", "1"], c.report["floor"].split(":")[2:])


def configure(c, *urls):
    c.configure("\nurl = ".join(urls))


def test_floor_holds_for_each_source(c):
    seen(c)
    c.repo.version["timestamp"] = 4
    c.repo.publish()
    old = c.mirror("old")
    c.repo.version.update(timestamp=6, snapshot=6)
    c.repo.publish()
    configure(c, old, c.mirror("new"))
    c.accept()
    same("sources", ["refused", "ok"], [s["result"] for s in c.report["sources"]])
    same("said", True, "older than 5" in c.report["sources"][0]["error"])
    same("floor", ["1", "6", "6", "5"], c.report["floor"].split(":")[2:])


def test_floor_of_a_source_that_was_refused(c):
    """Nothing can be kept on this disk: what the first proved holds for the second, and is remembered."""
    c.repo.version = {"root": 1, "timestamp": 5, "snapshot": 5, "targets": 5}
    start(c)
    old = c.mirror("old")
    c.repo.bump("timestamp", "snapshot")
    c.repo.publish()
    broken = c.mirror("broken")
    (c.folder / "broken/metadata/6.snapshot.json").unlink()
    c.metadata.write_text("no folder")
    configure(c, broken, old)
    c.refuse("none of 2 sources")
    same("said", True, "older than 6" in c.report["sources"][1]["error"])
    same("floor", ["1", "6", "0", "0"], c.report["floor"].split(":")[2:])
    configure(c, old, broken)
    c.accept()


def test_floor_without_a_network(c):
    seen(c)
    url = c.report["url"]
    c.configure("https://127.0.0.1:1/r", timeout=2)
    same("exit", 5, c.fetch())
    same("it stays", c.more[1], c.report["floor"])
    c.configure(url)
    c.more = ["--floor", "nonsense"]
    c.accept()
    same("said", True, "--floor" in c.text)


if __name__ == "__main__":
    main("floor", globals())

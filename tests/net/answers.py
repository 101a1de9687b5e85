#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What servers answer to a TUF client, and what becomes of its folders: the exit code is 0 or 1, what is kept stays good, and the next
good answer is taken. Usage: answers.py -B BUILD [NAME ...]
"""
import gzip
import hashlib
import os
import sys

sys.dont_write_bytecode = True
from tuf_repository import same  # noqa: E402
from tuf_simulator import TOP, Raw, cases, main  # noqa: E402


def http(body, *headers, status="200 OK", length=True):
    lines = [f"HTTP/1.1 {status}", *headers, *([f"Content-Length: {len(body)}"] if length else []), "", ""]
    return Raw("\r\n".join(lines).encode() + body)


def chunked(*chunks, end=b"0\r\n\r\n"):
    return http(b"".join(b"%x\r\n%s\r\n" % (len(x), x) for x in chunks) + end, "Transfer-Encoding: chunked", length=False)


GOOD_ANSWERS = {
    "chunks": lambda d: chunked(d[:1], d[1:100], d[100:]),
    "until it closes": lambda d: http(d, length=False),
    "HTTP/1.0": lambda d: Raw(b"HTTP/1.0 200 OK\r\n\r\n" + d),
    "a type that is none": lambda d: http(d, "Content-Type: application/x-nonsense; charset=utf-16"),
    "100 before it": lambda d: Raw(b"HTTP/1.1 100 Continue\r\n\r\n" + http(d)),
    "closes": lambda d: http(d, "Connection: close"),
    "more than it said": lambda d: Raw(http(d) + b"HTTP/1.1 500 No\r\n\r\n"),
}
BAD_ANSWERS = {
    "empty": lambda d: http(b""),
    "nothing": lambda d: Raw(b""),
    "no HTTP": lambda d: Raw(d),
    "another protocol": lambda d: Raw(b"SSH-2.0-x\r\n"),
    "cut": lambda d: Raw(http(d)[:-1]),
    "cut in the headers": lambda d: Raw(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "chunks cut": lambda d: chunked(d[:50], d[50:], end=b""),
    "chunk of a wrong size": lambda d: http(b"zz\r\n" + d, "Transfer-Encoding: chunked", length=False),
    "compressed": lambda d: http(gzip.compress(d), "Content-Encoding: gzip"),
    "204": lambda d: Raw(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "206": lambda d: http(d, status="206 Partial Content"),
    "304": lambda d: Raw(b"HTTP/1.1 304 Not Modified\r\n\r\n"),
    "300 without a place": lambda d: http(d, status="300 Choices"),
    "to itself": lambda d: http(b"", "Location: timestamp.json", status="302 Found"),
    "to a file": lambda d: http(b"", "Location: file:///etc/passwd", status="302 Found"),
    "length that is none": lambda d: http(d, "Content-Length: x", length=False),
    "length beyond all": lambda d: http(d, "Content-Length: 99999999999999999999999", length=False),
    "headers without end": lambda d: Raw(b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: %s\r\n" % (i, b"x" * 1000) for i in range(2000))),
    "400": lambda d: http(d, status="400 Bad"),
    "500": lambda d: http(d, status="500 Bad"),
    "999": lambda d: http(d, status="999 What"),
    "larger than allowed": lambda d: http(d + b" " * 2000000, length=False),
    "chunks without end": lambda d: chunked(d, *[b" " * 65536] * 100, end=b""),
}


@cases(*GOOD_ANSWERS, *BAD_ANSWERS)
def test_answers(c, case):
    c.start()
    c.repo.publish("timestamp")
    c.repo.bodies["metadata/timestamp.json"] = {**GOOD_ANSWERS, **BAD_ANSWERS}[case](c.repo.served["timestamp"][-1])
    if case in GOOD_ANSWERS:
        c.good(c.refresh())
        same("kept", c.repo.served["timestamp"][-1], c.kept("timestamp"))
    else:
        c.stays()


@cases("403", "404", "410", "401", "400", "418", "429", "500", "503", "empty", "{}", "nothing", "204", "moved to the last")
def test_next_root_is_missing(c, case):
    """Only a clear word that there is none ends the walk."""
    answers = {"empty": b"", "{}": b"{}", "nothing": Raw(b""), "204": http(b"", status="204 No Content"),
               "moved to the last": http(b"", "Location: 1.root.json", status="301 Moved")}
    c.repo.bodies["metadata/2.root.json"] = answers[case] if case in answers else int(case)
    is_good = case in ("403", "404", "410")
    c.good(c.init())
    (c.good if is_good else c.bad)(c.refresh())
    same("timestamp", is_good, ("timestamp", None) in c.repo.requests)


def test_moved(c):
    """A few steps are followed, as long as they lead to a file."""
    c.start()
    c.repo.publish("timestamp")
    for i in range(5):
        c.repo.bodies[f"metadata/{i}"] = http(b"page", f"Location: {i - 1}", status="302 Found")
    c.repo.bodies["metadata/0"] = c.repo.served["timestamp"][-1]
    for steps, is_good in ((4, False), (3, True)):
        c.repo.bodies["metadata/timestamp.json"] = http(b"", f"Location: {c.url}/metadata/{steps - 1}", status="307 Temporary")
        (c.good if is_good else c.bad)(c.refresh())
    same("kept", c.repo.served["timestamp"][-1], c.kept("timestamp"))


@cases(("@a/b:c", "@a/{}b:c"), ("a/@b", "a/{}@b"), ("!$&'()*,;=", "{}!$&'()*,;="), ("a+b c", "{}a%2Bb%20c"), ("a?b#c%25", "{}a%3Fb%23c%2525"),
       ("\u00e9[~]", "{}%C3%A9%5B~%5D"), ("a\\b\"", "{}a%5Cb%22"))
def test_names_in_urls(c, case):
    """As they stand in a path, for servers that decode nothing."""
    c.repo.add_artifact("targets", case[0], b"content")
    c.repo.publish_all()
    c.good(c.init())
    c.repo.bodies["targets/" + case[1].format(hashlib.sha256(b"content").hexdigest() + ".")] = b"content"
    c.good(c.download(case[0]))
    same("asked for as it is", [], c.repo.target_requests)


def test_base_urls(c):
    c.repo.add_artifact("targets", "a", b"content")
    c.repo.publish_all()
    c.good(c.init())
    for slash in ("", "/", "//"):
        c.good(c.run("--metadata-url", c.url + "/metadata" + slash, "--metadata-dir", c.metadata, "--target-name", "a", "--target-dir",
                     c.targets / f"x{len(slash)}", "--target-base-url", c.url + "/targets" + slash, "download"))
    same("fetched", 3, len(c.repo.target_requests))
    for url in ("", "x", "ftp://127.0.0.1/", "file:///etc", "http://", "http://127.0.0.1:1/", "http://[::1/", "http://127.0.0.1:99999/",
                "http://" + "x" * 5000):
        same(url, 1, c.run("--metadata-url", url, "--metadata-dir", c.metadata, "refresh"))


# --- the folders ---

DAMAGES = ["deleted", "cut", "empty", "folder", "full folder", "FIFO", "link", "dangling link", "older", "another role's", "bit"]


@cases(*[(f"{name}, {what}", name, what) for what in DAMAGES for name in ("timestamp", "snapshot", "targets", "role")])
def test_kept_file_is(c, case):
    """Whatever became of a kept file, the repository's is taken; that it cannot be kept is said."""
    _, name, what = case
    c.repo.delegate("targets", "role")
    c.repo.add_artifact("role", "a", b"content")
    c.repo.publish("role", "targets", "snapshot", "timestamp")
    c.good(c.init())
    older = c.repo.served[name][0]
    c.repo.publish("role", "targets", "snapshot", "timestamp")
    c.good(c.download("a"))
    path = c.metadata / f"{name}.json"
    good = path.read_bytes()
    path.unlink()
    if what in ("folder", "full folder"):
        path.mkdir()
        if what == "full folder":
            (path / "x").mkdir()
    elif what == "FIFO":
        os.mkfifo(path)
    elif what.endswith("link"):
        path.symlink_to("/etc/passwd" if what == "link" else "missing")
    elif what != "deleted":
        other = c.repo.served["targets" if name != "targets" else "snapshot"][-1]
        path.write_bytes({"cut": good[:-1], "empty": b"", "older": older, "another role's": other,
                          "bit": good[:-40] + bytes([good[-40] ^ 1]) + good[-39:]}[what])
    if "folder" in what:
        c.bad(c.download("a"), "keeping metadata")
        return
    c.good(c.download("a"))
    same("kept", good, c.kept(name))


@cases("deleted", "cut", "older", "folder")
def test_trusted_root_is(c, what):
    """Without one nobody is asked; an older one leads to where it was."""
    c.start()
    c.repo.publish("root", "root")
    c.good(c.refresh())
    path = c.metadata / "root.json"
    path.unlink()
    if what == "folder":
        path.mkdir()
    elif what != "deleted":
        path.write_bytes(c.repo.served["root"][0] if what == "older" else b"{")
    c.repo.requests.clear()
    if what == "older":
        c.good(c.refresh())
    else:
        c.bad(c.refresh())
        same("requests", [], c.repo.requests)


@cases("roots", "timestamp", "folder of roots is a file", "read-only")
def test_nothing_can_be_kept(c, case):
    """What was taken and is not kept would be forgotten: that is no success."""
    c.start()
    c.repo.publish("root", "targets", "snapshot", "timestamp")
    if case == "roots":
        (c.metadata / "root_history" / "2.root.json" / "x").mkdir(parents=True)
    elif case == "folder of roots is a file":
        (c.metadata / "root_history").write_bytes(b"")
    elif case == "timestamp":
        (c.metadata / "timestamp.json").unlink()
        (c.metadata / "timestamp.json" / "x").mkdir(parents=True)
    else:
        c.program = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"', c.metadata, *c.program]
    c.bad(c.refresh(), "keeping metadata")


def test_folders(c):
    c.repo.add_artifact("targets", "a", b"content")
    c.repo.publish_all()
    c.good(c.init())
    file = c.folder / "file"
    file.write_bytes(b"")
    c.targets.rmdir()
    c.good(c.download("a"))
    same("made", [b"content"], c.downloaded())
    (c.targets / "a").unlink()
    (c.targets / "a").mkdir()
    c.bad(c.download("a"))
    (c.targets / "a").rmdir()
    os.mkfifo(c.targets / "a")
    c.good(c.download("a"))
    same("made", [b"content"], c.downloaded())
    c.targets = file
    c.bad(c.download("a"))
    for folder in (c.folder / "missing", file, c.folder / "file" / "below"):
        c.metadata = folder
        c.bad(c.refresh())
    c.metadata = file
    c.bad(c.init())


if __name__ == "__main__":
    main("answers", globals())

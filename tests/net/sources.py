#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where remediation-fetch gets a repository from: mirrors, sticks, proxies, client certificates; and by which clock.
Usage: sources.py -B BUILD [NAME ...]
"""
import ctypes
import email.utils
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import time

sys.dont_write_bytecode = True
from servers import ClientCertificateServer, HttpProxy, Odd, SocksProxy, TlsProxy, free_port  # noqa: E402
from tuf_repository import (Repository, future, main, make_server_certificate, next_root, plan,  # noqa: E402
                            same, start)

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000
DAY = 86400


def good(c):
    return f"https://127.0.0.1:{c.server.port}/{c.folder.name}/r"


def configure(c, *urls, timeout=20, network="", more=""):
    (c.folder / "qmr.conf").write_text(
        "[repository]\n" + "".join(f"url = {url}\n" for url in urls) + f"root = {c.folder}/root.json\n"
        f"[network]\nca = {c.shared}/ca.pem\ntransfer_timeout = {timeout}\n{network}\n{more}\n")


def fetch(c, *options, **kwargs):
    """c.fetch() with options."""
    run = subprocess.run
    try:
        subprocess.run = lambda argv, **kw: run([*argv, *options], **kw)
        return c.fetch(**kwargs)
    finally:
        subprocess.run = run


def results(c):
    return [source["result"] for source in c.report["sources"]]


def won(c, *expected):
    same("error", None, c.report["error"])
    same("sources", list(expected), results(c))
    same("plans", ["01-fix.json"], c.plans())
    same("url", c.report["sources"][len(expected) - 1]["url"], c.report["url"])


# --- mirrors ---

def test_the_first_that_verifies_wins(c):
    start(c)
    second = c.mirror("second")
    configure(c, good(c), second)
    same("exit", 0, c.fetch())
    won(c, "ok")
    same("the second was not asked", [], [r for r in c.server.log.read_text().splitlines() if "/second/" in r and c.folder.name in r])


def test_a_mirror_that_is_down(c):
    start(c)
    configure(c, f"https://127.0.0.1:{free_port()}", good(c), timeout=30)
    begin = time.monotonic()
    same("exit", 0, c.fetch())
    won(c, "network", "ok")
    same("soon", True, time.monotonic() - begin < 5)
    same("said", True, "given up after 2 attempts" in c.report["sources"][0]["error"])


def test_a_forged_mirror(c):
    start(c)
    forged = Repository(c.folder / "forged")
    forged.publish()
    configure(c, good(c).replace("/r", "/forged"), good(c))
    same("exit", 0, c.fetch())
    won(c, "refused", "ok")


def test_a_mirror_that_lacks_a_plan(c):
    start(c)
    first = c.mirror("first")
    shutil.rmtree(c.folder / "first/targets")
    configure(c, first, good(c))
    same("exit", 0, c.fetch())
    won(c, "refused", "ok")


def test_a_mirror_without_the_trusted_certificate(c):
    start(c)
    server = Odd(c.shared / "elsewhere", c.repo.folder, "never", None)
    configure(c, server.url, good(c))
    same("exit", 0, c.fetch())
    won(c, "refused", "ok")
    server.stop()


def test_a_stale_mirror_does_not_win_over_what_was_seen(c):
    start(c)
    stale = c.mirror("stale")
    c.repo.bump()
    c.repo.publish()
    configure(c, good(c))
    same("exit", 0, c.fetch())
    configure(c, stale, good(c))
    same("exit", 0, c.fetch())
    won(c, "refused", "ok")
    same("version", 2, c.report["versions"]["timestamp"])


def test_a_mirror_is_measured_against_the_one_before(c):
    """The first has a newer root and timestamp, and lacks the rest: the second, an older copy, is refused."""
    start(c)
    old = c.mirror("old")
    c.repo.bump()
    next_root(c)
    broken = c.mirror("broken")
    (c.folder / "broken/metadata/2.snapshot.json").unlink()
    configure(c, broken, old)
    same("exit", 4, c.fetch())
    same("sources", ["refused", "refused"], results(c))
    same("said", True, "none of 2 sources" in c.report["error"])
    same("kept", (2, 2), (c.kept("root"), c.kept("timestamp")))
    same("plans", [], c.plans())
    configure(c, old, broken, good(c))
    same("exit", 0, c.fetch())
    won(c, "refused", "refused", "ok")


def test_refused_is_graver_than_unreachable(c):
    start(c)
    Repository(c.folder / "forged").publish()
    configure(c, good(c).replace("/r", "/forged"), f"https://127.0.0.1:{free_port()}", timeout=3)
    same("exit", 4, c.fetch())
    same("url", True, c.report["url"].endswith("/forged"))


def test_rounds_over_mirrors_that_fail(c):
    """All are asked again, in order, until one comes back."""
    start(c)
    servers = [Odd(c.shared / "server", c.repo.folder, "timestamp.json", lambda h, n: h.refuse(500)),
               Odd(c.shared / "server", c.repo.folder, "timestamp.json",
                   lambda h, n: h.refuse(500) if n <= 2 else h.answer((c.repo.folder / "metadata/timestamp.json").read_bytes()))]
    configure(c, *[server.url for server in servers], timeout=30)
    same("exit", 0, c.fetch())
    won(c, "network", "ok")
    same("requests", (4, 3), tuple(server.requests for server in servers))
    for server in servers:
        server.stop()


def test_no_mirror_in_time(c):
    start(c)
    configure(c, f"https://127.0.0.1:{free_port()}", f"https://127.0.0.1:{free_port()}", timeout=4)
    begin = time.monotonic()
    same("exit", 5, c.fetch())
    same("in time", True, 1.5 < time.monotonic() - begin < 6)
    same("sources", ["network", "network"], results(c))


def test_mirror_whose_child_dies(c):
    """What a hostile mirror does to the process that reads it ends with that process."""
    start(c)
    reached = threading.Event()

    def stall(handler, n):
        reached.set()
        time.sleep(30)
    server = Odd(c.shared / "server", c.repo.folder, "timestamp.json", stall)
    configure(c, server.url, good(c), timeout=60)
    codes = []
    thread = threading.Thread(target=lambda: codes.append(c.fetch()))
    thread.start()
    same("reached", True, reached.wait(20))
    for path in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if str(c.folder).encode() in (path / "cmdline").read_bytes() and \
                    f"\nPPid:\t{os.getpid()}\n" not in (path / "status").read_text():
                os.kill(int(path.name), 9)
        except OSError:
            pass
    thread.join(30)
    same("exit", [0], codes)
    won(c, "failed", "ok")
    server.stop()


def cut_off(c, answer, *words):
    start(c)
    server = Odd(c.shared / "server", c.repo.folder, "timestamp.json", answer)
    configure(c, server.url, good(c), timeout=60, network="stall = 1")
    begin = time.monotonic()
    same("exit", 0, c.fetch())
    same("soon", True, time.monotonic() - begin < 15)
    won(c, "network", "ok")
    for word in words:
        same(word, True, word in c.report["sources"][0]["error"])
    server.stop()


def test_stall_is_cut_off(c):
    cut_off(c, lambda h, n: time.sleep(20), "too slow")


def test_drip_is_cut_off(c):
    """Each byte in time, all of them never."""
    def drip(handler, n):
        handler.send_response(200)
        handler.send_header("Content-Length", "10000")
        handler.end_headers()
        for _ in range(200):
            handler.wfile.write(b" ")
            time.sleep(0.1)
    cut_off(c, drip, "too slow")


# --- Retry-After ---

def asked(c, headers, timeout=20):
    """One server that answers 503 with headers once."""
    start(c)

    def answer(handler, n):
        if n == 1:
            handler.refuse(503, **headers)
        else:
            handler.answer((c.repo.folder / "metadata/timestamp.json").read_bytes())
    server = Odd(c.shared / "server", c.repo.folder, "timestamp.json", answer)
    configure(c, server.url, timeout=timeout)
    return server


def test_retry_after_in_seconds(c):
    server = asked(c, {"Retry-After": "2"})
    same("exit", 0, c.fetch())
    same("pause", True, 2.5 <= server.times[1] - server.times[0] < 4)
    server.stop()


def test_retry_after_as_a_date(c):
    """Measured against the answer's own Date: neither clock is asked."""
    server = asked(c, {"Retry-After": "Sun, 06 Nov 1994 08:49:39 GMT"})
    server.server.RequestHandlerClass.date_time_string = lambda *args: "Sun, 06 Nov 1994 08:49:37 GMT"
    same("exit", 0, c.fetch())
    same("pause", True, 2.5 <= server.times[1] - server.times[0] < 4)
    server.stop()


def test_retry_after_beyond_the_deadline(c):
    server = asked(c, {"Retry-After": email.utils.formatdate(time.time() + 600, usegmt=True)}, timeout=10)
    begin = time.monotonic()
    same("exit", 5, c.fetch())
    same("at once", True, time.monotonic() - begin < 3)
    same("asked once", 1, server.requests)
    same("result", ["busy"], results(c))
    server.stop()


def test_retry_after_leads_to_the_next(c):
    server = asked(c, {"Retry-After": "30"})
    configure(c, server.url, good(c), timeout=100)
    begin = time.monotonic()
    same("exit", 0, c.fetch())
    same("at once", True, time.monotonic() - begin < 3)
    won(c, "busy", "ok")
    server.stop()


# --- folders and sticks ---

def without_network():
    if LIBC.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare")


def stick(c):
    start(c)
    media = c.folder / "media"
    (media / "sda1").mkdir(parents=True)
    (media / "sdb1").mkdir()
    shutil.copytree(c.repo.folder, media / "sdb1/qmr-repository")
    configure(c, "media:qmr-repository")
    return media


def test_stick_without_network(c):
    media = stick(c)
    same("exit", 0, fetch(c, "--media", media, preexec_fn=without_network if os.geteuid() == 0 else None))
    won(c, "ok")
    same("url", "media:qmr-repository (sdb1)", c.report["url"])
    same("kept", (1, 1, 1), tuple(c.kept(role) for role in ["timestamp", "snapshot", "targets"]))


def test_stick_after_servers(c):
    media = stick(c)
    configure(c, f"https://127.0.0.1:{free_port()}", "media:qmr-repository")
    same("exit", 0, fetch(c, "--media", media))
    won(c, "network", "ok")


def test_forged_stick_beside_a_good_one(c):
    media = stick(c)
    Repository(media / "sda1/qmr-repository").publish()
    same("exit", 0, fetch(c, "--media", media))
    won(c, "refused", "ok")


def test_old_stick(c):
    """Rollback is seen on a stick as it is on a server."""
    media = stick(c)
    c.repo.bump()
    c.repo.publish()
    configure(c, good(c))
    same("exit", 0, c.fetch())
    configure(c, "media:qmr-repository")
    same("exit", 4, fetch(c, "--media", media))
    same("plans", [], c.plans())


def test_no_stick(c):
    start(c)
    configure(c, "media:qmr-repository", f"file:{c.folder}/nowhere")
    begin = time.monotonic()
    same("exit", 5, fetch(c, "--media", c.folder / "none"))
    same("at once", True, time.monotonic() - begin < 2)
    same("sources", ["network", "network"], results(c))


def test_odd_files_on_a_stick(c):
    """Links, pipes and folders where files should be are no files."""
    media = stick(c)
    timestamp = media / "sdb1/qmr-repository/metadata/timestamp.json"
    held = c.folder / "held.json"
    shutil.move(timestamp, held)
    for make in [lambda: timestamp.symlink_to(held), lambda: os.mkfifo(timestamp), lambda: timestamp.mkdir()]:
        make()
        same("exit", 4, fetch(c, "--media", media))
        same("said", True, "has no 'metadata/timestamp.json'" in c.report["error"])
        timestamp.rmdir() if timestamp.is_dir() and not timestamp.is_symlink() else timestamp.unlink()
    shutil.move(held, timestamp)
    same("exit", 0, fetch(c, "--media", media))
    metadata = media / "sdb1/qmr-repository/metadata"
    metadata.rename(c.folder / "elsewhere")
    metadata.symlink_to(c.folder / "elsewhere")
    same("a linked folder", 4, fetch(c, "--media", media))
    (media / "sdb1/qmr-repository").rename(c.folder / "all")
    (media / "sdb1/qmr-repository").symlink_to(c.folder / "all")
    same("all of it a link", 5, fetch(c, "--media", media))


def test_stick_alone_needs_no_ca(c):
    media = stick(c)
    conf = c.folder / "qmr.conf"
    conf.write_text(conf.read_text().replace("ca.pem", "missing.pem"))
    same("exit", 0, fetch(c, "--media", media))


def test_names_in_a_folder(c):
    c.repo.targets = {"plans/a b#%ü.json": plan("fix")}
    start(c)
    configure(c, f"file:{c.repo.folder}")
    same("exit", 0, c.fetch())
    won(c, "ok")


def test_wrong_sources(c):
    start(c)
    for url, word in [("http://127.0.0.1/", "only https"), ("https://user:secret@127.0.0.1/r", "user name"),
                      ("https:///r", "no host"), ("https://h/r?x=1", "query"), ("media:../x", "no folder"),
                      ("ftp://h/", "only https"), ("https://h/a b", "percent-encoded")]:
        configure(c, good(c), url)
        same(url, 1, c.fetch())
        same(f"{word} in {c.report['error']}", True, word in c.report["error"])


# --- proxies and secrets ---

def secret(c, name, data, mode=0o600):
    path = c.folder / "root/etc/qmr/secrets" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    path.chmod(mode)
    return path


def through(c, scheme, proxy, code=0, host="127.0.0.1", timeout=20, **kwargs):
    configure(c, good(c).replace("127.0.0.1", host), network=f"proxy = {scheme}://127.0.0.1:{proxy.port}", timeout=timeout)
    same("exit", code, fetch(c, "--root", c.folder / "root", **kwargs))


def test_http_proxy(c):
    start(c)
    (c.folder / "root").mkdir()
    proxy = HttpProxy(c.folder)
    through(c, "http", proxy)
    won(c, "ok")
    same("asked", True, f"CONNECT 127.0.0.1:{c.server.port}" in proxy.log.read_text())
    proxy.stop()


def test_http_proxy_with_a_user(c):
    start(c)
    proxy = HttpProxy(c.folder, "recovery s3cret")
    secret(c, "proxy-user", "recovery:s3cret\n")
    through(c, "http", proxy)
    won(c, "ok")
    secret(c, "proxy-user", "recovery:wrong\n")
    through(c, "http", proxy, 1)
    same("said", True, "the proxy answered 401" in c.report["error"] or "the proxy answered 407" in c.report["error"])
    same("no secret is told", False, "wrong" in c.text or "s3cret" in c.text)
    proxy.stop()


def test_secret_that_others_may_read(c):
    start(c)
    proxy = HttpProxy(c.folder, "recovery s3cret")
    secret(c, "proxy-user", "recovery:s3cret\n", 0o640)
    through(c, "http", proxy, 1)
    same("said", True, "nobody but root may open a secret" in c.text)
    proxy.stop()


def test_secret_links_stay_in_their_root(c):
    """The root is that of a broken system: a link in it leads to its own files."""
    start(c)
    proxy = HttpProxy(c.folder, "recovery s3cret")
    outside = c.folder / "outside"
    outside.write_text("recovery:s3cret\n")
    outside.chmod(0o600)
    path = secret(c, "proxy-user", "")
    path.unlink()
    path.symlink_to(outside)
    through(c, "http", proxy, 1)
    proxy.stop()


def test_https_proxy(c):
    start(c)
    (c.folder / "root").mkdir()
    proxy = TlsProxy(c.shared / "server")
    through(c, "https", proxy)
    won(c, "ok")
    same("asked", [f"127.0.0.1:{c.server.port}"], list(set(proxy.tunnels)))
    proxy.stop()
    proxy = TlsProxy(c.shared / "elsewhere")
    through(c, "https", proxy, 4, timeout=3)
    same("nothing was asked of another", [], proxy.tunnels)
    proxy.stop()


def test_socks_proxy(c):
    start(c)
    (c.folder / "root").mkdir()
    proxy = SocksProxy()
    for scheme in ["socks5", "socks5h"]:
        through(c, scheme, proxy, host="localhost")
        won(c, "ok")
    proxy.stop()
    through(c, "socks5", proxy, 5, timeout=3)
    same("the proxy is the only way", True, str(proxy.port) in c.report["error"] or "connect" in c.report["error"])


def test_socks_proxy_with_a_user(c):
    start(c)
    proxy = SocksProxy("-u", "recovery", "-P", "s3cret")
    secret(c, "proxy-user", "recovery:s3cret")
    through(c, "socks5h", proxy)
    won(c, "ok")
    (c.folder / "root/etc/qmr/secrets/proxy-user").unlink()
    through(c, "socks5h", proxy, 5, timeout=3)
    proxy.stop()


def test_wrong_proxies(c):
    start(c)
    for proxy, word in [("http://u:p@h:1", "user name"), ("ftp://h", "scheme"), ("h:3128", "scheme"), ("socks5://", "no host")]:
        configure(c, good(c), network=f"proxy = {proxy}")
        same(proxy, 1, c.fetch())
        same(word, True, word in c.report["error"])


def test_client_certificate(c):
    start(c)
    server = ClientCertificateServer(c.shared, "other")
    url = good(c).replace(f":{c.server.port}/", f":{server.port}/")
    configure(c, url)
    same("without", 1, fetch(c, "--root", c.folder / "none"))
    make_server_certificate(c.shared, "other", "machine", "DNS:machine")
    pem = (c.shared / "machine.pem").read_text() + (c.shared / "machine.key").read_text()
    secret(c, "client.pem", pem)
    same("with", 0, fetch(c, "--root", c.folder / "root"))
    won(c, "ok")
    secret(c, "client.pem", "no certificate\n")
    same("damaged", 1, fetch(c, "--root", c.folder / "root"))
    same("the next one is asked", 0, [configure(c, url, good(c)), fetch(c, "--root", c.folder / "root")][1])
    won(c, "failed", "ok")
    server.stop()


# --- the clock ---

def at(when):
    """The machine's clock is wrong."""
    library = next(pathlib.Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    return {"env": {**os.environ, "LD_PRELOAD": str(library), "FAKETIME": when, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}}


IN_1970 = "@1970-01-02 00:00:00"
IN_2099 = "@2099-01-01 00:00:00"


def sanitized(c):
    """libfaketime and AddressSanitizer both want to be first."""
    return b"__asan_init" in (c.build / "remediation-fetch").read_bytes()


def built(c, days_ago):
    configure(c, good(c), more=f"[machine]\nbuilt = {int(time.time() - days_ago * DAY)}")


def test_clock_before_the_image(c):
    """Certificates and metadata, which begin after the image was built, are good nevertheless."""
    if sanitized(c):
        return
    start(c)
    built(c, 10)
    same("exit", 0, c.fetch(**at(IN_1970)))
    won(c, "ok")
    same("time", ("image", True), (c.report["time"]["from"], c.report["time"]["clock_unix_s"] < 3 * DAY))
    same("said", True, "the clock says" in c.text)
    same("nothing was proven", False, (c.metadata / "time").exists())


def test_clock_in_2099(c):
    if sanitized(c):
        return
    start(c)
    built(c, 10)
    same("exit", 0, c.fetch(**at(IN_2099)))
    same("from", "image", c.report["time"]["from"])


def test_clock_without_a_floor(c):
    """Nothing tells that it is wrong: all is refused."""
    if sanitized(c):
        return
    start(c)
    configure(c, good(c))
    same("1970", 4, c.fetch(**at(IN_1970)))
    same("2099", 4, c.fetch(**at(IN_2099)))
    configure(c, f"file:{c.repo.folder}")
    same("2099, no certificate", 4, c.fetch(**at(IN_2099)))
    same("said", True, "or the clock is wrong" in c.report["error"])


def test_clock_ahead_within_bounds_is_believed(c):
    if sanitized(c):
        return
    start(c)
    configure(c, f"file:{c.repo.folder}", more=f"[machine]\nbuilt = {int(time.time())}")
    same("exit", 4, c.fetch(**at("+365d")))
    same("expired", True, "or the clock is wrong" in c.report["error"])
    same("from", "clock", c.report["time"]["from"])


def test_expired_before_the_floor_is_refused(c):
    """A wrong clock opens what has expired since the floor, and nothing before it."""
    if sanitized(c):
        return
    c.repo.expires["timestamp"] = future(-5)
    start(c)
    built(c, 10)
    same("since the floor", 0, c.fetch(**at(IN_1970)))
    same("right clock", 4, c.fetch())
    built(c, 3)
    for clock in [IN_1970, IN_2099]:
        same("before the floor", 4, c.fetch(**at(clock)))
        same("said", True, "expired" in c.report["error"])


def test_time_that_a_run_has_proven(c):
    if sanitized(c):
        return
    start(c)
    built(c, 100)
    same("exit", 0, c.fetch())
    proven = int((c.metadata / "time").read_text())
    same("kept", True, abs(proven - time.time()) < 60)
    same("exit", 0, c.fetch(**at(IN_1970)))
    same("time", ("metadata", proven), (c.report["time"]["from"], c.report["time"]["unix_s"]))
    c.repo.expires["timestamp"] = future(-1)
    c.repo.bump("timestamp")
    c.repo.publish()
    same("what has expired by then", 4, c.fetch(**at(IN_1970)))
    for text in ["", "x\n", "-5\n", "99999999999999999999\n", f"{proven}"]:
        (c.metadata / "time").write_text(text)
        same(repr(text), 0, c.fetch(**at(IN_1970)))
        same("damaged is none", "image", c.report["time"]["from"])


def test_kept_time_is_no_more_than_its_timestamp_proves(c):
    """Who can write to the disk moves it to the expiry of what the owner signed, and no further."""
    if sanitized(c):
        return
    c.repo.expires = {role: future(30 if role == "timestamp" else 60) for role in c.repo.expires}
    start(c)
    built(c, 100)
    same("exit", 0, c.fetch())
    (c.metadata / "time").write_text("4000000000\n")
    c.repo.expires["timestamp"] = future(40)
    c.repo.bump("timestamp")
    c.repo.publish()
    # The server's certificate ends before that.
    configure(c, f"file:{c.repo.folder}", more=f"[machine]\nbuilt = {int(time.time() - 100 * DAY)}")
    same("exit", 0, c.fetch(**at(IN_1970)))
    same("bounded", True, abs(c.report["time"]["unix_s"] - time.time() - 30 * DAY) < 3600)
    (c.metadata / "timestamp.json").write_bytes(b"{}")
    same("exit", 0, c.fetch(**at(IN_1970)))
    same("without the timestamp there is no proof", "image", c.report["time"]["from"])


if __name__ == "__main__":
    main("sources", globals())

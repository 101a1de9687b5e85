#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""qmr-publish disturbed: another one and clients beside it, and every change cut, or failing, at every system call.
Usage: publish-cuts.py [-B] BUILD_DIR"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import faults  # noqa: E402
from publish import PROGRAM, ROLES, WORK, Client, Cut, Owner, check, count, keyid_of, main, run, test_secrets, unchanged  # noqa: E402
import npm  # noqa: E402


def test_two_at_once():
    owner = Owner()
    plans = [owner.plan(f"p{i}.json") for i in range(6)]
    children = [subprocess.Popen([PROGRAM, "add", "--repository", owner.repository, "--keys", owner.keys, p],
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for p in plans]
    statuses = [c.wait(timeout=60) for c in children]
    done = [f"plans/{os.path.basename(p)}" for p, s in zip(plans, statuses) if s == 0]
    check("two-at-once", set(statuses) <= {0, 1} and done and sorted(owner.names()) == sorted(done) and owner.is_valid(),
          (statuses, owner.names()))
    holder = subprocess.Popen(["flock", owner.repository, "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    holder.stdin.write(b"x\n")
    holder.stdin.flush()
    holder.stdout.read(1)  # now it has the lock
    unchanged("the-second-is-refused", owner, "another qmr-publish", 1, "refresh")
    check("reading-goes-on", owner.is_valid() and owner("list")[0] == 0)
    holder.communicate()


def test_clients_during_changes():
    """Clients refresh without a pause while everything is changed; not one refresh fails."""
    owner = Owner()
    client, stop = Client(owner), WORK + "/stop"
    node = subprocess.Popen(client.command("--until", stop), stdout=subprocess.PIPE, text=True)

    def rounds():
        try:
            with open(stop + ".rounds") as file:
                return int(file.read())
        except FileNotFoundError:
            return -1

    def let_clients_pass():
        """A root that a client has read may be one change old, not two: it would be in the middle of a rotation for long."""
        then = rounds()
        while rounds() < then + 2 and node.poll() is None:
            threading.Event().wait(0.02)

    statuses = []
    let_clients_pass()
    for i in range(4):
        statuses += [owner("add", owner.plan(f"p{i}.json"))[0], owner("refresh")[0]]
    for role in ROLES:
        let_clients_pass()
        statuses.append(owner("rotate", role, *(("--replace", keyid_of(owner.key(role))) if role == "root" else ()))[0])
        let_clients_pass()
        statuses += [owner("remove", f"p{ROLES.index(role)}.json")[0], owner("refresh")[0]]
    open(stop, "w").close()
    answer = json.loads(node.communicate(timeout=120)[0])
    check("clients-during-changes", answer["ok"] and answer["rounds"] > 10 and set(statuses) == {0}, (answer, statuses))
    client.done()


def test_durability():
    """A power cut loses what was not synced, which a killed process does not show: so the order of the calls is looked at."""
    if os.geteuid() != 0:  # the program lets nobody but root look into it
        print("# test_durability: needs root, skipped", flush=True)
        return
    owner = Owner()
    trace = WORK + "/trace"
    subprocess.run(["strace", "-qq", "-y", "-o", trace, "-e", "trace=renameat,fsync,mkdirat", PROGRAM, "add", "--repository",
                    owner.repository, "--keys", owner.keys, owner.plan("a.json")], check=True, stdout=subprocess.DEVNULL)
    synced, unsynced, wrong, order = set(), set(), [], []
    with open(trace) as lines:
        for line in lines:
            fsync = re.match(r"fsync\(\d+<(.*)>\) += 0", line)
            rename = re.match(r'renameat\(\d+<(.*)>, "(.*)", \d+<.*>, "(.*)"\) += 0', line)
            if fsync:
                synced.add(fsync[1])
                unsynced.discard(fsync[1])
            elif rename:
                old, new = (os.path.join(rename[1], n) for n in (rename[2], rename[3]))
                if old not in synced:
                    wrong.append(f"{new} was not synced")
                if new.endswith("/timestamp.json") and unsynced:
                    wrong.append(f"{unsynced} was not synced before {new}")
                unsynced.add(os.path.dirname(new))
                order.append(os.path.relpath(new, owner.repository))
    check("synced-before-it-is-seen", not wrong and not unsynced and len(order) == 4, (wrong, unsynced, order))
    check("order-of-writing", [re.sub("[0-9a-f]{64}", "H", o) for o in order] ==
          ["targets/plans/H.a.json", "metadata/2.targets.json", "metadata/2.snapshot.json", "metadata/timestamp.json"], order)


def test_cuts():
    add = Owner()
    add("add", add.plan("a.json"))
    where = ("--repository", "{}/r", "--keys", "{}/k")

    def at(owner):
        return [w.format(owner.path) for w in where]

    cuts = [(Cut("add", add, "add", *at(add), add.plan("b.json")), True)]
    refresh = Owner()
    cuts.append((Cut("refresh", refresh, "refresh", *at(refresh)), False))
    rotate = Owner()
    rotate("add", rotate.plan("a.json"))
    cuts.append((Cut("rotate-targets", rotate, "rotate", "targets", *at(rotate)), True))
    lost = Owner()
    lost("add", lost.plan("a.json"))
    lost.take_away("targets")
    cuts.append((Cut("rotate-lost-targets", lost, "rotate", "targets", *at(lost), may_break=True, again=1), True))
    signing = Owner("--targets-keys", "2", "--targets-threshold", "2")
    second = signing.path + "/second.pem"
    shutil.move(signing.key("targets"), second)
    signing("add", signing.plan("a.json"))
    cuts.append((Cut("sign", signing, "sign", "--role", "targets", "--key", second, *at(signing)), False))
    for cut, with_errors in cuts:
        count(cut.run(with_errors))


def test_init_cuts():
    """init has no old state: what it leaves is a repository, or none, and another init with an empty folder makes one."""
    template = tempfile.mkdtemp(dir=WORK)

    def judge(root, status, output, fault):
        if status == 0:
            return None if run("check", "--repository", root + "/r")[0] == 0 else "it says done, but check does not"
        if os.path.exists(root + "/r/metadata/timestamp.json"):
            after = run("check", "--repository", root + "/r")
            return None if after[0] == 0 else f"{after}"
        done = run("init", "--repository", root + "/r", "--keys", root + "/k2")
        after = run("check", "--repository", root + "/r")
        return None if done[0] == 0 and after[0] == 0 else f"init again: {done} {after}"

    faulty = faults.Faults(template, [PROGRAM, "init", "--repository", "{root}/r", "--keys", "{root}/k"], judge)
    count(faulty.report("init-killed-at-any-call", faulty.kills(), 30))
    count(faulty.report("init-any-call-fails", faulty.errors(), 30))
    faulty.done()


if __name__ == "__main__":
    npm.install()
    main([test_two_at_once, test_clients_during_changes, test_durability, test_cuts, test_init_cuts, test_secrets])

#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Recovery that the owner asks for through the repository (docs/requests.md): a running machine finds the request that qmr-publish made, tells
who is logged in, restarts into recovery, which collects and sends, and comes back; once, also when the power fails on the way.
Usage: polled.py -B BUILD [SCENARIO ...]"""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True
import demo  # noqa: E402
import machine  # noqa: E402
import network  # noqa: E402
import repository  # noqa: E402
import scenario  # noqa: E402

# The mode would repair, and there is a plan that a machine which collects must not even try.
CONFIG = """[policy]
mode = automatic
stability = 3
cancel = 2
[requests]
poll = yes
[image]
cmdline = console=ttyS0
[network]
transfer_timeout = 30
"""
FILES = {
    "/opt/product/file": "content\n",
    "/etc/systemd/network/all.network": "[Match]\nName=en*\n[Network]\nDHCP=ipv4\n",
    "/etc/resolv.conf": "nameserver %s\n" % network.ADDRESS,
    "/etc/modules-load.d/network.conf": "virtio_net\n",
    "/etc/systemd/system/systemd-udev-trigger.service.d/small.conf": "[Service]\nExecStart=\nExecStart=udevadm trigger --type=devices "
                                                                     "--action=add --subsystem-match=block --subsystem-match=net\n",
    # Somebody who is logged in: wall(1) reaches the console through that session alone.
    "/etc/systemd/system/session.service":
        "[Service]\nType=idle\nExecStartPre=touch /run/utmp\nExecStart=/sbin/agetty --autologin root --noclear --keep-baud 115200 ttyS0 linux\n"
        "StandardInput=tty\nStandardOutput=tty\nTTYPath=/dev/ttyS0\nUtmpIdentifier=ttyS0\n[Install]\nWantedBy=multi-user.target\n",
}
# Nobody but the request itself ends the first boot. The second looks again, as the timer would.
SCENARIO = """mkdir -p /var/out
boot_1() { healthy; systemctl start qmr-poll.service; }
boot_2() {
	healthy
	systemctl is-active qmr-poll.timer >/var/out/timer
	systemctl start qmr-poll.service
	until ended qmr-poll.service; do sleep 0.2; done
	systemctl show -P Result qmr-poll.service >/var/out/result
	journalctl -q -o cat -b -u qmr-poll.service >/var/out/said
	sync
	switch_off
}
"""


class World:
    """The owner with a repository, and what the owner's machines have."""

    def __init__(self, s, folder):
        self.owner, self.id = network.Owner(folder + "/owner"), "collect-" + os.urandom(4).hex()
        self.title = "Rack " + os.urandom(3).hex()
        request = {"schema": 1, "id": self.id, "title": self.title, "mode": "collect-only", "grace_minutes": 0,
                   "match": {"all": [{"os-id": "debian"}, {"file": {"path": "/opt/product/file"}}]}}
        elsewhere = {**request, "id": "a-elsewhere", "match": {"os-id": "fedora"}}
        plan = {"schema": 1, "id": "repair", "title": "t", "match": {"incident-kind": "manual"},
                "actions": [{"type": "remove-file", "path": "/opt/product/file"}]}
        root = repository.publish(s.build, self.owner, [elsewhere, request, plan])
        self.files = {**FILES, **self.owner.trust, "/etc/qmr/trust/root.json": root}


class Polled:
    """A copy of a machine that was healthy once, without a network, and the servers of its owner."""

    def __init__(self, s):
        self.s, self.world = s, s.shared.get("world", lambda folder: World(s, folder))
        template = s.settled("machine", lambda: CONFIG + self.world.owner.config, lambda: self.world.files,
                             script="systemctl -q enable systemd-networkd.service session.service", small=True)
        self.box = s.machine = machine.Machine(template, s.work, "machine", SCENARIO)
        self.owner = self.world.owner.copy(s.work + "/owner")
        self.told, self.floors = [], []
        s.same("nothing is known of the repository at first", (0, 0, 0, 0), self.box.state()["floor"])

    def watch(self, run, what, text):
        if what == "line" and self.told and self.told[-1].endswith("("):  # wall(1) breaks lines at 79 characters
            self.told[-1] += text
        elif what == "line" and "owner asks for a restart into recovery" in text:
            self.told.append(text)
        if what == "reset":
            self.floors.append(self.box.state()["floor"])

    def verdict(self, servers):
        s, box, world = self.s, self.box, self.world
        state, record = box.state(), box.disk.json("/var/lib/qmr/requests.json") or {"requests": []}
        s.same("who is logged in was told, once, what and which", [True], ["(%s, request %s), in 0 min" % (world.title, world.id) in t
                                                                           for t in self.told] or self.told)
        incidents = [box.disk.json("/var/lib/qmr/incidents/%s/incident.json" % i) for i in box.disk.list("/var/lib/qmr/incidents")]
        s.same("one incident", [("requested", "manual")], [(i["reason"], i["kind"]) for i in incidents])
        s.same("the request is done, at the first try", [(world.id, "collect-only", "done", 1)],
               [tuple(r[k] for k in ("id", "mode", "result", "tries")) for r in record["requests"]])
        s.same("the normal system", ("healthy", "none", 0), (state["outcomes"][-1], state["stage"], state["flags"]))
        bundle = demo.read_bundle(self.owner, state["incident"], "none")
        s.need("the owner has the bundle", bundle)
        s.same("of that incident", (incidents[0]["id"], "manual"), (bundle["incident"]["id"], bundle["incident"]["kind"]))
        runs = box.disk.json("/var/lib/qmr/incidents/%s/timeline.json" % incidents[0]["id"])["runs"]
        steps = {step["step"]: (step["result"], step["text"]) for step in runs[-1]["steps"]}
        s.same("mode automatic, and nothing was to be changed", ("skipped", "mode collect changes nothing"), steps["apply"])
        s.same("the file that a plan would remove", b"content\n", box.disk.read("/opt/product/file"))
        s.same("nothing was applied", [], [n for n in box.disk.list("/var/lib/qmr/transactions") if n.isdigit()])
        s.same("highest versions: root, timestamp, snapshot, targets", (1, 4, 4, 4), state["floor"])
        said = (box.disk.read("/var/out/said") or b"").decode()
        s.same("the second look: the timer, its result", (b"active\n", b"success\n"),
               (box.disk.read("/var/out/timer"), box.disk.read("/var/out/result")))
        s.true("it found the request and did not follow it", "'%s' is over: done" % world.id in said, said)
        path = "/repository/targets/requests/"
        s.same("the request, and the other one, were fetched: twice in the first boot, once in the second", 6,
               sum(uri.startswith(path) and status == 200 for _, _, uri, status in servers.requests()))


def collects_once(s):
    polled = Polled(s)
    with network.Network(polled.owner, polled.box.nonce) as servers:
        done = s.boot_to_the_end(polled.box, watch=polled.watch, network=servers)
        polled.verdict(servers)
    state = polled.box.state()
    s.same("resets: into recovery, and back", 2, done.resets)
    s.same("attempts", ["healthy"] * 3, state["outcomes"])
    s.same("attempts that recovery followed", [0, 8, 0], state["attempt_flags"])
    s.same("what the fetch proved was in the boot state before recovery ran", (1, 4, 4, 4), polled.floors[0])


def power_fails_on_the_way_down(s):
    """When the machine has begun to restart: it was asked for, and nothing of the system's end was recorded."""
    polled = Polled(s)

    def cut(run, what, text):
        polled.watch(run, what, text)
        if what == "line" and polled.told and "Stopped target" in text:
            run.stop("cut")
    with network.Network(polled.owner, polled.box.nonce) as servers:
        s.need("the power fails", polled.box.boot(watch=cut, network=servers, rest=False).ended == "cut")
        s.same("recovery is still to come", ("switching", 1), tuple(polled.box.state()[k] for k in ("stage", "switches")))
        done = s.boot_to_the_end(polled.box, watch=polled.watch, network=servers)
        polled.verdict(servers)
    s.same("resets: back from recovery", 1, done.resets)


if __name__ == "__main__":
    scenario.main(collects_once, more=(power_fails_on_the_way_down,))

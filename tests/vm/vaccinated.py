#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Plans on a healthy machine: one removes a content file that would have made the next boot panic; another one does harm, boots fail, and recovery
takes it back, and it alone, without a network. Usage: vaccinated.py -B BUILD"""
import hashlib
import os
import sys
import types

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True
import machine  # noqa: E402
import repository  # noqa: E402
import scenario  # noqa: E402
import vendor  # noqa: E402

REPOSITORY = "/var/repository"
CONFIG = """[policy]
mode = automatic
vaccinate = yes
stability = 5
panic_timeout = 3
emergency_timeout = 5
cancel = 1
[checks]
pause = 0
[watch]
path = /opt
[repository]
url = file:%s
[image]
cmdline = console=ttyS0
""" % REPOSITORY
NEEDED, LATER = "/opt/needed", "/opt/later"
SCENARIO = """vaccinate() {
	mkdir -p /var/out
	systemctl start qmr-vaccinate.service
	journalctl -q -o cat -b -u qmr-vaccinate.service >/dev/console
	cat /sys/firmware/efi/efivars/QmrState-* >/var/out/state
	sync
}
boot_1() { healthy; %s; vaccinate; restart; }
boot_2() { healthy; touch %s; vaccinate; restart; }
"""


def plans_for(product):
    healthy = {"incident-kind": "none"}
    bad = {"path": product.content_path, "sha256": hashlib.sha256(product.bad).hexdigest()}
    return [{"schema": 1, "id": "a-help", "title": "Remove the malformed content file before it is read",
             "match": {"any": [{"culprit-module": product.module}, {"all": [healthy, {"file": bad}]}]}, "actions": [dict(bad, type="remove-file")]},
            {"schema": 1, "id": "b-harm", "title": "Its owner's own mistake", "match": {"all": [healthy, {"file": {"path": LATER}}]},
             "actions": [{"type": "remove-file", "path": NEEDED}, {"type": "block-module", "module": product.module}]}]


def files_for(s, folder, product):
    owner = types.SimpleNamespace(folder=folder)
    files = dict(product.files, **{"/etc/qmr/trust/root.json": repository.publish(s.build, owner, plans_for(product)), NEEDED: "needed\n",
                                   "/etc/qmr/checks.d/required.d/needed": ("#!/bin/sh\ntest -e %s\n" % NEEDED, 0o755)})
    top = folder + "/www/repository"
    for at, _, names in os.walk(top):
        for name in names:
            with open(os.path.join(at, name), "rb") as f:
                files[REPOSITORY + os.path.join(at, name)[len(top):]] = f.read()
    return files


def helped_and_harmed(s):
    product = vendor.Vendor(s.work)
    template = s.settled("machine", lambda: CONFIG, lambda: files_for(s, s.work + "/owner", product), small=True)
    box = machine.Machine(template, s.work, "machine")
    box.play(SCENARIO % (product.update, LATER))
    done = s.boot_to_the_end(box)
    state = box.state()
    s.same("attempts: no panic, two boots that the harm made fail, recovery, and well again",
           ["healthy", "healthy", "healthy", "emergency", "emergency", "clean-shutdown", "healthy"], state["outcomes"])
    s.same("resets", 6, done.resets)
    s.same("stage and remediation", ("healed", "undo-vaccinations"), (state["stage"], state["remediation"]))
    s.true("the malformed content file is gone", box.disk.read(product.content_path) is None)
    s.same("what the harm removed is back", b"needed\n", box.disk.read(NEEDED))
    s.same("nothing is blocked", (None, []), (box.disk.read("/etc/modprobe.d/qmr-block-%s.conf" % product.module), state["blocked_modules"]))
    kept = box.disk.read("/var/out/state") or b""
    s.true("the list of blocked modules was in the boot state, which stayed in the variable", product.module.encode() in kept, kept)
    journals = [box.disk.json("/var/lib/qmr/transactions/%s/journal.json" % n) for n in sorted(box.disk.list("/var/lib/qmr/transactions")) if n.isdigit()]
    s.same("transactions: what was done in which boot, and what was taken back", [("a-help", 2), ("b-harm", 3), ("undo-2", 3)],
           [(j["plan"], j.get("boot")) for j in journals])


if __name__ == "__main__":
    scenario.main(helped_and_harmed)

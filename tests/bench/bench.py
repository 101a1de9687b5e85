#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What qmr costs a normal boot, and what recovery costs beside other ways, in one run; docs/performance.md says what is compared. Run by
`make bench`.

usage: python3 tests/bench/bench.py -B BUILD [--rounds N] [--pairs N] [--ordinary] [--only images|repository|guard|pairs|recovery|memory ...]

Figures go to BUILD/bench/result.json. Time decides nothing about the exit status: it is 0 when everything could be measured.
"""
import argparse
import datetime
import json
import os
import platform
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "vm")]
sys.dont_write_bytecode = True
import bins  # noqa: E402
import boots  # noqa: E402
import guard  # noqa: E402
import guests  # noqa: E402
import images  # noqa: E402
import machine  # noqa: E402
import network  # noqa: E402
import pairs  # noqa: E402
from figures import load, say  # noqa: E402

REPORTS = {"images": images.report, "repository": bins.report, "guard": guard.report, "pairs": pairs.report, "recovery": boots.report_recovery,
           "memory": boots.report_memory}


def host():
    with open("/proc/cpuinfo") as f:
        model = next((line.split(":", 1)[1].strip() for line in f if line.startswith("model name")), platform.machine())
    return {"date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"), "processors": os.cpu_count(),
            "model": model, "load": load(), "virtual_machines": "QEMU, software emulation (TCG), 2 processors, OVMF",
            "qemu": machine.run("qemu-system-x86_64", "--version").splitlines()[0]}


class Results:
    """What was measured so far: each part is shown and kept as soon as it is known, whatever becomes of the next."""

    def __init__(self, path, rounds):
        self.path, self.figures = path, {"schema": 1, "host": host(), "rounds": rounds}

    def add(self, part, figures):
        self.figures[part] = figures
        REPORTS[part](figures)
        say()
        with open(self.path, "w") as f:
            json.dump(self.figures, f, indent=1)
            f.write("\n")


def measure_normal_boots(work, build, arguments, parts, results):
    say("Normal boots")
    machines = guests.Guests(work, build, not arguments.ordinary)
    if "guard" in parts:
        results.add("guard", guard.measure(machines, arguments.rounds))
    if "pairs" in parts:
        results.add("pairs", pairs.measure(machines, arguments.pairs))


def measure_recoveries(work, build, rounds, parts, results):
    say("Bringing a machine to where it switches to recovery")
    fleet = boots.Fleet(work, build)
    fleet.prepare()
    # One network for all: with another set of devices the firmware would order its boot entries anew.
    with network.Network(fleet.owner, fleet.nonce) as fleet.servers:
        if "recovery" in parts:
            say("Recovery and the floor")
            results.add("recovery", boots.measure_recovery(fleet, rounds))
        if "memory" in parts:
            say("Memory")
            results.add("memory", boots.measure_memory(fleet))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("-B", dest="build", required=True)
    parser.add_argument("--rounds", type=int, default=3, help="how often each comparison is made, in turns; default 3")
    parser.add_argument("--pairs", type=int, default=20, help="normal boots with and without qmr, 5 or more; default 20")
    parser.add_argument("--ordinary", action="store_true", help="normal boots of a Debian with all that it starts, not of a small one")
    parser.add_argument("--only", action="append", choices=REPORTS, help="this part alone; may be given more than once")
    parser.add_argument("--keep", action="store_true", help="keep disks and consoles")
    arguments = parser.parse_args()
    if os.geteuid():
        sys.exit("bench.py: making Debian trees and a network for a machine needs root; run it as root")
    if arguments.pairs < 5:
        parser.error("fewer than 5 pairs say nothing")
    parts = set(arguments.only or REPORTS)
    build = os.path.abspath(arguments.build)
    os.makedirs(build + "/bench", exist_ok=True)
    machine.clean_up_on_signals()
    results = Results(build + "/bench/result.json", arguments.rounds)
    say("%(processors)d processors (%(model)s), load %(load).1f" % results.figures["host"])
    if "images" in parts:
        say("Images: mkrecovery, dracut and mkinitramfs in turns")
        results.add("images", images.measure(build, arguments.rounds))
    if "repository" in parts:
        say("A large repository: this client and tuf-js in turns")
        results.add("repository", bins.measure(build, arguments.rounds))
    work = tempfile.TemporaryDirectory(prefix="qmr-bench-", dir=machine.TEMPORARY)
    if arguments.keep:
        work._finalizer.detach()
        say("Kept: " + work.name)
    if parts & {"guard", "pairs"}:
        measure_normal_boots(work.name, build, arguments, parts, results)
    if parts & {"recovery", "memory"}:
        measure_recoveries(work.name, build, arguments.rounds, parts, results)
    say("All figures: " + results.path)


if __name__ == "__main__":
    main()

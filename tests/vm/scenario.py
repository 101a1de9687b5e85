# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the scripts in this folder share: the command line, verdicts, machines made once for several scenarios, and how long
each scenario took. Two scenarios run at a time, since a machine under emulation keeps one core busy."""
import argparse
import concurrent.futures
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
import traceback

import machine

SKIPPED = 77  # as with automake
AT_A_TIME = int(os.environ.get("QMR_VM_AT_A_TIME", "2"))
# Where a machine stays: the kernel's last line where panic is 0, and the firmware's setup.
PANIC_HALT = r"end Kernel panic - not syncing"
STUCK = PANIC_HALT + r'|starting Boot\w+ "UiApp"'

QUIET = {"stage": "none", "incident": None, "flags": 0, "switches": 0, "recovery_runs": 0, "note": ""}


class Failure(Exception):
    pass


class Shared:
    """Values made once, by whoever asks first."""

    def __init__(self, work):
        self.work, self.lock, self.made, self.locks = work, threading.Lock(), {}, {}

    def get(self, name, make):
        with self.lock:
            lock = self.locks.setdefault(name, threading.Lock())
        with lock:
            if name not in self.made:
                folder = os.path.join(self.work, "shared-" + name)
                os.makedirs(folder)
                self.made[name] = make(folder)
            return self.made[name]


class Scenario:
    """One scenario's verdicts. machine, if set, is what a failure shows the console of."""

    def __init__(self, shared, build, name, seed):
        self.shared, self.build, self.name = shared, build, name
        self.work = os.path.join(shared.work, name)
        self.machine, self.good = None, True
        self.seed = seed
        self.random = random.Random("%s %s" % (seed, name))
        os.makedirs(self.work)

    def true(self, name, good, why=""):
        if not good:
            self.good = False
        print("ok %s: %s" % (self.name, name) if good else "not ok %s: %s: %s" % (self.name, name, str(why).replace("\n", " ")),
              flush=True)
        return good

    def same(self, name, want, found):
        return self.true(name, want == found, "is %r, should be %r" % (found, want))

    def need(self, name, good, why=""):
        """As true(), and nothing that follows makes sense without it."""
        if not self.true(name, good, why):
            raise Failure()

    def quiet(self, state):
        """Nothing was seen that calls for recovery, and nothing was done."""
        for name, value in QUIET.items():
            self.same(name, value, state[name])
        asked = 1 | 2  # or would have, but for mode observe
        self.true("no attempt asked for recovery", not any(flags & asked for flags in state["attempt_flags"]), state["attempt_flags"])

    def system(self, config, files=None, **more):
        return machine.System(self.work, self.build, config, files, **more)

    def boot_to_the_end(self, box, end=None, **more):
        """The machine has to switch itself off in time, or to print the line that is its end (a pattern). Stuck, it will not."""
        self.machine = box
        done = box.boot(until=STUCK if end is None else "%s|%s" % (end, STUCK), **more)
        good = done.ended == "shutdown" if end is None else done.ended == "line" and re.search(end, done.last)
        self.need("the machine comes to its end", good, "%s (%s) after %d s and %d resets" %
                  (done.ended, done.last, done.seconds, done.resets))
        return done

    def settled(self, name, config, files=None, script="", hardware=(), keys=None, **more):
        """A machine that was healthy once, restore point and boot entry included, and was switched off: to be copied.
        config, files: functions that return them. more: see machine.System. hardware: see machine.Machine. keys(run): called again and again,
        to type what the first boot asks for. boot_cpu_seconds: what it took from power-on to multi-user.target."""
        def make(folder):
            system = machine.System(folder, self.build, config(), files() if files else None, script=script, **more)
            box = machine.Machine(system, folder, "settled", hardware=hardware)
            os.unlink(system.disk)
            begin = time.monotonic()

            def watch(run, what, text):
                if keys:
                    keys(run)
                if what == "line" and text.endswith(": boot 1"):
                    box.boot_cpu_seconds = run.cpu_seconds()
            done = box.boot(watch=watch)
            state = box.state()
            if done.ended != "shutdown" or not state or state["outcomes"] != ["healthy"]:
                self.machine = box
                raise RuntimeError("the first boot is not healthy: %s, %s" % (done.ended, state))
            box.boot_seconds = time.monotonic() - begin
            return box
        return self.shared.get(name, make)


# systemd's progress fills the console and says little.
PROGRESS = re.compile(r"^\[.{0,12}  OK  |^ {9}(Start|Mount|Stopp|Unmount)ing ")


def show(scenario, lines=160):
    path = scenario.machine and os.path.join(scenario.machine.folder, "console.log")
    if not path or not os.path.exists(path):
        return
    with open(path, errors="replace") as f:
        text = re.sub(r"\x1b\[[0-9;?=]*[A-Za-z]", "", f.read()).split("\n")
    tail = "\n".join("#   " + line for line in [t for t in text if not PROGRESS.match(t)][-lines:])
    print("# %s: boot state %s, end of the console:\n%s" % (scenario.name, scenario.machine.state(), tail), flush=True)


def play(function, shared, arguments):
    scenario = Scenario(shared, os.path.abspath(arguments.build), name_of(function), arguments.seed)
    begin = time.monotonic()
    try:
        function(scenario)
    except Failure:
        pass
    except Exception as e:  # a scenario that cannot go on is a failed one, the others still count
        scenario.true("goes to its end", False, "%s: %s" % (type(e).__name__, e))
        traceback.print_exc(file=sys.stdout)
    if not scenario.good:
        show(scenario)
    print("# %s: %d s, seed %d" % (scenario.name, time.monotonic() - begin, scenario.seed), flush=True)
    return scenario.good


def name_of(function):
    return function.__name__.replace("_", "-")


def main(*functions, more=()):
    """Runs the scenarios that the command line names, else all of them; more only with QMR_VM_ALL=1 in the environment."""
    parser = argparse.ArgumentParser()
    parser.add_argument("-B", dest="build", required=True)
    # `make check` judges a change by the same moments each time; `make check-vm` looks for new ones.
    seed = random.SystemRandom().randrange(1 << 32) if os.environ.get("QMR_VM_ALL") else 1
    parser.add_argument("--seed", type=int, default=seed)
    parser.add_argument("--keep", action="store_true", help="keep disks and consoles")
    parser.add_argument("names", nargs="*", metavar="SCENARIO", help=", ".join(map(name_of, functions + more)))
    arguments = parser.parse_args()
    if os.geteuid():
        print("not ok %s: making a machine's disk needs root" % os.path.basename(sys.argv[0]))
        sys.exit(1)
    subprocess.run([machine.SOURCE + "/tests/deps.sh", "vm"], check=True)
    machine.clean_up_on_signals()
    work = tempfile.TemporaryDirectory(prefix="qmr-vm-", dir=machine.TEMPORARY)
    shared = Shared(work.name)
    default = functions + (more if os.environ.get("QMR_VM_ALL") else ())
    if not default and not arguments.names:
        print("# %s: in `make check-vm` only" % os.path.basename(sys.argv[0]))
        sys.exit(SKIPPED)
    chosen = [f for f in functions + more if name_of(f) in arguments.names] if arguments.names else default
    with concurrent.futures.ThreadPoolExecutor(AT_A_TIME) as pool:
        results = list(pool.map(lambda f: play(f, shared, arguments), chosen))
    if arguments.keep:
        print("# kept: " + work.name)
        work._finalizer.detach()
    sys.exit(0 if results and all(results) else 1)

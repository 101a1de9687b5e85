# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the scripts in this folder share: the command line, verdicts, and how long each scenario took."""
import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
import traceback

import machine


class Failure(Exception):
    pass


class Scenario:
    """One scenario's verdicts. machine, if set, is what a failure shows the console of."""

    def __init__(self, work, build, name, seed):
        self.work, self.build, self.name = os.path.join(work, name), build, name
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

    def system(self, config, vendor=None, script=""):
        return machine.System(self.work, self.build, config, vendor.files if vendor else None, script)

    def boot_to_the_end(self, box, **more):
        """The machine has to switch itself off in time."""
        self.machine = box
        done = box.boot(**more)
        self.need("the machine switches itself off", done.ended == "shutdown", "%s after %d s and %d resets" %
                  (done.ended, done.seconds, done.resets))
        return done


def show(scenario, lines=80):
    path = scenario.machine and os.path.join(scenario.machine.folder, "console.log")
    if not path or not os.path.exists(path):
        return
    print("# %s: boot state %s, end of the console:" % (scenario.name, scenario.machine.state()))
    with open(path, errors="replace") as f:
        print("".join("#   " + line for line in f.read().replace("\x1b", "^[").splitlines(True)[-lines:]), flush=True)


def play(function, work, arguments):
    scenario = Scenario(work, os.path.abspath(arguments.build), function.__name__.replace("_", "-"), arguments.seed)
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
    print("# %s: %d s" % (scenario.name, time.monotonic() - begin), flush=True)
    return scenario.good


def main(*functions):
    parser = argparse.ArgumentParser()
    parser.add_argument("-B", dest="build", required=True)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--keep", action="store_true", help="keep disks and consoles")
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    if os.geteuid():
        print("not ok %s: making a machine's disk needs root" % os.path.basename(sys.argv[0]))
        sys.exit(1)
    subprocess.run([machine.SOURCE + "/tests/deps.sh", "vm"], check=True)
    good = True
    work = tempfile.TemporaryDirectory(prefix="qmr-vm-", dir=machine.TEMPORARY)
    for function in functions:
        if not arguments.names or function.__name__.replace("_", "-") in arguments.names:
            good = play(function, work.name, arguments) and good
    if arguments.keep:
        print("# kept: " + work.name)
        work._finalizer.detach()
    sys.exit(0 if good else 1)

# SPDX-License-Identifier: LGPL-2.1-or-later
"""Boots to boot-complete.target with qmr, without it, and with qmr=off, in one run: both of a pair at the same time, so that whatever else
the host does then, it does to both. Every boot of a kind begins with the same disk and variables."""
import concurrent.futures
import statistics

import counted
import guests
from figures import load, paired, say, show, spread

GOAL = 1.02  # of the ratio's upper 95 % bound
LAST_PHASE = "system"
OFF_EVERY = 4  # pairs, one with qmr=off, which no goal is about
# Key, title, unit and factor of what is measured of a boot.
MEASURES = (("instructions", "power-on to the target, instructions", "million", 1e-6), ("clock", "the same, guest's clock", "s", 1),
            ("processor", "the same, QEMU's processor time", "s", 1), ("wall", "the same, host's clock", "s", 1),
            ("uptime", "kernel start to the target, guest's clock", "s", 1))
GOAL_BY = "instructions"


def boot(box):
    marks, phases, done = box.marks(guests.COMPLETE)
    mark = marks[guests.COMPLETE]
    return {"clock": mark.clock_s, "instructions": mark.instructions, "uptime": mark.uptime_s, "processor": done.cpu_at_line,
            "wall": done.seconds, "phases": lengths({**phases, LAST_PHASE: mark.instructions})}


def lengths(ends):
    """Of phases that follow each other, by where each ends."""
    return {name: end - before for (name, end), before in zip(ends.items(), [0, *ends.values()])}


def compare(boots, key):
    """Of one measure: what it is in boots of each kind, and the ratios of those that came together."""
    values = {name: [b[key] for b in found] for name, found in boots.items()}
    return {**{name: spread(v, 4) for name, v in values.items()}, "ratio": paired(values["with"], values["without"]),
            "ratio_off": paired(values["off"], values["without"][::OFF_EVERY])}


def measure(machines, pairs):
    kinds = {name: counted.Counted(machines.get(name), machines.tools, "pairs") for name in ("without", "with", "off")}
    result, boots = {"small": machines.small, "load_before": load(), "goal": GOAL}, {name: [] for name in kinds}
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        list(pool.map(boot, kinds.values()))  # they find nothing of their disks in the host's memory, and are not counted
        for number in range(pairs):
            names = ["without", "with"] + ([] if number % OFF_EVERY else ["off"])
            for name, found in zip(names, pool.map(boot, [kinds[name] for name in names])):
                boots[name].append(found)
            say("  pair %d of %d: x %.4f" % (number + 1, pairs, boots["with"][-1][GOAL_BY] / boots["without"][-1][GOAL_BY]))
    for key, *_ in MEASURES:
        result[key] = compare(boots, key)
    result["phases"] = {name: {phase: round(statistics.median(b["phases"][phase] for b in found)) for phase in found[0]["phases"]}
                        for name, found in boots.items()}
    result["reached"] = result[GOAL_BY]["ratio"]["upper_95"] <= GOAL
    result["load_after"] = load()
    return result


def report(result):
    say("\nBoot to boot-complete.target, %s Debian (load of the host %.1f before, %.1f after)" %
        ("small" if result["small"] else "ordinary", result["load_before"], result["load_after"]))
    for key, title, unit, factor in MEASURES:
        values = {name: {k: result[key][name][k] * factor for k in ("min", "median", "max")} for name in guests.TITLES}
        say("  %s\n    without %s, with qmr %s, qmr=off %s" % (title, *(show(values[n], unit, 3) for n in ("without", "with", "off"))))
        for name, ratio in (("with qmr", "ratio"), ("qmr=off", "ratio_off")):
            say("    %s against without: x %.4f (median of %d pairs; mean x %.4f, with 95 %% at most x %.4f)" %
                (name, *(result[key][ratio][k] for k in ("median", "pairs", "mean", "upper_95"))))
    for phase, without in result["phases"]["without"].items():
        say("  of the instructions, %-18s without %7.1f million, with qmr %+6.1f, qmr=off %+6.1f" %
            (phase, without / 1e6, *((result["phases"][n][phase] - without) / 1e6 for n in ("with", "off"))))
    say("  goal: with 95 %% at most x %.2f, by the first of these: %s" % (GOAL, "reached" if result["reached"] else "not reached"))

# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the parts of the benchmark share: measured values side by side, and commands whose time is taken."""
import math
import os
import statistics
import subprocess
import tempfile
import time


def spread(values, digits=3):
    """Of repeated measurements, all of them and what is shown."""
    return {"min": round(min(values), digits), "median": round(statistics.median(values), digits),
            "max": round(max(values), digits), "values": [round(v, digits) for v in values]}


def show(values, unit="s", digits=2):
    return "%.*f %s (%.*f to %.*f)" % (digits, values["median"], unit, digits, values["min"], digits, values["max"])


def ratio(one, other):
    """Of two spreads' medians."""
    return round(one["median"] / other["median"], 4)


def student(probability, freedom):
    """Quantile of Student's t by Cornish and Fisher's expansion: to 0.1 % from 8 degrees of freedom on."""
    z = statistics.NormalDist().inv_cdf(probability)
    return z + (z ** 3 + z) / (4 * freedom) + (5 * z ** 5 + 16 * z ** 3 + 3 * z) / (96 * freedom ** 2) + \
        (3 * z ** 7 + 19 * z ** 5 + 17 * z ** 3 - 15 * z) / (384 * freedom ** 3)


def paired(ones, others):
    """Of values measured in turns: the median of the pairs' ratios, their mean (of logarithms), and below what it is with 95 %."""
    logs = [math.log(one / other) for one, other in zip(ones, others)]
    mean = statistics.mean(logs)
    error = statistics.stdev(logs) / math.sqrt(len(logs))
    return {"pairs": len(logs), "median": round(math.exp(statistics.median(logs)), 5), "mean": round(math.exp(mean), 5),
            "upper_95": round(math.exp(mean + student(0.95, len(logs) - 1) * error), 5)}


def say(text=""):
    print(text, flush=True)


def load():
    """How busy the host is with other things, before a part begins."""
    return round(os.getloadavg()[0], 2)


def timed(command, **more):
    """Runs a command. Returns the seconds that passed and the seconds of processor time it and its children used: the second
    hardly depends on what else the host does."""
    with tempfile.TemporaryFile() as log:
        begin = time.monotonic()
        process = subprocess.Popen([str(c) for c in command], stdout=log, stderr=log, stdin=subprocess.DEVNULL, **more)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            log.seek(0)
            raise RuntimeError("%s: exit status %d: %s" % (" ".join(map(str, command)), process.returncode,
                                                          log.read().decode("utf-8", "replace")[-2000:]))
    return seconds, usage.ru_utime + usage.ru_stime

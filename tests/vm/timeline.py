# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the demo shows while a machine runs: read from its console for people, never for the verdict."""
import re
import sys
import time

BOLD, DIM, RED, GREEN, YELLOW, PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[0m"

# Pattern of a console line, what it is (a phase begins, or a note in it), colour, text.
MARKS = (
    (r'BdsDxe: starting Boot\w+ "(.*?)"', "note", DIM, r'firmware starts "\1"'),
    (r"^Loading, please wait", "phase", BOLD, "initramfs"),
    (r"^Welcome to (.*?)!", "phase", BOLD, r"system: \1"),
    (r"^Quick machine recovery \d", "phase", BOLD + YELLOW, "recovery image"),
    (r"boot-guard: (.*)", "note", YELLOW, r"boot-guard: \1"),
    (r"(BUG: .*)", "note", RED, r"\1"),
    (r"RIP: 0010:(\S+) \[(\w+)\]", "note", RED, r"at \1 of module \2"),
    (r"(Kernel panic - not syncing: .*)", "note", RED, r"\1"),
    (r"^(crash-collect: incident .*)", "note", YELLOW, r"\1"),
    (r"^(remediation-apply: .*)", "note", YELLOW, r"\1"),
    (r"^\[ *\d+\.\d\] ([a-z][a-z-]+): ((?:ok|nothing).*)", "note", GREEN, r"\1: \2"),
    (r"^\[ *\d+\.\d\] ([a-z][a-z-]+): ((?:failed|refused|network|late|skipped).*)", "note", DIM, r"\1: \2"),
    (r"^(Recovery ends after .*)", "note", YELLOW, r"\1"),
    (r"^test-\w+: (healthy) \d+", "note", GREEN, "this boot is healthy"),
    (r"^test-\w+: (?!boot)(.*)", "note", BOLD, r"\1"),
)


def clock(seconds):
    return "%d:%02d" % (seconds // 60, seconds % 60)


class Timeline:
    """Lines "time since the start, time in this phase, what happens". On a terminal with colours and a running clock."""

    def __init__(self, out=sys.stdout):
        self.out, self.is_tty = out, out.isatty()
        self.begin = self.phase_begin = time.monotonic()
        self.current, self.last = "", ""

    def colour(self, code, text):
        return code + text + PLAIN if self.is_tty else text

    def line(self, text):
        if self.is_tty:
            self.out.write("\r\x1b[K")
        self.out.write(text + "\n")
        self.out.flush()

    def phase(self, text, code=BOLD):
        now = time.monotonic()
        self.current, self.phase_begin, self.last = text, now, ""
        self.line("%7s  %s" % (clock(now - self.begin), self.colour(code, text)))

    def note(self, text, code=""):
        if text == self.last:  # the kernel log and the console often say the same
            return
        self.last = text
        since = time.monotonic() - self.phase_begin
        self.line("         %s %s" % (self.colour(DIM, "+%-4s" % clock(since)), self.colour(code, text[:150])))

    def watch(self, run, what, text):
        """For Machine.boot()."""
        if what == "tick" and self.is_tty:
            self.out.write("\r\x1b[K" + self.colour(DIM, "%7s  %s, since %d s" % (
                clock(time.monotonic() - self.begin), self.current, time.monotonic() - self.phase_begin)))
            self.out.flush()
        elif what == "reset":
            self.phase("firmware, after reset %d" % (run.resets + run.host_resets))
        elif what == "line":
            for pattern, kind, code, shown in MARKS:
                if match := re.search(pattern, text):
                    getattr(self, kind)(match.expand(shown), code)
                    break

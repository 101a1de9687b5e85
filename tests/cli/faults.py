#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs a program again and again on copies of a tree, each time with another of its system calls failing, or being its last
(strace's injection), and asks after each run whether the tree is in order. Used by the tests beside it."""
import collections
import concurrent.futures
import hashlib
import os
import re
import shutil
import subprocess
import tempfile

CHANGING = ("openat", "openat2", "write", "fsync", "syncfs", "renameat", "renameat2", "unlinkat", "linkat", "mkdirat", "fchmod", "fchown",
            "utimensat", "symlinkat", "read", "pread64", "ioctl")
WORKERS = max(2, os.cpu_count() or 2)


def state(root, times=False):
    """All that a root holds outside of qmr's own folder, empty folders and times left out, as a dict of comparable values."""
    found = {}
    for folder, names, files in os.walk(root):
        if os.path.relpath(folder, root) == "var/lib/qmr":
            names[:] = []
            continue
        for name in files + [n for n in names if os.path.islink(os.path.join(folder, n))]:
            path = os.path.join(folder, name)
            st = os.lstat(path)
            if os.path.islink(path):
                content = os.readlink(path)
            else:
                with open(path, "rb") as file:
                    content = hashlib.sha256(file.read()).hexdigest()
            found[os.path.relpath(path, root)] = (st.st_mode, st.st_uid, st.st_gid, content)
    return found


def left_over(root):
    """Temporary files anywhere in the tree."""
    return [os.path.join(f, n) for f, _, names in os.walk(root) for n in names
            if n.startswith(".qmr-") or n.endswith(".qmr-new")]


class Faults:
    def __init__(self, template, command, check, environment=None, prefix=(), limit_s=60):
        """command: list of arguments in which {root} is replaced; check(root, status, output, fault): None, or what is wrong.
        prefix: what strace and the program are run by, limit_s: longer is a hang."""
        self.template, self.command, self.check = template, command, check
        self.prefix, self.limit_s = list(prefix), limit_s
        self.environment = dict(os.environ, LC_ALL="C", **(environment or {}))
        base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.work = tempfile.mkdtemp(prefix="qmr-faults-", dir=base)

    def done(self):
        shutil.rmtree(self.work)

    def copy(self):
        root = tempfile.mkdtemp(dir=self.work)
        subprocess.run(["cp", "-a", self.template + "/.", root], check=True)
        return root

    def arguments(self, root):
        return [a.replace("{root}", root) for a in self.command]

    def before(self, root):
        return [a.replace("{root}", root) for a in self.prefix]

    def calls(self, names=CHANGING):
        """For each system call: the first that the program itself makes (not the dynamic loader), and the last. names: None for all."""
        counts, first, begun = collections.Counter(), {}, False
        root, lines = self.trace([])
        for line in lines:
            call = re.match(r"(\w+)\(", line)
            if not call:
                continue
            if not begun and root in line and not line.startswith("execve"):
                begun, first = True, dict(counts)
            counts[call[1]] += 1
        return {name: (first.get(name, 0) + 1, counts[name]) for name in names or list(counts) if counts[name] > first.get(name, 0)}

    def calls_on(self, path):
        """How often the program or a child of it, whichever does so more often, makes each system call on that path."""
        counts = collections.Counter()
        for line in self.trace(["-f", "-P", path])[1]:
            call = re.match(r"(\d+) +(\w+)\(", line)
            counts[call.groups() if call else None] += 1
        return {name: max(n for key, n in counts.items() if key and key[1] == name) for name in {key[1] for key in counts if key}}

    def trace(self, options):
        root = self.copy()
        trace = tempfile.NamedTemporaryFile(dir=self.work, suffix=".trace")
        os.chmod(trace.name, 0o666)
        subprocess.run(self.before(root) + ["strace", "-qq", "-o", trace.name] + [o.replace("{root}", root) for o in options] +
                       self.arguments(root), env=self.environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with open(trace.name, errors="replace") as lines:
            lines = lines.readlines()
        shutil.rmtree(root)
        return root, lines

    def run(self, fault):
        """fault: words; injections as strace has them, and options of strace. With -D a child may outlive the program."""
        root = self.copy()
        injections = [word for word in fault.split() if ":" in word]
        options = [word.replace("{root}", root) for word in fault.split() if ":" not in word]
        options += ["-e", "trace=" + ",".join(word.split(":")[0] for word in injections)]
        for word in injections:
            options += ["-e", "inject=" + word]
        with tempfile.TemporaryFile("w+", errors="replace", dir=self.work) as output:
            try:
                done = subprocess.run(self.before(root) + ["strace", "-qq", "-o", "/dev/null"] + options + self.arguments(root),
                                      env=self.environment, stdout=subprocess.DEVNULL, stderr=output, timeout=self.limit_s)
                output.seek(0)
                wrong = self.check(root, done.returncode, output.read(), fault)
            except subprocess.TimeoutExpired:
                wrong = "it hangs"
            finally:
                shutil.rmtree(root, ignore_errors=True)  # a child that lives on may write meanwhile; done() is the end of it
        return fault, wrong

    def report(self, name, faults, minimum, workers=WORKERS):
        with concurrent.futures.ThreadPoolExecutor(workers) as pool:
            wrong = [(f, w) for f, w in pool.map(self.run, faults) if w]
        if wrong:
            print(f"not ok {name}: {len(wrong)} of {len(faults)}, {wrong[0][0]}: {wrong[0][1]}")
        elif len(faults) < minimum:
            print(f"not ok {name}: only {len(faults)} were tried")
        else:
            print(f"ok {name} ({len(faults)})")
        return not wrong and len(faults) >= minimum

    def kills(self):
        return [f"{call}:signal=KILL:when={n}" for call, (first, last) in self.calls().items()
                if call not in ("read", "pread64", "ioctl") for n in range(first, last + 1)]

    def errors(self):
        calls, faults = self.calls(), []
        for call, error in (("openat", "EIO"), ("openat", "ENOSPC"), ("openat2", "EIO"), ("write", "ENOSPC"), ("fsync", "EIO"),
                            ("syncfs", "EIO"), ("renameat", "ENOSPC"), ("renameat2", "EIO"), ("unlinkat", "EIO"), ("linkat", "EMLINK"),
                            ("mkdirat", "ENOSPC"), ("fchmod", "EROFS"), ("fchown", "EDQUOT"), ("read", "EIO"), ("pread64", "EIO")):
            first, last = calls.get(call, (1, 0))
            faults += [f"{call}:error={error}:when={n}" for n in range(first, last + 1)]
            if error == "ENOSPC" and call != "openat":  # the disk stays full
                faults += [f"{call}:error={error}:when={n}+" for n in range(first, last + 1)]
        return faults

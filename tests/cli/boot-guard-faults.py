#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whatever goes wrong in boot-guard, the boot goes on after a bounded time: each system call of prepare, start and root fails once, is
the last, or stalls, over a folder in the place of the EFI variables. As root it runs as nobody, so that nothing of this machine can be
touched. Usage: tests/cli/boot-guard-faults.py -B BUILD"""
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zlib

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import faults  # noqa: E402

GUID = "3f1c8b6e-6a55-4e0b-9a0c-5a7d1c0de9e4"
GLOBAL = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
STATE = "efi/QmrState-" + GUID
DROP = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"] if os.geteuid() == 0 else []
LIMIT_S = 8
STALL = "delay_enter=9s"
PANIC, UNKNOWN, SWITCHING, WAITING = 3, 6, 1, 2
# What a call may answer where nothing is wrong with the program; some of them once, some for ever.
ERRORS = {"write": ["ENOSPC", "EINTR"], "openat": ["EIO", "ENOSPC"], "read": ["EIO", "EINTR"], "mmap": ["ENOMEM"],
          "clone": ["EAGAIN", "ENOMEM"], "poll": ["EINTR", "ENOMEM"], "pidfd_open": ["ENOSYS", "EMFILE"], "wait4": ["EINTR"],
          "mkdirat": ["ENOSPC"], "renameat": ["ENOSPC"], "mount": ["ENODEV"], "access": ["EACCES"]}
# The program's own end, what no kernel refuses, and brk, of which glibc's malloc dies by itself, before main() is reached.
NEVER = {"brk", "exit_group", "execve", "set_robust_list", "close", "geteuid", "uname", "restart_syscall", "rt_sigreturn", "munmap", "exit"}


class Guard:
    def __init__(self, build):
        self.work = tempfile.mkdtemp(prefix="qmr-guard-faults-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
        self.program = os.path.join(self.work, "boot-guard")
        shutil.copy(os.path.join(build, "boot-guard"), self.program)
        os.chmod(self.work, 0o755)

    def arguments(self, root, command):
        return ["env", f"EFIVARFS_PATH={root}/efi/", self.program, "--config", root + "/etc/qmr.conf", "--run", root + "/run", command]

    def run(self, root, command):
        return subprocess.run(DROP + self.arguments(root, command), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                              timeout=20, check=False)

    def template(self, name, boots=(), mode="observe", stage=0, phase=0, deferred=False):
        """A machine whose boots ended like that, newest last; the newest is the one that runs where a phase is given."""
        root = os.path.join(self.work, name)
        for folder in ("efi", "etc", "run"):
            os.makedirs(os.path.join(root, folder))
        with open(root + "/etc/qmr.conf", "w", encoding="ascii") as file:
            file.write(f"[policy]\nmode = {mode}\n")
        # A load option by the name of the recovery image: attributes, length of the path, name, a path that only ends.
        option = b"\1\0\0\0" + b"\4\0" + "Quick machine recovery\0".encode("utf-16-le") + b"\x7f\xff\4\0"
        with open(f"{root}/efi/Boot0007-{GLOBAL}", "wb") as file:
            file.write(b"\7\0\0\0" + option)
        subprocess.run(["chmod", "-R", "a+rwX", root], check=True)
        if boots:
            self.run(root, "start")
            with open(os.path.join(root, STATE), "rb") as file:
                data = bytearray(file.read())
            state, first = data[4:], data[4 + 72:4 + 96]
            state[56:60] = len(boots).to_bytes(4, "little")
            state[60], state[66] = stage, len(boots)
            for i, outcome in enumerate(reversed(boots)):
                attempt = bytearray(first)
                attempt[8:12] = (len(boots) - i).to_bytes(4, "little")
                attempt[12], attempt[13] = outcome, phase if i == 0 else 0
                state[72 + 24 * i:96 + 24 * i] = attempt
            state[8:12] = bytes(4)
            state[8:12] = zlib.crc32(state).to_bytes(4, "little")
            with open(os.path.join(root, STATE), "wb") as file:
                file.write(data[:4] + state)
        for name in os.listdir(root + "/run"):
            os.unlink(os.path.join(root, "run", name))
        for mark, text in (("attempt", f"{len(boots)}\n" if phase else None), ("asked", "\n" if phase else None),
                           ("deferred", "later" if deferred else None)):
            if text:
                with open(os.path.join(root, "run", mark), "w", encoding="ascii") as file:
                    file.write(text)
        subprocess.run(["chmod", "-R", "a+rwX", root], check=True)
        return root


def load(root):
    """None: an empty history. Otherwise the bytes."""
    try:
        with open(os.path.join(root, STATE), "rb") as file:
            data = file.read()[4:]
    except FileNotFoundError:
        return None
    if len(data) != 992 or zlib.crc32(data[:8] + bytes(4) + data[12:]) != int.from_bytes(data[8:12], "little"):
        return None
    return data


def boots(state):
    return int.from_bytes(state[56:60], "little") if state else 0


def history(state):
    """Numbers and starts of the attempts, which no later boot changes."""
    return [state[72 + 24 * i:84 + 24 * i] for i in range(state[66])] if state else []


def is_marked(root, state):
    try:
        with open(os.path.join(root, "run/attempt"), encoding="ascii") as file:
            return state is not None and int(file.read()) == boots(state)
    except (FileNotFoundError, ValueError):
        return False


def is_parent_killed(fault):
    return "signal=KILL" in fault and "-f" not in fault.split()


class Checker:
    """What must hold after a run with a fault."""
    def __init__(self, guard, template, counts):
        self.guard, self.counts = guard, counts
        self.old = load(template)
        with open(template + "/etc/qmr.conf", encoding="ascii") as file:
            self.is_switching = "collect" in file.read()

    def __call__(self, root, status, output, fault):
        wrong = self.ended(status, output, fault) or self.state(root, output, fault)
        # A child outlives its parent that was killed, for some milliseconds; a reboot that is refused is no end of a start.
        if wrong or is_parent_killed(fault) or self.is_switching:
            return wrong or ("when=1+" not in fault and self.switches(root)) or None  # what can never be read cannot be taken back
        return self.goes_on(root)

    def switches(self, root):
        """BootNext stands only where the state says why."""
        state = load(root)
        is_said = state is not None and state[60] == SWITCHING and boots(state) == boots(self.old) + 1
        if os.path.exists(f"{root}/efi/BootNext-{GLOBAL}") and not is_said:
            return "BootNext is set, and the state does not say so"
        return None

    def ended(self, status, output, fault):
        if is_parent_killed(fault):
            return None if status == -9 else f"exit status {status}"
        if status != 0:
            return f"exit status {status}: {output}"
        if "AddressSanitizer" in output or "runtime error" in output:
            return output
        died = re.search(r"died of signal (\d+)", output)
        if "signal=KILL" in fault:
            return None if died and died[1] == "9" else f"a killed child is not said: '{output}'"
        if died:
            return output
        if "delay_enter" in fault and "no answer within 5 s; the boot goes on" not in output:
            return f"a stall is not said: '{output}'"
        return None

    def state(self, root, output, fault):
        new = load(root)
        is_cut = "signal=KILL" in fault or "delay_enter" in fault
        left = [name for name in faults.left_over(root) if not (is_cut and name.endswith("run/attempt.qmr-new"))]
        if left:
            return f"left behind: {left}"
        if new is None and self.old is not None and not is_cut:
            return "the state is torn"
        if new is not None and self.old is not None and history(new)[-len(history(self.old)):] != history(self.old):
            return f"the history was lost: {boots(self.old)} boots, then {boots(new)}; '{output}'"
        if boots(new) not in (0 if new is None else -1, boots(self.old), boots(self.old) + self.counts):
            return f"{boots(self.old)} boots, then {boots(new)}"
        is_counted = boots(new) == boots(self.old) + self.counts and (is_marked(root, new) or not self.counts)
        # The parent cannot say that it was killed.
        if not is_counted and not re.search(r"^boot-guard: .*(goes on|counted later|not be recorded)", output, re.M) and \
                not is_parent_killed(fault):
            return f"not counted, and nothing said: '{output}'"
        return None

    def goes_on(self, root):
        """The same boot comes to the end of its initramfs, and then the next one starts: nothing is counted twice, and all is well."""
        end = self.guard.run(root, "root")
        same = boots(load(root))
        if end.returncode or same > boots(self.old) + self.counts:
            return f"counted {same - boots(self.old)} times by the end of the initramfs"
        shutil.rmtree(root + "/run")
        os.mkdir(root + "/run", 0o777)
        os.chmod(root + "/run", 0o777)
        again = self.guard.run(root, "start")
        if again.returncode or boots(load(root)) != same + 1 or not is_marked(root, load(root)) or faults.left_over(root):
            return f"the next boot is not counted: {again.stderr}"
        return None


def child_faults(case, paths):
    """Errors, kills and stalls of each call that the child makes on a path; the parent makes no call on them."""
    errors, kills, stalls = [], [], []
    for path in paths:
        for call, n in case.calls_on(path).items():
            # What the library does when it is loaded, in the parent, is no call of the child.
            # The parent looks for marks.
            if call in NEVER or (path.endswith(("/efi/", "/deferred")) and call in ("access", "statfs")):
                continue
            for i in range(1, n + 1):
                errors += [f"-f -P {path} {call}:error={error}:when={i}" for error in ERRORS.get(call, ["EIO"])]
                kills.append(f"-f -P {path} {call}:signal=KILL:when={i}")
                stalls.append(f"-D -f -P {path} {call}:{STALL}:when={i}")
            errors += [f"-f -P {path} {call}:error={error}:when=1+" for error in ERRORS.get(call, ["EIO"]) if error != "EINTR"]
    return errors, kills, stalls


def parent_faults(case):
    calls = {call: span for call, span in case.calls(names=None).items() if call not in NEVER}
    # How often it looks depends on how busy the machine is: once at least, and it waits only if the child has not ended.
    calls["wait4"] = (calls["wait4"][0],) * 2
    calls.pop("poll", None)
    errors = [f"{call}:error={error}:when={i}" for call, (first, last) in calls.items() for i in range(first, last + 1)
              for error in ERRORS.get(call, ["EIO"])]
    return errors, [f"{call}:signal=KILL:when={i}" for call, (first, last) in calls.items() for i in range(first, last + 1)]


def starved(guard, template, check, limit, values):
    """With too little of a resource, from what the program is not even loaded with to what is enough."""
    wrong, tried = [], 0
    for value in values:
        root = tempfile.mkdtemp(dir=guard.work)
        subprocess.run(["cp", "-a", template + "/.", root], check=True)
        done = subprocess.run(DROP + ["prlimit", f"--{limit}={value}"] + guard.arguments(root, "start"), stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True, timeout=LIMIT_S, check=False)
        # 127, or a signal before the first line: the dynamic loader, of which init-top makes an exit of 0.
        if "boot-guard:" in done.stderr or done.returncode == 0:
            tried += 1
            problem = check(root, done.returncode, done.stderr, limit)
            if problem:
                wrong.append(f"{limit} {value}: {problem}")
        shutil.rmtree(root)
    print(f"not ok start with little {limit}: {wrong[0]}" if wrong else f"ok start with little {limit} ({tried})" if tried > 3 else
          f"not ok start with little {limit}: only {tried} were tried")
    return not wrong


def main():
    guard = Guard(os.path.realpath(sys.argv[2]))
    own = [f"{{root}}/{STATE}", "{root}/run", "{root}/run/attempt.qmr-new", "{root}/run/deferred", "/proc/vmcore", "/sys/fs/pstore",
           "/proc/sys/kernel/panic", "/cryptroot/crypttab"]
    entries = ["{root}/efi/", f"{{root}}/efi/Boot0007-{GLOBAL}", f"{{root}}/efi/BootNext-{GLOBAL}"]
    start = guard.template("start", (1, PANIC))
    cases = [  # name, template, command, how much it counts, the child's paths
        ("start", start, "start", 1, own),
        ("first start", guard.template("first"), "start", 1, own[:2]),
        ("switching start", guard.template("switch", (1, PANIC, PANIC), mode="collect"), "start", 1, own[:1] + entries),
        ("root", guard.template("root", (1, 0), phase=WAITING), "root", 0, own[:1]),
        ("late start", guard.template("late", (1, PANIC), deferred=True), "root", 1, own[:1] + own[3:4]),
        ("prepare", guard.template("prepare", (1, PANIC)), "prepare", 0, ["/sys/firmware/efi", "/sys/fs/pstore"]),
    ]
    ok = True
    for name, template, command, counts, paths in cases:
        case = faults.Faults(template, guard.arguments("{root}", command)[2:], Checker(guard, template, counts),
                             prefix=DROP + ["env", "EFIVARFS_PATH={root}/efi/"], limit_s=LIMIT_S)
        os.chmod(case.work, 0o755)
        errors, kills, stalls = child_faults(case, paths)
        ok &= case.report(f"{name}: a call of the child fails", errors, 4)
        ok &= case.report(f"{name}: the child is killed", kills, 2)
        if command != "root":
            stalls = stalls if name == "start" else stalls[:1] + stalls[-1:]
            # The parent's wait has an end also where its own calls fail.
            stalls += [f"-D -f {'mount' if command == 'prepare' else 'mkdirat'}:{STALL} {call}:error={error}"
                       for call in ("poll", "pidfd_open") for error in ERRORS[call]]
            ok &= case.report(f"{name}: the child stalls", stalls, 6, workers=64)  # they sleep
        if name in ("start", "prepare"):
            errors, kills = parent_faults(case)
            ok &= case.report(f"{name}: a call of the parent fails", errors, 10)
            ok &= case.report(f"{name}: the parent is killed", kills, 10)
        case.done()
    check = Checker(guard, start, 1)
    ok &= starved(guard, start, check, "nofile", range(3, 9))
    shutil.rmtree(guard.work)
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""request-poll as a whole, with the programs that it starts replaced by ones that write down how they were called: what it asks of whom, in
which order, and what it remembers. Each case has file systems of its own, in a mount namespace. Usage: request-poll.py -B BUILD"""
import json
import os
import shutil
import sys
import tempfile

import stand_ins

BUILD = os.path.abspath(sys.argv[2])
status = 0

STATUS = {"stage": "none", "state": {"boots": 7, "incident": "11111111-1111-4111-8111-111111111111"}, "test": {"result": "none", "unix_s": 0},
          "second_test": {"result": "none", "unix_s": 0}}
REQUEST = {"schema": 1, "id": "a-1", "title": "Rack 12", "match": {"os-id": "debian"}, "mode": "collect-only", "grace_minutes": 0}
PROGRAMS = {
    "/usr/lib/qmr/crash-collect": 'while [ $# -gt 1 ]; do [ "$1" != --out ] || echo "{}" >"$2"; shift; done',
    "/usr/lib/qmr/boot-guard": 'if [ $# = 4 ]; then echo $4 >$T/floor; else cat $T/floor; fi; exit $(cat $T/guard-code)',
    "/usr/lib/qmr/remediation-fetch": 'n=$(cat $T/fetches 2>/dev/null || echo 0); n=$((n + 1)); echo $n >$T/fetches\n'
                                      'rm -rf /run/qmr/poll/requests; from=$T/offered; [ ! -d $T/offered$n ] || from=$T/offered$n\n'
                                      '[ $n != 2 ] || [ ! -f $T/meanwhile ] || . $T/meanwhile\n'
                                      'cp -r $from /run/qmr/poll/requests; [ ! -f $T/seen ] || cp $T/seen /run/qmr/poll/fetch.json\n'
                                      'exit $(cat $T/fetch-code)',
    "/usr/sbin/qmrctl": 'case "$*" in *--json*) cat $T/status;; *recover) exit $(cat $T/recover-code);; esac',
    "/usr/bin/systemctl": ":",
    "/usr/bin/wall": ":",
}


def check(name, is_so, detail=""):
    global status
    print("ok %s" % name if is_so else "not ok %s: %s" % (name, detail), flush=True)
    status |= not is_so


class Machine:
    """One machine's files; poll() is one run of the timer."""

    def __init__(self, mode="collect", poll="yes", more=""):
        self.folder = tempfile.mkdtemp(prefix="qmr-request-")
        self.config = "[policy]\nmode = %s\n[requests]\npoll = %s\n[repository]\nurl = https://example.org/tuf\n%s" % (mode, poll, more)
        self.status = json.loads(json.dumps(STATUS))
        self.fetch_code = self.recover_code = self.guard_code = 0
        os.mkdir(self.folder + "/var")
        self.put("floor", "")
        self.offer(REQUEST)

    def put(self, name, text):
        os.makedirs(os.path.dirname(self.folder + "/" + name), exist_ok=True)
        with open(self.folder + "/" + name, "w") as f:
            f.write(text)

    def offer(self, *requests, at=""):
        shutil.rmtree(self.folder + "/offered" + at, ignore_errors=True)
        os.mkdir(self.folder + "/offered" + at)
        for number, request in enumerate(requests, 1):
            self.put("offered%s/%02d-x.json" % (at, number), request if isinstance(request, str) else json.dumps(request))

    def saw(self, floor):
        self.put("seen", json.dumps({"schema": 1, "floor": floor}))

    def poll(self, before=""):
        self.put("qmr.conf", self.config)
        self.put("status", json.dumps(self.status))
        self.put("fetch-code", str(self.fetch_code))
        self.put("recover-code", str(self.recover_code))
        self.put("guard-code", str(self.guard_code))
        shutil.rmtree(self.folder + "/fetches", ignore_errors=True)
        if os.path.exists(self.folder + "/fetches"):
            os.unlink(self.folder + "/fetches")
        self.output, self.code, self.calls = stand_ins.run(self.folder, PROGRAMS, BUILD + "/request-poll --config $T/qmr.conf", "$T/var", before)
        return self

    def called(self, *names):
        """Calls of these programs, without the configuration's path."""
        return [" ".join(w for w in call.split() if not w.startswith(("--config", "/tmp", self.folder))) for call in self.calls
                if call.split()[0] in names]

    def record(self):
        with open(self.folder + "/var/requests.json") as f:
            return json.load(f)["requests"]

    def done(self):
        shutil.rmtree(self.folder)


def follows_once():
    m = Machine().poll()
    check("follows: calls", m.called("qmrctl", "systemctl") == [
        "qmrctl --json status", "qmrctl --json status", "qmrctl --next --collect-only --reason request a-1 recover", "systemctl reboot"],
        (m.calls, m.output))
    check("follows: fetched again before the end", len(m.called("remediation-fetch")) == 2, m.calls)
    check("follows: people were told", any("Rack 12" in c and "in 0 min" in c for c in m.called("wall")), m.calls)
    check("follows: it is remembered", [(r["id"], r["result"], r["tries"], r["boots"]) for r in m.record()] == [("a-1", "asked", 1, 7)],
          m.record())
    m.status["stage"] = "switching"
    m.poll()
    check("the restart did not come: it is asked for again", m.called("qmrctl", "systemctl", "remediation-fetch")
          == ["qmrctl --json status", "systemctl reboot"], (m.calls, m.output))
    m.status.update(stage="none", state={"boots": 8, "incident": "22222222-2222-4222-8222-222222222222"})
    m.poll()
    check("after it: once", m.called("qmrctl", "systemctl") == ["qmrctl --json status"] and m.record()[0]["result"] == "done", m.calls)
    m.done()


def modes():
    for mode, words in (("recover", "--next --reason request a-1 recover"), ("test", "--next --test recover")):
        m = Machine()
        m.offer({**REQUEST, "mode": mode})
        m.poll()
        check("mode " + mode, "qmrctl " + words in m.called("qmrctl"), m.calls)
        m.done()


def does_nothing():
    for name, m in (("poll = no", Machine(poll="no")), ("mode off", Machine(mode="off")), ("no repository", Machine(more="[repository]\nurl =\n"))):
        m.poll()
        check("does nothing: " + name, m.code == 0 and m.calls == [], (m.code, m.calls, m.output))
        m.done()
    m = Machine(mode="observe").poll()
    check("mode observe says what it would do", m.code == 0 and "would restart" in m.output and not m.called("systemctl", "wall"), m.output)
    check("mode observe remembers nothing", not os.path.exists(m.folder + "/var/requests.json"))
    m.done()


def withdrawn_meanwhile():
    for name, offers in (("withdrawn", []), ("changed", [{**REQUEST, "mode": "recover"}])):
        m = Machine()
        m.offer(*offers, at="2")
        m.poll()
        check(name + " meanwhile: not followed", m.code == 0 and not m.called("systemctl") and "withdrawn or changed" in m.output, m.output)
        m.done()


def meanwhile():
    """What becomes known only after people were told."""
    for name, script, text in (("the mode is observe", "sed -i s/collect/observe/ $T/qmr.conf", "configuration has changed"),
                               ("poll is no", "sed -i s/yes/no/ $T/qmr.conf", "configuration has changed"),
                               ("recovery is asked for", 'sed -i \'s/"stage": "none"/"stage": "switching"/\' $T/status', "asked for already")):
        m = Machine()
        m.put("meanwhile", script + "\n")
        m.poll()
        check("meanwhile %s: not followed" % name, m.code == 0 and not m.called("systemctl") and text in m.output and m.called("wall"), m.output)
        check("meanwhile %s: nothing is remembered" % name, not os.path.exists(m.folder + "/var/requests.json"))
        m.done()


def somebody_elses():
    """Asking failed, and then somebody asks for a recovery of his own at the next restart: that is not restarted for, nor taken for ours."""
    m = Machine()
    m.recover_code = 1
    m.poll()
    m.status.update(stage="switching", state={"boots": 7, "incident": "33333333-3333-4333-8333-333333333333"})
    m.poll()
    check("somebody else's: no restart", m.code == 0 and not m.called("systemctl", "wall") and m.record()[0]["result"] == "begun", (m.calls, m.output))
    m.recover_code = 0
    m.status.update(stage="none", state={"boots": 8, "incident": "33333333-3333-4333-8333-333333333333"})
    m.poll()
    check("somebody else's: then ours", m.called("systemctl") == ["systemctl reboot"] and m.record()[0]["tries"] == 2, (m.calls, m.record()))
    m.done()
    for stage in ("probation", "recovering"):
        m = Machine()
        m.status["stage"] = stage
        m.poll()
        check("in stage %s it waits" % stage, m.code == 0 and not m.called("remediation-fetch", "wall") and "prove healthy" in m.output, m.output)
        m.done()


def failures():
    m = Machine()
    m.fetch_code = 5
    m.poll()
    check("no network: an error, nothing done", m.code == 1 and not m.called("systemctl", "wall"), m.output)
    m.fetch_code = 3
    m.poll()
    check("no plan matches: requests count all the same", m.called("systemctl") == ["systemctl reboot"], m.output)
    m.done()
    m = Machine()
    m.recover_code = 1
    for number in range(1, 4):
        m.poll()
        check("recovery cannot be asked for, try %d" % number, m.code == 1 and not m.called("systemctl")
              and m.record()[0]["tries"] == number, (m.output, m.record()))
    m.poll()
    check("not a fourth time", m.code == 0 and not m.called("wall") and m.record()[0]["result"] == "failed", m.output)
    m.done()
    m = Machine()
    m.put("var/requests.json", "{")
    m.poll()
    check("a damaged record: an error, nothing done", m.code == 1 and "requests.json" in m.output and not m.called("remediation-fetch"), m.output)
    m.done()
    m = Machine()
    m.offer("{", {**REQUEST, "id": "b"})
    m.poll()
    check("a request that cannot be read stops no other one", [r["id"] for r in m.record()] == ["b"], m.output)
    m.done()


def highest_versions():
    old, new = ("0123456789abcdef:fedcba9876543210:2:%d:40:12" % version for version in (41, 42))
    m = Machine(mode="observe")
    m.saw(None)
    m.poll()
    check("highest versions: nothing is remembered or seen", m.called("boot-guard") == ["boot-guard floor"]
          and "--floor" not in m.called("remediation-fetch")[0], m.calls)
    m.saw(old)
    m.poll()
    check("highest versions: what was seen is remembered", m.called("boot-guard") == ["boot-guard floor", "boot-guard floor " + old], m.calls)
    m.poll()
    check("highest versions: what is remembered holds", "--floor " + old in m.called("remediation-fetch")[0], m.calls)
    check("highest versions: what is the same is not written", m.called("boot-guard") == ["boot-guard floor"], m.calls)
    m.saw(new)
    m.fetch_code = 4
    m.poll()
    check("highest versions: of a repository that was refused", m.code == 1 and "boot-guard floor " + new in m.called("boot-guard"), m.output)
    os.unlink(m.folder + "/seen")
    m.poll(before="mkdir -p /run/qmr/poll; echo '{\"floor\": \"%s\"}' >/run/qmr/poll/fetch.json" % old)
    check("highest versions: an older run's are not taken for this one's", m.called("boot-guard") == ["boot-guard floor"], m.calls)
    m.done()
    m = Machine()
    m.guard_code = 1
    m.saw(old)
    m.poll()
    check("highest versions: a boot state that fails stops nothing", m.code == 0 and m.called("systemctl") == ["systemctl reboot"]
          and "does not remember" in m.output, m.output)
    m.done()
    m = Machine(mode="observe")
    m.saw(old)
    m.poll(before="exec 9>/run/qmrctl.lock; flock 9")
    check("highest versions: not while qmrctl is at work", m.code == 0 and m.called("boot-guard") == ["boot-guard floor"]
          and "does not remember" in m.output, (m.calls, m.output))
    m.done()
    m = Machine(mode="observe")
    m.poll(before="mkdir -p /run/qmr; (flock 8; sleep 2; echo let go >>$T/calls) 8>/run/qmr/fetch.lock &\n"
                  "until ! flock -n /run/qmr/fetch.lock true; do :; done")
    check("one fetch at a time", [c.split()[0] for c in m.calls if c.startswith(("let go", "crash-collect"))] == ["let", "crash-collect"], m.calls)
    m.done()


def one_a_day():
    m = Machine()
    m.offer(REQUEST, {**REQUEST, "id": "b-2"})
    m.poll()
    m.status["state"] = {"boots": 8, "incident": "22222222-2222-4222-8222-222222222222"}
    m.poll()
    check("one a day", m.code == 0 and not m.called("systemctl") and "per_day" in m.output, m.output)
    m.config += "[requests]\nper_day = 2\n"
    m.poll()
    check("two, if the owner says so", m.called("systemctl") == ["systemctl reboot"] and [r["id"] for r in m.record()] == ["b-2", "a-1"], m.output)
    m.done()


if os.geteuid():
    print("ok request-poll: left out, it needs root")
    sys.exit(0)
for case in (follows_once, modes, does_nothing, withdrawn_meanwhile, meanwhile, somebody_elses, failures, highest_versions, one_a_day):
    case()
sys.exit(status)

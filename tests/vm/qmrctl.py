#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""qmrctl on a real machine: the boot entry made at the first boot, taken away and made anew, the everyday entry of systemd-boot, a
switch to recovery taken back and one that happens. Usage: -B BUILD"""
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True
import firmware  # noqa: E402
import machine  # noqa: E402
import scenario  # noqa: E402

TITLE = "Quick machine recovery"
SECOND = "Quick machine recovery, second image"
CONFIG = "[policy]\nmode = collect\nstability = 600\ncancel = 1\n"

# What each command printed, and its exit status, stays on the guest's disk.
BOOTS = """
mkdir -p /var/out
next=/sys/firmware/efi/efivars/BootNext-8be4df61-93ca-11d2-aa0d-00e098032b8c
step() { name=$1; shift; "$@" >/var/out/$name 2>&1; echo "exit $?" >>/var/out/$name; sync; }
left() {
	ls /efi/EFI/Linux /efi/EFI/qmr /efi/EFI /var/lib/qmr /etc/systemd/system/*.wants 2>/dev/null | grep qmr
	ls /sys/firmware/efi/efivars | grep -E '^QmrState|^BootNext'
	grep -l -a 'Q.u.i.c.k. .m.a.c.h.i.n.e' /sys/firmware/efi/efivars/Boot0*
	lsinitramfs /boot/initrd.img-* | grep -E 'boot-guard|00-qmr'
}
boot_1() {
	step pending ls /var/lib/qmr/register-pending
	step first qmrctl --json status
	step uninstall qmrctl --purge uninstall
	step left left
	step install qmrctl install
	sed -i /^sort-key/d /efi/loader/entries/*.conf
	step install-again qmrctl install
	step check qmrctl check
	step status qmrctl --json status
	restart
}
boot_2() {
	step recover-later qmrctl --next --reason "a test" recover
	step recover-instead qmrctl --next --reason "another" recover
	step requested qmrctl --json status
	step next ls $next
	step cancel qmrctl cancel
	step cancelled ls $next
	step cancel-again qmrctl cancel
	step recover qmrctl --reason "a test" recover
}
boot_3() {
	step healthy qmrctl healthy
	until ended qmr-restore-point.service; do sleep 1; done
	step history qmrctl history
	switch_off
}
"""
EXITS = {"pending": 2, "first": 0, "uninstall": 0, "left": 1, "install": 0, "install-again": 0, "check": 0, "status": 0,
         "recover-later": 0, "recover-instead": 0, "requested": 0, "next": 0, "cancel": 0, "cancelled": 2, "cancel-again": 3, "recover": 0, "healthy": 0,
         "history": 0}


def entry_of(printed):
    """Of `qmrctl --json status`."""
    return json.loads(printed.rsplit("exit", 1)[0])["entry"]


def qmrctl(s):
    box = machine.Machine(s.system(CONFIG, small=True), s.work, "box", BOOTS)
    done = s.boot_to_the_end(box, limit_s=2400)
    printed = {name: (box.disk.read("/var/out/" + name) or b"").decode() for name in EXITS}
    for name, code in EXITS.items():
        # The last command's shell is ended by the reboot that it asked for.
        good = printed[name].endswith("exit %d\n" % code) or (name == "recover" and "goes into the recovery" in printed[name])
        s.true("%s ends with %d" % (name, code), good, printed[name][-600:])
    s.same("nothing is left of an uninstalled qmr", "exit 1\n", printed["left"])
    again = printed["install-again"]
    s.true("a second install adds the sort-key that was taken away", "sort-key added to 1 entries" in again, again)
    s.true("and changes nothing else", again.count("already") == 9 and "written" not in again, again)
    # The second boot of the normal system came by itself: recovery is not what is booted every day.
    s.same("resets: to the normal system, to recovery, and back", 3, done.resets)

    entries = firmware.boot_entries(box.variables())
    titles = [title for _, title in entries]
    place = titles.index(TITLE) if TITLE in titles else -1
    s.true("the firmware's own store has the entry, once and not first", place > 0 and titles.count(TITLE) == 1, entries)
    s.true("and the second image's, outside of its order", SECOND not in titles and any(
        SECOND.encode("utf-16-le") in data for name, data in box.variables().items() if name.startswith("Boot0")), entries)
    for name in ("first", "status"):
        entry = entry_of(printed[name])
        s.same(name + ": the place in BootOrder", [place + 1, True], [entry["boot_order_place"], entry["after_current"]])

    asked = json.loads(printed["requested"].rsplit("exit", 1)[0])
    s.same("a request in place of another is one switch", ("switching", 1, True),
           (asked["stage"], asked["state"]["switches"], asked["entry"]["boot_next"]))
    s.same("qmrctl knows both images", ["/efi/EFI/Linux/qmr-recovery.efi", "/efi/EFI/qmr/qmr-recovery-2.efi"],
           [asked[name]["path"] for name in ("image", "second_image")])

    state = box.state()
    incident = box.disk.json("/var/lib/qmr/incidents/%s/incident.json" % state["incident"]) or {}
    s.same("recovery learnt why it was started", ("requested", "requested"), (state["reason"], incident.get("reason")))
    s.same("the last boot is healthy because somebody said so", ("healthy", "none"), (state["outcomes"][-1], state["stage"]))
    s.true("and a restore point followed", [n for n in box.disk.list("/var/lib/qmr/restore-points") if n.isdigit()])
    lines = [json.loads(line) for line in (box.disk.read("/var/lib/qmr/history.jsonl") or b"").splitlines()]
    s.same("the attempts before it were written down", state["outcomes"][:-1], [line["outcome"] for line in lines])
    s.same("boots of the normal system since install", 2, state["boots"])


if __name__ == "__main__":
    scenario.main(qmrctl)

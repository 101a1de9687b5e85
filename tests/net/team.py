#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Plans that a team publishes by a delegated role, as remediation-fetch gets them: two processes, and what is kept between runs.
Usage: team.py -B BUILD [NAME ...]
"""
import hashlib
import json
import shutil
import sys

sys.dont_write_bytecode = True
from tuf_repository import future, key_id, main, make_key, plan, public, same, start  # noqa: E402


class Team:
    """A role with a key of its own; publish() writes its file and makes the repository delegate to it."""

    def __init__(self, c, name, paths, plans, key=None):
        self.c, self.name, self.paths, self.plans = c, name, paths, plans
        self.key = key or make_key()
        self.version = 1
        self.signers = None
        c.teams = getattr(c, "teams", []) + [self]
        c.repo.edit["targets"] = lambda signed: self.delegate(signed)
        c.repo.edit["snapshot"] = lambda signed: [signed["meta"].update({t.name + ".json": {"version": t.version}}) for t in c.teams]

    def delegate(self, signed):
        teams = self.c.teams
        signed["delegations"] = {
            "keys": {key_id(public(t.key)): public(t.key) for t in teams},
            "roles": [{"name": t.name, "keyids": [key_id(public(t.key))], "threshold": 1, "terminating": False, "paths": t.paths} for t in teams]}
        for team in teams:
            team.write()

    def write(self):
        signed = {"_type": "targets", "spec_version": "1.0.31", "version": self.version, "expires": future(),
                  "targets": {name: self.c.repo.about(data) for name, data in self.plans.items()}}
        self.c.repo.write(f"metadata/{self.version}.{self.name}.json", self.name, self.c.repo.sign(self.name, signed, self.signers or [self.key]))
        for name, data in self.plans.items():
            folder, _, base = name.rpartition("/")
            self.c.repo.write(f"targets/{folder}/{hashlib.sha256(data).hexdigest()}.{base}", name, data)


def test_plan_of_a_team(c):
    Team(c, "team", ["plans/*"], {"plans/05-team.json": plan("team")})
    start(c)
    c.accept(["01-team.json", "02-fix.json"])
    same("kept", 1, json.loads((c.metadata / "team.json").read_text())["signed"]["version"])
    n = len(c.requests())
    c.accept(["01-team.json", "02-fix.json"])
    same("the kept role is used", [], [r for r in c.requests()[n:] if "team.json" in r and "metadata/" in r])


def test_new_plan_of_a_team(c):
    team = Team(c, "team", ["plans/*"], {"plans/05-team.json": plan("team")})
    start(c)
    c.accept(["01-team.json", "02-fix.json"])
    team.version = 2
    team.plans = {"plans/20-new.json": plan("new")}
    c.repo.bump("timestamp", "snapshot")
    c.repo.publish()
    c.accept(["01-fix.json", "02-new.json"])
    same("kept", 2, json.loads((c.metadata / "team.json").read_text())["signed"]["version"])


def test_plan_that_was_not_the_teams_to_list(c):
    Team(c, "team", ["plans/team-*"], {"plans/team-1.json": plan("team"), "plans/99-other.json": plan("other")})
    start(c)
    c.accept(["01-fix.json", "02-team.json"])
    same("refused", [("plans/99-other.json", True)], [(p["target"], "not given it" in p["why"]) for p in c.report["refused_plans"]])


def test_the_top_level_comes_first(c):
    Team(c, "team", ["plans/*"], {"plans/10-fix.json": plan("taken-over")})
    start(c)
    c.repo.publish()
    c.accept(["01-fix.json"])


def test_role_named_as_a_kept_hold_might_be(c):
    team = Team(c, "hold", ["plans/*"], {"plans/05-team.json": plan("team")})
    start(c)
    c.accept(["01-team.json", "02-fix.json"])
    url = f"https://127.0.0.1:{c.server.port}/{c.folder.name}/r"
    c.configure("https://127.0.0.1:1/r", timeout=1)
    same("no network", 5, c.fetch())
    same("no hold", (False, False), ("hold" in c.report, "hold that was kept" in c.text))
    c.configure(url)
    c.repo.targets["plans/stop.json"] = json.dumps({"schema": 1, "id": "stop", "title": "stop", "hold": True}).encode()
    c.repo.bump()
    team.version = 2
    c.repo.publish()
    same("hold", (3, "stop"), (c.fetch(), c.report["hold"]["id"]))
    same("role", 2, c.kept("hold"))
    c.configure("https://127.0.0.1:1/r", timeout=1)
    same("it counts on", (5, "stop"), (c.fetch(), c.report["hold"]["id"]))


def test_role_in_a_folder(c):
    """The file of role "a/b c" lies where a web server finds it, or under its name in URLs."""
    Team(c, "a/b c", ["plans/*"], {"plans/05-team.json": plan("team")})
    start(c)
    c.accept(["01-team.json", "02-fix.json"])
    c.configure(f"file:{c.repo.folder}")
    shutil.rmtree(c.metadata)
    c.accept(["01-team.json", "02-fix.json"])
    shutil.rmtree(c.metadata)
    (c.repo.folder / "metadata/1.a/b c.json").rename(c.repo.folder / "metadata/1.a%2Fb%20c.json")
    c.accept(["01-team.json", "02-fix.json"])


def test_role_that_goes_back_from_one_source_to_the_next(c):
    """The floor does not know roles of teams: what the first source left on disk does, in the same run."""
    team = Team(c, "team", ["plans/*"], {"plans/05-team.json": plan("team")})
    team.version = 2
    start(c)
    lacks_a_plan = c.mirror("first")
    shutil.rmtree(c.folder / "first/targets")
    team.version = 1
    c.repo.bump("timestamp", "snapshot")
    c.repo.publish()
    c.configure(lacks_a_plan + "\nurl = " + c.mirror("second"))
    c.refuse("none of 2 sources")
    same("said", True, "team" in c.report["sources"][1]["error"] and "older" in c.report["sources"][1]["error"])


def test_team_that_is_not_asked(c):
    Team(c, "elsewhere", ["other/*", "*"], {"other/x.json": plan("x")})
    start(c)
    c.accept()
    same("requests", [], [r for r in c.requests() if "elsewhere" in r])


def test_team_without_its_key(c):
    team = Team(c, "team", ["plans/*"], {"plans/05-team.json": plan("team")})
    team.signers = [make_key()]
    start(c)
    c.refuse("role 'team'", "0 different keys")
    same("kept", False, (c.metadata / "team.json").exists())


def test_team_is_dismissed(c):
    """Its key is replaced; what it signed, and what was kept of it, no longer counts."""
    team = Team(c, "team", ["plans/*"], {"plans/05-team.json": plan("team")})
    start(c)
    c.accept(["01-team.json", "02-fix.json"])
    old, team.key = team.key, make_key()
    team.signers = [old]
    c.repo.bump()
    c.repo.publish()
    c.refuse("role 'team'", "0 different keys")


def test_damaged_kept_role(c):
    Team(c, "team", ["plans/*"], {"plans/05-team.json": plan("team")})
    start(c)
    c.accept(["01-team.json", "02-fix.json"])
    for junk in (b"", b"{}", (c.metadata / "targets.json").read_bytes()):
        (c.metadata / "team.json").write_bytes(junk)
        c.accept(["01-team.json", "02-fix.json"])


def test_many_hostile_kept_roles(c):
    """More files than there is room for: the run goes on, with the warnings that are due."""
    Team(c, "team", ["plans/*"], {"plans/05-team.json": plan("team")})
    start(c)
    c.accept(["01-team.json", "02-fix.json"])
    for i in range(1100):
        (c.metadata / f"role-{i}.json").write_bytes(b"{}")
    c.accept(["01-team.json", "02-fix.json"])


def test_33_teams(c):
    """The 33rd is not looked at, and that is said; the others are."""
    key = make_key()
    for i in range(33):
        Team(c, f"t{i:02}", ["plans/*"], {f"plans/{i:02}-t.json": plan(f"t{i:02}")}, key)
    c.repo.targets = {}
    start(c)
    c.accept([f"{i + 1:02}-t{i:02}.json" for i in range(32)])
    same("said", True, "more than 32 delegated roles" in c.text)


if __name__ == "__main__":
    main("team", globals())

# SPDX-License-Identifier: LGPL-2.1-or-later
"""The owner's desk: keys and a repository of signed plans, made by qmr-publish."""
import hashlib
import json
import os

from machine import run, write


def publish(build, owner, plans):
    """A new repository below the web server's folder, holding plans. Returns the root metadata that machines trust."""
    os.makedirs(owner.folder + "/desk", exist_ok=True)
    command(build, owner, "init")
    for plan in plans:
        add(build, owner, plan)
    with open(owner.folder + "/www/repository/metadata/1.root.json") as f:
        return f.read()


def command(build, owner, verb, *arguments):
    run(os.path.join(build, "qmr-publish"), verb, "--repository", owner.folder + "/www/repository", "--keys", owner.folder + "/desk/keys",
        *arguments)


def add(build, owner, plan):
    path = "%s/desk/%s.json" % (owner.folder, plan["id"])
    write(path, json.dumps(plan))
    command(build, owner, "add", path)


def remove(build, owner, plan):
    command(build, owner, "remove", plan["id"] + ".json")


def removal(plan_id, module, product):
    """A plan against the malformed content file of a vendor's product, for machines that module breaks."""
    return {"schema": 1, "id": plan_id, "title": "Remove the malformed content file",
            "match": {"all": [{"culprit-module": module}, {"incident-kind": "panic"}]},
            "actions": [{"type": "remove-file", "path": product.content_path, "sha256": hashlib.sha256(product.bad).hexdigest()}]}

# SPDX-License-Identifier: LGPL-2.1-or-later
"""The owner's desk: keys and a repository of signed plans, made by qmr-publish."""
import hashlib
import json
import os

from machine import run, write


def publish(build, owner, plans):
    """A new repository below the web server's folder, holding plans. Returns the root metadata that machines trust."""
    folder, desk = owner.folder + "/www/repository", owner.folder + "/desk"
    program = (os.path.join(build, "qmr-publish"),)
    where = ("--repository", folder, "--keys", desk + "/keys")
    os.makedirs(desk, exist_ok=True)
    run(*program, "init", *where)
    for plan in plans:
        path = "%s/%s.json" % (desk, plan["id"])
        write(path, json.dumps(plan))
        run(*program, "add", *where, path)
    with open(folder + "/metadata/1.root.json") as f:
        return f.read()


def removal(plan_id, module, product):
    """A plan against the malformed content file of a vendor's product, for machines that module breaks."""
    return {"schema": 1, "id": plan_id, "title": "Remove the malformed content file",
            "match": {"all": [{"culprit-module": module}, {"incident-kind": "panic"}]},
            "actions": [{"type": "remove-file", "path": product.content_path, "sha256": hashlib.sha256(product.bad).hexdigest()}]}

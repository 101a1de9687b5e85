# SPDX-License-Identifier: LGPL-2.1-or-later
"""TUF as others wrote it, from npm: a client and makers of repositories, in a folder of the tests' own."""
import fcntl
import os
import subprocess

PACKAGES = ("tuf-js@3.0.1", "@tufjs/repo-mock@3.0.1")  # the newest that run with the Node.js of Debian 12
CACHE = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "qmr-tests", "npm")
MODULES = os.path.join(CACHE, "tuf-3.0.1")
DONE = MODULES + "/complete"


def install():
    """Once, whoever comes first. Raises subprocess.CalledProcessError."""
    os.makedirs(CACHE, exist_ok=True)
    with open(CACHE + "/lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.exists(DONE):
            return
        print("installing %s from npm into %s" % (" ".join(PACKAGES), MODULES), flush=True)
        os.makedirs(MODULES, exist_ok=True)
        subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--silent", "--prefix", MODULES, *PACKAGES],
                       stdin=subprocess.DEVNULL, timeout=600, check=True)
        open(DONE, "w").close()

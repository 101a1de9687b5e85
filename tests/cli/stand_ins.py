# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs a program with others, which it starts by their absolute paths, replaced by scripts that write down how they were called. Used by the
tests beside it; needs root."""
import os
import subprocess


def run(folder, programs, command, var, before=""):
    """programs: path -> lines of a shell script, which finds folder as $T. var: folder that is /var/lib/qmr. All file systems are the run's own;
    /run is empty. before: shell lines to be run before. Returns output, exit code and the calls, one line each."""
    script = "set -e\nmount -t tmpfs tmpfs /run\nmkdir -p /run/t /run/qmr\nmount --bind $T /run/t\n"
    os.makedirs(folder + "/programs", exist_ok=True)
    for number, (path, lines) in enumerate(programs.items()):
        with open("%s/programs/%d" % (folder, number), "w") as f:
            f.write("#!/bin/sh\nT=/run/t\necho \"%s $*\" >>$T/calls\n%s\n" % (os.path.basename(path), lines))
        os.chmod("%s/programs/%d" % (folder, number), 0o755)
    # The folders may not be there on this machine, and must not be made on it.
    script += "for d in /usr/lib /usr/sbin /var/lib; do mkdir -p /run/o$d/u /run/o$d/w; mount -t overlay overlay -o " \
              "lowerdir=$d,upperdir=/run/o$d/u,workdir=/run/o$d/w $d; done\nmkdir -p /usr/lib/qmr /var/lib/qmr\n"
    for number, path in enumerate(programs):
        script += "touch %s; mount --bind $T/programs/%d %s\n" % (path, number, path)
    script += "mount --bind %s /var/lib/qmr\n%s\nexec %s\n" % (var, before, command)
    open(folder + "/calls", "w").close()
    done = subprocess.run(["unshare", "-m", "--propagation", "private", "sh", "-c", script], env={**os.environ, "T": folder},
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
    with open(folder + "/calls") as f:
        return done.stdout, done.returncode, [line.strip() for line in f]

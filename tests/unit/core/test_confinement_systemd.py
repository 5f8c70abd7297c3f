# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits of backups under a real systemd of a user: what is set is what the copying tool runs under."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.core.keeping import KINDS

SYSTEMD = "/lib/systemd/systemd"
USER = 65534
CHECKOUT = Path(__file__).resolve().parents[3]
LIMITS = {"cpu_quota": 50, "memory_max_mb": 512, "max_riops": 100, "nice": 3, "ionice": 4}

#: As root, in mounts of its own: a place for the user's systemd among the control groups, and that systemd itself.
OUTER = """
set -e
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system /run/user/$1
chown $1 /run/user/$1
chmod 700 /run/user/$1
for top in $(ls -d /sys/fs/cgroup/unified /sys/fs/cgroup/systemd 2>/dev/null || echo /sys/fs/cgroup); do
    mkdir -p $top/$2
    chown -R $1 $top/$2
    echo $$ >$top/$2/cgroup.procs
done
exec setpriv --reuid=$1 --regid=$1 --clear-groups env -i HOME="$3" XDG_RUNTIME_DIR=/run/user/$1 \
    PATH="$3/bin:/usr/sbin:/usr/bin:/sbin:/bin" bash -c '
    timeout 60 "$1" --user --unit=basic.target </dev/null >"$HOME/systemd.log" 2>&1 &
    for _ in $(seq 100); do
        case $(systemctl --user is-system-running 2>/dev/null) in running|degraded) break ;; esac
        sleep 0.1
    done
    code=0
    "$2" "$3" "$4" >"$HOME/said" || code=$?
    systemctl --user exit
    wait
    exit $code' inner "$4" "$5" "$6" "$7"
"""

#: As the user: one backup of each kind, and what systemd knows of the slice then.
INNER = """
import json, os, subprocess, sys
from pathlib import Path
from tests.unit.core.keeping import Keeping
from tests.unit.core.support import act
os.environ["SSH_AUTH_SOCK"] = "/an/agent"
limits = json.loads(sys.argv[2])
keeping = Keeping(Path.home() / "work", sys.argv[1])
keeping.prepare(0)
result = act("ds_backup", **keeping.backup_options, **limits)
show = ["systemctl", "--user", "show", "backup.100.slice", "--property=CPUQuotaPerSecUSec,MemoryMax,IOReadIOPSMax"]
keeping.chain = ["0:" + result["reference"]]
print(json.dumps({
    "show": subprocess.run(show, check=True, capture_output=True, text=True).stdout.split("\\n"),
    "units": subprocess.run(["systemctl", "--user", "list-units", "--all", "--plain", "--no-legend", "one_storage-*"],
                            check=True, capture_output=True, text=True).stdout,
    "sound": keeping.verify()["sound"],
}))
"""


@pytest.mark.full
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.skipif(
    os.geteuid() != 0 or not os.path.exists(SYSTEMD) or not shutil.which("dbus-daemon"), reason="needs root and systemd"
)
def test_a_backup_runs_in_its_slice(folder: Path, kind: str) -> None:
    home = folder / "home"
    (home / "bin").mkdir(parents=True)
    program = home / "bin" / kind
    program.write_text(
        "#!/bin/sh\ngroup=$(grep name=systemd: /proc/self/cgroup || cat /proc/self/cgroup)\n"
        f'echo "$(nice);$(ionice);$SSH_AUTH_SOCK;$group" >>{home}/log\nexec /usr/bin/{kind} "$@"\n'
    )
    program.chmod(0o755)
    (home / "inner.py").write_text(INNER)
    for path in [folder, home, *home.rglob("*")]:
        os.chown(path, USER, USER)
    group = f"one_storage-test-{os.getpid()}"
    argv = ["unshare", "-m", "--propagation=private", "bash", "-c", OUTER, "outer", str(USER), group, str(home)]
    # where the checkout is read from, by a user who may not write to it
    inner = home / "bin" / "inner"
    python = f'PYTHONPATH={CHECKOUT} PYTHONDONTWRITEBYTECODE=1 exec {sys.executable} {home}/inner.py "$@"'
    inner.write_text(f"#!/bin/sh\n{python}\n")
    inner.chmod(0o755)
    argv += [SYSTEMD, str(inner), kind, json.dumps(LIMITS)]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=90)
    finally:
        for top in Path("/sys/fs/cgroup").glob(f"**/{group}"):
            for path in sorted([top, *top.rglob("*/")], reverse=True):
                path.rmdir()
    assert done.returncode == 0, done.stderr + (home / "systemd.log").read_text()
    found = json.loads((home / "said").read_text())
    # restic is asked for other things too, which nothing holds back
    held = [
        line for line in (home / "log").read_text().splitlines() if line.startswith("3;best-effort: prio 4;/an/agent;")
    ]
    assert len(held) == 1 and f"/{group}/backup.100.slice/one_storage-" in held[0], (home / "log").read_text()
    assert "CPUQuotaPerSecUSec=500ms" in found["show"] and f"MemoryMax={512 << 20}" in found["show"]
    assert any(line.startswith("IOReadIOPSMax=/") and line.endswith(" 100") for line in found["show"]), found["show"]
    assert found["sound"] and not found["units"]

# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""May this process make hosts here? Tried for real: what a machine or a container allows cannot be read anywhere."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from pathlib import Path

TOOLS = {
    "unshare": "util-linux", "nsenter": "util-linux", "setpriv": "util-linux", "setsid": "util-linux",
    "env": "coreutils", "ip": "iproute2", "sshd": "openssh-server", "ssh": "openssh-client",
    "ssh-keygen": "openssh-client", "ssh-agent": "openssh-client", "sudo": "sudo", "mount": "mount",
}  # fmt: skip
INSIDE = Path(__file__).with_name("inside.py")
_LIMIT = 10.0


@functools.cache
def can_make_hosts() -> tuple[bool, str]:
    """(True, "") when a lab can be made here, else (False, one sentence saying what is missing). Changes nothing."""
    reason = _missing() or _refused()
    return (not reason, reason)


def _missing() -> str:
    if os.geteuid() != 0:
        return "making hosts needs root"
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    packages = sorted({package for tool, package in TOOLS.items() if shutil.which(tool, path=path) is None})
    if packages:
        return f"making hosts needs the packages {', '.join(packages)}"
    if not os.path.exists("/usr/bin/python3"):
        return "making hosts needs /usr/bin/python3"
    # The hosts' roots are overlays of the file system at `/`, and an overlay does not show what is mounted below it.
    for folder in ("/usr", "/etc", "/var"):
        if os.path.ismount(folder):
            return f"{folder} is a file system of its own, the hosts would not see it"
    return ""


def _refused() -> str:
    line = ["unshare", "--mount", "--uts", "--ipc", "--pid", "--net", "--fork", "--kill-child"]
    line += ["--propagation", "private", "--", "/usr/bin/python3", "-I", str(INSIDE), "try"]
    try:
        result = subprocess.run(line, capture_output=True, text=True, timeout=_LIMIT, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"hosts cannot be made here: {error}"
    if result.returncode:
        said = result.stderr.strip().splitlines() or [f"exit code {result.returncode}"]
        return f"hosts cannot be made here: {said[-1]}"
    return ""

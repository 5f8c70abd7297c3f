# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Command lines that run something on a host, and the failure of such a command."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence

USER_ID = 9869
"""User and group number of oneadmin, as OpenNebula's packages give it."""

HOME = "/var/lib/one"
AGENT_SOCKET = "/var/run/one/ssh-agent.sock"
PATH = "/usr/bin:/usr/sbin:/bin:/sbin:/usr/local/bin:/usr/local/sbin"


class CommandFailed(subprocess.CalledProcessError):
    """A command on a host ended with an exit code other than 0; the text shows what it wrote."""

    def __init__(self, host: str, argv: Sequence[str], result: subprocess.CompletedProcess[bytes]) -> None:
        super().__init__(result.returncode, list(argv), result.stdout, result.stderr)
        self.host = host

    def __str__(self) -> str:
        said = b"\n".join(part.strip() for part in (self.stderr or b"", self.stdout or b"") if part.strip())
        return f"{self.host}: {self.cmd} ended with {self.returncode}: {said.decode('utf-8', 'replace')[-4000:]}"


def environment(user: str, *, agent: bool, extra: Mapping[str, str] | None) -> dict[str, str]:
    """The whole environment of a command; nothing of the caller's passes, so that tests do not depend on it."""
    home = HOME if user == "oneadmin" else "/root"
    result = {"HOME": home, "USER": user, "LOGNAME": user, "SHELL": "/bin/bash", "PATH": PATH, "LANG": "C.UTF-8"}
    if agent and user == "oneadmin":
        result["SSH_AUTH_SOCK"] = AGENT_SOCKET
    result.update(extra or {})
    return result


def enter(leader: int, argv: Sequence[str], *, user: str, cwd: str, session: bool = True) -> list[str]:
    """The command line that runs `argv` in the namespaces of a host's pid 1.

    `session` makes it the head of a session of its own (what a daemon would start), else it keeps the caller's
    terminal. nsenter stays outside as the parent, so the command is tied to it: without that, killing nsenter would
    leave the command running.
    """
    if user not in ("oneadmin", "root"):
        raise ValueError(f"user must be oneadmin or root, not {user!r}")
    if not argv or "=" in argv[0]:
        raise ValueError(f"not a command: {list(argv)!r}")
    line = ["/usr/bin/nsenter", "-t", str(leader), "-a", "--", "/usr/bin/setpriv", "--pdeathsig", "KILL"]
    if user == "oneadmin":
        line += ["--reuid", str(USER_ID), "--regid", str(USER_ID), "--init-groups"]
    line += ["--"]
    if session:
        line += ["/usr/bin/setsid", "--"]
    return [*line, "/usr/bin/env", "-C", cwd, "--", *argv]

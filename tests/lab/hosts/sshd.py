# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sshd of a host, given by the host's pid 1: its processes, stopping, starting, freezing it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

from .commands import enter, environment
from .paths import below
from .proc import ProcessRef, comm_of, in_namespace, inner_number, namespace_of
from .state import LabError

_COMMAND = ("/usr/sbin/sshd", "-f", "/etc/ssh/one_lab_sshd_config", "-E", "/var/log/sshd.log")
_PID_FILE = "/run/sshd.pid"


def processes(leader: int) -> list[int]:
    """The listening sshd and those of its sessions."""
    identity = namespace_of(leader, "pid") or ""
    return [pid for pid in in_namespace("pid", identity) if comm_of(pid) == "sshd"]


def listener(leader: int) -> int | None:
    """The listening sshd, or None. Its pid file has its number within the host; that is looked up here."""
    try:
        inner = int(_pid_file(leader).read_text(encoding="ascii"))
    except (FileNotFoundError, ValueError):
        return None
    return next((pid for pid in processes(leader) if inner_number(pid) == inner), None)


def stop(leader: int, *, sessions: bool, limit: float = 5.0) -> None:
    """Kill the listening sshd, and with `sessions` the others, too. Raises LabError after `limit` seconds."""
    deadline = time.monotonic() + limit
    main = listener(leader)
    victims = [] if main is None else [main]
    if sessions:
        # The listener goes first, so that no session starts behind our back.
        victims += [pid for pid in processes(leader) if pid != main]
    for pid in victims:
        try:
            ended = ProcessRef.of(pid).end(deadline)
        except ProcessLookupError:
            continue
        if not ended:
            raise LabError(f"sshd does not end (process {pid})")
    # A killed sshd leaves its pid file; the number in it may go to somebody else.
    _pid_file(leader).unlink(missing_ok=True)


def start(leader: int, limit: float = 5.0) -> None:
    """Start sshd and wait until it listens; one that runs is left alone. Raises LabError after `limit` seconds."""
    if listener(leader) is not None:
        return
    deadline = time.monotonic() + limit
    line = enter(leader, _COMMAND, user="root", cwd="/")
    try:
        result = subprocess.run(
            line, env=environment("root", agent=False, extra=None), stdin=subprocess.DEVNULL,
            capture_output=True, timeout=limit, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise LabError(f"sshd does not start within {limit:.0f} s") from None
    if result.returncode:
        raise LabError(f"sshd does not start: {result.stderr.decode('utf-8', 'replace').strip()}")
    while listener(leader) is None:
        if time.monotonic() > deadline:
            raise LabError(f"sshd does not listen after {limit:.0f} s")
        time.sleep(0.005)


def send(leader: int, number: signal.Signals) -> None:
    """Send a signal to all of them."""
    for pid in processes(leader):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            # A session that ended meanwhile.
            pass


def _pid_file(leader: int) -> Path:
    return below(Path(f"/proc/{leader}/root"), _PID_FILE, follow=False)

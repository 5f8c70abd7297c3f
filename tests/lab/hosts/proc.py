# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known about processes of this machine: who they are, whom they belong to, how to end them for sure."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class HostProcess(NamedTuple):
    """A process on a lab host: its number as this machine sees it, and its command line."""

    pid: int
    argv: tuple[str, ...]


@dataclass(frozen=True)
class ProcessRef:
    """A process that cannot be mistaken for a later one with the same number."""

    pid: int
    start: int
    """Clock ticks after boot at which it started."""

    @classmethod
    def of(cls, pid: int) -> ProcessRef:
        """The process that has this number now. Raises ProcessLookupError when there is none."""
        stat = read_stat(pid)
        if stat is None:
            raise ProcessLookupError(f"no process {pid}")
        return cls(pid, stat.start)

    def alive(self) -> bool:
        """Whether it still runs; a zombie does not."""
        stat = read_stat(self.pid)
        return stat is not None and stat.start == self.start and stat.state not in "ZX"

    def end(self, deadline: float) -> bool:
        """Kill it and wait until it is gone; False when it is still there at `deadline` (time.monotonic seconds)."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return True
        try:
            # Compared after the handle is open: from here on the number cannot pass to another process unnoticed.
            if not self.alive():
                return True
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            poller = select.poll()
            poller.register(handle, select.POLLIN)
            return bool(poller.poll(max(0.0, deadline - time.monotonic()) * 1000))
        except ProcessLookupError:
            return True
        finally:
            os.close(handle)


class Stat(NamedTuple):
    """The fields of /proc/PID/stat that the lab needs."""

    state: str
    parent: int
    start: int


def read_stat(pid: int) -> Stat | None:
    """State letter, parent and start time of a process; None when there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command name stands in brackets and may hold anything, brackets and blanks included.
    fields = text[text.rindex(")") + 2 :].split()
    return Stat(fields[0], int(fields[1]), int(fields[19]))


def all_pids() -> Iterator[int]:
    """The numbers of all processes of this machine."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            yield int(name)


def child_of(pid: int) -> int | None:
    """The one child of a process that has at most one (unshare, nsenter); None when it has none (yet)."""
    for candidate in all_pids():
        stat = read_stat(candidate)
        if stat is not None and stat.parent == pid and stat.state not in "ZX":
            return candidate
    return None


def namespace_of(pid: int, kind: str) -> str | None:
    """The identity of a process's namespace (`kind`: pid, net, mnt …); None when the process is gone."""
    try:
        return os.readlink(f"/proc/{pid}/ns/{kind}")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None


def in_namespace(kind: str, identity: str) -> list[int]:
    """All processes, zombies aside, that live in the namespace `identity`."""
    found = []
    for pid in all_pids():
        stat = read_stat(pid)
        if stat is not None and stat.state not in "ZX" and namespace_of(pid, kind) == identity:
            found.append(pid)
    return sorted(found)


def argv_of(pid: int) -> tuple[str, ...]:
    """The command line of a process; empty when it is gone."""
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return ()
    # Programs that rewrite their title (sshd) fill the rest with NULs.
    return tuple(part.decode("utf-8", "replace") for part in raw.rstrip(b"\0").split(b"\0")) if raw else ()


def comm_of(pid: int) -> str:
    """The program name of a process; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def inner_number(pid: int) -> int | None:
    """The number of a process within its own pid namespace; None when it is gone."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("NSpid:"):
                return int(line.split()[-1])
    except (FileNotFoundError, ProcessLookupError):
        pass
    return None

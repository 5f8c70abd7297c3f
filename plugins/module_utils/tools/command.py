# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands on this machine: found, run to their end within a deadline, and ended with whoever wanted them.

``subprocess`` would do, and takes longer to load than most commands run; ``posix_spawn`` and files in memory for what
they say do the same without threads. Standard library only and nothing of ours: it is sent to peers with :mod:`.host`.
"""

from __future__ import annotations

import errno
import os
import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

SIGINT, SIGKILL, SIGPIPE, SIGTERM, SIGXFSZ = 2, 9, 13, 15, 25

_SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin")
#: Longest wait in seconds that the standard library can count: some three weeks.
_LONGEST = 2_000_000
#: Of what a command says, so many bytes at the end are kept.
_SAID = 1 << 16

_running: set[int] = set()
_stopping: list[bool] = []


def stop_work() -> None:
    """End what this process does for a caller that is gone: commands are killed, copies stop at their next chunk."""
    _stopping.append(True)
    for pid in list(_running):
        _kill(pid)


def resume_work() -> None:
    """What was begun for a caller that is gone is taken back now, by commands too; each has its deadline."""
    _stopping.clear()


def going_on() -> None:
    """Asked by every loop over data; ``InterruptedError`` after :func:`stop_work`."""
    if _stopping:
        raise InterruptedError(errno.EINTR, "the caller went away")


def which(tool: str) -> str:
    """The path of a command; ``FileNotFoundError`` names it when it is not installed."""
    if "/" in tool:
        candidates: list[str] = [tool]
    else:
        folders = os.environ.get("PATH", "").split(":") + list(_SBIN)
        candidates = [os.path.join(folder, tool) for folder in folders if folder.startswith("/")]
    for path in candidates:
        if os.access(path, os.X_OK) and not os.path.isdir(path):
            return path
    raise FileNotFoundError(errno.ENOENT, f"the command {tool} is not installed", tool)


def spawn(argv: Sequence[str], streams: Sequence[int], environment: dict[str, str], alone: bool = False) -> int:
    """Start a command; its process id.

    :param streams: descriptors for its stdin, stdout and stderr. Everything else that is open here stays here.
    :param alone: it leads a session, and so a process group, of its own.
    """
    actions = [(os.POSIX_SPAWN_DUP2, handle, number) for number, handle in enumerate(streams)]
    # Python ignores these two signals, which its children must not inherit
    return os.posix_spawn(
        argv[0], list(argv), environment, file_actions=actions, setsid=alone, setsigdef=[SIGPIPE, SIGXFSZ]
    )


def run(
    argv: Sequence[str],
    deadline: float,
    limits: Sequence[str] = (),
    stdin: bytes = b"",
    variables: dict[str, str] | None = None,
    most: int = _SAID,
) -> dict[str, Any]:
    """Run a command to its end: exit code, stdout and stderr (the last *most* bytes of each).

    The command leads its own process group and is killed with it when *deadline* seconds are over; it is killed by
    the kernel when this process dies.

    :param limits: arguments of prlimit, for tools that read what a stranger wrote.
    :param stdin: what it reads; nothing by default.
    :param variables: more environment than the little that every command has.
    :raises TimeoutError: when the deadline is over.
    """
    command = [which(argv[0]), *argv[1:]]
    if limits:
        command = [which("prlimit"), *limits, "--", *command]
    command = [which("setpriv"), "--pdeathsig", "KILL", "--", *command]
    environment = {"PATH": ":".join(_SBIN), "LANG": "C", "LC_ALL": "C", "HOME": os.environ.get("HOME", "/")}
    environment.update(variables or {})
    streams = [holding(stdin) if stdin else os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)]
    try:
        streams += [os.memfd_create("stdout"), os.memfd_create("stderr")]
        code = _wait(spawn(command, streams, environment, alone=True), deadline, argv[0])
        return {"rc": code, "out": said(streams[1], most), "err": said(streams[2], most)}
    finally:
        for handle in streams:
            os.close(handle)


def holding(data: bytes) -> int:
    """A file in memory with this content, to be read from its beginning."""
    handle = os.memfd_create("stdin")
    left = memoryview(data)
    while left:
        left = left[os.write(handle, left) :]
    os.lseek(handle, 0, os.SEEK_SET)
    return handle


def said(handle: int, most: int = _SAID) -> str:
    """The end of what a command wrote to a file in memory."""
    size = os.lseek(handle, 0, os.SEEK_END)
    return os.pread(handle, min(size, most), max(0, size - most)).decode("utf-8", "replace")


def _wait(pid: int, deadline: float, name: str) -> int:
    """The exit code of a command; it, and all that it started, are killed when the time is over."""
    _running.add(pid)
    if _stopping:
        # told to stop between the start of the command and its id in the list
        stop_work()
    ended: list[int] = []
    try:
        process = os.pidfd_open(pid)
        try:
            ended = select.select([process], [], [], min(deadline, _LONGEST))[0]
        finally:
            os.close(process)
    finally:
        if not ended:
            _kill(pid)
        # once it is waited for, its id may be another's
        _running.discard(pid)
        _pid, status = os.waitpid(pid, 0)
    if not ended:
        raise TimeoutError(errno.ETIMEDOUT, f"{name} did not end within {deadline:g} seconds")
    return os.waitstatus_to_exitcode(status)


def _kill(pid: int) -> None:
    """Kill a process group."""
    try:
        os.killpg(pid, SIGKILL)
    except OSError:
        pass

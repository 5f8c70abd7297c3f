# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks at storage that may not answer: in a child process, which can be left behind when it hangs.

A call into a dead NFS mount cannot be broken off, not even by killing the process that made it. So the process that
has to answer never makes one: a child does, holding a lock, and keeps that lock for as long as it hangs. The next look
at the same storage finds the lock taken and ends at once, so that looks never pile up.

Standard library only. Errors are plain ``OSError``; who calls turns them into sentences.
"""

from __future__ import annotations

import errno
import os
import select
import time

from .codec import dumps, loads
from .command import SIGKILL, going_on

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

#: Seconds that another look gets to end by itself.
_PATIENCE = 1.0
#: Seconds between two questions whether our own caller is still there.
_BEAT = 0.5


def look(key: str, task: Callable[[], Iterable[Any]], silence: float, total: float) -> Iterator[Any]:
    """What *task* yields, from a child process. Its values have to be JSON.

    The generator has to be closed when it is not read to its end: that ends the child.

    :param key: what is looked at; two looks with the same key on one host exclude each other.
    :param silence: seconds without a value after which it counts as hung.
    :param total: seconds for all of it.
    :raises BlockingIOError: another look with this key has not ended.
    :raises TimeoutError: one of the times is over.
    :raises OSError: the task's own error, or ``ECHILD`` when the child died.
    """
    lock = _hold(key)
    try:
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            _serve(task, lock, writer)
        os.close(writer)
    finally:
        # from here on the child alone holds it
        if lock >= 0:
            os.close(lock)
    try:
        yield from _values(reader, silence, total)
    finally:
        os.close(reader)
        _end(pid)


def _values(reader: int, silence: float, total: float) -> Iterator[Any]:
    buffer = b""
    begun = heard = time.monotonic()
    while True:
        now = time.monotonic()
        if now - heard >= silence:
            raise TimeoutError(errno.ETIMEDOUT, f"nothing came for {silence:g} seconds")
        if now - begun >= total:
            raise TimeoutError(errno.ETIMEDOUT, f"it takes longer than {total:g} seconds")
        going_on()
        if not select.select([reader], [], [], min(heard + silence - now, begun + total - now, _BEAT))[0]:
            continue
        data = os.read(reader, 1 << 16)
        if not data:
            raise ChildProcessError(errno.ECHILD, "the process that looked at it was killed")
        heard = time.monotonic()
        *lines, buffer = (buffer + data).split(b"\n")
        for line in lines:
            kind, value = loads(line)
            if kind == "end":
                return
            if kind == "error":
                raise OSError(*value)
            yield value


def _serve(task: Callable[[], Iterable[Any]], lock: int, writer: int) -> None:
    """The child: nothing of the parent's stays open in it, or whoever waits for those ends would wait for it."""
    try:
        os.setsid()
        nothing = os.open("/dev/null", os.O_RDWR)
        os.dup2(lock if lock >= 0 else nothing, 0)
        os.dup2(writer, 1)
        os.dup2(nothing, 2)
        _close_all(3)
        try:
            for value in task():
                _say(["value", value])
            _say(["end", None])
        except OSError as error:
            name = error.filename if isinstance(error.filename, str) else None
            _say(["error", [error.errno or errno.EIO, error.strerror or str(error), name]])
    finally:
        # an error without words is an end of the stream without an end
        os._exit(0)


def _close_all(first: int) -> None:
    """Close every descriptor from *first* on. ``os.closerange`` asks for each number there may be, before 3.10."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) >= first:
            try:
                os.close(int(name))
            except OSError:
                # the one by which the list was read
                pass


def _say(message: list[Any]) -> None:
    data = memoryview(dumps(message) + b"\n")
    while data:
        data = data[os.write(1, data) :]


def _end(pid: int) -> None:
    """Kill the child. One that hangs in the kernel dies when the storage comes back; nobody waits for that."""
    try:
        os.kill(pid, SIGKILL)
        until, pause = time.monotonic() + 0.2, 0.0005
        while not os.waitpid(pid, os.WNOHANG)[0] and time.monotonic() < until:
            time.sleep(pause)
            pause *= 2
    except (ProcessLookupError, ChildProcessError):
        pass


def _hold(key: str) -> int:
    """A descriptor that holds the lock of *key*; -1 where there is no place for locks.

    The lock is a byte of one file in the home directory, which has to lie elsewhere than what is looked at. The host's
    name is part of the key, as homes may be shared.
    """
    import fcntl
    import struct
    import zlib

    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    home = os.path.expanduser("~")
    folder = os.path.join(home, ".ssh")
    try:
        handle = os.open(os.path.join(folder if os.path.isdir(folder) else home, "one_storage.looks"), flags, 0o600)
    except OSError:
        return -1
    name = os.fsencode(f"{os.uname().nodename} {key}")
    start = zlib.crc32(name) << 30 | zlib.crc32(name[::-1]) >> 2
    request = struct.pack("hhqqixxxx", fcntl.F_WRLCK, os.SEEK_SET, start, 1, 0)
    until, pause = time.monotonic() + _PATIENCE, 0.005
    while True:
        try:
            # such a lock belongs to the open file, so that the child inherits it
            fcntl.fcntl(handle, fcntl.F_OFD_SETLK, request)
            return handle
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                os.close(handle)
                return -1
        if time.monotonic() >= until:
            os.close(handle)
            raise BlockingIOError(errno.EAGAIN, "an earlier look at it has not ended")
        time.sleep(pause)
        pause = min(pause * 2, 0.1)

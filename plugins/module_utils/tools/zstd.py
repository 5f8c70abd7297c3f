# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""zstd through its command, as the standard library of our Pythons has none."""

from __future__ import annotations

import os
import select

from .._errors import Corrupt, Missing
from .child import Child
from .command import going_on

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .reader import Reader

_CHUNK = 1 << 20
#: The kernel kills it with us. It takes no window above 128 MiB, which is its own limit too.
_COMMAND = ("setpriv", "--pdeathsig", "KILL", "--", "zstd", "-dcq", "--memory=128MB")


def unzstd(reader: Reader) -> Iterator[bytes]:
    """What a stream of zstd frames becomes.

    :raises Missing: when the command is not installed.
    :raises Corrupt: with the command's last words.
    """
    from .command import which

    try:
        which("zstd")
        child = Child(_COMMAND)
    except FileNotFoundError as error:
        raise Missing(
            f"{reader.name} is compressed with zstd, and {error.strerror}", todo="install zstd on this host"
        ) from None
    try:
        yield from _through(reader, child)
        code = child.end()
        if code != 0:
            said = child.said().strip().splitlines()
            raise Corrupt(f"{reader.name} is broken: zstd says {said[-1].strip() if said else f'code {code}'}")
    finally:
        child.kill()
        child.end()


def _through(reader: Reader, child: Child) -> Iterator[bytes]:
    os.set_blocking(child.stdin, False)
    os.set_blocking(child.stdout, False)
    waiting = memoryview(b"")
    while True:
        going_on()
        if not waiting and child.stdin >= 0:
            waiting = memoryview(reader.next())
            if not waiting:
                _close(child)
        readable, writable, _errors = select.select([child.stdout], [child.stdin] if child.stdin >= 0 else [], [], 0.25)
        if writable:
            try:
                waiting = waiting[os.write(child.stdin, waiting) :]
            except BlockingIOError:
                pass
            except BrokenPipeError:
                # it gave up, and says why on stderr
                _close(child)
                waiting = memoryview(b"")
        if readable:
            data = os.read(child.stdout, _CHUNK)
            if not data:
                return
            yield data


def _close(child: Child) -> None:
    os.close(child.stdin)
    child.stdin = -1

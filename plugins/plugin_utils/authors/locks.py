# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Locks of the front-end, by name, shared with shell drivers (contract-tm 5.2)."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager

from ...module_utils._errors import BadCall, Busy, from_os, one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = "/var/lock/one"


class LockBusy(Busy):
    """Somebody else held the lock all the time."""

    exit_code = 254


@contextmanager
def exclusive(name: str, timeout: float, folder: str = FOLDER) -> Iterator[None]:
    """Hold a lock of the front-end while a block runs.

    ``flock`` on a file that is never removed. The lock ends with the block or the process; commands that are started
    inside do not inherit it, so that none which lives on keeps it.

    :param name: the lock's file name: ``tm-fs_lvm-100.lock``.
    :param timeout: seconds to wait for it.
    :raises LockBusy: when it is not ours by then.
    """
    import fcntl

    if not name or "/" in name or name in (".", ".."):
        raise BadCall(f"'{one_line(name, 80)}' is not the name of a lock")
    path = os.path.join(folder, name)
    before = os.umask(0o027)
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise from_os(error, f"open the lock {path}") from None
    finally:
        os.umask(before)
    try:
        until, pause = time.monotonic() + timeout, 0.005
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise LockBusy(f"The lock {path} is still held after {timeout:g} seconds") from None
            time.sleep(pause)
            pause = min(pause * 2, 0.25)
        yield
    finally:
        os.close(handle)

# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The digest of a file as it lies there, in one read that leaves holes out.

Standard library and :mod:`.host` only: it is sent to peers."""

from __future__ import annotations

import errno
import os
import stat

from .command import going_on
from .files import extents

_CHUNK = 1 << 20
#: Holes are hashed from here; more at a time costs nothing, and less is a call of Python's for every few KiB.
_ZEROS = bytes(_CHUNK)


def digest(path: str, name: str = "md5") -> tuple[str, int]:
    """The hexadecimal digest and the size in bytes of a file.

    :param name: a digest of hashlib's.
    :raises OSError: EAGAIN when the file changed meanwhile, EINVAL when it is no regular file.
    :raises InterruptedError: the caller went away.
    """
    import hashlib

    taken = hashlib.new(name, usedforsecurity=False)
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        before = os.fstat(handle)
        if not stat.S_ISREG(before.st_mode):
            raise OSError(errno.EINVAL, "this is not a regular file", path)
        position = 0
        for start, end in [*extents(handle, before.st_size), (before.st_size, before.st_size)]:
            while position < start:
                going_on()
                hole = min(_CHUNK, start - position)
                taken.update(_ZEROS if hole == _CHUNK else _ZEROS[:hole])
                position += hole
            while position < end:
                going_on()
                data = os.pread(handle, min(_CHUNK, end - position), position)
                if not data:
                    raise OSError(errno.EAGAIN, "the file became shorter while it was read", path)
                taken.update(data)
                position += len(data)
        after = os.fstat(handle)
    finally:
        os.close(handle)
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise OSError(errno.EAGAIN, "the file changed while it was read", path)
    return taken.hexdigest(), before.st_size

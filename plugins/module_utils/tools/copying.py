# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file's data copied to another file of this machine: shared, in the kernel, or by hand; holes stay holes."""

from __future__ import annotations

import errno
import os

from .command import going_on
from .files import extents

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_CHUNK = 1 << 20
_SLICE = 64 << 20


def nobody(_passed: int) -> None:
    """For whom it does not matter how far a copy is."""


def copy_data(
    reader: int, writer: int, size: int, digests: Sequence[str], passed: Callable[[int], None]
) -> dict[str, str]:
    """Copy between open files.

    :param size: bytes of the source.
    :param digests: names of hashlib digests to take of the bytes while they pass.
    :param passed: told now and then how many bytes, holes among them, are behind us.
    :returns: hexadecimal digests by name.
    """
    os.ftruncate(writer, size)
    if digests:
        return _copy_hashing(reader, writer, size, digests, passed)
    if _reflink(reader, writer):
        return {}
    in_kernel = True
    for start, end in extents(reader, size):
        while start < end:
            going_on()
            if in_kernel:
                try:
                    done = os.copy_file_range(reader, writer, min(end - start, _SLICE), start, start)
                except OSError as error:
                    if error.errno not in (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
                        raise
                    in_kernel = False
                    continue
            else:
                done = os.pwrite(writer, os.pread(reader, min(_CHUNK, end - start), start), start)
            if done == 0:
                raise OSError(errno.EIO, "the file became shorter while it was read")
            start += done
            passed(start)
    return {}


def _copy_hashing(
    reader: int, writer: int, size: int, digests: Sequence[str], passed: Callable[[int], None]
) -> dict[str, str]:
    import hashlib

    hashes = [hashlib.new(name) for name in digests]
    zeros = bytes(_CHUNK)
    position = 0
    stretches = extents(reader, size)
    stretches.append((size, size))
    for start, end in stretches:
        while position < start:
            hole = zeros[: min(_CHUNK, start - position)]
            for item in hashes:
                item.update(hole)
            position += len(hole)
            passed(position)
        while position < end:
            going_on()
            passed(position)
            data = os.pread(reader, min(_CHUNK, end - position), position)
            if not data:
                raise OSError(errno.EIO, "the file became shorter while it was read")
            for item in hashes:
                item.update(data)
            view = memoryview(data)
            while view:
                written = os.pwrite(writer, view, position)
                view = view[written:]
                position += written
    return {name: item.hexdigest() for name, item in zip(digests, hashes)}


def _reflink(reader: int, writer: int) -> bool:
    """Share the blocks of both files where the file system can (FICLONE)."""
    import fcntl

    try:
        fcntl.ioctl(writer, 0x40049409, reader)
    except OSError:
        return False
    return True

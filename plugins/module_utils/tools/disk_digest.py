# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The digest of what a guest would read, whatever the format is and wherever the file has holes.

Blocks of one size that hold nothing but zeros are left out, each other one is hashed with its number: so a sparse raw
file, a preallocated one, a qcow2 file and a chain of layers with the same contents have the same digest, and nothing is
read that is not there.
"""

from __future__ import annotations

import os

from .command import going_on
from .files import extents
from .rbd.blocks import hashed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    #: Data from an offset on.
    Read = Callable[[int, int], bytes]


def of_raw(path: str) -> tuple[str, int, int]:
    """Hexadecimal SHA-256 digest, bytes of data and size in bytes of a raw image.

    :raises OSError: EAGAIN when it changed meanwhile.
    """
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        before = os.fstat(handle)
        stretches = extents(handle, before.st_size)
        taken = hashed(stretches, before.st_size, lambda start, size: os.pread(handle, size, start), going_on)
        _unchanged(path, before, os.fstat(handle))
    finally:
        os.close(handle)
    return *taken, before.st_size


def of_map(found: list[dict[str, Any]], files: list[str], size: int, elsewhere: Read) -> tuple[str, int]:
    """The digest, and the bytes of data, of an image whose parts ``qemu-img map --output=json`` told.

    :param files: the layers that the map counts as depths, the top first.
    :param size: bytes that a guest sees.
    :param elsewhere: reads what lies nowhere as it is, since it is compressed.
    :raises OSError: EAGAIN when a layer changed meanwhile.
    """
    handles: dict[str, int] = {}
    before: dict[str, os.stat_result] = {}
    # data that is there as it is: start, end, file, offset in it
    parts = [
        (item["start"], item["start"] + item["length"], files[item["depth"]], item.get("offset"))
        for item in found
        if item.get("data") and not item.get("zero")
    ]
    try:
        for _start, _end, name, offset in parts:
            if offset is not None and name not in handles:
                handles[name] = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
                before[name] = os.fstat(handles[name])
        reader = _Parts(parts, handles, elsewhere)
        taken = hashed([(part[0], part[1]) for part in parts], size, reader.read, going_on)
        for name, handle in handles.items():
            _unchanged(name, before[name], os.fstat(handle))
    finally:
        for handle in handles.values():
            os.close(handle)
    return taken


class _Parts:
    """Reads a disk whose parts lie in several files."""

    def __init__(self, parts: list[tuple[int, int, str, int | None]], handles: dict[str, int], elsewhere: Read) -> None:
        self._parts = parts
        self._handles = handles
        self._elsewhere = elsewhere
        self._at = 0

    def read(self, start: int, size: int) -> bytes:
        """Reads go forward: parts that end before *start* are not looked at again."""
        while self._at < len(self._parts) and self._parts[self._at][1] <= start:
            self._at += 1
        result = bytearray(size)
        number = self._at
        while number < len(self._parts) and self._parts[number][0] < start + size:
            first, last, name, offset = self._parts[number]
            low, high = max(first, start), min(last, start + size)
            if offset is None:
                data = self._elsewhere(low, high - low)
            else:
                data = os.pread(self._handles[name], high - low, offset + low - first)
            # behind the end of its file a layer is zeros
            result[low - start : low - start + len(data)] = data
            number += 1
        return bytes(result)


def _unchanged(path: str, before: os.stat_result, after: os.stat_result) -> None:
    import errno

    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise OSError(errno.EAGAIN, "the file changed while it was read", path)

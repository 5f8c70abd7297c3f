# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Dirty bitmaps in qcow2 files, read by ourselves: which there are, and what changed since one was begun.

qemu-nbd shows the same to whoever speaks its protocol; a bitmap is a table and some clusters, and reading them costs
no process, no socket and no wait. Only for files that nobody writes to: qemu writes a bitmap back when it closes the
file. Fields: QEMU's docs/interop/qcow2.txt, "Bitmaps extension" and "Bitmap directory entry".
"""

from __future__ import annotations

import os
import struct

from .._errors import Corrupt
from .chain import BITMAPS, extensions
from .image_header import HEAD_BYTES, format_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_IN_USE = 1
_DIRTY_TRACKING = 1
_AUTOCLEAR_BITMAPS = 1
_ALL_ONES = 1
_OFFSET = 0x00FFFFFFFFFFFE00
#: qemu has these limits itself: bitmaps in an image, bytes of a directory, clusters of a bitmap's table.
_MOST_BITMAPS = 65535
_DIRECTORY_BYTES = _MOST_BITMAPS * 1024
_TABLE_ENTRIES = 0x8000000
#: Granularity is a power of two; a bit stands for 2 GiB at most.
_GRANULARITY_BITS = 31


class Bitmap:
    """One bitmap of a file.

    :ivar name: for those of backups ``one-<vm>-<increment>``.
    :ivar granularity: bytes of the disk that a bit stands for.
    :ivar sound: whether it can be believed: not when the process that kept it was killed, or when somebody wrote to the
        file who knows nothing of bitmaps.
    """

    def __init__(self, name: str, granularity: int, sound: bool, table: tuple[int, int]) -> None:
        self.name = name
        self.granularity = granularity
        self.sound = sound
        self.table = table


def read(path: str) -> list[Bitmap]:
    """The bitmaps of a qcow2 file; empty when it has none or is no such file.

    :raises Corrupt: when what the file says of them cannot be right.
    :raises OSError: when it cannot be read.
    """
    with open(path, "rb") as file:
        head = file.read(HEAD_BYTES)
        if format_of(head) != "qcow2" or len(head) < 104:
            return []
        (version,) = struct.unpack(">I", head[4:8])
        if version < 3:
            return []
        (autoclear,) = struct.unpack(">Q", head[88:96])
        (start,) = struct.unpack(">I", head[100:104])
        told = extensions(head, start, len(head)).get(BITMAPS)
        if told is None or len(told) < 24:
            return []
        count, _reserved, size, offset = struct.unpack(">IIQQ", told[:24])
        if count > _MOST_BITMAPS or size > _DIRECTORY_BYTES:
            raise Corrupt(f"{path} has a directory of bitmaps that cannot be right")
        file.seek(offset)
        directory = file.read(size)
    sound = bool(autoclear & _AUTOCLEAR_BITMAPS)
    return list(_entries(path, directory, count, sound))


def _entries(path: str, directory: bytes, count: int, sound: bool) -> Iterator[Bitmap]:
    place = 0
    for _number in range(count):
        if place + 24 > len(directory):
            raise Corrupt(f"{path} has a directory of bitmaps that is cut off")
        table, entries, flags, kind, bits, length, extra = struct.unpack(">QIIBBHI", directory[place : place + 24])
        name = directory[place + 24 + extra : place + 24 + extra + length].decode("utf-8", "replace")
        if bits > _GRANULARITY_BITS or entries > _TABLE_ENTRIES:
            raise Corrupt(f"{path} has a bitmap '{name}' that cannot be right")
        usable = sound and kind == _DIRTY_TRACKING and not flags & _IN_USE and not extra
        yield Bitmap(name, 1 << bits, usable, (table, entries))
        place += (24 + extra + length + 7) // 8 * 8


def find(path: str, name: str) -> Bitmap | None:
    """The bitmap of that name."""
    return next((bitmap for bitmap in read(path) if bitmap.name == name), None)


def changed(path: str, bitmap: Bitmap, size: int) -> list[tuple[int, int]]:
    """(offset, length) of what was written since a bitmap was begun, in order, neighbours joined.

    :param size: virtual size of the disk in bytes; nothing reaches beyond it.
    """
    found: list[tuple[int, int]] = []
    for start, end in _stretches(path, bitmap):
        start, end = start * bitmap.granularity, min(end * bitmap.granularity, size)
        if start >= end:
            continue
        if found and sum(found[-1]) == start:
            found[-1] = (found[-1][0], end - found[-1][0])
        else:
            found.append((start, end - start))
    return found


def _stretches(path: str, bitmap: Bitmap) -> Iterator[tuple[int, int]]:
    """(first, behind the last) of the bits that are set, in stretches."""
    offset, entries = bitmap.table
    with open(path, "rb") as file:
        (cluster_bits,) = struct.unpack(">I", file.read(24)[20:24])
        if not 9 <= cluster_bits <= 21:
            raise Corrupt(f"{path} has clusters of a size that cannot be right")
        cluster = 1 << cluster_bits
        file.seek(offset)
        table = file.read(8 * entries)
        if len(table) < 8 * entries:
            raise Corrupt(f"{path} has a bitmap '{bitmap.name}' whose table is cut off")
        for number, (entry,) in enumerate(struct.iter_unpack(">Q", table)):
            first = number * cluster * 8
            place = entry & _OFFSET
            if place:
                data = os.pread(file.fileno(), cluster, place)
                if len(data) < cluster:
                    raise Corrupt(f"{path} has a bitmap '{bitmap.name}' that is cut off")
                yield from _bits(data, first)
            elif entry & _ALL_ONES:
                yield first, first + cluster * 8


def _bits(data: bytes, first: int) -> Iterator[tuple[int, int]]:
    """Stretches of set bits in a piece of a bitmap; the lowest bit of a byte comes first."""
    for place in range(0, len(data), 64):
        piece = data[place : place + 64]
        value = int.from_bytes(piece, "little")
        bit = first + place * 8
        while value:
            gap = (value & -value).bit_length() - 1
            value >>= gap
            bit += gap
            ones = (~value & (value + 1)).bit_length() - 1
            yield bit, bit + ones
            value >>= ones
            bit += ones

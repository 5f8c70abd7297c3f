# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files as ``rbd export`` and ``rbd export-diff`` write them, out of a raw file: chains of backups that stock began go
on in its old form, so that stock's drivers can restore them too (contract-tm 8.4)."""

from __future__ import annotations

import os
import struct

from .exports import DIFFS, IMAGE, is_zero, stretches

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import BinaryIO

_PIECE = 4 << 20


def _record(tag: bytes, value: bytes) -> bytes:
    return tag + struct.pack("<Q", len(value)) + value


def _name(snapshot: str) -> bytes:
    data = snapshot.encode()
    return struct.pack("<I", len(data)) + data


#: How a volume's objects are laid out where nothing tells: 4 MiB each, none striped, with the features that volumes
#: have by default (layering, exclusive-lock, object-map, fast-diff, deep-flatten).
LAYOUT = b"".join(_record(tag, struct.pack("<Q", n)) for tag, n in ((b"O", 22), (b"T", 61), (b"U", 1 << 22), (b"C", 1)))


def full(raw: str, path: str, snapshot: str, layout: bytes = LAYOUT) -> None:
    """Write a raw file as a whole image that has one snapshot, with the same content.

    :param path: of the new file.
    :param snapshot: where the next increment goes on; protected, as stock's are. Empty for none.
    :param layout: as :class:`.exports.Chain` has it.
    """
    with open(raw, "rb", buffering=0) as source, _new(path) as out:
        size = os.fstat(source.fileno()).st_size
        ending = _record(b"s", struct.pack("<Q", size))
        out.write(IMAGE + layout + b"E" + DIFFS + struct.pack("<Q", 2 if snapshot else 1))
        # one byte where eight are announced: so it is written, and read
        marks = _record(b"t", _name(snapshot)) + b"p" + struct.pack("<Q", 8) + b"\1" if snapshot else b""
        out.write(b"rbd diff v2\n" + marks + ending)
        for start, end in stretches(source.fileno(), 0, size):
            for place, data in _pieces(source, start, end):
                if not is_zero(data):
                    out.write(_record(b"w", struct.pack("<QQ", place, len(data)) + data))
        out.write(b"e")
        if snapshot:
            out.write(b"rbd diff v2\n" + _record(b"f", _name(snapshot)) + ending + b"e")


def changes(raw: str, path: str, before: str, snapshot: str, parts: Iterable[tuple[str, int, int]]) -> None:
    """Write parts of a raw file, which is as large as the volume, as what changed between two snapshots.

    :param parts: ``copy`` or ``zero``, offset, length (:mod:`.changes`).
    """
    with open(raw, "rb", buffering=0) as source, _new(path) as out:
        out.write(b"rbd diff v1\nf" + _name(before) + b"t" + _name(snapshot) + b"s")
        out.write(struct.pack("<Q", os.fstat(source.fileno()).st_size))
        for what, offset, length in parts:
            if what == "zero":
                out.write(b"z" + struct.pack("<QQ", offset, length))
                continue
            for place, data in _pieces(source, offset, offset + length):
                if is_zero(data):
                    out.write(b"z" + struct.pack("<QQ", place, len(data)))
                else:
                    out.write(b"w" + struct.pack("<QQ", place, len(data)) + data)
        out.write(b"e")


def _pieces(source: BinaryIO, place: int, end: int) -> Iterator[tuple[int, bytes]]:
    while place < end:
        # they end where objects do
        data = os.pread(source.fileno(), min(_PIECE - place % _PIECE, end - place), place)
        if not data:
            raise OSError(5, "it became shorter while it was read")
        yield place, data
        place += len(data)


def _new(path: str) -> BinaryIO:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    return os.fdopen(handle, "wb")

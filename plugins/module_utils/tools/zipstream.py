# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A zip read as a stream: local headers, data, then the directory. The library's own reader wants to seek.

Format: PKWARE's APPNOTE, sections 4.3 to 4.5.
"""

from __future__ import annotations

import stat
import struct

from .._errors import Corrupt, Refused, one_line
from .unpack import CHUNK, inflated

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .reader import Reader

_LOCAL, _CENTRAL, _DESCRIPTOR = b"PK\3\4", b"PK\1\2", b"PK\7\x08"
_UNKNOWN = 0xFFFFFFFF
_STORED, _DEFLATED = 0, 8
_ENCRYPTED, _DESCRIBED = 1, 8


class Entry:
    """One file of a zip.

    :ivar size: its bytes, :ivar packed: those in the zip; None when they stand behind the data.
    """

    def __init__(self, name: str, method: int, size: int | None, packed: int | None, crc: int | None) -> None:
        self.name = name
        self.method = method
        self.size = size
        self.packed = packed
        self.crc = crc


class Zip:
    """Read in this order: :meth:`entries` with the :meth:`data` of each, then :meth:`directory`."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._names: list[str] = []

    def entries(self) -> Iterator[Entry]:
        """The files in their order. The data of each must be read before the next is asked for."""
        while self._reader.peek(4) == _LOCAL:
            head = self._reader.exactly(30, "a zip header")
            flags, method, _time, _date, crc, packed, size, length, more = struct.unpack("<HHHHIIIHH", head[6:])
            name = self._reader.exactly(length, "a zip header").decode("utf-8", "replace")
            extra = self._reader.exactly(more, "a zip header")
            if flags & _ENCRYPTED:
                raise Refused(f"{self._reader.name} is an encrypted zip")
            if method not in (_STORED, _DEFLATED):
                raise Refused(
                    f"{self._reader.name} is a zip with the compression method {method}",
                    todo="pack it with the usual method, deflate",
                )
            size, packed = _long_sizes(extra, size, packed)
            self._names.append(name)
            if not flags & _DESCRIBED:
                yield Entry(name, method, size, packed, crc)
            elif method == _DEFLATED:
                yield Entry(name, method, None, None, None)
            else:
                raise Refused(
                    f"{self._reader.name} is a zip that does not say where its entry {one_line(name, 80)} ends",
                    todo="pack it again",
                )

    def data(self, entry: Entry, most: int) -> Iterator[bytes]:
        """What is in an entry, checked against its CRC and sizes at the end.

        :param most: bytes after which it is refused; 0 for no limit.
        """
        import zlib

        crc = size = 0
        for data in inflated(self._reader) if entry.method == _DEFLATED else self._stored(entry):
            crc = zlib.crc32(data, crc)
            size += len(data)
            if most and size > most:
                raise Refused(f"{self._reader.name} is a zip whose entry {one_line(entry.name, 80)} is too large")
            yield data
        if entry.crc is None:
            fine = self._described(crc, size)
        else:
            fine = (entry.crc, entry.size) == (crc, size)
        if not fine:
            raise Corrupt(f"{self._reader.name} is broken: the zip's entry {one_line(entry.name, 80)} is damaged")

    def _stored(self, entry: Entry) -> Iterator[bytes]:
        left = entry.packed or 0
        while left:
            data = self._reader.exactly(min(CHUNK, left), f"the entry {one_line(entry.name, 80)}")
            left -= len(data)
            yield data

    def _described(self, crc: int, size: int) -> bool:
        """Read the descriptor behind an entry: with or without a mark, with sizes of 4 or 8 bytes."""
        head = self._reader.peek(24)
        start = 4 if head.startswith(_DESCRIPTOR) else 0
        for mark in (start, 0):
            for form in ("<III", "<IQQ"):
                length = struct.calcsize(form)
                if len(head) < mark + length:
                    continue
                told_crc, _packed, told_size = struct.unpack(form, head[mark : mark + length])
                follows = self._reader.peek(mark + length + 4)[mark + length :]
                if (told_crc, told_size) == (crc, size) and follows in (_LOCAL, _CENTRAL):
                    self._reader.read(mark + length)
                    return True
        return False

    def directory(self) -> Iterator[tuple[str, str]]:
        """Name of every entry in the directory and what is wrong with it: ``a link``, ``a device``; or nothing.

        :raises Corrupt: when it does not list the entries that came before it.
        """
        names = []
        while self._reader.peek(4) == _CENTRAL:
            head = self._reader.exactly(46, "the zip's directory")
            lengths = struct.unpack("<HHH", head[28:34])
            mode = struct.unpack("<I", head[38:42])[0] >> 16
            name = self._reader.exactly(lengths[0], "the zip's directory").decode("utf-8", "replace")
            self._reader.exactly(lengths[1] + lengths[2], "the zip's directory")
            names.append(name)
            kind = stat.S_IFMT(mode) if head[5] == 3 else 0
            plain = kind in (0, stat.S_IFREG, stat.S_IFDIR)
            yield name, "" if plain else "a link" if kind == stat.S_IFLNK else "a device"
            if len(names) > len(self._names):
                break
        if names != self._names:
            raise Corrupt(f"{self._reader.name} is broken: the zip's directory does not list what is in it")


def _long_sizes(extra: bytes, size: int, packed: int) -> tuple[int, int]:
    """Sizes above 4 GiB stand in an extra field."""
    place = 0
    while place + 4 <= len(extra):
        kind, length = struct.unpack("<HH", extra[place : place + 4])
        body = extra[place + 4 : place + 4 + length]
        if kind == 1:
            wanted = [value for value in (size, packed) if value == _UNKNOWN]
            numbers = list(struct.unpack(f"<{len(wanted)}Q", body[: 8 * len(wanted)].ljust(8 * len(wanted), b"\0")))
            if size == _UNKNOWN:
                size = numbers.pop(0)
            if packed == _UNKNOWN:
                packed = numbers.pop(0)
        place += 4 + length
    return size, packed

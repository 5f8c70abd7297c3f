# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``rbd export --export-format 2`` and ``rbd export-diff`` write, read without a cluster (Ceph's developer guide,
*RBD Export & Import* and *RBD Incremental Backup*).

Backups in stock's old form consist of such files (contract-ds 6.3). They are read by our own code, as they are needed
where no cluster is: the server that keeps a repository merges and verifies them, and a datastore of files takes disks
out of them. ``rbd import`` would need a pool there to put them together in, a key for it, and the command.

Sent to the backup server with :mod:`.retrieval`; standard library only.
"""

from __future__ import annotations

import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    #: What a file says: a word, and what belongs to it (:func:`records`).
    Record = tuple[Any, ...]

IMAGE = b"rbd image v2\n"
DIFFS = b"rbd image diffs v2\n"
DIFF = {b"rbd diff v1\n": 1, b"rbd diff v2\n": 2}
#: How each of them begins.
HEADS = (IMAGE, *DIFF)
#: Names of files in the old form end so (contract-ds 6.3).
FULL, CHANGES = ".rbd2", ".rbdiff"
#: The snapshot of an increment; its number follows (contract-tm 6.6).
CHAIN = "one_backup_"
_CHUNK = 1 << 20
#: Largest volume in bytes: 1 PiB. A larger size is none.
_MOST = 1 << 50
#: Longest name of a snapshot, and longest record that is skipped.
_LONG = 1 << 16


class Malformed(Exception):
    """A file is none of these, or does not belong where it stands; what is wrong, as the end of a sentence."""


def is_export(name: str) -> bool:
    """Whether a file has the old form, by its name."""
    return name.endswith((FULL, CHANGES))


class _Stream:
    """Exactly so many bytes of data that comes in pieces."""

    def __init__(self, data: Iterator[bytes]) -> None:
        self._data = data
        self._piece = memoryview(b"")

    def some(self, most: int) -> memoryview:
        """Between one byte and *most*, without copying; none at the end."""
        while not self._piece:
            piece = next(self._data, None)
            if piece is None:
                break
            self._piece = memoryview(piece)
        taken, self._piece = self._piece[:most], self._piece[most:]
        return taken

    def take(self, count: int) -> bytes:
        """So many bytes."""
        found = b""
        while len(found) < count:
            piece = self.some(count - len(found))
            if not piece:
                raise Malformed("it ends early")
            found += piece
        return found

    def number(self) -> int:
        """A number of eight bytes."""
        return int(struct.unpack("<Q", self.take(8))[0])

    def is_over(self) -> bool:
        """Whether nothing is left."""
        piece = self.some(1)
        return not piece

    def peek(self) -> int:
        """The next byte, which stays."""
        piece = self.take(1)
        self.give_back(piece)
        return piece[0]

    def give_back(self, data: bytes) -> None:
        """What was taken comes next again."""
        self._piece = memoryview(data + bytes(self._piece))


def records(data: Iterator[bytes]) -> Iterator[Record]:
    """What a file says, in its order.

    ``("image", bytes)`` begins a whole image, with what rbd wants to know of it; ``("diff",)`` each difference, then
    ``("from", snapshot)``, ``("to", snapshot)``, ``("size", bytes)``, ``("data", offset, piece)``, ``("zero", offset,
    length)``, ``("end",)``.

    :raises Malformed: it is none.
    """
    stream = _Stream(data)
    head = stream.take(len(IMAGE))
    if head == IMAGE:
        yield "image", _image(stream)
        if stream.take(len(DIFFS)) != DIFFS:
            raise Malformed("it is not what rbd exports")
        for _one in range(stream.number()):
            yield from _diff(stream, stream.take(12))
    else:
        # a difference's head is one byte shorter
        stream.give_back(head[12:])
        yield from _diff(stream, head[:12])
    if not stream.is_over():
        raise Malformed("something follows its end")


def _image(stream: _Stream) -> bytes:
    """The records of an image that say how its objects are laid out; those with its metadata are left out."""
    kept = b""
    while True:
        tag = stream.take(1)
        if tag == b"E":
            return kept
        length = stream.number()
        if length > _LONG:
            raise Malformed("it is not what rbd exports")
        value = stream.take(length)
        if tag in b"OFTUC":
            kept += tag + struct.pack("<Q", length) + value


def _diff(stream: _Stream, head: bytes) -> Iterator[Record]:
    if head not in DIFF:
        raise Malformed("it is not what rbd exports")
    old = DIFF[head] == 1
    yield ("diff",)
    while True:
        tag = stream.take(1)
        if tag == b"e":
            yield ("end",)
            return
        length = 0 if old else stream.number()
        if tag in (b"f", b"t"):
            yield ("from" if tag == b"f" else "to", _name(stream))
        elif tag == b"s":
            size = stream.number()
            if size > _MOST:
                raise Malformed(f"its size, {size} bytes, is that of no volume")
            yield "size", size
        elif tag == b"w":
            yield from _data(stream)
        elif tag == b"z":
            yield "zero", stream.number(), stream.number()
        elif tag == b"p" and not old:
            # rbd says that eight bytes follow, and writes one
            stream.take(1)
            if length == 8 and stream.peek() == 0:
                stream.take(7)
        elif not old and length <= _LONG:
            stream.take(length)
        else:
            raise Malformed("it is not what rbd exports")


def _name(stream: _Stream) -> str:
    (length,) = struct.unpack("<I", stream.take(4))
    if length > _LONG:
        raise Malformed("it is not what rbd exports")
    return stream.take(length).decode("utf-8", "replace")


def _data(stream: _Stream) -> Iterator[Record]:
    place, length = stream.number(), stream.number()
    while length:
        piece = stream.some(min(length, _CHUNK))
        if not piece:
            raise Malformed("it ends early")
        yield "data", place, piece
        place, length = place + len(piece), length - len(piece)


class Chain:
    """The files of one disk, the oldest first, each held against the one before.

    :ivar snapshot: that whose content is known now; empty for what an export without it ended with.
    :ivar size: of that in bytes; :ivar layout: what a whole image says of itself, for :func:`.exports_write.full`.
    """

    def __init__(self) -> None:
        self.snapshot = ""
        self.size = 0
        self.layout = b""
        self._begun = False

    def add(self, data: Iterator[bytes], wanted: str = "") -> None:
        """Go on with a file.

        :param wanted: of a whole image, go as far as this snapshot: what comes after it was written while the image
            was exported. Without it, or in an image that does not have it, to its end.
        :raises Malformed: it is none of these files, or it goes on from another snapshot.
        """
        whole = passed = False
        frm = to = ""
        for record in records(data):
            word = record[0]
            if word == "image":
                whole, self.snapshot, self.size, self.layout = True, "", 0, record[1]
                self._started()
            elif word == "diff":
                frm = to = ""
                passed = whole and bool(wanted) and self.snapshot == wanted
            elif word == "from":
                frm = record[1]
            elif word == "to":
                to = record[1]
            elif word == "end":
                self._goes_on(whole, frm)
                self.snapshot = self.snapshot if passed else to
            elif not passed:
                self._apply(whole, frm, record)
        self._begun = True

    def _apply(self, whole: bool, frm: str, record: Record) -> None:
        self._goes_on(whole, frm)
        word = record[0]
        if word == "size":
            self.size = record[1]
            self._sized()
            return
        length = len(record[2]) if word == "data" else record[2]
        if record[1] + length > self.size:
            # zeros are told for whole objects, and the last one may be cut off
            if word == "data" or record[1] > self.size:
                raise Malformed("it has data behind its end")
            length = self.size - record[1]
        if word == "data":
            self._wrote(record[1], record[2])
        else:
            self._zeroed(record[1], length)

    def _goes_on(self, whole: bool, frm: str) -> None:
        if whole:
            return
        if not self._begun:
            raise Malformed("there is no whole image that it could go on from")
        if frm != self.snapshot:
            shown = self.snapshot or "the end of an export"
            raise Malformed(f"it goes on from the snapshot {frm or '(none)'}, and the file before ends with {shown}")

    def _started(self) -> None:
        """A whole image begins."""

    def _sized(self) -> None:
        """The size is known."""

    def _wrote(self, place: int, piece: memoryview) -> None:
        """Data comes."""

    def _zeroed(self, place: int, length: int) -> None:
        """Zeros are there."""


class Laid(Chain):
    """A chain that is laid into a raw file, which is made new, zeros as holes where nothing was before.

    It is closed by :meth:`close`.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def close(self) -> None:
        """Close the file."""
        os.close(self._handle)

    def _started(self) -> None:
        os.ftruncate(self._handle, 0)

    def _sized(self) -> None:
        os.ftruncate(self._handle, self.size)

    def _wrote(self, place: int, piece: memoryview) -> None:
        if is_zero(piece):
            self._zeroed(place, len(piece))
            return
        while piece:
            count = os.pwrite(self._handle, piece, place)
            piece, place = piece[count:], place + count

    def _zeroed(self, place: int, length: int) -> None:
        """Only where the file has data it needs zeros."""
        for start, end in stretches(self._handle, place, place + length):
            while start < end:
                start += os.pwrite(self._handle, bytes(min(end - start, _CHUNK)), start)


def stretches(handle: int, place: int, end: int) -> Iterator[tuple[int, int]]:
    """(start, end) of what a file has between two places that is no hole."""
    while place < end:
        try:
            start = os.lseek(handle, place, os.SEEK_DATA)
        except OSError:
            return
        if start >= end:
            return
        place = min(os.lseek(handle, start, os.SEEK_HOLE), end)
        yield start, place


def is_zero(piece: bytes | memoryview) -> bool:
    """Whether data is nothing but zeros."""
    return not any(piece[:16]) and bytes(piece).count(0) == len(piece)


def wanted_of(number: int) -> str:
    """The snapshot that an increment is of."""
    return f"{CHAIN}{number}"


def size_of(data: Iterator[bytes]) -> int:
    """Bytes of the volume that a file tells of."""
    size = 0
    for record in records(data):
        size = record[1] if record[0] == "size" else size
    return size

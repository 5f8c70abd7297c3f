# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The records of a stream of files (:mod:`.stream`), on one descriptor whose every read and write must get on.

Standard library and what :mod:`.peer` sends only. A record is a head (kind, number, length of the body) and a body:

* ``T``: bytes of data that will come, as the number;
* ``N``: a new entry; the body is JSON with name, kind, size or link target;
* ``D``: data of the current file at an offset; ``H``: the checksum of all data since the last such record;
* ``S``: the block at an offset is the one that the receiver has already; the body is its digest;
* ``X``: the sender gives up; the body is JSON, errno and words, or nothing when it was told to;
* ``Z``: the end; the body is the digest of every record before, data excepted, as that has checksums of its own.

The checksum is CRC-32: what SSH carried is authentic, so it is there for memory and for mistakes, and a digest at both
ends costs as much as all the rest of a copy. Whether two blocks are the same is told by digests alone.
"""

from __future__ import annotations

import errno
import hashlib
import os
import select
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Of the digests in every Python, the one that processors have instructions for.
DIGEST = "sha256"
DIGEST_SIZE = 32
#: What two ends compare: this much of a file, at a multiple of it.
BLOCK = 4 << 20
#: Most data of one record; it stays in a processor's cache from the read to the digest to the write.
PIECE = 256 << 10
#: Longest body of a record that is no data: an entry with its name and the target of its link.
_WORDS = 1 << 16
_HEAD = struct.Struct(">cQQ")
_PIPE_SIZE = 1 << 20
_F_SETPIPE_SZ = 1031


class Broken(OSError):
    """What comes is no stream of ours, or no longer: nothing more can be read from it."""

    def __init__(self) -> None:
        super().__init__(errno.EBADMSG, "the stream is broken")


class _End:
    """One end: *stall* seconds without a byte are too many."""

    def __init__(self, handle: int, stall: float) -> None:
        self.handle = handle
        self.stall = stall
        self.words = hashlib.new(DIGEST)
        _widen(handle)

    def late(self) -> TimeoutError:
        return TimeoutError(errno.ETIMEDOUT, f"no data moved for {self.stall:g} seconds")


class Outflow(_End):
    """The end that is written to.

    :ivar broken: whether a write failed: then not even that can be told there.
    """

    def __init__(self, handle: int, stall: float) -> None:
        super().__init__(handle, stall)
        self.broken = False
        self._waiting = b""
        os.set_blocking(handle, False)

    def record(self, kind: bytes, number: int = 0, body: bytes = b"") -> None:
        """A record of words; it goes out with the next data, or with :meth:`flush`."""
        text = _HEAD.pack(kind, number, len(body)) + body
        self.words.update(text)
        self._waiting += text

    def data(self, offset: int, body: memoryview) -> None:
        """A record of data."""
        head = _HEAD.pack(b"D", offset, len(body))
        self.words.update(head)
        waiting, self._waiting = self._waiting + head, b""
        self._write(waiting, body)

    def flush(self) -> None:
        """Send what waits."""
        waiting, self._waiting = self._waiting, b""
        self._write(waiting, memoryview(b""))

    def _write(self, before: bytes, body: memoryview) -> None:
        head = memoryview(before)
        try:
            while head or body:
                try:
                    count = os.writev(self.handle, [head, body])
                except BlockingIOError:
                    if not select.select([], [self.handle], [], self.stall)[1]:
                        raise self.late() from None
                    continue
                part = min(count, len(head))
                head, body = head[part:], body[count - part :]
        except OSError:
            self.broken = True
            raise


class Inflow(_End):
    """The end that is read from."""

    def head(self) -> tuple[bytes, int, int]:
        """The next record's kind, number and length; what is no data has to be short.

        :raises Broken: it cannot be a record.
        """
        text = self._exactly(_HEAD.size)
        kind, number, length = _HEAD.unpack(text)
        if length > (PIECE if kind == b"D" else _WORDS):
            raise Broken
        self.before = self.words.digest() if kind == b"Z" else b""
        self.words.update(text)
        return kind, number, length

    def body(self, length: int) -> bytes:
        """A body of words."""
        text = self._exactly(length)
        self.words.update(text)
        return text

    def part(self, room: memoryview) -> int:
        """Bytes of data that came, at least one and at most as many as there is room for."""
        if not select.select([self.handle], [], [], self.stall)[0]:
            raise self.late()
        count = os.readv(self.handle, [room])
        if not count:
            raise ConnectionError(errno.EPIPE, "the stream ended early")
        return count

    def _exactly(self, size: int) -> bytes:
        text = bytearray(size)
        room = memoryview(text)
        while room:
            room = room[self.part(room) :]
        return bytes(text)


class Known:
    """Digests of blocks of one file, by number; a block may have none."""

    def __init__(self) -> None:
        self._digests = bytearray()

    def add(self, block: int, digest: bytes) -> None:
        """Note the digest of a block."""
        at = block * DIGEST_SIZE
        missing = at + DIGEST_SIZE - len(self._digests)
        if missing > 0:
            self._digests += bytes(missing)
        self._digests[at : at + DIGEST_SIZE] = digest

    def get(self, block: int) -> bytes:
        """The digest of a block; empty when there is none."""
        found = bytes(self._digests[block * DIGEST_SIZE : (block + 1) * DIGEST_SIZE])
        return found if any(found) else b""

    def blocks(self) -> range:
        """The numbers that may have a digest."""
        return range(len(self._digests) // DIGEST_SIZE)


class Unwatched:
    """For whom it does not matter how far a stream is; else a :class:`.progress.Progress`."""

    total: int | None = None

    def add(self, _count: int) -> None:
        """So many bytes more have passed."""


def packed(checksum: int) -> bytes:
    """A checksum as it stands in a record."""
    return checksum.to_bytes(4, "big")


def digest_of(data: Any) -> bytes:
    """The digest of some bytes."""
    return hashlib.new(DIGEST, data).digest()


def _widen(handle: int) -> None:
    """Let a pipe hold more, so that both its ends wait less; what is no pipe, or may not, stays as it is."""
    import fcntl

    try:
        fcntl.fcntl(handle, _F_SETPIPE_SZ, _PIPE_SIZE)
    except OSError:
        pass

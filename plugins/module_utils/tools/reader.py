# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stream of chunks that can be looked into before it is read."""

from __future__ import annotations

from .._errors import Corrupt, Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


class Reader:
    """Takes bytes from an iterator of chunks; never holds more than what was looked at and one chunk.

    :param name: what the stream is called in a sentence.
    :ivar allowance: bytes that :meth:`read` may still give; None for no limit. It keeps a library that reads for itself
        from filling the memory with what a stranger's header announces.
    """

    def __init__(self, chunks: Iterator[bytes], name: str) -> None:
        self.name = name
        self.allowance: int | None = None
        self._chunks = chunks
        self._kept = b""

    def peek(self, size: int) -> bytes:
        """The next *size* bytes, which stay; fewer at the end."""
        if len(self._kept) < size:
            parts, length = [self._kept], len(self._kept)
            while length < size:
                data = next(self._chunks, b"")
                if not data:
                    break
                parts.append(data)
                length += len(data)
            self._kept = b"".join(parts)
        return self._kept[:size]

    def next(self) -> bytes:
        """The next chunk as it comes; empty at the end."""
        if self._kept:
            data, self._kept = self._kept, b""
            return data
        return next(self._chunks, b"")

    def read(self, size: int) -> bytes:
        """Up to *size* bytes; fewer only at the end.

        :raises Refused: when the allowance is used up.
        """
        if self.allowance is not None:
            if size > self.allowance:
                raise Refused(f"{self.name} is an archive with headers that no archive needs")
            self.allowance -= size
        data = self.peek(size)
        self._kept = self._kept[len(data) :]
        return data

    def exactly(self, size: int, what: str) -> bytes:
        """*size* bytes; ``Corrupt`` when the stream ends before."""
        data = self.read(size)
        if len(data) < size:
            raise Corrupt(f"{self.name} ends in the middle of {what}")
        return data

    def back(self, data: bytes) -> None:
        """Put bytes back in front of what comes next."""
        self._kept = data + self._kept

    def __iter__(self) -> Iterator[bytes]:
        while True:
            data = self.next()
            if not data:
                return
            yield data

    def drain(self, most: int, what: str) -> None:
        """Read to the end, so that who sends is heard out and hashed; ``Refused`` after *most* bytes."""
        for data in self:
            most -= len(data)
            if most < 0:
                raise Refused(f"{self.name} has too much data behind the end of its {what}")

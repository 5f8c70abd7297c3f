# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sends files, links and directories over a byte stream with their holes, every stretch of data with its checksum.

Standard library and what :mod:`.peer` sends only. Records go one way (:mod:`.flow`); frames (:mod:`.wire`) come back
from the receiver (:mod:`.landing`): what it has from an earlier try, ``go``, and at the end the result or an error.
"""

from __future__ import annotations

import errno
import os
import stat
import zlib

from .codec import dumps
from .command import going_on
from .files import extents, is_socket
from .flow import BLOCK, PIECE, Known, Outflow, Unwatched, digest_of, packed
from .pace import Pace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    #: Gives the receiver's next frame; with False only one that is there already.
    Hear = Callable[[bool], "dict[str, Any] | None"]


def send(
    entries: list[list[str]], handle: int, hear: Hear, stall: float, rate: int = 0, watch: Any = None
) -> dict[str, Any]:
    """Send each (path, name) of *entries*, directories with all in them; the receiver's result is returned.

    After an ``OSError`` of a file, here or there, the connection can go on to be used; when it is the connection
    itself, ``ConnectionError`` or ``TimeoutError``, it cannot.

    :param hear: gives the frames that the receiver sends.
    :param stall: seconds without progress after which it fails.
    :param rate: most bytes per second; 0 for no limit.
    :param watch: told of every byte that is behind us (:class:`.flow.Unwatched`).
    """
    sender = _Sender(handle, hear, stall, rate, watch or Unwatched())
    try:
        return sender.send(entries)
    finally:
        os.set_blocking(handle, True)


class _Sender:
    """One stream on its way."""

    def __init__(self, handle: int, hear: Hear, stall: float, rate: int, watch: Any) -> None:
        self._out = Outflow(handle, stall)
        self._hear = hear
        self._watch = watch
        self._pace = Pace(rate)
        self._room = memoryview(bytearray(BLOCK))
        self._piece = self._pace.block(PIECE)
        self._offers: dict[str, Known] = {}
        self._heard: dict[str, Any] | None = None

    def send(self, entries: list[list[str]]) -> dict[str, Any]:
        try:
            self._listen()
            self._watch.total = sum(map(_data_of, (path for path, _name in entries)))
            self._out.record(b"T", self._watch.total)
            for path, name in entries:
                self._entry(path, name)
            self._out.record(b"Z", 0, self._out.words.digest())
            self._out.flush()
        except OSError as error:
            if self._out.broken:
                raise
            self._give_up(error)
            raise
        return self._closing()

    def _listen(self) -> None:
        """What the receiver has already."""
        while True:
            frame = self._next()
            if frame.get("go"):
                return
            known = self._offers.setdefault(str(frame["have"]), Known())
            for number, digest in frame["blocks"]:
                known.add(int(number), bytes.fromhex(digest))

    def _next(self) -> dict[str, Any]:
        """The receiver's next frame; an error of its own is raised here."""
        frame = self._heard or self._hear(True)
        if frame is None:
            raise ConnectionError(errno.EPIPE, "the receiver is gone")
        if "error" in frame:
            self._heard = frame
            raise OSError(*frame["error"])
        return frame

    def _closing(self) -> dict[str, Any]:
        return self._next()

    def _give_up(self, error: OSError) -> None:
        """Tell the receiver, unless that is what it told us, and wait for its last word."""
        self._out.record(b"X", 0, b"" if self._heard else dumps([error.errno or errno.EIO, _said(error)]))
        self._out.flush()
        if not self._heard:
            self._hear(True)

    # ---------------------------------------------------------------- entries

    def _entry(self, path: str, name: str) -> None:
        if os.path.islink(path):
            self._announce({"name": name, "kind": "link", "target": os.readlink(path)})
        elif os.path.isdir(path):
            self._announce({"name": name, "kind": "directory"})
            for child in sorted(os.listdir(path)):
                if not is_socket(os.path.join(path, child)):
                    self._entry(os.path.join(path, child), f"{name}/{child}")
        else:
            self._file(path, name)

    def _announce(self, entry: dict[str, Any]) -> None:
        self._out.record(b"N", 0, dumps(entry))
        self._out.flush()

    def _file(self, path: str, name: str) -> None:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            before = os.fstat(handle)
            if not stat.S_ISREG(before.st_mode):
                raise OSError(errno.EINVAL, "this is not a regular file", path)
            size = before.st_size
            self._announce({"name": name, "kind": "file", "size": size, "mode": before.st_mode & 0o777})
            known = self._offers.pop(name, None) or Known()
            for start, end in _offered(known, size):
                self._compare(handle, start, end, known.get(start // BLOCK))
            for start, end in _others(handle, size, known):
                self._data(handle, start, end)
            after = os.fstat(handle)
            if (size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
                raise OSError(errno.EAGAIN, "the file changed while it was read", path)
        finally:
            os.close(handle)

    def _compare(self, handle: int, start: int, end: int, theirs: bytes) -> None:
        """A block that the receiver has: it is sent when it is another one, with its zeros, as others may lie there."""
        going_on()
        self._check()
        block = self._room[: end - start]
        _read(handle, block, start)
        if digest_of(block) == theirs:
            self._out.record(b"S", start, theirs)
            self._out.flush()
            self._watch.add(len(block))
        else:
            self._data(handle, start, end)

    def _data(self, handle: int, start: int, end: int) -> None:
        checksum = 0
        position = start
        while position < end:
            going_on()
            self._check()
            data = self._room[: min(self._piece, end - position)]
            _read(handle, data, position)
            checksum = zlib.crc32(data, checksum)
            self._pace.take(len(data))
            self._out.data(position, data)
            self._watch.add(len(data))
            position += len(data)
        self._out.record(b"H", start, packed(checksum))

    def _check(self) -> None:
        """Stop when the receiver says that it cannot go on."""
        frame = self._hear(False)
        if frame is not None:
            self._heard = frame
            self._next()


def _offered(known: Known, size: int) -> Iterator[tuple[int, int]]:
    """(start, end) of every block that the receiver has."""
    for number in known.blocks():
        if known.get(number) and number * BLOCK < size:
            yield number * BLOCK, min((number + 1) * BLOCK, size)


def _others(handle: int, size: int, known: Known) -> Iterator[tuple[int, int]]:
    """(start, end) of all other data, in stretches that lie in one block each."""
    for start, end in extents(handle, size):
        while start < end:
            stop = min(end, start - start % BLOCK + BLOCK)
            if not known.get(start // BLOCK):
                yield start, stop
            start = stop


def _read(handle: int, room: memoryview, position: int) -> None:
    while room:
        count = os.preadv(handle, [room], position)
        if not count:
            raise OSError(errno.EIO, "the file became shorter while it was read")
        room = room[count:]
        position += count


def _data_of(path: str) -> int:
    """Bytes of data in a file, or in a directory with all in it; about so many, as file systems count in blocks."""
    info = os.lstat(path)
    if stat.S_ISDIR(info.st_mode):
        return sum(_data_of(os.path.join(path, name)) for name in os.listdir(path))
    return min(info.st_size, info.st_blocks * 512) if stat.S_ISREG(info.st_mode) else 0


def _said(error: OSError) -> str:
    return error.strerror or str(error)

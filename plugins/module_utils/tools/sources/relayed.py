# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A source that the front-end reads and sends here (:mod:`..relay`)."""

from __future__ import annotations

import os
import socket
import stat

from ..._errors import BadCall, Corrupt, Unreachable, from_record, one_line
from ..codec import loads
from ..relay import CHUNK, HEAD
from . import Options, Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_ZEROS = bytes(CHUNK)


class RelayedSource(Source):
    """What comes through a relay's socket.

    :param path: the socket; it and its folder must be ours alone, as whoever fills it decides what is imported.
    """

    def __init__(self, path: str, options: Options) -> None:
        super().__init__("the source", options)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self._connect(path)
            kind, size = self._head()
            if kind != b"N" or size > CHUNK:
                raise Corrupt("What the front-end sends is not a source")
            told = loads(self._read(size))
            self.name, self.length = one_line(str(told["name"]), 200), told["length"]
        except BaseException:
            self.close()
            raise

    def _connect(self, path: str) -> None:
        folder = os.path.dirname(path)
        try:
            info = os.lstat(folder)
            if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.geteuid() or info.st_mode & 0o077:
                raise BadCall(f"{one_line(folder, 120)} is not a private folder of this user")
            self._socket.settimeout(self.clock.left())
            self._socket.connect(path)
        except OSError as error:
            raise Unreachable(
                f"The front-end does not send the source: {error.strerror or error}", todo="run it again"
            ) from None
        self._socket.setblocking(False)

    def blocks(self) -> Iterator[bytes]:
        """What the front-end read."""
        while True:
            kind, size = self._head()
            if kind == b"Z":
                return
            if kind == b"E":
                raise from_record(loads(self._read(min(size, CHUNK))))
            if kind == b"H":
                while size:
                    count = min(size, CHUNK)
                    size -= count
                    yield _ZEROS[:count]
            elif kind == b"D" and 0 < size <= CHUNK:
                yield self._read(size)
            else:
                raise Corrupt("What the front-end sends is not a source")

    def _head(self) -> tuple[bytes, int]:
        kind, size = HEAD.unpack(self._read(HEAD.size))
        return kind, size

    def _read(self, size: int) -> bytes:
        parts = []
        while size:
            self.clock.wait(self._socket.fileno())
            try:
                data = self._socket.recv(size)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            if not data:
                raise Unreachable(
                    "The connection through which the front-end sends the source broke", todo="run it again"
                )
            self.clock.touch()
            parts.append(data)
            size -= len(data)
        return b"".join(parts)

    def close(self) -> None:
        """Hang up; the front-end stops reading."""
        self._socket.close()

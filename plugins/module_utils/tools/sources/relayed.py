# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sources that another host reads and sends here (:mod:`..relay`)."""

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
    from typing import Any

_ZEROS = bytes(CHUNK)
#: Longest text about a source, in bytes: that of a backup has the manifests of its chain in it.
_TOLD = 64 << 20


class RecordSource(Source):
    """What comes as records through a descriptor.

    :ivar told: what was told of it before its data.
    :param broken: the sentence for an end that comes too early.
    """

    def __init__(self, name: str, options: Options, broken: str) -> None:
        super().__init__(name, options)
        self._broken = broken
        self._handle = -1
        self.told: dict[str, Any] = {}

    def begin(self, handle: int) -> None:
        """Hear what the source is, which may take as long as the other side says that it is at work."""
        self._handle = handle
        os.set_blocking(handle, False)
        kind, size = self._head()
        while kind == b"P":
            kind, size = self._head()
        if kind == b"E":
            raise from_record(loads(self._read(min(size, CHUNK))))
        if kind != b"N" or size > _TOLD:
            raise Corrupt(f"What is sent in place of {self.name} is not a source")
        self.told = loads(self._read(size))
        self.name, self.length = one_line(str(self.told["name"]), 200), self.told["length"]

    def blocks(self) -> Iterator[bytes]:
        """What the other side read."""
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
                raise Corrupt(f"What is sent in place of {self.name} is not a source")

    def _head(self) -> tuple[bytes, int]:
        kind, size = HEAD.unpack(self._read(HEAD.size))
        return kind, size

    def _read(self, size: int) -> bytes:
        parts = []
        while size:
            self.clock.wait(self._handle)
            try:
                data = os.read(self._handle, size)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            if not data:
                raise Unreachable(self._broken, todo="run it again")
            self.clock.touch()
            parts.append(data)
            size -= len(data)
        return b"".join(parts)


class RelayedSource(RecordSource):
    """What comes through a relay's socket: the next of the sources that the front-end sends.

    :param path: the socket; it and its folder must be ours alone, as whoever fills it decides what is imported.
    """

    def __init__(self, path: str, options: Options) -> None:
        super().__init__("the source", options, "The connection through which the front-end sends the source broke")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self._connect(path)
            self.begin(self._socket.fileno())
        except BaseException:
            self.close()
            raise
        self.warning = one_line(str(self.told.get("warning") or ""), 600)

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

    def close(self) -> None:
        """Hang up; the front-end stops reading."""
        self._socket.close()

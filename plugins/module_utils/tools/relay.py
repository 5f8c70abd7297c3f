# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Carries a source that only the front-end can read to an import on another host.

The front-end opens a session of its own to that host and feeds the source into it (:class:`Feeder`). There
:func:`serve`, sent along like all that a peer runs, hands the bytes to whoever connects to its socket, which is the
import (:mod:`.sources.relayed`). So one action does it all, next to the data, whatever launched it; and when either
session ends, the other side sees it.

Records: a kind, a length, and a body. ``N``: what the source is called and its length (JSON); ``D``: data; ``H``: as
many zeros as the length says, without a body; ``E``: why it ended early (JSON of :meth:`.StorageError.record`); ``Z``:
the end.

Standard library and what :mod:`.peer` sends only.
"""

from __future__ import annotations

import os
import select
import socket
import struct

from .wire import Wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HEAD = struct.Struct(">cQ")
CHUNK = 1 << 20
_ZEROS = bytes(CHUNK)
#: Seconds until the import has to be there: it may wait for another action's lock first.
_PATIENCE = 3600.0


def place() -> str:
    """A folder for one socket on the other host, with a name that nobody can guess."""
    return f"/tmp/one_storage-{os.urandom(16).hex()}"


def door_of(folder: str) -> str:
    """The socket in such a folder."""
    return f"{folder}/feed"


def serve(folder: str) -> None:
    """On the other host: make the socket, let one client in, and give it what comes on stdin."""
    os.mkdir(folder, 0o700)
    path = door_of(folder)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        listener.bind(path)
        listener.listen(1)
        Wire(0, 1).send({"ready": path})
        client = _let_in(listener)
        if client is not None:
            with client:
                _pass_on(client)
    finally:
        listener.close()
        for remove, name in ((os.unlink, path), (os.rmdir, folder)):
            try:
                remove(name)
            except OSError:
                pass


def _let_in(listener: socket.socket) -> socket.socket | None:
    """The first client; None when the feeder goes away before."""
    gone = select.poll()
    # data waits on stdin from the beginning, so only its end is of interest
    gone.register(0, 0)
    gone.register(listener, select.POLLIN)
    for handle, _event in gone.poll(_PATIENCE * 1000):
        if handle == listener.fileno():
            return listener.accept()[0]
    return None


def _pass_on(client: socket.socket) -> None:
    client.settimeout(_PATIENCE)
    while True:
        data = os.read(0, CHUNK)
        if not data:
            return
        try:
            client.sendall(data)
        except OSError:
            # the import has ended, well or not: it says so itself
            return


class Feeder:
    """The front-end's side of one relay.

    :param handle: the session's stdin.
    """

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self._stopped = False
        os.set_blocking(handle, False)

    def stop(self) -> None:
        """Give up within a moment, also while the other side does not read; for another thread."""
        self._stopped = True

    def feed(
        self, name: str, length: int | None, blocks: Iterator[bytes], trouble: Callable[[Exception], bytes]
    ) -> None:
        """Send a source's blocks; it returns when they are sent, or nobody takes them any more.

        :param trouble: the body of an ``E`` record for an exception.
        """
        from .codec import dumps

        try:
            self._record(b"N", dumps({"name": name, "length": length}))
            failure = self._blocks(blocks)
            self._record(*((b"Z", b"") if failure is None else (b"E", trouble(failure))))
        except _NobodyTakes:
            # the action itself says why
            return

    def _blocks(self, blocks: Iterator[bytes]) -> Exception | None:
        try:
            for data in blocks:
                if data == _ZEROS[: len(data)]:
                    self._write(HEAD.pack(b"H", len(data)))
                else:
                    self._record(b"D", data)
        except _NobodyTakes:
            raise
        except Exception as error:
            return error
        return None

    def _record(self, kind: bytes, body: bytes) -> None:
        self._write(HEAD.pack(kind, len(body)))
        self._write(body)

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            if self._stopped:
                raise _NobodyTakes
            try:
                view = view[os.write(self._handle, view) :]
            except BlockingIOError:
                select.select([], [self._handle], [], 0.25)
            except OSError:
                raise _NobodyTakes from None


class _NobodyTakes(Exception):
    """The session has ended, or is to end."""

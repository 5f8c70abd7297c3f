# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Carries sources that only the front-end can read to an action on another host.

The front-end opens a session of its own to that host and feeds the sources into it (:class:`Feeder`), one after the
other. There :func:`serve`, sent along like all that a peer runs, hands the bytes to whoever connects to its socket,
which is an import or a restore (:mod:`.sources.relayed`): each connection gets the next source. So one action does it
all, next to the data, whatever launched it; and when either session ends, the other side sees it.

Records: a kind, a length, and a body. ``P``: it is still being prepared; ``N``: what the source is called, its length,
and perhaps more (JSON); ``D``: data; ``H``: as many zeros as the length says, without a body; ``E``: why it ended early
(JSON of :meth:`.StorageError.record`); ``Z``: the end, of a source that is whole.

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
    from typing import Any

HEAD = struct.Struct(">cQ")
CHUNK = 1 << 20
_ZEROS = bytes(CHUNK)
#: Seconds until the import has to be there: it may wait for another action's lock first.
_PATIENCE = 3600.0
#: Seconds between two words that a source is still being prepared.
_PREPARING = 1.0


def place() -> str:
    """A folder for one socket on the other host, with a name that nobody can guess."""
    return f"/tmp/one_storage-{os.urandom(16).hex()}"


def door_of(folder: str) -> str:
    """The socket in such a folder."""
    return f"{folder}/feed"


def serve(folder: str) -> None:
    """On the other host: make the socket, and give each client that comes in the next source of those on stdin."""
    os.mkdir(folder, 0o700)
    path = door_of(folder)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        listener.bind(path)
        listener.listen(1)
        Wire(0, 1).send({"ready": path})
        while True:
            client = _let_in(listener)
            if client is None:
                return
            with client:
                if not _pass_on(client):
                    return
    finally:
        listener.close()
        for remove, name in ((os.unlink, path), (os.rmdir, folder)):
            try:
                remove(name)
            except OSError:
                pass


def _let_in(listener: socket.socket) -> socket.socket | None:
    """The next client; None when the feeder goes away before."""
    gone = select.poll()
    # data waits on stdin from the beginning, so only its end is of interest
    gone.register(0, 0)
    gone.register(listener, select.POLLIN)
    for handle, _event in gone.poll(_PATIENCE * 1000):
        if handle == listener.fileno():
            return listener.accept()[0]
    return None


def _pass_on(client: socket.socket) -> bool:
    """One source; whether it came to its end, so that there may be another."""
    client.settimeout(_PATIENCE)
    while True:
        head = _taken(HEAD.size)
        if len(head) < HEAD.size:
            return False
        kind, left = HEAD.unpack(head)
        try:
            client.sendall(head)
            while left and kind in (b"N", b"D", b"E"):
                data = os.read(0, min(left, CHUNK))
                if not data:
                    return False
                client.sendall(data)
                left -= len(data)
        except OSError:
            # the import has ended, well or not: it says so itself
            return False
        if kind in (b"Z", b"E"):
            return True


def _taken(size: int) -> bytes:
    """So many bytes of stdin; fewer at its end."""
    data = b""
    while len(data) < size:
        more = os.read(0, size - len(data))
        if not more:
            break
        data += more
    return data


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
        self, prepare: Callable[[], tuple[dict[str, Any], Iterator[bytes]]], trouble: Callable[[Exception], bytes]
    ) -> bool:
        """Send a source; whether all of it was sent. Else it failed, which is told, or nobody takes it any more.

        :param prepare: gives what is told of the source (``name``, ``length``) and its blocks. It may take its time:
            the other side hears meanwhile that it goes on.
        :param trouble: the body of an ``E`` record for an exception.
        """
        from .codec import dumps

        try:
            try:
                told, blocks = self._prepared(prepare)
                self._record(b"N", dumps(told))
                failure = self._blocks(blocks)
            except _NobodyTakes:
                raise
            except Exception as error:
                failure = error
            self._record(*((b"Z", b"") if failure is None else (b"E", trouble(failure))))
            return failure is None
        except _NobodyTakes:
            # the action itself says why
            return False

    def _prepared(
        self, prepare: Callable[[], tuple[dict[str, Any], Iterator[bytes]]]
    ) -> tuple[dict[str, Any], Iterator[bytes]]:
        from _thread import allocate_lock, start_new_thread

        busy, told = allocate_lock(), allocate_lock()
        busy.acquire()
        told.acquire()

        def tell() -> None:
            try:
                while not busy.acquire(timeout=_PREPARING):
                    self._record(b"P", b"")
            except _NobodyTakes:
                pass
            finally:
                told.release()

        start_new_thread(tell, ())
        try:
            return prepare()
        finally:
            busy.release()
            told.acquire()

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

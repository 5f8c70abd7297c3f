# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Framed JSON between two processes, and the lifeline that ties the far one to the near one.

Standard library and :mod:`.codec` only: both are sent to peers together with :mod:`.host`.

A frame is four bytes of length (big endian) and that many bytes of JSON. Both ends send ``{"beat": true}`` when they
have been quiet for :data:`BEAT` seconds; silence for :data:`SILENCE` seconds means that the other end is gone, even
where the network says nothing.
"""

from __future__ import annotations

import os
import select
import time
from _thread import allocate_lock, start_new_thread

from .codec import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

BEAT = 10.0
SILENCE = 60.0
_LIMIT = 64 << 20


class Gone(Exception):
    """The other end closed the connection, or has been silent for too long."""


class Wire:
    """One end of a connection over two file descriptors."""

    def __init__(self, reader: int, writer: int) -> None:
        self.reader = reader
        self.writer = writer
        self._sending = allocate_lock()
        self._buffer = bytearray()
        self._heard = time.monotonic()

    def send(self, message: dict[str, Any]) -> None:
        """Send one frame; ``Gone`` when nobody reads any more."""
        body = dumps(message)
        data = memoryview(len(body).to_bytes(4, "big") + body)
        with self._sending:
            try:
                while data:
                    data = data[os.write(self.writer, data) :]
            except OSError:
                raise Gone("the other end closed the connection") from None

    def receive(self, until: float | None = None, silence: float = SILENCE) -> dict[str, Any]:
        """The next frame that is not a beat.

        :param until: monotonic time after which ``TimeoutError`` is raised.
        :raises Gone: at the end of the stream, or when nothing at all came for *silence* seconds.
        """
        self._heard = time.monotonic()
        while True:
            message = self._take()
            if message is None:
                self._wait(until, silence)
            elif not message.get("beat"):
                return message

    def _take(self) -> dict[str, Any] | None:
        if len(self._buffer) < 4:
            return None
        size = int.from_bytes(self._buffer[:4], "big")
        if size > _LIMIT:
            raise Gone("the other end does not speak our protocol")
        if len(self._buffer) < 4 + size:
            return None
        body = bytes(self._buffer[4 : 4 + size])
        del self._buffer[: 4 + size]
        try:
            message = loads(body)
        except ValueError:
            raise Gone("the other end does not speak our protocol") from None
        if not isinstance(message, dict):
            raise Gone("the other end does not speak our protocol")
        return message

    def _wait(self, until: float | None, silence: float) -> None:
        now = time.monotonic()
        if until is not None and now >= until:
            raise TimeoutError("no answer in time")
        if now - self._heard >= silence:
            raise Gone(f"nothing was heard for {silence:g} seconds")
        pause = min(BEAT, silence, until - now if until is not None else BEAT)
        ready, _writers, _errors = select.select([self.reader], [], [], max(pause, 0.0))
        if not ready:
            self.send({"beat": True})
            return
        data = os.read(self.reader, 1 << 16)
        if not data:
            raise Gone("the other end closed the connection")
        self._heard = time.monotonic()
        self._buffer += data


class Lifeline:
    """Reads the near end's frames in a thread; when the near end is gone, *ended* is called at once.

    Used by whoever serves: a node that runs an action, a peer. :meth:`next` gives the frames one by one.
    """

    def __init__(self, wire: Wire, ended: Callable[[], None]) -> None:
        self.wire = wire
        self.gone = False
        self._ended = ended
        self._frames: list[dict[str, Any]] = []
        # free when there may be news; :mod:`threading` has a better word for it and takes as long as all of this
        self._news = allocate_lock()
        start_new_thread(self._watch, ())

    def next(self, timeout: float | None = None) -> dict[str, Any] | None:
        """The next frame; None when the near end is gone or nothing came within *timeout* seconds. For one thread."""
        until = None if timeout is None else time.monotonic() + timeout
        while not self._frames and not self.gone:
            if not self._news.acquire(timeout=-1 if until is None else max(0.0, until - time.monotonic())):
                return None
        return self._frames.pop(0) if self._frames else None

    def _watch(self) -> None:
        while True:
            try:
                self._frames.append(self.wire.receive())
            except (Gone, OSError):
                break
            self._tell()
        self.gone = True
        self._tell()
        self._ended()

    def _tell(self) -> None:
        if self._news.locked():
            self._news.release()

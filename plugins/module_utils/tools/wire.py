# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Framed JSON between two processes, and the lifeline that ties the far one to the near one.

Standard library and :mod:`.codec` only: both are sent to peers together with :mod:`.host`.

A frame is four bytes of length (big endian) and that many bytes of JSON. Both ends send ``{"beat": true}`` when they
have been quiet for :data:`BEAT` seconds; silence for :data:`SILENCE` seconds means that the other end is gone, even
where the network says nothing. An end that is less patient says so in a frame with ``silence``: then both beat three
times as often as that.
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
#: Nobody is given up sooner, whatever a site sets: a busy machine may be quiet for that long.
LEAST_SILENCE = 3.0
_LIMIT = 64 << 20


def patience(stall: float) -> float:
    """Seconds of silence after which the other end counts as gone, for a site that gives up stalled data so soon."""
    return min(SILENCE, max(LEAST_SILENCE, stall))


class Gone(Exception):
    """The other end closed the connection, or has been silent for too long."""


class Wire:
    """One end of a connection over two file descriptors.

    :ivar silence: seconds without a word after which the other end is gone.
    """

    def __init__(self, reader: int, writer: int) -> None:
        self.reader = reader
        self.writer = writer
        self._sending = allocate_lock()
        self._buffer = bytearray()
        self._heard = self._said = time.monotonic()
        self._hushed = False
        self.silence = SILENCE

    def send(self, message: dict[str, Any]) -> None:
        """Send one frame; ``Gone`` when nobody reads any more."""
        with self._sending:
            self._write(message)

    def beat(self) -> None:
        """Say that we live, unless we are hushed."""
        with self._sending:
            if not self._hushed:
                self._write({"beat": True})

    def hush(self, quiet: bool = True) -> None:
        """Send no beats, as something else than frames goes out; its progress shows that we live."""
        with self._sending:
            self._hushed = quiet

    def pause(self) -> float:
        """Seconds between two beats: three of them fit into the silence that the other end bears."""
        return min(BEAT, self.silence / 3)

    def leave(self) -> None:
        """Send nothing any more: once the descriptor is closed, its number may be that of anything."""
        # who sends to somebody that reads nothing may wait for ever; this does not
        held = self._sending.acquire(timeout=1)
        self.writer = -1
        if held:
            self._sending.release()

    def _write(self, message: dict[str, Any]) -> None:
        body = dumps(message)
        data = memoryview(len(body).to_bytes(4, "big") + body)
        try:
            while data:
                data = data[os.write(self.writer, data) :]
            self._said = time.monotonic()
        except OSError:
            raise Gone("the other end closed the connection") from None

    def receive(self, until: float | None = None) -> dict[str, Any]:
        """The next frame that is not a beat.

        :param until: monotonic time after which ``TimeoutError`` is raised.
        :raises Gone: at the end of the stream, or when nothing at all came for :attr:`silence` seconds.
        """
        self._heard = time.monotonic()
        while True:
            message = self._take()
            if message is None:
                self._wait(until)
            elif not message.get("beat"):
                return message

    def poll(self) -> dict[str, Any] | None:
        """A frame that is no beat and is there already; None when there is none.

        :raises Gone: at the end of the stream.
        """
        while True:
            message = self._take()
            if message is not None and not message.get("beat"):
                return message
            if message is None and not select.select([self.reader], [], [], 0)[0]:
                return None
            if message is None:
                self._read()

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

    def _wait(self, until: float | None) -> None:
        silence = self.silence
        now = time.monotonic()
        if until is not None and now >= until:
            raise TimeoutError("no answer in time")
        if now - self._heard >= silence:
            raise Gone(f"nothing was heard for {silence:g} seconds")
        # by a clock of our own: two who beat only when they heard nothing may leave one of them silent for ever
        beat = self.pause()
        if now - self._said >= beat:
            self._said = now
            self.beat()
        ends = [self._said + beat, self._heard + silence, *([until] if until is not None else [])]
        if select.select([self.reader], [], [], max(min(ends) - now, 0.0))[0]:
            self._read()

    def _read(self) -> None:
        data = os.read(self.reader, 1 << 16)
        if not data:
            raise Gone("the other end closed the connection")
        self._heard = time.monotonic()
        self._buffer += data


class Lifeline:
    """Reads the near end's frames in a thread; when the near end is gone, *ended* is called at once.

    Used by whoever serves: a node that runs an action, a peer. :meth:`next` gives the frames one by one. After a frame
    with ``data`` nothing is read before :meth:`resume`, as what follows is for whoever took that frame.
    """

    def __init__(self, wire: Wire, ended: Callable[[], None]) -> None:
        self.wire = wire
        self.gone = False
        self._ended = ended
        self._frames: list[dict[str, Any]] = []
        # free when there may be news; :mod:`threading` has a better word for it and takes as long as all of this
        self._news = allocate_lock()
        # taken while somebody else reads what comes
        self._reading = allocate_lock()
        start_new_thread(self._watch, ())

    def poll(self) -> dict[str, Any] | None:
        """A frame that is there already."""
        return self._frames.pop(0) if self._frames else None

    def resume(self) -> None:
        """Frames come again: all data that a frame announced has been read."""
        self._reading.release()

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
                frame = self.wire.receive()
            except (Gone, OSError):
                break
            self.wire.silence = float(frame.get("silence") or self.wire.silence)
            if frame.get("data"):
                self._reading.acquire()
            self._frames.append(frame)
            self._tell()
            with self._reading:
                pass
        self.gone = True
        self._tell()
        self._ended()

    def _tell(self) -> None:
        if self._news.locked():
            self._news.release()

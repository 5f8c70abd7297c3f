# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sends a source that only the front-end can read to the bridge that imports it (:mod:`..module_utils.tools.relay`)."""

from __future__ import annotations

from _thread import allocate_lock, start_new_thread

from ..module_utils._errors import StorageError
from ..module_utils.tools import relay
from ..module_utils.tools.codec import dumps
from ..module_utils.tools.peer import Settings, open_relay

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ..module_utils.tools.sources import Source


class Feeding:
    """A source on its way to a host, beside the action there that takes it.

    :param source: open; it is closed by :meth:`close`.
    :ivar socket: what the action is told (option ``feed``).
    """

    def __init__(self, source: Source, host: str, settings: Settings) -> None:
        self._source = source
        folder = relay.place()
        self.socket = relay.door_of(folder)
        self._session = open_relay(host, settings, folder)
        self._feeder = relay.Feeder(self._session.stdin)
        self._ended = allocate_lock()
        self._ended.acquire()
        start_new_thread(self._feed, ())

    def _feed(self) -> None:
        try:
            self._feeder.feed(self._prepare, _trouble)
        finally:
            self._ended.release()

    def _prepare(self) -> tuple[dict[str, Any], Iterator[bytes]]:
        return {"name": self._source.name, "length": self._source.length}, self._source.chunks()

    def close(self) -> str:
        """Stop, whatever is still to be sent; what the source warns of, if anything."""
        self._feeder.stop()
        # a source that waits for data looks around now and then; it is not closed under its feet
        self._ended.acquire(timeout=10)
        self._session.end(1)
        self._source.close()
        return self._source.warning


def _trouble(error: Exception) -> bytes:
    if not isinstance(error, StorageError):
        error = StorageError(f"The source cannot be read: {error}")
    return dumps(error.record())

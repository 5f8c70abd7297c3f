# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sends sources that only the front-end can read to the action that takes them (:mod:`..module_utils.tools.relay`)."""

from __future__ import annotations

from _thread import allocate_lock, start_new_thread

from ..module_utils._errors import StorageError
from ..module_utils.tools import relay
from ..module_utils.tools.codec import dumps
from ..module_utils.tools.peer import Settings, open_relay

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from ..module_utils.tools.sources import Source


class Feeding:
    """Sources on their way to a host, beside the action there that takes them, one after the other.

    :param openers: what opens each of them, when its turn has come.
    :param host: where the action runs; empty for this machine.
    :ivar socket: what the action is told (option ``feed``).
    """

    def __init__(self, openers: Sequence[Callable[[], Source]], host: str, settings: Settings) -> None:
        self._openers = openers
        self._warnings: list[str] = []
        self._source: Source | None = None
        folder = relay.place()
        self.socket = relay.door_of(folder)
        self._session = open_relay(host, settings, folder)
        self._feeder = relay.Feeder(self._session.stdin)
        self._ended = allocate_lock()
        self._ended.acquire()
        start_new_thread(self._feed, ())

    def _feed(self) -> None:
        try:
            for opener in self._openers:
                if not self._one(opener):
                    return
        finally:
            self._ended.release()

    def _one(self, opener: Callable[[], Source]) -> bool:
        """Send one; whether all of it was sent."""
        told = ""

        def prepare() -> tuple[dict[str, Any], Iterator[bytes]]:
            nonlocal told
            source = self._source = opener()
            told = source.warning
            return {"name": source.name, "length": source.length, "warning": told}, source.chunks()

        whole = self._feeder.feed(prepare, _trouble)
        source, self._source = self._source, None
        if source is not None:
            source.close()
            # what was told with the data is in the action's result
            if source.warning and source.warning != told:
                self._warnings.append(source.warning)
        return whole

    def close(self) -> str:
        """Stop, whatever is still to be sent; what the sources warn of, if anything."""
        self._feeder.stop()
        # a source that waits for data looks around now and then; it is not closed under its feet
        self._ended.acquire(timeout=10)
        self._session.end(1)
        return "; ".join(self._warnings)


def _trouble(error: Exception) -> bytes:
    if not isinstance(error, StorageError):
        error = StorageError(f"The source cannot be read: {error}")
    return dumps(error.record())

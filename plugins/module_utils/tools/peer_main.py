# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The peer's side: serves calls of :class:`.host.Host`, and streams of files, on stdin and stdout.

Sent to the peer as source together with what it imports; standard library only.
"""

from __future__ import annotations

import errno
import os
import time
from _thread import allocate_lock, start_new_thread

from .command import stop_work
from .host import OPERATIONS, Host
from .wire import Gone, Lifeline, Wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Seconds in which whoever writes for a lead that is gone has ended too.
_PATIENCE = 5.0


def serve(name: str, silence: float) -> None:
    """Answer calls until the lead goes away; its locks and commands go with this process.

    :param silence: seconds without a word after which the lead is gone, as we are for it.
    """

    host = Host(name)
    leaving = allocate_lock()

    def ended() -> None:
        stop_work()
        # two threads learn of it
        with leaving:
            _leave_nothing(host)
            os._exit(3)

    wire = Wire(0, 1)
    wire.silence = silence
    lifeline = Lifeline(wire, ended)
    wire.send({"ready": name})
    try:
        while True:
            call = lifeline.next()
            if call is None:
                ended()
                return
            if call.get("do") == "receive":
                _receive(wire, lifeline, *call["with"])
            elif call.get("do") == "send":
                _send(wire, lifeline, *call["with"])
            elif "do" in call:
                wire.send(_answer(host, call))
    except Gone:
        ended()


def _leave_nothing(host: Host) -> None:
    """Empty what the lead had no time to; what still writes there came over the same connection, and ends with it."""
    until = time.monotonic() + _PATIENCE
    for datastore, key in host.when_left:
        while host.holds(datastore, key):
            try:
                host.clear(datastore, key, False)
                break
            except OSError:
                if time.monotonic() > until:
                    break
            time.sleep(0.1)


def _answer(host: Host, call: dict[str, Any]) -> dict[str, Any]:
    try:
        if call["do"] not in OPERATIONS:
            raise OSError(errno.EINVAL, "unknown operation")
        return {"value": getattr(host, call["do"])(*call["with"], **call["named"])}
    except OSError as error:
        return {"error": [error.errno or errno.EIO, error.strerror or str(error), error.filename]}


def _receive(wire: Wire, lifeline: Lifeline, folder: str, stall: float) -> None:
    """Write the stream that follows below *folder*."""
    from . import landing

    working = [True]

    def beat() -> None:
        # the lifeline, which beats else, does not read now; the disk may take its time
        while working:
            time.sleep(wire.pause())
            try:
                wire.beat()
            except Gone:
                return

    start_new_thread(beat, ())
    try:
        landing.receive(folder, 0, wire.send, stall)
    except OSError as error:
        _go_on_after(error)
    finally:
        working.clear()
        lifeline.resume()


def _send(wire: Wire, lifeline: Lifeline, entries: list[list[str]], stall: float, rate: int) -> None:
    """Write files of this host as a stream to stdout."""
    from . import stream

    def hear(wait: bool) -> dict[str, Any] | None:
        return lifeline.next() if wait else lifeline.poll()

    wire.hush()
    wire.send({"data": True})
    try:
        stream.send(entries, 1, hear, stall, rate)
    except OSError as error:
        _go_on_after(error)
    finally:
        wire.hush(False)


def _go_on_after(error: OSError) -> None:
    """The other end knows of an error of a file; without a connection there is nothing left to do."""
    from .flow import Broken

    if isinstance(error, (ConnectionError, TimeoutError, Broken)):
        raise SystemExit(3) from None

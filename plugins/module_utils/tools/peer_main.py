# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The peer's side: serves calls of :class:`.host.Host`, or one stream of data, on stdin and stdout.

Sent to the peer as source together with what it imports; standard library only.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from _thread import start_new_thread

from .command import stop_work
from .host import OPERATIONS, Host
from .wire import BEAT, Gone, Lifeline, Wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def serve(name: str) -> None:
    """Answer calls until the lead goes away; its locks and commands go with this process."""

    def ended() -> None:
        stop_work()
        os._exit(3)

    wire = Wire(0, 1)
    lifeline = Lifeline(wire, ended)
    host = Host(name)
    wire.send({"ready": name})
    while True:
        call = lifeline.next()
        if call is None:
            return
        wire.send(_answer(host, call))


def _answer(host: Host, call: dict[str, Any]) -> dict[str, Any]:
    try:
        if call["do"] not in OPERATIONS:
            raise OSError(errno.EINVAL, "unknown operation")
        return {"value": getattr(host, call["do"])(*call["with"], **call["named"])}
    except OSError as error:
        return {"error": [error.errno or errno.EIO, error.strerror or str(error), error.filename]}


def receive(folder: str, stall: float) -> None:
    """Write the stream on stdin below *folder* and answer with what was written."""
    from . import stream

    wire = Wire(0, 1)
    wire.send({"ready": folder})
    _beat(wire)
    try:
        answer = stream.receive(folder, 0, stall)
    except OSError as error:
        _complain(error)
        try:
            wire.send({"error": [error.errno or errno.EIO, error.strerror or str(error)]})
        except Gone:
            pass
        raise SystemExit(1) from None
    wire.send(answer)


def send(entries: list[list[str]], stall: float) -> None:
    """Write files of this host as a stream to stdout."""
    from . import stream

    Wire(0, 1).send({"ready": len(entries)})
    try:
        stream.send(entries, 1, stall)
    except OSError as error:
        _complain(error)
        raise SystemExit(1) from None


def _beat(wire: Wire) -> None:
    """Say that we live while the disk takes its time."""

    def beat() -> None:
        while True:
            time.sleep(BEAT)
            try:
                wire.send({"beat": True})
            except Gone:
                return

    start_new_thread(beat, ())


def _complain(error: OSError) -> None:
    sys.stderr.write(f"errno {error.errno or errno.EIO}: {error.strerror or error}\n")

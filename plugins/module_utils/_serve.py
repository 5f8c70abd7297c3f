# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The node's side of the ssh launcher: one action, asked for and answered in frames on stdin and stdout.

The caller's stdin is the lifeline: when it closes, commands that run are killed, what was done is undone before the
next step, and the process ends (ARCHITECTURE.md, Launchers).

Frames: we say ``hello`` (build, Python version) at once; the caller sends ``action``, ``options`` and its ``build``; we
answer ``refused`` (before any step), ``result`` or ``error``. With ``waits`` in a result the caller says ``delivered``
when the answer is out, and we ``closed``.
"""

from __future__ import annotations

import sys

from ._errors import StorageError
from .tools.command import stop_work
from .tools.wire import Gone, Lifeline, Wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def main(build: str, argv: list[str]) -> int:
    """Serve one action.

    :param build: id of the build this file belongs to.
    :param argv: action, driver and system driver as a hint of what to load while the caller still asks oned.
    """
    wire = Wire(0, 1)
    wire.send({"hello": build, "python": list(sys.version_info[:2])})
    lifeline = Lifeline(wire, stop_work)
    from . import _run

    try:
        _run.preload(*[*argv, "", "", ""][:3])
    except StorageError:
        # a wrong hint: the request itself will say so
        pass
    call = lifeline.next()
    if call is None:
        return 1
    if call.get("build") != build:
        wire.send({"refused": f"this node has build {build}"})
        return 1
    try:
        return _serve(wire, lifeline, call)
    except Gone:
        return 1


def _serve(wire: Wire, lifeline: Lifeline, call: dict[str, Any]) -> int:
    from . import _run

    mode = _run.Mode(check=bool(call.get("check")), stopped=lambda: lifeline.gone, fault=str(call.get("fault") or ""))
    try:
        outcome = _run.run(str(call["action"]), dict(call["options"]), mode)
    except StorageError as error:
        wire.send({"error": error.record()})
        return 1
    if outcome.keeps:
        # an answer that nobody got is no answer, and this process still has all that it takes to undo it
        wire.send({"result": outcome.result, "waits": True})
        answer = lifeline.next()
        if not answer or not answer.get("delivered"):
            outcome.take_back()
            return 1
    try:
        outcome.close()
    except StorageError as error:
        wire.send({"error": error.record()})
        return 1
    wire.send({"closed": True} if outcome.keeps else {"result": outcome.result})
    return 0

# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Launcher *in process*: the lead is this machine, so the core is simply called."""

from __future__ import annotations

import signal

from ..module_utils import _run
from ..module_utils.tools.command import stop_work
from .launch import LONG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Local:
    """Runs an action here. SIGTERM, SIGINT and SIGHUP end its commands and undo what was done."""

    name = "in process"

    def __init__(self) -> None:
        self._ended = False
        self._outcome: _run.Outcome | None = None

    def run(self, action: str, options: dict[str, Any], check: bool, fault: str) -> dict[str, Any]:
        """The result of the action; ``StorageError`` when it failed."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._stop)
        if action in LONG:
            from ..module_utils.tools.audience import watch

            watch(lambda: self._stop(0, None))
        self._outcome = _run.run(action, options, _run.Mode(check, lambda: self._ended, fault, shared=True))
        return self._outcome.result

    def delivered(self) -> None:
        """The answer is out: the action is over."""
        if self._outcome:
            self._outcome.close()

    def _stop(self, _number: int, _frame: Any) -> None:
        self._ended = True
        stop_work()

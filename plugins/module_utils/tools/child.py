# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A child process on two pipes that goes on while we talk to it: an SSH session. See :mod:`.command` for the others."""

from __future__ import annotations

import os
import time

from .command import SIGKILL, SIGTERM, said, spawn, which

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Child:
    """A running command.

    :ivar stdin: descriptor to write to; :ivar stdout: descriptor to read from.
    :raises FileNotFoundError: names the command when it is not installed.
    """

    def __init__(self, argv: Sequence[str]) -> None:
        theirs_in, self.stdin = os.pipe()
        self.stdout, theirs_out = os.pipe()
        self._errors = os.memfd_create("stderr")
        self._code: int | None = None
        try:
            self.pid = spawn([which(argv[0]), *argv[1:]], (theirs_in, theirs_out, self._errors), dict(os.environ))
        finally:
            os.close(theirs_in)
            os.close(theirs_out)

    def said(self) -> str:
        """The end of what came on stderr, up to 64 KiB."""
        return said(self._errors)

    def alive(self) -> bool:
        """Whether it still runs."""
        return self._poll() is None

    def hang_up(self) -> None:
        """Close both pipes: what runs at the other end of a session ends by that."""
        for name in ("stdin", "stdout"):
            handle = getattr(self, name)
            if handle >= 0:
                os.close(handle)
                setattr(self, name, -1)

    def end(self, patience: float = 5) -> int:
        """Hang up, wait, and kill it when *patience* seconds are over; the exit code is returned."""
        self.hang_up()
        until, pause = time.monotonic() + patience, 0.001
        while self._poll() is None:
            if time.monotonic() >= until:
                self.kill()
                _pid, status = os.waitpid(self.pid, 0)
                self._code = os.waitstatus_to_exitcode(status)
                break
            time.sleep(pause)
            pause = min(pause * 2, 0.1)
        return self._code if self._code is not None else -SIGKILL

    def dismiss(self) -> None:
        """Hang up and end it now: all that was to be said has been said."""
        if self._code is None:
            self.hang_up()
            self._signal(SIGTERM)
            self.end()

    def kill(self) -> None:
        """End it the hard way; :meth:`end` must still be called."""
        self._signal(SIGKILL)

    def _signal(self, number: int) -> None:
        if self._code is None:
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                pass

    def _poll(self) -> int | None:
        if self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
        return self._code

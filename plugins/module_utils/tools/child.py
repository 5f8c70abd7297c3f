# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A child process on two pipes, started by posix_spawn.

``subprocess`` would do, and costs more start-up than all else on the way to the first byte on a node's SSH session; so
sessions are started here, and everything that is not in a hurry uses ``subprocess`` (:meth:`.host.Host.run`).
"""

from __future__ import annotations

import os
import time

from .host import which

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_SIGKILL, _SIGPIPE, _SIGTERM, _SIGXFSZ = 9, 13, 15, 25


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
        actions = [
            (os.POSIX_SPAWN_DUP2, theirs_in, 0),
            (os.POSIX_SPAWN_DUP2, theirs_out, 1),
            (os.POSIX_SPAWN_DUP2, self._errors, 2),
        ]
        try:
            # Python ignores these two signals, which its children must not inherit
            self.pid = os.posix_spawn(
                which(argv[0]), list(argv), os.environ, file_actions=actions, setsigdef=[_SIGPIPE, _SIGXFSZ]
            )
        finally:
            os.close(theirs_in)
            os.close(theirs_out)

    def said(self) -> str:
        """The end of what came on stderr, up to 64 KiB."""
        size = os.lseek(self._errors, 0, os.SEEK_END)
        return os.pread(self._errors, min(size, 65536), max(0, size - 65536)).decode("utf-8", "replace")

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
        return self._code if self._code is not None else -_SIGKILL

    def dismiss(self) -> None:
        """Hang up and end it now: all that was to be said has been said."""
        if self._code is None:
            self.hang_up()
            self._signal(_SIGTERM)
            self.end()

    def kill(self) -> None:
        """End it the hard way; :meth:`end` must still be called."""
        self._signal(_SIGKILL)

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

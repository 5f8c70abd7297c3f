# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Seats on the shared connections to a host, so that none is asked for more sessions than its sshd gives.

sshd allows ten sessions over a connection (``MaxSessions``, sshd_config(5)). ``ssh`` answers a refused one with a login
of its own, which costs more than the whole action. So actions that run at the same time share out the connections
among them: the first few use the first one, as do all that run one after the other.
"""

from __future__ import annotations

import os

#: Sessions over one connection; below sshd's ten, for those that are ending just now.
SESSIONS = 8
CONNECTIONS = 8


class Seat:
    """One session's place, kept until :meth:`leave` or the end of this process.

    :param host: a name that has passed :func:`.ssh.check_login`.
    :ivar connection: number of the shared connection to use, from 0. With all places taken it is the last one's.
    """

    def __init__(self, host: str) -> None:
        self.connection = 0
        self._handle = -1
        path = os.path.join(os.path.expanduser("~"), ".ssh", f"one_storage-{host}.seats")
        try:
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            self.connection = self._take() // SESSIONS
        except OSError:
            # without a home or locks there is one connection, as sshd lets us
            pass

    def _take(self) -> int:
        for seat in range(SESSIONS * CONNECTIONS):
            os.lseek(self._handle, seat, os.SEEK_SET)
            try:
                os.lockf(self._handle, os.F_TLOCK, 1)
            except (BlockingIOError, PermissionError):
                continue
            return seat
        return SESSIONS * CONNECTIONS - 1

    def leave(self) -> None:
        """Give the place to others."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A command on another host: one ssh process, on a shared connection or one of its own."""

from __future__ import annotations

from . import ssh
from .child import Child
from .seat import Seat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Session(Child):
    """A remote command whose stdin and stdout are ours.

    :param shared: over one of the multiplexed connections; else, and always with an *agent*, over one of its own.
    :param lend: socket by which tools of the same action may use its own connection (:mod:`.lent`).

    The other parameters are those of :func:`.ssh.command`.
    """

    def __init__(
        self,
        host: str,
        argv: Sequence[str],
        *,
        shared: bool,
        agent: bool = False,
        ciphers: str = "",
        connect: int = 10,
        lend: str = "",
    ) -> None:
        self.host = ssh.check_login(host)
        self._seat = Seat(host) if shared and not agent else None
        connection = self._seat.connection if self._seat else None
        given = ssh.command(host, argv, connection=connection, agent=agent, ciphers=ciphers, connect=connect, lend=lend)
        super().__init__(given)

    def end(self, patience: float = 5) -> int:
        """Hang up, wait, and kill it when *patience* seconds are over; the exit code is returned."""
        code = super().end(patience)
        if self._seat:
            self._seat.leave()
        return code

# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for data: how long without progress, and never past the end of who wants it."""

from __future__ import annotations

import errno
import select
import time

from ..command import going_on
from ..pace import SLICE


class Clock:
    """Seconds without progress, however many connections and retries they are spread over.

    :param end: time of ``time.monotonic()`` that no progress puts off.
    """

    def __init__(self, stall: float, end: float = float("inf")) -> None:
        self.stall = stall
        self.end = end
        self.touch()

    def touch(self) -> None:
        """There was progress."""
        self.until = min(time.monotonic() + self.stall, self.end)

    def left(self) -> float:
        """The seconds that remain; ``TimeoutError`` when there are none, ``InterruptedError`` after a stop."""
        going_on()
        left = self.until - time.monotonic()
        if left <= 0:
            raise TimeoutError(errno.ETIMEDOUT, f"nothing came for {self.stall:g} seconds")
        return left

    def wait(self, handle: int, write: bool = False, until: float = float("inf")) -> None:
        """Wait until a descriptor can be read, or written; errors count as ready, the call itself will tell.

        :param until: a time of ``time.monotonic()`` that ends the wait too, with ``TimeoutError``.
        """
        poll = select.poll()
        poll.register(handle, select.POLLOUT if write else select.POLLIN)
        while True:
            left = min(self.left(), until - time.monotonic())
            if left <= 0:
                raise TimeoutError(errno.ETIMEDOUT, "no answer")
            if poll.poll(min(left, SLICE) * 1000 + 1):
                return

    def pause(self, seconds: float) -> None:
        """Sleep, unless the time is over before that."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(max(0.0, min(self.left(), SLICE, end - time.monotonic())))

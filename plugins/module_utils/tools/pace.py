# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How fast data may move: a limit in words, and waiting for its turn.

Standard library and what :mod:`.peer` sends only: who sends a stream to us keeps to our limit.
"""

from __future__ import annotations

import time

from .command import going_on

#: A stop is noticed within so many seconds.
SLICE = 0.25
#: Seconds of quiet that may be caught up with at more than the limit.
_BURST = 0.25


class Pace:
    """A token bucket: at most *rate* bytes per second; of a quiet time, a quarter of a second is made up for.

    :param rate: 0 for no limit.
    """

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self._due = time.monotonic()

    def take(self, count: int) -> None:
        """Return when *count* bytes more may have passed."""
        if not self.rate:
            return
        now = time.monotonic()
        self._due = max(self._due, now - _BURST) + count / self.rate
        while self._due > now:
            going_on()
            time.sleep(min(SLICE, self._due - now))
            now = time.monotonic()

    def block(self, most: int) -> int:
        """Bytes to take at once, *most* without a limit: small ones under it, so that data flows evenly."""
        return min(most, max(4096, self.rate // 16)) if self.rate else most

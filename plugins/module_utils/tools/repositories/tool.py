# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tools that store for a long time and say meanwhile how far they are: rsync, restic."""

from __future__ import annotations

import signal
import time

from ..command import going_on
from ..sources.pace import Clock
from ..sources.stdout import Running

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: Of what a tool says, so many bytes at the end are kept.
_KEPT = 1 << 20
#: Seconds that a tool has to clear up when it is told to end.
_PATIENCE = 10


class Said:
    """What a tool said and how it ended.

    :ivar code: exit code, negative for a signal; :ivar out: its last lines; :ivar err: the end of its stderr.
    """

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err


def follow(
    argv: Sequence[str],
    stall: float,
    heard: Callable[[str], bool],
    stdin: bytes = b"",
    variables: dict[str, str] | None = None,
) -> Said:
    """Run a tool to its end and hear every line that it writes.

    A tool that is no longer wanted is interrupted, so that it can take its locks off a repository, and killed when it
    does not end by that.

    :param stall: seconds without progress after which it is ended.
    :param heard: given each line; says whether it is progress.
    :raises TimeoutError: there was none for so long.
    :raises InterruptedError: the caller went away.
    """
    running = Running(argv, variables, stdin, end="INT")
    clock = Clock(stall)
    until, kept, line = clock.until, bytearray(), bytearray()
    try:
        while data := running.read(65536, clock):
            # words are no progress: what they say may be
            clock.until = until
            going_on()
            line += data.replace(b"\r", b"\n")
            *whole, rest = line.split(b"\n")
            line = bytearray(rest)
            for words in whole:
                if words and heard(words.decode("utf-8", "replace")):
                    until = time.monotonic() + stall
            clock.until = until
            kept += data
            del kept[:-_KEPT]
        clock.touch()
        text, code = running.ended(clock)
    except BaseException:
        running.stop(signal.SIGINT, _PATIENCE)
        raise
    if line:
        heard(line.decode("utf-8", "replace"))
    return Said(code, kept.decode("utf-8", "replace"), text)

# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How far something is that writes a file and does not tell: by the room that the file takes more and more of."""

from __future__ import annotations

import os
import stat
from _thread import allocate_lock, start_new_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from .progress import Progress

#: Seconds before the first look, and between two; what is over sooner needs no telling.
_EVERY = 1.0


class Growth:
    """Tells of a file, or of a directory with all in it, as long as the body of a ``with`` runs.

    :param path: what grows; nobody is told where it is empty.
    :param tell: makes what tells it, once it is worth it.
    """

    def __init__(self, path: str, tell: Callable[[], Progress]) -> None:
        self._path = path
        self._tell = tell
        self._progress: Progress | None = None
        self._before = 0
        # released when the body is over; taken by the thread as long as it looks
        self._running = allocate_lock()
        self._looking = allocate_lock()

    def __enter__(self) -> None:
        self._running.acquire()
        if self._path:
            self._before = room_of(self._path)
            self._looking.acquire()
            start_new_thread(self._look, ())

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._running.release()
        with self._looking:
            if self._progress:
                self._progress.end(str(error) if error else "")

    def _look(self) -> None:
        try:
            while not self._running.acquire(timeout=_EVERY):
                self._progress = self._progress or self._tell()
                self._progress.add(max(0, room_of(self._path) - self._before - self._progress.done))
        finally:
            self._looking.release()


def room_of(path: str) -> int:
    """Bytes that a file, or all files of a directory, take on disk; 0 for what is not there."""
    try:
        info = os.lstat(path)
        if not stat.S_ISDIR(info.st_mode):
            return info.st_blocks * 512
        return sum(room_of(entry.path) for entry in os.scandir(path))
    except OSError:
        # it comes and goes while we look
        return 0

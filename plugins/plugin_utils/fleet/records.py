# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a long run has done, a line for each step, on this machine: for the report of the runs that follow it.

What has to be done next never follows from it, but from oned. One run at a time holds the file.
"""

from __future__ import annotations

import json
import os
import threading
import time

from ...module_utils._errors import Busy, from_os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Below the home directory of who runs it.
FOLDER = ".one_storage"


class Records:
    """A file of records.

    :param name: what the run is about: ``migrate-100-102``.
    :param held: whether this process keeps other runs from it.
    :raises Busy: another run holds it.
    """

    def __init__(self, name: str, held: bool) -> None:
        import fcntl

        folder = os.path.join(os.path.expanduser("~"), FOLDER)
        self.path = os.path.join(folder, f"{name}.jsonl")
        self._lock = threading.Lock()
        try:
            os.makedirs(folder, mode=0o700, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
            self._handle = os.open(self.path, flags, 0o600)
            if held:
                fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(f"Another run holds {self.path}", todo="wait for it, or end it") from None
        except OSError as error:
            raise from_os(error, f"write {self.path}") from None

    def read(self) -> list[dict[str, Any]]:
        """All records of all runs, the oldest first; what a crash cut off is left out."""
        found = []
        with open(self.path, encoding="utf-8", errors="replace") as file:
            for line in file:
                try:
                    record = json.loads(line)
                except ValueError:
                    continue
                if isinstance(record, dict):
                    found.append(record)
        return found

    def add(self, **record: Any) -> None:
        """Append a record; it is on disk when this returns."""
        line = json.dumps({"time": int(time.time()), **record}) + "\n"
        with self._lock:
            try:
                os.write(self._handle, line.encode())
                os.fsync(self._handle)
            except OSError as error:
                raise from_os(error, f"write {self.path}") from None

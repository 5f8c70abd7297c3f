# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Watches how much memory the Python processes on the lab's hosts ever have."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab.hosts import Lab
from tests.lab.hosts.proc import all_pids, comm_of, namespace_of

#: Seconds between two looks. The mark only ever rises, so no more is missed than what a process takes in its last ones.
PAUSE = 0.005
_MARK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


class Watch:
    """The greatest resident set of each Python process that began while the watch ran.

    :ivar peaks: in KiB, by host and process number.
    """

    def __init__(self, lab: Lab) -> None:
        self.peaks: dict[tuple[str, int], int] = {}
        self._spaces = {namespace_of(lab.leader(host), "pid") or host: host for host in lab.hosts}
        # by process: its host, empty for what is not looked at. No process ever changes its number space.
        self._known = dict.fromkeys(all_pids(), "")
        self._over = threading.Event()

    def most(self, host: str) -> float:
        """Megabytes (2^20 bytes) of the largest process on a host; 0 when none was seen."""
        return max((peak for (where, _pid), peak in self.peaks.items() if where == host), default=0) / 1024

    def run(self) -> None:
        """Look until told to stop."""
        while not self._over.wait(PAUSE):
            for pid in all_pids():
                self._look(pid)

    def stop(self) -> None:
        """End the watch."""
        self._over.set()

    def _look(self, pid: int) -> None:
        if pid not in self._known:
            self._known[pid] = self._spaces.get(namespace_of(pid, "pid") or "", "")
        host = self._known[pid]
        if not host or not comm_of(pid).startswith("python"):
            return
        try:
            text = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return
        found = _MARK.search(text)
        if found:
            self.peaks[(host, pid)] = max(self.peaks.get((host, pid), 0), int(found.group(1)))


@contextmanager
def watched(lab: Lab) -> Iterator[Watch]:
    """Watch while something runs; processes that are there already, such as the workers, are left out."""
    watch = Watch(lab)
    thread = threading.Thread(target=watch.run, daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        watch.stop()
        thread.join(5.0)

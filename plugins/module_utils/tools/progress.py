# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How far a long transfer is: a small JSON file for who watches, lines in syslog, and figures for the end.

oned reads a wrapper's stderr only when the action has ended, so what happens meanwhile is told here. The file lies
beside the journal, ``<datastore>/.one_storage/<key>.status``; it is replaced by rename, at most once a second, and gone
at the end. That of a dead run is swept with its workshop. Nothing of it can fail a transfer.
"""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Seconds between two files, and two lines in syslog.
_FILE_EVERY = 1.0
_LINE_EVERY = 10.0
#: The rate is that of about the last so many seconds.
_RECENT = 5.0


class Progress:
    """One transfer.

    :param status: path of the status file; empty for none.
    :param fresh: where the file is written before it is renamed: in the workshop, which is cleared with a dead run.
    :param run: id of the run.
    :param what: what moves, for people: ``copy https://…``.
    :param total: bytes that are expected; None when nobody knows.
    """

    def __init__(self, status: str, fresh: str, run: str, what: str, total: int | None = None) -> None:
        self.total = total
        self.done = 0
        self._status = status
        self._fresh = fresh
        self._run = run
        self._what = what
        self._began = time.monotonic()
        self._started = time.time()
        self._next_file = self._began + _FILE_EVERY
        self._next_line = self._began + _LINE_EVERY
        self._mark = (self._began, 0)
        self._rate = 0.0
        self._lines = False

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._began

    def add(self, count: int) -> None:
        """So many bytes more have passed."""
        self.done += count
        now = time.monotonic()
        if now >= self._next_file:
            self._measure(now)
            self._next_file = now + _FILE_EVERY
            self._write()
            if now >= self._next_line:
                self._next_line = now + _LINE_EVERY
                self._log(self.line())

    def record(self) -> dict[str, Any]:
        """Everything as plain data: sizes in bytes, ``rate`` in bytes per second, ``left`` in seconds."""
        return {
            "run": self._run,
            "pid": os.getpid(),
            "host": os.uname().nodename,
            "what": self._what,
            "done": self.done,
            "total": self.total,
            "rate": int(self._rate),
            "left": self._left(),
            "started": int(self._started),
            "written": round(time.time(), 1),
        }

    def line(self) -> str:
        """How far it is, in words."""
        return told({**self.record()})

    def end(self, failure: str = "") -> None:
        """The file goes; syslog hears how it ended, when it had heard of it or it failed.

        :param failure: why it ended early; empty when it is whole.
        """
        if self._status:
            for path in (self._status, self._fresh):
                try:
                    os.unlink(path)
                except OSError:
                    pass
        if failure:
            self._log(f"{self._what}: failed after {size_of(self.done)}: {failure}")
        else:
            self._log(f"{self._what}: {summary(self.done, self.seconds)}")

    def _measure(self, now: float) -> None:
        since, bytes_then = self._mark
        self._rate = (self.done - bytes_then) / max(now - since, 0.001)
        if now - since >= _RECENT:
            self._mark = (now, self.done)

    def _left(self) -> int | None:
        if self.total is None or self._rate <= 0:
            return None
        return int(max(self.total - self.done, 0) / self._rate)

    def _write(self) -> None:
        if not self._status:
            return
        from .codec import dumps

        try:
            handle = os.open(self._fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
            try:
                os.write(handle, dumps(self.record()) + b"\n")
            finally:
                os.close(handle)
            os.rename(self._fresh, self._status)
        except OSError:
            # who watches has to wait; the transfer does not
            pass

    def _log(self, text: str) -> None:
        import syslog

        syslog.openlog("one_storage", syslog.LOG_PID, syslog.LOG_DAEMON)
        syslog.syslog(syslog.LOG_INFO, f"run {self._run}: {text}")


def told(record: dict[str, Any]) -> str:
    """A status file's content in words: ``copy /x: 120.0 MB of 3.0 GB, 85.0 MB/s, 34 s left``."""
    text = f"{record.get('what')}: {size_of(_number(record.get('done')))}"
    total, rate, left = record.get("total"), _number(record.get("rate")), record.get("left")
    if isinstance(total, int):
        text += f" of {size_of(total)}"
    text += f", {size_of(rate)}/s"
    if isinstance(left, int):
        text += f", {left} s left"
    return text


def summary(count: int, seconds: float) -> str:
    """What a transfer was, once it is over: ``3.0 GB in 34.1 s, 90.1 MB/s``."""
    return f"{size_of(count)} in {seconds:.1f} s, {size_of(int(count / max(seconds, 0.001)))}/s"


def size_of(count: int) -> str:
    """Bytes for people, in powers of 1024."""
    value, unit = float(count), "bytes"
    for unit in ("bytes", "KB", "MB", "GB", "TB"):
        if value < 1024 or unit == "TB":
            break
        value /= 1024
    return f"{count} bytes" if unit == "bytes" else f"{value:.1f} {unit}"


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0

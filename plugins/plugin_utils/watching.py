# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs in the datastores of many hosts, heard over one SSH session to each.

A host needs Python and nothing of ours: what it runs is sent along (:mod:`..module_utils.tools.operations`). It tells
everything again and again until its session ends. This machine is asked in a process of its own as well, since storage
may hang.
"""

from __future__ import annotations

import os
import select
import threading
import time

from ..module_utils._errors import StorageError, Unreachable, one_line
from ..module_utils.tools import peer
from ..module_utils.tools.codec import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..module_utils.tools.session import Session

    Rows = list[dict[str, Any]]

#: Logins that are being made at once: sshd refuses more than a few at a time, and each costs this machine, too.
_LOGINS = 16
#: Seconds without a word after which a host counts as hung, and those before the next try.
_SILENCE = 20.0
_PAUSE = 5.0
_LONGEST = 16 << 20
_TEXTS = ("datastore", "object", "state", "run", "action", "driver", "peer", "what", "host")
_NUMBERS = ("pid", "steps", "begun", "done_bytes", "total_bytes", "rate", "left_seconds", "started", "written")


class Watch:
    """Hosts that are listened to, each by a thread.

    :param hosts: their names; an empty one is this machine.
    :param every: seconds between two words of a host; 0 to hear each once.
    :param connect: seconds to wait for a session.
    """

    def __init__(self, hosts: list[str], folders: list[str], every: float, connect: float = 15) -> None:
        self.hosts = hosts
        self._folders = folders
        self._every = every
        self._settings = peer.Settings(connect=connect)
        self._logins = threading.Semaphore(_LOGINS)
        self._guard = threading.Lock()
        self._heard: dict[str, tuple[Rows, list[str]]] = {}
        self._failed: dict[str, str] = {}
        self._open: dict[str, Session] = {}
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._listen, args=(host,), daemon=True) for host in hosts]
        for thread in self._threads:
            thread.start()

    def wait(self, seconds: float) -> None:
        """Until each host was heard, or failed, or the time is over."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and len({*self._heard, *self._failed}) < len(self.hosts):
            time.sleep(0.02)

    def now(self) -> tuple[Rows, list[str]]:
        """What runs, and a sentence for each host or datastore that is not seen.

        Hosts that share a datastore all tell of the same run: it is told once, by that which knows most of it.
        """
        with self._guard:
            heard, failed = dict(self._heard), dict(self._failed)
        found: dict[tuple[str, ...], dict[str, Any]] = {}
        missed = [failed[host] for host in self.hosts if host in failed]
        for host in self.hosts:
            rows, sentences = heard.get(host, ([], []))
            missed += [f"{_shown(host)}: {sentence}" for sentence in sentences]
            for row in rows:
                key = (row["datastore"], row["object"], row["run"] or _shown(host))
                row = {**row, "seen_on": _shown(host)}
                # who runs it knows best; of the others any
                if key not in found or row["host"] == row["seen_on"]:
                    found[key] = row
        order = sorted(found.values(), key=lambda row: (row["host"] or row["seen_on"], row["datastore"], row["object"]))
        waiting = [host for host in self.hosts if host not in heard and host not in failed]
        missed += [f"{_shown(host)} has not answered yet" for host in waiting]
        return order, missed

    def close(self) -> None:
        """End all sessions."""
        self._over.set()
        with self._guard:
            sessions = list(self._open.values())
        for session in sessions:
            session.kill()
        for thread in self._threads:
            thread.join(2)

    def _listen(self, host: str) -> None:
        while not self._over.is_set():
            try:
                self._follow(host)
            except (StorageError, OSError, ValueError) as error:
                with self._guard:
                    self._heard.pop(host, None)
                    self._failed[host] = one_line(str(error))
            if not self._every or self._over.wait(_PAUSE):
                return

    def _follow(self, host: str) -> None:
        """Hear a host until its session ends, or once.

        :raises StorageError: why the session ended.
        """
        with self._logins:
            if self._over.is_set():
                return
            session = peer.open_operations(host, self._settings, self._folders, self._every)
        with self._guard:
            self._open[host] = session
        buffer = b""
        try:
            while not self._over.is_set():
                if not select.select([session.stdout], [], [], _SILENCE + self._every)[0]:
                    session.kill()
                    raise Unreachable(
                        f"{_shown(host)} has not answered for {_SILENCE + self._every:g} seconds",
                        todo="does a mount hang there",
                    )
                data = os.read(session.stdout, 1 << 18)
                if not data:
                    break
                *lines, buffer = (buffer + data).split(b"\n")
                if len(buffer) > _LONGEST:
                    raise Unreachable(f"{_shown(host)} says more than anybody could read")
                for line in lines:
                    self._hear(host, line)
                    if not self._every:
                        return
            if not self._over.is_set():
                raise Unreachable(f"The connection to {_shown(host)} broke", detail=session.said())
        finally:
            with self._guard:
                self._open.pop(host, None)
            session.kill()
            session.end()

    def _hear(self, host: str, line: bytes) -> None:
        told = loads(line)
        rows = [_row(row) for row in told["operations"]] if isinstance(told, dict) else []
        with self._guard:
            self._heard[host] = (rows, [one_line(str(text)) for text in told["missed"]])
            self._failed.pop(host, None)


def _shown(host: str) -> str:
    return host or os.uname().nodename


def _row(row: Any) -> dict[str, Any]:
    """What a host said of an operation, with texts and numbers where they belong, whatever it said."""
    found: dict[str, Any] = {}
    for name in _TEXTS:
        value = row.get(name)
        found[name] = one_line(value) if isinstance(value, str) else ""
    for name in _NUMBERS:
        value = row.get(name)
        found[name] = value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
    return found

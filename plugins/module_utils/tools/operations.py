# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs in datastores, out of the journals and status files that actions keep there; nothing is changed.

Standard library, :mod:`.codec` and :mod:`.host` only: it is sent to hosts as source (:func:`.peer.open_operations`), so
that a host needs nothing of ours to be watched.
"""

from __future__ import annotations

import os

from .codec import dumps, loads
from .hidden import HIDDEN, STATUS
from .host import Host

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

JOURNAL = ".journal"
#: Bytes of a journal or status file that are read: a journal of thousands of files is longer, its head is not.
_JOURNAL_BYTES = 1 << 20
_STATUS_BYTES = 8192


def running(folders: list[str]) -> tuple[list[dict[str, Any]], list[str]]:
    """What runs in some datastores, or folders of them, and a sentence for each that cannot be looked at.

    Each has ``datastore``, a path; ``object``, the key of what it works on; ``state``: ``running``, or ``left`` when
    nobody holds the object any more, so that the next action on the datastore settles it. Out of the journal come
    ``run``, ``action``, ``driver``, ``peer``, ``pid``, ``steps`` (planned so far) and ``begun``. Out of the status
    file, which long steps have, come ``what``, ``host``, ``done_bytes``, ``total_bytes``, ``rate`` (bytes per second),
    ``left_seconds``, ``started`` and ``written`` (seconds since the epoch). What is not known is None.
    """
    found: list[dict[str, Any]] = []
    missed: list[str] = []
    host = Host(os.uname().nodename)
    for folder in folders:
        try:
            stores = _datastores(folder)
        except OSError as error:
            missed.append(f"{folder} is not looked at: {error.strerror}")
            continue
        for store in stores:
            try:
                found += _in_datastore(host, store)
            except OSError as error:
                missed.append(f"{store} is not looked at: {error.strerror}")
    return found, missed


def serve(folders: list[str], every: float) -> None:
    """Write a frame that says we are here, then a line of JSON at once and every so many seconds.

    It ends when stdin closes, which is the caller's life line.

    :param every: 0 for one line only.
    """
    import select

    hello = dumps({"ready": True})
    _write(len(hello).to_bytes(4, "big") + hello)
    while True:
        found, missed = running(folders)
        _write(dumps({"operations": found, "missed": missed}) + b"\n")
        if not every or select.select([0], [], [], every)[0]:
            return


def _write(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


def _datastores(folder: str) -> list[str]:
    """The folder itself when it is a datastore, else those in it."""
    names = sorted(os.listdir(folder), key=lambda name: (len(name), name))
    if HIDDEN in names:
        return [folder]
    return [
        path for path in (os.path.join(folder, name) for name in names) if os.path.isdir(os.path.join(path, HIDDEN))
    ]


def _in_datastore(host: Host, store: str) -> list[dict[str, Any]]:
    hidden = os.path.join(store, HIDDEN)
    keys = {name[: -len(end)] for name in os.listdir(hidden) for end in (JOURNAL, STATUS) if name.endswith(end)}
    rows = []
    for key in sorted(keys):
        journal, status = _journal(os.path.join(hidden, key + JOURNAL)), _status(os.path.join(hidden, key + STATUS))
        if journal or status:
            state = "running" if host.held(store, key) else "left"
            rows.append({"datastore": store, "object": key, "state": state, **_NOTHING, **journal, **status})
    return rows


_NOTHING: dict[str, Any] = dict.fromkeys(
    (
        *("run", "action", "driver", "peer", "pid", "steps", "begun", "what", "host"),
        *("done_bytes", "total_bytes", "rate", "left_seconds", "started", "written"),
    )
)


def _journal(path: str) -> dict[str, Any]:
    """A journal's head and how far it is; empty when there is none that can be read."""
    found: dict[str, Any] = {}
    try:
        with open(path, "rb") as file:
            started = os.fstat(file.fileno()).st_mtime
            lines = file.read(_JOURNAL_BYTES).split(b"\n")
    except OSError:
        return {}
    steps, begun = 0, 0
    for line in lines:
        try:
            record = loads(line)
            if "format" in record:
                found = {name: record.get(name) for name in ("run", "action", "driver", "peer", "pid")}
            steps += len(record.get("steps", []))
            begun += "begin" in record
        except (ValueError, TypeError, AttributeError):
            # the last line may be half there
            continue
    return {**found, "steps": steps, "begun": begun, "written": int(started)} if found else {}


def _status(path: str) -> dict[str, Any]:
    """What a status file says (:mod:`.progress`); empty when there is none, or what is there is none."""
    try:
        with open(path, "rb") as file:
            record = loads(file.read(_STATUS_BYTES))
    except (OSError, ValueError):
        return {}
    if not isinstance(record, dict):
        return {}
    texts = {name: record[name] for name in ("run", "host", "what") if isinstance(record.get(name), str)}
    numbers = (("done", "done_bytes"), ("total", "total_bytes"), ("rate", "rate"), ("left", "left_seconds"))
    values = {name: record[key] for key, name in numbers if isinstance(record.get(key), int)}
    times = {name: record[name] for name in ("started", "written") if isinstance(record.get(name), (int, float))}
    return {**texts, **values, **times} if texts.get("what") else {}

# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Journals that lie in a pool, beside the volumes that they speak of: any host that reaches the pool can settle them.

Each is one entry of the pool's object ``one_storage`` (:mod:`..tools.rbd.beds`), written whole: journals are short, and
an entry is never torn.
"""

from __future__ import annotations

import time

from ..tools.codec import dumps
from .journal import Found, Journal, Shelf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ..tools.rbd.cluster import Cluster
    from .base import Step


class PoolJournal(Journal):
    """An open journal in a pool."""

    def __init__(self, cluster: Cluster, datastore: str, key: str, head: dict[str, Any]) -> None:
        super().__init__(datastore, key, head)
        self.path = f"{datastore} {key}"
        self._cluster = cluster
        self._datastore = datastore
        self._key = key
        self._text = ""
        self._begun = False

    def plan(self, steps: list[Step]) -> None:
        if not self._begun:
            self._begun = True
            self._add(self._head)
        self._add({"steps": [step.record() for step in steps]})
        self._flush()

    def mark(self, what: str, number: int, evidence: dict[str, Any] | None = None, durable: bool = False) -> None:
        self._add({what: number, "evidence": evidence} if evidence else {what: number})
        # that a step is done is seen by whoever looks at the volume
        if what not in ("done", "there"):
            self._flush()

    def end(self, durable: bool) -> None:
        if self._begun:
            self.mark("ended", 1)

    def close(self) -> None:
        if self._begun:
            self._begun = False
            self._cluster.set_journal(self._datastore, self._key, "")

    def leave(self) -> None:
        self._begun = False

    def _add(self, record: dict[str, Any]) -> None:
        self._text += dumps(record).decode() + "\n"

    def _flush(self) -> None:
        self._cluster.set_journal(self._datastore, self._key, f"{time.time():.3f}\n{self._text}")


class PoolShelf(Shelf):
    """Where the journals of a pool lie."""

    def __init__(self, cluster: Cluster, datastore: str) -> None:
        super().__init__(datastore)
        self._cluster = cluster

    def new(self, key: str, head: dict[str, Any]) -> Journal:
        return PoolJournal(self._cluster, self._datastore, key, head)

    def names(self) -> list[str]:
        return self._cluster.journals(self._datastore)

    def found(self, key: str, load: Callable[[dict[str, Any]], None]) -> Found | None:
        written, _line, text = self._cluster.journal(self._datastore, key).partition("\n")
        return Found(f"{self._datastore} {key}", text.encode(), float(written), load) if written else None

    def forget(self, key: str) -> None:
        self._cluster.set_journal(self._datastore, key, "")

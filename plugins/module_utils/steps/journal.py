# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal of one action on one object: what it means to do, written before it is done.

``<datastore>/.one_storage/<key>.journal`` holds a line of JSON for the head, one for every batch of steps, one for
every mark. Each batch is on disk before its first step. A journal is a hint: who finds one asks every step what the
disk says (rule 7).
"""

from __future__ import annotations

import os

from .._errors import StorageError
from ..tools.codec import dumps, loads
from ..tools.hidden import HIDDEN
from .base import Step, restore
from .claim import POOL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .base import Site

FORMAT = 1


class Journal:
    """An open journal that this process writes."""

    def __init__(self, datastore: str, key: str, head: dict[str, Any]) -> None:
        self.path = path_of(datastore, key)
        self._head = {"format": FORMAT, **head}
        self._handle = -1

    def plan(self, steps: list[Step]) -> None:
        """Write a batch of steps; it is on disk when this returns."""
        fresh = self._handle < 0
        if fresh:
            os.makedirs(os.path.dirname(self.path), exist_ok=True)
            self._handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            self._line(self._head)
        self._line({"steps": [step.record() for step in steps]})
        os.fsync(self._handle)
        if fresh:
            folder = os.open(os.path.dirname(self.path), os.O_RDONLY | os.O_DIRECTORY)
            os.fsync(folder)
            os.close(folder)

    def mark(self, what: str, number: int, evidence: dict[str, Any] | None = None, durable: bool = False) -> None:
        """Note that a step begins, is done or was done before, with what is needed to know its work again."""
        self._line({what: number, "evidence": evidence} if evidence else {what: number})
        if durable:
            os.fsync(self._handle)

    def end(self, durable: bool) -> None:
        """Note that the action ended well: who finds this journal has only to clear up.

        :param durable: for actions whose finished work is undone when their journal is found open.
        """
        if self._handle >= 0:
            self.mark("ended", 1, durable=durable)

    def close(self) -> None:
        """Nothing of the run is left: the journal goes."""
        if self._handle < 0:
            return
        os.close(self._handle)
        self._handle = -1
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            pass

    def leave(self) -> None:
        """Stop writing but keep the file: something could not be undone and is tried again later."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _line(self, record: dict[str, Any]) -> None:
        os.write(self._handle, dumps(record) + b"\n")


class Found:
    """A journal that another run left.

    :param path: where it is, for people; :param text: what stands in it; :param written: when it was last written to,
        in seconds since the epoch.
    :param load: loads the driver that a journal's head names, as that may bring steps of its own.
    """

    def __init__(self, path: str, text: bytes, written: float, load: Callable[[dict[str, Any]], None]) -> None:
        self._load = load
        self.path = path
        self.head: dict[str, Any] = {}
        self.steps: list[Step] = []
        self.begun: set[int] = set()
        #: Steps that had nothing to do.
        self.there: set[int] = set()
        self.ended = False
        self.written = written
        for line in text.splitlines(True):
            try:
                self._read(loads(line))
            except (ValueError, KeyError, TypeError, IndexError):
                # the last line of a journal may be torn by the crash; what stands before it is whole
                break

    def _read(self, record: dict[str, Any]) -> None:
        if "format" in record:
            if record["format"] != FORMAT:
                raise StorageError(
                    f"The journal {self.path} has format {record['format']}, this build reads {FORMAT}",
                    todo="finish it with the build that wrote it",
                )
            self.head = record
            self._load(record)
        elif "steps" in record:
            self.steps += [restore(item) for item in record["steps"]]
        elif "begin" in record:
            self.begun.add(int(record["begin"]))
            vars(self.steps[int(record["begin"])]).update(record.get("evidence") or {})
        elif "there" in record:
            self.there.add(int(record["there"]))
        elif "ended" in record:
            self.ended = True


def path_of(datastore: str, key: str) -> str:
    """Where the journal of an object lies."""
    return os.path.join(datastore, HIDDEN, key + ".journal")


class Shelf:
    """Where the journals of a datastore lie: a directory of it."""

    def __init__(self, datastore: str) -> None:
        self._datastore = datastore

    def new(self, key: str, head: dict[str, Any]) -> Journal:
        """A journal that will be written."""
        return Journal(self._datastore, key, head)

    def names(self) -> list[str]:
        """The objects that have a journal."""
        try:
            names = sorted(os.listdir(os.path.join(self._datastore, HIDDEN)))
        except (FileNotFoundError, NotADirectoryError):
            return []
        return [name[: -len(".journal")] for name in names if name.endswith(".journal")]

    def found(self, key: str, load: Callable[[dict[str, Any]], None]) -> Found | None:
        """What another run left; None when there is nothing."""
        path = path_of(self._datastore, key)
        try:
            with open(path, "rb") as file:
                return Found(path, file.read(), os.fstat(file.fileno()).st_mtime, load)
        except FileNotFoundError:
            return None

    def forget(self, key: str) -> None:
        """Remove a journal; fine when it is gone."""
        try:
            os.unlink(path_of(self._datastore, key))
        except FileNotFoundError:
            pass


def shelf(site: Site, datastore: str) -> Shelf:
    """Where the journals of a datastore lie."""
    if datastore.startswith(POOL):
        from .pool_journal import PoolShelf

        return PoolShelf(site.volumes(), datastore)
    return Shelf(datastore)

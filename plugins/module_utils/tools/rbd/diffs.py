# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a volume changed between two snapshots, and that alone as a file. Runs as a program."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .volumes import Volumes

_BLOCK = 4 << 20
#: What begins a volume's notes of whose chain its snapshots belong to; the snapshot's name follows.
_OWNER = "one_storage.owner."
#: What qcow2 files are made of, in bytes.
_CLUSTER = 1 << 16


class _Parts:
    """Parts in the order of their places, widened to whole clusters of the file that they go into.

    A cluster there that is written in part would hide with its rest what earlier increments have: of one that did not
    change as a whole all is taken.

    :ivar found: what, where it begins, where it ends.
    """

    def __init__(self) -> None:
        self.found: list[tuple[str, int, int]] = []
        self._done = 0

    def add(self, what: str, start: int, end: int, size: int) -> None:
        """Add what lies behind all that there is, but for a cluster that they share."""
        low, high = start // _CLUSTER * _CLUSTER, min(-(-end // _CLUSTER) * _CLUSTER, size)
        if start == end:
            return
        if what == "copy":
            self._append("copy", low, high)
            return
        inner, outer = -(-start // _CLUSTER) * _CLUSTER, size if end == size else end // _CLUSTER * _CLUSTER
        if inner > outer:
            self._append("copy", low, high)
            return
        self._append("copy", low, inner)
        self._append("zero", inner, outer)
        self._append("copy", outer, high)

    def _append(self, what: str, start: int, end: int) -> None:
        start = max(start, self._done)
        if start >= end:
            return
        self._done = end
        if self.found and self.found[-1][0] == what and self.found[-1][2] == start:
            self.found[-1] = (what, self.found[-1][1], end)
        else:
            self.found.append((what, start, end))


class Diffs:
    """Operations of backups. Parts are noted as lines: ``copy`` or ``zero``, offset, length, in bytes."""

    def __init__(self, volumes: Volumes) -> None:
        self._volumes = volumes

    def note(self, pool: str, name: str, snapshot: str, before: str, whole: bool, path: str) -> int:
        """Note in a new file what a snapshot has; the size of the snapshot.

        :param before: the snapshot since which changes are wanted; empty for all data that there is.
        :param whole: without *before*, note what has no data as zeros, too.
        """
        parts = _Parts()
        place = 0
        with self._volumes.open(pool, name, snapshot, read_only=True) as image:
            size = int(image.size())

            def extent(offset: int, length: int, exists: bool) -> None:
                nonlocal place
                if whole:
                    parts.add("zero", place, offset, size)
                if exists or before or whole:
                    parts.add("copy" if exists else "zero", offset, offset + length, size)
                place = offset + length
                self._volumes.passed(place, size)

            image.diff_iterate(0, size, before or None, extent)
        if whole:
            parts.add("zero", place, size, size)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            for what, start, end in parts.found:
                file.write(f"{what} {start} {end - start}\n")
        return size

    def own(self, pool: str, name: str, snapshot: str, vm: int) -> None:
        """Write on a volume to which VM's chain of backups a snapshot belongs: an image may go from one to another."""
        with self._volumes.open(pool, name) as image:
            known = {found["name"]: int(found["id"]) for found in image.list_snaps()}
            for key, _value in list(image.metadata_list()):
                if key.startswith(_OWNER) and key[len(_OWNER) :] not in known:
                    image.metadata_remove(key)
            image.metadata_set(_OWNER + snapshot, f"{vm} {known[snapshot]}")

    def owner(self, pool: str, name: str, snapshot: str) -> int:
        """The VM that :meth:`own` named for this very snapshot; -1 for one that stock took."""
        with self._volumes.open(pool, name, read_only=True) as image:
            try:
                vm, number = str(image.metadata_get(_OWNER + snapshot)).split()
            except (KeyError, self._volumes.rbd.Error):
                return -1
            known = {found["name"]: int(found["id"]) for found in image.list_snaps()}
            return int(vm) if known.get(snapshot) == int(number) else -1

    def pick(self, pool: str, name: str, snapshot: str, parts: str, path: str) -> None:
        """Write what is noted in *parts* as data into a new file, as large as the snapshot; all else is holes."""
        zeros = bytes(_BLOCK)
        with self._volumes.open(pool, name, snapshot, read_only=True) as image:
            size = int(image.size())
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
            try:
                os.ftruncate(handle, size)
                with open(parts, encoding="ascii") as noted:
                    for what, offset, length in (line.split() for line in noted):
                        place, end = int(offset), int(offset) + int(length)
                        while what == "copy" and place < end:
                            # pieces end where objects do
                            data = image.read(place, min(_BLOCK - place % _BLOCK, end - place))
                            if not zeros.startswith(data):
                                _write(handle, data, place)
                            place += len(data)
                            self._volumes.passed(place, size)
            finally:
                os.close(handle)


def _write(handle: int, data: Any, place: int) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(handle, view, place)
        view, place = view[count:], place + count

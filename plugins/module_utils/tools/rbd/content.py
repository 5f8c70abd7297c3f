# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What volumes hold: written as it comes, read into files, counted. Runs as a program."""

from __future__ import annotations

import errno
import os
import queue
import threading

from .blocks import hashed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .volumes import Volumes

_BLOCK = 4 << 20
#: Writes that may be on their way.
_AHEAD = 10


class Writer:
    """An open volume that is written at many places at once. An error is told by the next call that can tell it.

    Each write is a plain call in a thread of its own: librbd may still touch a volume after it has said by a callback
    that a write is done, so that a volume which is closed then takes the process with it.
    """

    def __init__(self, volumes: Volumes, pool: str, name: str) -> None:
        self._image = volumes.open(pool, name)
        self._orders: queue.Queue[tuple[bytes, int] | None] = queue.Queue(1)
        self._workers: list[threading.Thread] = []
        self._trouble: list[Exception] = []
        self.size = int(self._image.size())

    def write(self, data: bytes, offset: int) -> None:
        """Write; the data is on its way when this returns."""
        if self._trouble:
            return
        if offset + len(data) > self.size:
            # what comes says only at its end how long it is
            self.check()
            self.size = max(2 * self.size, offset + len(data))
            self._image.resize(self.size)
        self._orders.put((data, offset))
        if len(self._workers) < _AHEAD and not self._orders.empty():
            self._workers.append(threading.Thread(target=self._work, daemon=True))
            self._workers[-1].start()

    def _work(self) -> None:
        while (order := self._orders.get()) is not None:
            try:
                if not self._trouble:
                    self._image.write(*order)
            except Exception as error:
                self._trouble.append(error)
            finally:
                self._orders.task_done()

    def check(self) -> None:
        """Wait for all that is on its way; raise the first trouble there was."""
        self._orders.join()
        if self._trouble:
            raise self._trouble[0]

    def finish(self, size: int) -> None:
        """Everything has come: the volume gets its size and is flushed."""
        self.check()
        if size != self.size:
            self._image.resize(size)
        self._image.flush()

    def close(self) -> None:
        """Close the volume."""
        for _one in self._workers:
            self._orders.put(None)
        for worker in self._workers:
            worker.join()
        self._image.close()


class Content:
    """Operations on what volumes hold."""

    def __init__(self, volumes: Volumes) -> None:
        self._volumes = volumes
        self._writer: Writer | None = None

    def begin(self, pool: str, name: str) -> None:
        """From now on :meth:`write` writes to this volume."""
        self.leave()
        self._writer = Writer(self._volumes, pool, name)

    def write(self, data: bytes, offset: int) -> None:
        """Write to the volume that was begun; nothing is answered."""
        if self._writer is not None:
            self._writer.write(data, offset)

    def check(self) -> None:
        """Whether all that was written arrived."""
        if self._writer is not None:
            self._writer.check()

    def finish(self, size: int) -> None:
        """The volume that was begun is whole, and *size* bytes long."""
        if self._writer is None:
            raise OSError(errno.EINVAL, "nothing was begun")
        self._writer.finish(size)
        self.leave()

    def leave(self) -> None:
        """Close what was begun."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def fill(self, path: str, pool: str, name: str) -> int:
        """Write a file into a volume, without its holes and zeros; its size. The volume gets that size."""
        with open(path, "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            self.begin(pool, name)
            try:
                zeros = bytes(_BLOCK)
                for start, end in _stretches(file.fileno(), size):
                    while start < end:
                        data = os.pread(file.fileno(), min(_BLOCK - start % _BLOCK, end - start), start)
                        if not data:
                            raise OSError(errno.EIO, "the file became shorter while it was read")
                        if not zeros.startswith(data):
                            self.write(data, start)
                        start += len(data)
                        self._volumes.passed(start, size)
                self.finish(size)
            finally:
                self.leave()
        return size

    def copy(
        self, pool: str, name: str, snapshot: str, to_pool: str, to_name: str, image_format: int, data_pool: str
    ) -> None:
        """Copy a volume's content, or that of a snapshot, into a new one, which stands on nothing.

        librbd's own copy says nothing while it works, so that nobody could tell it from a cluster that hangs.
        """
        with self._volumes.open(pool, name, snapshot, read_only=True) as image:
            size = int(image.size())
            self._volumes.create(to_pool, to_name, size, image_format, data_pool)
            self.begin(to_pool, to_name)
            zeros = bytes(_BLOCK)

            def extent(offset: int, length: int, exists: bool) -> None:
                while exists and length:
                    data = image.read(offset, min(_BLOCK, length))
                    if not zeros.startswith(data):
                        self.write(data, offset)
                    offset, length = offset + len(data), length - len(data)
                    self._volumes.passed(offset, size)

            try:
                image.diff_iterate(0, size, None, extent)
                self.finish(size)
            finally:
                self.leave()

    def export(self, pool: str, name: str, snapshot: str, path: str, before: str = "") -> int:
        """Write what a volume holds into a file that is made new, holes as holes; the bytes it has.

        :param before: only what changed since this snapshot is written, and the file may be there.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | (0 if before else os.O_EXCL)
        with self._volumes.open(pool, name, snapshot, read_only=True) as image:
            size = int(image.size())
            handle = os.open(path, flags, 0o644)
            try:
                os.ftruncate(handle, size)

                def extent(offset: int, length: int, exists: bool) -> None:
                    while length:
                        data = image.read(offset, min(_BLOCK, length)) if exists else bytes(min(_BLOCK, length))
                        if exists or before:
                            _write_at(handle, data, offset)
                        offset, length = offset + len(data), length - len(data)
                        self._volumes.passed(offset, size)

                image.diff_iterate(0, size, before or None, extent)
                os.fsync(handle)
            finally:
                os.close(handle)
        return size

    def digest(self, pool: str, name: str, snapshot: str, kind: str) -> list[Any]:
        """The hexadecimal digest of what a volume holds, holes as zeros, and its size."""
        import hashlib

        taken = hashlib.new(kind)
        zeros = bytes(_BLOCK)
        with self._volumes.open(pool, name, snapshot, read_only=True) as image:
            size, place = int(image.size()), 0

            def blank(until: int) -> None:
                nonlocal place
                while place < until:
                    count = min(_BLOCK, until - place)
                    taken.update(zeros[:count])
                    place += count
                    self._volumes.passed(place, size)

            def extent(offset: int, length: int, exists: bool) -> None:
                nonlocal place
                blank(offset)
                while exists and place < offset + length:
                    data = image.read(place, min(_BLOCK, offset + length - place))
                    taken.update(data)
                    place += len(data)
                    self._volumes.passed(place, size)

            image.diff_iterate(0, size, None, extent)
            blank(size)
        return [taken.hexdigest(), size]

    def hashed(self, pool: str, name: str) -> list[Any]:
        """Digest, bytes of data and size of a volume, as of a file (:mod:`..disk_digest`)."""
        stretches: list[tuple[int, int]] = []

        def extent(offset: int, length: int, exists: bool) -> None:
            if exists and stretches and stretches[-1][1] == offset:
                stretches[-1] = (stretches[-1][0], offset + length)
            elif exists:
                stretches.append((offset, offset + length))

        done = 0

        def read(start: int, count: int) -> bytes:
            nonlocal done
            done = start + count
            data: bytes = image.read(start, count)
            return data

        with self._volumes.open(pool, name, read_only=True) as image:
            size = int(image.size())
            image.diff_iterate(0, size, None, extent)
            return [*hashed(stretches, size, read, lambda: self._volumes.passed(done, size)), size]

    def used(self, pool: str, names: list[str]) -> dict[str, list[tuple[str, int]]]:
        """What each of these volumes has of its own (:func:`shares`); what is gone meanwhile is left out."""
        found: dict[str, list[tuple[str, int]]] = {}

        def count(name: str) -> None:
            with self._volumes.open(pool, name, read_only=True) as image:
                found[name] = shares(image)

        self._volumes.each(names, count)
        return found


def shares(image: Any) -> list[tuple[str, int]]:
    """What an open volume has of its own, as ``rbd du`` counts it: bytes of the objects that were written until each
    of its snapshots, the oldest first, and since the last one, under no name.

    With the feature fast-diff that is read from the volume's maps.
    """
    found: list[tuple[str, int]] = []
    before = None
    for snapshot in sorted(image.list_snaps(), key=lambda snapshot: int(snapshot["id"])):
        # what the trash keeps for clones, and what mirroring keeps, is in the share of what comes next
        if snapshot.get("namespace", 0) == 0:
            image.set_snap(snapshot["name"])
            found.append((snapshot["name"], counted(image, before)))
            before = snapshot["name"]
    if before:
        image.set_snap(None)
    return [*found, ("", counted(image, before))]


def counted(image: Any, since: str | None = None) -> int:
    """Bytes of the objects that an open volume, or its snapshot, has of its own.

    :param since: only what came after this snapshot counts.
    """
    total = 0

    def extent(_offset: int, length: int, exists: bool) -> None:
        nonlocal total
        total += length if exists else 0

    try:
        image.diff_iterate(0, image.size(), since, extent, include_parent=False, whole_object=True)
    except TypeError:
        image.diff_iterate(0, image.size(), since, extent, False, True)
    return total


def _stretches(handle: int, size: int) -> list[tuple[int, int]]:
    """(start, end) of what a file has that is no hole."""
    found = []
    place = 0
    while place < size:
        try:
            start = os.lseek(handle, place, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                break
            raise
        place = os.lseek(handle, start, os.SEEK_HOLE)
        found.append((start, place))
    return found


def _write_at(handle: int, data: bytes, place: int) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(handle, view, place)
        view, place = view[count:], place + count

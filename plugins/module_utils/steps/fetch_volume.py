# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The step that imports an image from outside into a volume: raw straight into it, all else into the staging area."""

from __future__ import annotations

import os

from .._errors import NoSpace
from .fetch import Fetch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar

    from ..tools.intake import Taken
    from ..tools.progress import Progress
    from ..tools.rbd.cluster import Cluster
    from ..tools.sources import Source
    from .base import Site

#: What comes in small pieces is put together to so many bytes before it is sent.
_PIECE = 1 << 20
_ZEROS = bytes(_PIECE)
#: A disk is a whole number of sectors of so many bytes.
_SECTOR = 512


class FetchVolume(Fetch):
    """Bring an image into a new volume, in one pass, without its zeros.

    What is neither raw nor LUKS has to be converted first: it is left as the file ``part`` in the staging area, whose
    room is looked at before. One setting more: ``volume``, with ``pool``, ``name``, ``image_format``, ``data_pool``.
    """

    kind: ClassVar[str] = "fetch-volume"

    def undo(self, site: Site) -> None:
        volume = self.more["volume"]
        # what was being written when it failed is still open
        site.volumes().ask("leave")
        site.volumes().ask("remove", pool=volume["pool"], name=volume["name"])

    def _is_plain(self, source: Source) -> bool:
        """Whether the cluster's program may read the file itself, with its holes."""
        from ..tools.image_header import HEAD_BYTES

        if self._order().digests or not super()._is_plain(source):
            return False
        with open(source.path, "rb") as file:
            return _is_raw(file.read(HEAD_BYTES))

    def _copied(self, site: Site, source: Source, progress: Progress) -> Taken:
        import errno

        from ..tools.intake import HEAD, Taken

        with open(source.path, "rb") as file:
            self._look(file.read(HEAD))
            before = os.fstat(file.fileno())
        if self.limit and before.st_size > self.limit:
            raise OSError(errno.EFBIG, "larger than allowed", source.path)
        volume = self.more["volume"]
        _create(site.volumes(), volume)
        size = site.volumes().ask("fill", path=source.path, pool=volume["pool"], name=volume["name"])
        _whole_sectors(site.volumes(), volume, size)
        after = os.stat(source.path)
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise OSError(errno.EAGAIN, "the file changed while it was read", source.path)
        progress.done = size
        return Taken(size, size, [], {})

    def _passed(self, site: Site, source: Source, progress: Progress) -> Taken:
        from ..tools import intake

        sink = _Sink(site, self, source)
        order = self._order()
        order.look = sink.look
        try:
            taken = intake.take(source, sink.write, order, progress)
            sink.whole()
        finally:
            sink.close()
        return taken

    def check(self, head: bytes) -> None:
        """Refuse what must not be opened as a disk, as soon as its beginning is there."""
        self._look(head)


class _Sink:
    """Where an image goes, which its first bytes decide."""

    def __init__(self, site: Site, step: FetchVolume, source: Source) -> None:
        from ..tools.intake import File

        self._site = site
        self._step = step
        self._length = source.length
        self._file: File | None = None
        self._waiting: list[bytes] = []
        self._size = 0
        self._place = 0

    def look(self, head: bytes) -> None:
        """Choose."""
        from ..tools.intake import File

        self._step.check(head)
        if _is_raw(head):
            volume = self._step.more["volume"]
            cluster = self._site.volumes()
            _create(cluster, volume)
            cluster.ask("begin", pool=volume["pool"], name=volume["name"])
            return
        folder = os.path.dirname(self._step.part)
        free = self._site.host(self._step.where).space(folder)["free"]
        if self._length and self._length > free:
            raise NoSpace(
                f"{self._step.source} has {-(-self._length >> 20)} MB and has to be converted, and {folder} has room "
                f"for {free >> 20} MB",
                self._site.host(self._step.where).name,
                todo="free some space, or set STAGING_DIR in the datastore",
            )
        self._file = File(self._step.part)

    def write(self, data: bytes) -> None:
        """Add bytes at the end."""
        if self._file is not None:
            self._file.write(data)
            return
        self._waiting.append(data)
        self._size += len(data)
        if self._size >= _PIECE:
            self._send()

    def whole(self) -> None:
        """Everything has come."""
        if self._file is not None:
            self._file.whole()
            return
        self._send()
        size = -(-self._place // _SECTOR) * _SECTOR
        self._site.volumes().ask("finish", size=size)

    def close(self) -> None:
        """Close the file; the volume is closed by what comes next, or by the end of the connection."""
        if self._file is not None:
            self._file.close()

    def _send(self) -> None:
        from ..tools.intake import filled

        data = self._waiting[0] if len(self._waiting) == 1 else b"".join(self._waiting)
        cluster = self._site.volumes()
        # most of a disk is zeros, and comparing is far quicker than looking for them piece by piece
        if len(data) > len(_ZEROS) or not data.startswith(_ZEROS[: len(data)]):
            for start, end in filled(data, self._place):
                cluster.write(data[start:end], self._place + start)
        self._place += len(data)
        self._waiting, self._size = [], 0


def _is_raw(head: bytes) -> bool:
    from ..tools.image_header import format_of

    return format_of(head) in ("raw", "luks")


def _create(cluster: Cluster, volume: dict[str, Any]) -> None:
    cluster.ask("create", size=0, **volume)


def _whole_sectors(cluster: Cluster, volume: dict[str, Any], size: int) -> None:
    if size % _SECTOR:
        whole = -(-size // _SECTOR) * _SECTOR
        cluster.ask("resize", pool=volume["pool"], name=volume["name"], size=whole)

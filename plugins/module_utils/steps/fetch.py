# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The step that brings an image in from where it comes: a path or a URL."""

from __future__ import annotations

import os

from .._errors import Refused, StorageError
from .base import Site, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar

    from ..tools.intake import Taken
    from ..tools.progress import Progress
    from ..tools.sources import Options, Source


class Fetch(Step):
    """Bring an image into the workshop: limited, hashed, unpacked and looked at while it passes, in one pass.

    A local file that needs nothing of this is copied by the kernel, with its holes.

    :param source: a path or URL; for one with a password what stands for it (:attr:`.Site.private`).
    :param limit: most bytes that may be written; 0 for no limit.
    :param digests: expected hexadecimal digests of the source by name (md5, sha1, sha256); all of them are checked.
    :param sparse: leave blocks of zeros out of the file.
    :param more: what has a default: ``decompress`` and ``archives``, take such packing off; ``disk``, refuse what
        must not be opened as a disk as soon as its header is there; ``rate``, most bytes per second; ``verify``, check
        TLS certificates; ``helpers``, the folder of stock's datastore scripts; ``feed``, the socket of a relay
        (:mod:`..tools.relay`); ``repository``, where a backup is (:func:`..tools.repositories.place_of`).
    """

    kind: ClassVar[str] = "fetch"

    def __init__(
        self,
        where: str,
        source: str,
        part: str,
        inside: str,
        limit: int,
        digests: dict[str, str],
        sparse: bool,
        **more: Any,
    ) -> None:
        super().__init__(where)
        self.source = source
        self.part = part
        self.inside = inside
        self.limit = limit
        self.digests = digests
        self.sparse = sparse
        self.more = more

    def words(self) -> str:
        return f"copy {self.source}"

    def do(self, site: Site) -> None:
        import errno

        from ..tools.sources import Options

        host = site.host(self.where)
        host.make_directory(os.path.dirname(self.part))
        options = Options(
            stall=site.timeouts.stall,
            rate=self.more.get("rate", 0),
            verify=self.more.get("verify", True),
            secrets=site.secrets,
            helpers=self.more.get("helpers", ""),
            resolved=True,
            repository=self.more.get("repository"),
        )
        source = self._open(site.private.get(self.source, self.source), options)
        try:
            self._take(site, source)
        except OSError as error:
            if error.errno == errno.EFBIG:
                raise Refused(
                    f"{self.source} is larger than the {self.limit >> 20} MB that may come",
                    host.name,
                    todo="register it with its real SIZE, or set LIMIT_IMAGE_SIZE=NO in the datastore",
                ) from None
            raise
        finally:
            source.close()
            site.warn(source.warning)

    def _open(self, source: str, options: Options) -> Source:
        if self.more.get("feed"):
            from ..tools.sources.relayed import RelayedSource

            return RelayedSource(self.more["feed"], options)
        from ..tools.sources import open_source

        return open_source(source, options)

    def _take(self, site: Site, source: Source) -> None:
        progress = site.progress(self.words(), source.length)
        try:
            take = self._copied if self._is_plain(source) else self._passed
            taken = take(site, source, progress)
        except (OSError, StorageError) as error:
            progress.end(str(error))
            raise
        site.figures.update(
            fetched=taken.fetched, written=taken.written, seconds=round(progress.seconds, 3), unpacked=taken.layers
        )
        progress.end()

    def _is_plain(self, source: Source) -> bool:
        """Whether the kernel can do it: a local file that is not packed, not slowed down, with its holes."""
        if not source.path or not self.sparse or self.more.get("rate"):
            return False
        with open(source.path, "rb") as file:
            head = file.read(512)
        if not self.more.get("decompress"):
            return True
        from ..tools.unpack import packing_of

        return not packing_of(head, self.more.get("archives", True))

    def _copied(self, site: Site, source: Source, progress: Progress) -> Taken:
        from ..tools import intake

        if self.more.get("disk"):
            with open(source.path, "rb") as file:
                self._look(file.read(intake.HEAD))
        digests = self._order().digests

        def passed(position: int) -> None:
            progress.add(position - progress.done)

        copied = site.host(self.where).copy(source.path, self.part, self.inside, self.limit, sorted(digests), passed)
        intake.check(copied["digests"], digests, self.source)
        progress.done = copied["size"]
        return intake.Taken(copied["size"], copied["size"], [], copied["digests"])

    def _passed(self, site: Site, source: Source, progress: Progress) -> Taken:
        from ..tools import intake

        file = intake.File(self.part, self.sparse)
        try:
            taken = intake.take(source, file.write, self._order(), progress)
            file.whole()
        finally:
            file.close()
        return taken

    def _order(self) -> Any:
        from ..tools.intake import Order

        return Order(
            self.limit,
            self.digests,
            bool(self.more.get("decompress")),
            self.more.get("archives", True),
            self._look if self.more.get("disk") else None,
        )

    def _look(self, head: bytes) -> None:
        from ..tools import exports, image_header

        if not head:
            raise Refused(f"{self.source} is empty", todo="an image needs at least one byte")
        if head.startswith(exports.HEADS):
            raise Refused(
                f"{self.source} is what rbd export writes in a format of its own, and no disk",
                todo="write it with rbd export --export-format 1, or restore the backup that it belongs to",
            )
        image_header.refuse_unsafe(head, self.source)

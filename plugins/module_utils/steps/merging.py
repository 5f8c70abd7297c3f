# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps that merge the increments of a chain: taken out of a repository, written as one image, proven, described."""

from __future__ import annotations

import errno
import os

from .._errors import Corrupt, StorageError
from ..tools import manifest as manifests
from .base import Site, Step, shown
from .store import Store, url_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar

    from ..tools.progress import Progress


class TakeOut(Store):
    """Write files of snapshots to a folder, each compared with its manifest while it comes.

    :param wanted: (reference, path in the repository, name in the folder, SHA-256 or nothing).
    """

    kind: ClassVar[str] = "take-out"

    def __init__(self, where: str, place: dict[str, Any], desk: str, folder: str, wanted: list[list[str]]) -> None:
        super().__init__(where, place, desk)
        self.folder = folder
        self.wanted = wanted

    def words(self) -> str:
        return f"take {len(self.wanted)} files out of {url_of(self.place)}"

    def do(self, site: Site) -> None:
        from ..tools.sources import Options

        repository = self.repository(site)
        progress = self.progress(site)
        options = Options(stall=site.timeouts.stall, command=site.timeouts.command)
        try:
            for reference, path, name, digest in self.wanted:
                part = os.path.join(self.folder, name)
                os.makedirs(os.path.dirname(part), mode=0o700, exist_ok=True)
                source = repository.source(reference, path, options)
                try:
                    _write(source, part, digest, progress)
                finally:
                    source.close()
        except (OSError, StorageError) as error:
            progress.end(str(error))
            raise
        progress.end()


def _write(source: Any, part: str, digest: str, progress: Progress) -> None:
    import hashlib

    from ..tools.intake import File

    file, taken = File(part), hashlib.sha256()
    try:
        for data in source.chunks():
            file.write(data)
            taken.update(data)
            progress.add(len(data))
        file.whole()
    finally:
        file.close()
    if digest and taken.hexdigest() != digest:
        raise Corrupt(f"{source.name} is not what was backed up: its SHA-256 digest is another one")


class MakeScratch(Step):
    """Make a private folder for temporary data outside of the datastore; it goes when the action ends."""

    kind: ClassVar[str] = "make-scratch"

    def __init__(self, where: str, path: str, root: str) -> None:
        super().__init__(where)
        self.path = path
        self.root = root

    def words(self) -> str:
        return f"create the temporary folder {self.path}"

    def do(self, site: Site) -> None:
        os.mkdir(self.path, 0o700)

    def undo(self, site: Site) -> None:
        site.host(self.where).remove(self.path, self.root)

    def ended(self, site: Site) -> None:
        self.undo(site)


class Merge(Step):
    """Write a chain of increments as one image, and prove it: checked by qemu-img, and compared with the chain.

    What is merged is opened read-only and each file is told its backing file: nothing is written into it (contract-ds
    11.7).

    :param chain: paths of the qcow2 files, the oldest first.
    """

    kind: ClassVar[str] = "merge"

    def __init__(self, where: str, chain: list[str], part: str, sparsify: bool = False, prefix: Any = None) -> None:
        super().__init__(where)
        self.chain = chain
        self.part = part
        self.sparsify = sparsify
        self.prefix = prefix or []

    def words(self) -> str:
        return f"merge {len(self.chain)} increments into {shown(self.part)}"

    def do(self, site: Site) -> None:
        from ..tools import stack

        os.makedirs(os.path.dirname(self.part), exist_ok=True)
        whole = stack.opened(site.host(self.where), self.chain)
        argv = ["qemu-img", "convert", "-q", "-O", "qcow2", whole, self.part]
        with site.growing(self.where, self.part, self.words()):
            site.command(self.where, [*self.prefix, *argv], self.words())
        site.command(self.where, ["qemu-img", "check", "-q", "-f", "qcow2", self.part], f"check {shown(self.part)}")
        site.command(
            self.where,
            [*self.prefix, "qemu-img", "compare", "-q", whole, stack.opened(site.host(self.where), [self.part])],
            f"compare {shown(self.part)} with what it was merged from",
        )
        if self.sparsify:
            self._sparsify(site)

    def _sparsify(self, site: Site) -> None:
        """Give unused blocks back where the tool is installed; without it this was silent in stock too."""
        try:
            site.command(self.where, ["virt-sparsify", "-q", "--in-place", self.part], f"sparsify {shown(self.part)}")
        except FileNotFoundError:
            site.warn("RESTIC_SPARSIFY is set and virt-sparsify is not installed")


class KeepFile(Step):
    """Give a file of a backup a second name in a workshop: it is on one file system, and nobody writes to it."""

    kind: ClassVar[str] = "keep-file"

    def __init__(self, where: str, source: str, part: str, inside: str) -> None:
        super().__init__(where)
        self.source = source
        self.part = part
        self.inside = inside

    def words(self) -> str:
        return f"keep {self.source}"

    def do(self, site: Site) -> None:
        host = site.host(self.where)
        host.make_directory(os.path.dirname(self.part))
        try:
            host.hard_link(self.source, self.part, self.inside)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK):
                raise
            host.copy(self.source, self.part, self.inside)


class DescribeMerged(Step):
    """Write the manifest of merged increments.

    :param old: the folder with the manifest of the newest of them; it may have none.
    """

    kind: ClassVar[str] = "describe-merged"

    def __init__(self, where: str, folder: str, old: str, vm: int, increment: int) -> None:
        super().__init__(where)
        self.folder = folder
        self.old = old
        self.vm = vm
        self.increment = increment

    def words(self) -> str:
        return f"describe the files of {shown(self.folder)}"

    def do(self, site: Site) -> None:
        old = manifests.read(self.old)
        told = manifests.build_full(self.folder, site.run, self.vm, old, self.increment)
        manifests.write(self.folder, told)

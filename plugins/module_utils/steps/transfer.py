# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps that move data: within a host, between the two hosts of an action."""

from __future__ import annotations

import os

from .._errors import StorageError
from ..tools.hidden import HIDDEN, KEPT
from .base import LEAD, Site, Step, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar

    from ..tools.peer import Peer


class CopyFile(Step):
    """Copy a file on one host into a workshop; holes stay, blocks are shared where the file system can."""

    kind: ClassVar[str] = "copy-file"

    def __init__(self, where: str, source: str, part: str, inside: str) -> None:
        super().__init__(where)
        self.source = source
        self.part = part
        self.inside = inside

    def words(self) -> str:
        return f"copy {self.source}"

    def do(self, site: Site) -> None:
        host = site.host(self.where)
        host.make_directory(os.path.dirname(self.part))
        with site.growing(self.where, self.part, self.words(), int((host.stat(self.source) or {}).get("allocated", 0))):
            host.copy(self.source, self.part, self.inside)


class CopyTree(CopyFile):
    """Copy a file, a link as a link, or a directory with all in it, on one host into a workshop."""

    kind: ClassVar[str] = "copy-tree"

    def words(self) -> str:
        return f"copy {self.source} with all in it"

    def do(self, site: Site) -> None:
        host = site.host(self.where)
        host.make_directory(os.path.dirname(self.part))
        with site.growing(self.where, self.part, self.words()):
            host.copy_tree(self.source, self.part, self.inside)


class Send(Step):
    """Stream files and directories from the other host of the action into a workshop of this one.

    Both ends hash what passes; the receiver has it on disk before the step ends. Where both are one host it is a copy.

    It lands in a folder of its own in the workshop, whose name follows from what is sent: when the connection breaks,
    the same step of a later run finds it there and asks for the rest alone.

    :param where: the host that receives.
    :param entries: (path at the sender, name at the receiver).
    :param folder: directory in the receiver's workshop.
    """

    kind: ClassVar[str] = "send"

    def __init__(self, where: str, entries: list[list[str]], folder: str, inside: str) -> None:
        super().__init__(where)
        self.entries = entries
        self.folder = folder
        self.inside = inside
        self.kept = _landing(folder, entries)

    def words(self) -> str:
        return "bring over " + " and ".join(shown(path) for path, _name in self.entries)

    def do(self, site: Site) -> None:
        host = site.host(self.where)
        host.make_directory(self.folder)
        if site.peer is None:
            for path, name in self.entries:
                site.lead.copy_tree(path, os.path.join(self.folder, name), self.inside)
            return
        peer: Peer = site.peer  # type: ignore[assignment]
        progress = site.progress(self.words())
        move = peer.pull if self.where == LEAD else peer.push
        try:
            move(self.entries, self.kept, site.rate, progress)
            host.unpack(self.kept, self.folder, [name for _path, name in self.entries], self.inside)
        except (OSError, StorageError) as error:
            progress.end(str(error))
            raise
        progress.end()


def _landing(folder: str, entries: list[list[str]]) -> str:
    """Where a stream lands: in the workshop that *folder* is in, but not in the part of it that is one run's."""
    import zlib

    before, _hidden, after = folder.partition(f"/{HIDDEN}/")
    key = after.partition("/")[0]
    # whatever lies there is compared with what is sent, so a name that two plans share costs time and no more
    return os.path.join(before, HIDDEN, key, KEPT, f"{zlib.crc32(repr(entries).encode()):08x}")

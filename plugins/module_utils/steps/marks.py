# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps that leave a disk ready for its next increment: bitmaps begun and removed, layers folded into their base."""

from __future__ import annotations

import os

from .._errors import StorageError
from .base import Site, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar


class BeginBitmap(Step):
    """Let qemu note in a qcow2 file what is written from now on. One of that name, which nobody heard of, goes.

    :param layer: the file that is written to.
    """

    kind: ClassVar[str] = "begin-bitmap"

    def __init__(self, where: str, layer: str, name: str) -> None:
        super().__init__(where)
        self.layer = layer
        self.name = name

    def words(self) -> str:
        return f"begin the bitmap {self.name} in {self.layer}"

    def do(self, site: Site) -> None:
        from ..tools import bitmaps

        known = bitmaps.find(self.layer, self.name) is not None
        actions = ["--remove", "--add"] if known else ["--add"]
        argv = ["qemu-img", "bitmap", *actions, "-f", "qcow2", self.layer, self.name]
        site.command(self.where, argv, self.words())

    def undo(self, site: Site) -> None:
        _remove(site, self.where, self.layer, self.name)

    def changes(self) -> tuple[str, str] | None:
        return self.layer, f"disk with the bitmap {self.name}"


class DropBitmaps(Step):
    """Remove bitmaps that no increment will ask for. One that does not go is a warning: it costs room, and no data."""

    kind: ClassVar[str] = "drop-bitmaps"
    final = True

    def __init__(self, where: str, layer: str, names: list[str]) -> None:
        super().__init__(where)
        self.layer = layer
        self.names = names

    def words(self) -> str:
        return f"remove the bitmaps {', '.join(self.names)} of {self.layer}"

    def done(self, site: Site) -> bool:
        from ..tools import bitmaps

        return not {bitmap.name for bitmap in bitmaps.read(self.layer)} & set(self.names)

    def do(self, site: Site) -> None:
        for name in self.names:
            try:
                _remove(site, self.where, self.layer, name)
            except StorageError as error:
                site.warn(str(error))

    def changes(self) -> tuple[str, str] | None:
        return self.layer, f"disk without {', '.join(self.names)}"


def _remove(site: Site, where: str, layer: str, name: str) -> None:
    from ..tools import bitmaps

    if os.path.exists(layer) and bitmaps.find(layer, name):
        argv = ["qemu-img", "bitmap", "--remove", "-f", "qcow2", layer, name]
        site.command(where, argv, f"remove the bitmap {name} of {layer}")


class FoldDown(Step):
    """Write what the layers above a base have into the base. They stay as they are, so that what the disk shows is the
    same before, in between and after: there is nothing to undo, and it can be done again.

    :param layer: the file that is written to; :param base: a file of its chain.
    :param direct: whether it stands on the base without others in between.
    """

    kind: ClassVar[str] = "fold-down"

    def __init__(self, where: str, layer: str, base: str, direct: bool) -> None:
        super().__init__(where)
        self.layer = layer
        self.base = base
        self.direct = direct

    def words(self) -> str:
        return f"write what {self.layer} has into {self.base}"

    def do(self, site: Site) -> None:
        argv = ["qemu-img", "commit", "-q", "-d", "-f", "qcow2", *([] if self.direct else ["-b", self.base])]
        site.command(self.where, [*argv, self.layer], self.words())

    def changes(self) -> tuple[str, str] | None:
        return self.base, "layer with all that was written"


class OneMoreName(Step):
    """Give a disk that is a file one more name, below which layers will lie."""

    kind: ClassVar[str] = "one-more-name"

    def __init__(self, where: str, source: str, path: str, inside: str) -> None:
        super().__init__(where)
        self.source = source
        self.path = path
        self.inside = inside

    def words(self) -> str:
        return f"let {self.path} be a name of the file {self.source}"

    def done(self, site: Site) -> bool:
        host = site.host(self.where)
        here, there = host.stat(self.path), host.stat(self.source)
        return bool(here and there and here["kind"] == there["kind"] == "file" and here["inode"] == there["inode"])

    def do(self, site: Site) -> None:
        site.host(self.where).hard_link(self.source, self.path, self.inside)

    def undo(self, site: Site) -> None:
        # only as long as the disk has its old name, so that no content goes
        if self.done(site):
            site.host(self.where).remove(self.path, self.inside)

    def changes(self) -> tuple[str, str] | None:
        return self.path, "file"

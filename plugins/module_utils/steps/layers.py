# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps on the layers of a disk: a new one, one that takes over what another held, a mark beside them, a larger one."""

from __future__ import annotations

import os

from .base import Site, Step, shown
from .files import WriteFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar


class NewLayer(Step):
    """Create an empty qcow2 overlay in a workshop, for a place from which its backing name will resolve.

    The name means nothing in the workshop, so qemu-img does not look at it and is told the size.

    :param backing: name written into the overlay; the backing file is qcow2 too.
    :param size: virtual size in bytes.
    """

    kind: ClassVar[str] = "new-layer"

    def __init__(self, where: str, part: str, backing: str, size: int) -> None:
        super().__init__(where)
        self.part = part
        self.backing = backing
        self.size = size

    def words(self) -> str:
        return f"create an empty layer on {self.backing}"

    def do(self, site: Site) -> None:
        argv = ["qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", "qcow2", "-b", self.backing]
        site.host(self.where).make_directory(os.path.dirname(self.part))
        site.command(self.where, [*argv, self.part, str(self.size)], self.words())


class TakeOver(Step):
    """Let a layer stand on another backing file and take over all the data that it would lose by that.

    What the layer shows is the same before, at every moment in between, and after; so there is nothing to undo, and a
    run that died is simply run again. qemu-img locks the file, so that one which a VM uses is refused.

    :param backing: the new backing file, named as it is written into the layer; empty when it is to stand alone.
    """

    kind: ClassVar[str] = "take-over"

    def __init__(self, where: str, layer: str, backing: str, backing_format: str) -> None:
        super().__init__(where)
        self.layer = layer
        self.backing = backing
        self.backing_format = backing_format

    def words(self) -> str:
        onto = f"stand on {self.backing}" if self.backing else "stand alone"
        return f"let the layer {shown(self.layer)} {onto}, with all that it shows"

    def do(self, site: Site) -> None:
        argv = ["qemu-img", "rebase", "-q", "-f", "qcow2", "-b", self.backing]
        if self.backing:
            argv += ["-F", self.backing_format]
        with site.growing(self.where, self.layer, self.words()):
            site.command(self.where, [*argv, self.layer], self.words())

    def changes(self) -> tuple[str, str] | None:
        return self.layer, f"layer on {self.backing}" if self.backing else "layer that stands alone"


class Mark(WriteFile):
    """Write a small file that belongs to what is being made, and goes with it."""

    kind: ClassVar[str] = "mark"

    def undo(self, site: Site) -> None:
        host = site.host(self.where)
        if host.read(self.path) != self.text:
            return
        if self.old is None:
            host.remove(self.path, self.inside)
        else:
            host.write(self.path, self.old, self.inside)


class MarkForGood(WriteFile):
    """Write a small file that stays: what comes next spoils what it speaks of."""

    kind: ClassVar[str] = "mark-for-good"
    final = True


class GrowInPlace(Step):
    """Grow a disk where it lies; a failure gives it its old size back.

    :param before: its virtual size until now, in bytes.
    :param size: the new one, in MB.
    :param allocate: allocate the new room at once (SPARSE=NO).
    """

    kind: ClassVar[str] = "grow"

    def __init__(self, where: str, path: str, image_format: str, before: int, size: int, allocate: bool) -> None:
        super().__init__(where)
        self.path = path
        self.image_format = image_format
        self.before = before
        self.size = size
        self.allocate = allocate

    def words(self) -> str:
        return f"grow {self.path} to {self.size} MB"

    def done(self, site: Site) -> bool:
        return virtual_size(self.path, self.image_format) == self.size << 20

    def do(self, site: Site) -> None:
        argv = ["qemu-img", "resize", "-q", "-f", self.image_format]
        if self.allocate:
            argv.append("--preallocation=falloc")
        site.command(self.where, [*argv, self.path, f"{self.size}M"], self.words())

    def undo(self, site: Site) -> None:
        if self.before < virtual_size(self.path, self.image_format) <= self.size << 20:
            # nothing was ever written behind the old end, so nothing is lost when it comes back
            argv = ["qemu-img", "resize", "-q", "--shrink", "-f", self.image_format, self.path, str(self.before)]
            if self.image_format == "raw":
                # qemu-img knows whole sectors only
                argv = ["truncate", "-s", str(self.before), self.path]
            site.command(self.where, argv, f"give {self.path} its old size back")

    def changes(self) -> tuple[str, str] | None:
        return self.path, f"disk of {self.size} MB"


def virtual_size(path: str, image_format: str) -> int:
    """Virtual size in bytes of a disk on the lead; 0 when it is not there or is not what it should be.

    What a guest wrote at the beginning of a raw disk is not looked at (rule 10).
    """
    from ..tools import image_header

    try:
        if image_format == "raw":
            return os.stat(path).st_size
        with open(path, "rb") as file:
            return image_header.virtual_size(file.read(32)) or 0
    except FileNotFoundError:
        return 0

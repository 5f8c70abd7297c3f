# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a VM's disk is made of: the file that is written to, and where its layers or its snapshots lie (contract-tm 6).

What is there decides, not the driver's name. A qcow2 disk that is a link into a snapshot directory is a stack of
layers. Any other disk is one file, whose snapshots are full copies of it.
"""

from __future__ import annotations

import os

from .._errors import Corrupt, Missing, Refused
from ..steps.base import LEAD
from ..steps.claim import Claim
from ..steps.files import MakeLink
from ..tools import chain
from .base import Request, base, clean_path, parent
from .vm_files import Disk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..steps.base import Step
    from ..tools.host import Host


class Stack:
    """A disk that was looked at.

    :param image: the image that the disk was made from; empty for a volatile disk.
    :param persistent: whether the disk may be that image itself, by way of a link.
    :ivar disk: its place in the VM's directory.
    :ivar format: ``raw`` or ``qcow2``, as oned has it.
    :ivar snap: directory of its layers or snapshots, which may not be there.
    :ivar root: the datastore that this directory, and the file that is written to, lie in.
    :ivar layered: whether it is a stack of layers.
    :ivar active: the file that is written to: a name in ``snap`` when the disk is layered.
    :ivar target: where the disk's link points, as it is written; empty when it is a file.
    """

    def __init__(self, request: Request, disk: Disk, image: str, persistent: bool, where: str = LEAD) -> None:
        self.host: Host = request.site.host(where)
        self.disk = disk
        self.format: str = request["format"]
        info = self.host.stat(disk.path)
        if info is None:
            raise Missing(f"The disk {disk.path} is not there", self.host.name)
        self.target = self.host.readlink(disk.path) if info["kind"] == "link" else ""
        self.active = os.path.normpath(os.path.join(disk.directory, self.target)) if self.target else disk.path
        self.layered = bool(self.target) and self.format == "qcow2" and parent(self.active).endswith(".snap")
        owner = parent(self.active)[: -len(".snap")] if self.layered else self.active
        if owner != disk.path and not (persistent and owner == image):
            raise Refused(f"The disk {disk.path} points to {self.active}, which is not its own", self.host.name)
        self.snap = owner + ".snap"
        self.root = disk.datastore if owner == disk.path else parent(image)
        #: Where a layer may lie.
        self.roots = [disk.datastore, *([parent(image)] if image else [])]
        found = self.host.stat(self.active, follow=True)
        if found is None or found["kind"] != "file":
            raise Missing(f"The disk {disk.path} leads to {self.active}, and there is no file", self.host.name)
        if self.layered and not chain.is_number(base(self.active)):
            raise Refused(f"The layer {self.active} of {disk.path} has no number", self.host.name)

    @property
    def number(self) -> int:
        """The number of the active layer."""
        return int(base(self.active))

    @property
    def file(self) -> str:
        """The file that is written to, with all links resolved."""
        return self.host.real(self.active)

    def check(self, top: str = "") -> list[chain.Layer]:
        """The chain below a file, that which is written to if none is named, top first; raises when it is not sound."""
        return chain.layers(self.host, top or self.active, self.roots, self.format)

    def snapshot(self, number: int) -> str:
        """The file that holds a snapshot; empty when there is none.

        :raises Corrupt: when it is the one that is written to.
        """
        path = chain.current(self.host, self.snap, number)
        if path and self.host.real(path) == self.file:
            raise Corrupt(
                f"Snapshot {number} of {self.disk.path} would be {path}, which the disk is written to", self.host.name
            )
        return path

    def needed_snapshot(self, number: int) -> str:
        """The file that holds a snapshot; ``Missing`` when there is none."""
        path = self.snapshot(number)
        if not path:
            raise Missing(f"Snapshot {number} of {self.disk.path} is not there", self.host.name)
        return path

    def deletable(self, number: int) -> str:
        """The file that goes when a snapshot is deleted, or when its deletion goes on; empty when there is none."""
        return self.snapshot(number) or chain.going(self.host, self.snap, number)

    def followed(self, top: str = "") -> list[Step]:
        """Steps that let the name of a persistent image lead to the layer that is written to, where it is a link.

        Otherwise it stays at an older snapshot, and leads nowhere once that is deleted.

        :param top: the layer that is written to from now on, when it is another one.
        """
        owner, top = self.snap[: -len(".snap")], base(top or self.active)
        info = self.host.stat(owner)
        target = os.path.join(base(self.snap), top)
        if not self.layered or owner == self.disk.path or not info or info["kind"] != "link":
            return []
        old = self.host.readlink(owner)
        if os.path.normpath(os.path.join(self.root, old)) == os.path.join(self.snap, top):
            return []
        return [MakeLink(LEAD, owner, target, self.root, old)]

    def name_of(self, layer: str) -> str:
        """How other layers, and the disk's link, name this one (contract-tm 6.1, 6.2, Q1).

        Relative in a VM's directory, which may be moved as a whole. Absolute beside a persistent image, whose layers
        are reached by a link that lies elsewhere, from where qemu would not find a relative name.
        """
        own = self.snap == self.disk.snap
        return os.path.join(base(self.snap) if own else self.snap, base(layer))


def claims_of(options: dict[str, Any], persistent: bool) -> list[Claim]:
    """What an action locks that changes a disk or its layers: the VM's files, and an image that is the disk."""
    disk = Disk(options["path"], options["datastore"])
    claims = [Claim(LEAD, disk.datastore, disk.key)]
    image = image_of(options)
    return [*claims, Claim(LEAD, parent(image), "image-" + base(image))] if persistent and image else claims


def image_of(options: dict[str, Any]) -> str:
    """The image that a disk was made from; empty for a volatile disk."""
    return clean_path(options["image"], "image") if options["image"] else ""

# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Saving a disk of a VM that does not run, or one of its snapshots, as an image: cpds (contract-tm 7.2, 7.3, 7.4).

The image's name was given by ``mkfs`` before (``save_as``). It appears when the image is whole (Q15).
"""

from __future__ import annotations

import os

from .._errors import BadCall, Missing, Refused
from ..steps.base import LEAD, PEER
from ..steps.claim import Claim
from ..steps.files import Publish
from .base import Answer, Plan, Request, base, clean_path, parent
from .vm_files import Disk
from .vm_layers import Stack, image_of
from .vm_resize import Resizing
from .vm_snapshots import refuse_running

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..steps.base import Step
    from .base import Reply


class Saving(Resizing):
    """Disks that are saved by the host that has them, which sees the image datastore too."""

    def claims_cpds(self, options: dict[str, Any]) -> list[Claim]:
        disk, image = Disk(options["source"], options["datastore"]), saved_image(options)
        claims = [Claim(LEAD, parent(image), "image-" + base(image))]
        claims.append(Claim(LEAD, disk.datastore, disk.key, shared=True))
        origin = image_of(options)
        if self._persistent(options) and origin and origin != image:
            claims.append(Claim(LEAD, parent(origin), "image-" + base(origin), shared=True))
        return claims

    def cpds(self, request: Request) -> Reply:
        """Write a disk, or a snapshot of it, as an image of its own: a chain is folded in."""
        from ..steps.images import Convert
        from ..steps.transfer import CopyFile

        refuse_running(request)
        image = saved_image(request.options)
        if _saved(request, image):
            return Answer(path=image)
        disk = Disk(request["source"], request["datastore"])
        stack = Stack(request, disk, image_of(request.options), self._persistent(request.options))
        layers = stack.check(_wanted(request, stack))
        if layers[0].path == request.site.lead.real(image):
            raise Refused(f"The disk {disk.path} is the image {image} itself", request.site.lead.name)
        part = os.path.join(request.shop(self.claims_cpds(request.options)[0]), base(image))
        copy: Step = CopyFile(LEAD, layers[0].path, part, parent(image))
        if stack.format == "qcow2":
            copy = Convert(LEAD, layers[0].path, "qcow2", part, "qcow2")
        return Plan([copy, *_published(request, part, image)])


class SavingOver(Resizing):
    """Disks that are saved on the front-end, out of the node that has them."""

    def claims_cpds(self, options: dict[str, Any]) -> list[Claim]:
        disk, image = Disk(options["source"], options["datastore"]), saved_image(options)
        # the node writes a chain as one image before it is sent, so it needs a workshop
        where = PEER if options["peer"] else LEAD
        return [Claim(LEAD, parent(image), "image-" + base(image)), Claim(where, disk.datastore, disk.key)]

    def cpds(self, request: Request) -> Reply:
        """Bring a disk, or a snapshot of it, to the front-end as an image of its own."""
        from ..steps.images import Convert
        from ..steps.transfer import Send

        refuse_running(request)
        image = saved_image(request.options)
        if _saved(request, image):
            return Answer(path=image)
        disk = Disk(request["source"], request["datastore"])
        stack = Stack(request, disk, "", False, PEER)
        layers = stack.check(_wanted(request, stack))
        claims = self.claims_cpds(request.options)
        shop = request.shop(claims[0])
        part, source = os.path.join(shop, base(image)), layers[0].path
        steps: list[Step] = []
        if len(layers) > 1:
            whole = os.path.join(request.shop(claims[1]), "whole") if request.site.peer else part
            steps.append(Convert(PEER, source, "qcow2", whole, "qcow2"))
            source = whole
        if source != part:
            steps.append(Send(LEAD, [[source, base(image)]], shop, parent(image)))
        return Plan([*steps, *_published(request, part, image)])


def saved_image(options: dict[str, Any]) -> str:
    """The path of the new image; ``BadCall`` when it cannot be one."""
    image = clean_path(options["destination"], "image")
    if base(image).startswith(".") or parent(image) == "/":
        raise BadCall(f"{image} cannot be an image")
    return image


def _saved(request: Request, image: str) -> bool:
    """Whether the image stands and may stay: our own work, or, without ``force``, that of an earlier run."""
    there = request.look(image) is not None
    if request.ran and not there:
        raise Missing(f"The image {image} is not there although it was made", request.site.lead.name)
    return there and (request.ran or not request["force"])


def _wanted(request: Request, stack: Stack) -> str:
    """The file that holds what is to be saved: -1 stands for the disk as it is now."""
    number: int = request["snapshot_id"]
    if number < -1:
        raise BadCall(f"{number} is not the id of a snapshot")
    return stack.active if number == -1 else stack.needed_snapshot(number)


def _published(request: Request, part: str, image: str) -> list[Step]:
    aside = part + ".old" if request.look(image) else ""
    return [Publish(LEAD, part, image, parent(image), aside, "image")]

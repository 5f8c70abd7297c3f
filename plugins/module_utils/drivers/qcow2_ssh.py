# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""TM drivers ``qcow2`` and ``shared`` with an ``ssh`` system datastore (the ``*.ssh`` scripts, contract-tm 7.3).

The image datastore is seen by the nodes, a VM's files are the node's own: disks are copies that stand alone.
"""

from __future__ import annotations

import os

from .._errors import Missing
from ..steps.base import LEAD
from ..steps.claim import Claim
from ..steps.files import MakeDirectory
from ..steps.images import Convert
from ..steps.transfer import CopyFile
from ..tools import chain
from .base import Answer, Plan, Request, base, clean_path, parent
from .qcow2 import Qcow2, image_key, layers
from .ssh import Ssh, is_chain, marker, put_back, relayer, snap_files
from .vm_files import Disk, publish, settled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..steps.base import Step
    from .base import Reply


class Qcow2Ssh(Qcow2):
    """Copies on the node."""

    name = "qcow2.ssh"
    in_place = False
    leads = {**Qcow2.leads, "mv": "pair"}
    peer_actions = ("mv", "context")
    stream_actions = ("mv",)

    def first_layer(self, request: Request, image: str, layer: str) -> list[Step]:
        copy: list[Step] = [Convert(LEAD, image, "qcow2", layer, "qcow2", sparse=request["sparse"])]
        return copy + self._grown(request, layer, "qcow2")

    def marker(self, request: Request, disk: Disk) -> list[Step]:
        return marker(request, disk.datastore, LEAD)

    # ------------------------------------------------------------ ln

    claims_ln = Qcow2.claims_clone

    def ln(self, request: Request) -> Reply:
        """Copy a persistent image, with its snapshots, to the node."""
        disk = Disk(request["destination"], request["datastore"])
        image = clean_path(request["source"], "image")
        if settled(request, disk):
            return Answer(path=disk.path)
        self._there(request, image)
        shop = request.shop(self.claims_ln(request.options)[0])
        part = os.path.join(shop, disk.name)
        files = snap_files(request, image, disk.name, LEAD)
        steps: list[Step] = [CopyFile(LEAD, path, os.path.join(shop, name), disk.datastore) for path, name in files]
        snap = True
        if is_chain(request, image):
            steps += relayer(request, image, part, LEAD, disk.datastore, disk.path)
        elif request["format"] == "qcow2" and not chain.numbers(request.site.lead, image + ".snap"):
            steps.append(CopyFile(LEAD, image, os.path.join(part + ".snap", "0"), disk.datastore))
            steps += layers(shop, disk)
        else:
            # snapshots that are copies stay what they are
            steps.append(CopyFile(LEAD, image, part, disk.datastore))
            snap = bool(files)
        return Plan(steps + publish(request, disk, snap=snap) + self.marker(request, disk))

    # ------------------------------------------------------------ mv, mvds

    idle = Ssh.idle
    claims_mv = Ssh.claims_mv
    mv = Ssh.mv
    marker_at = staticmethod(Ssh.marker_at)

    def claims_mvds(self, options: dict[str, Any]) -> list[Claim]:
        disk = Disk(options["source"], options["datastore"])
        image = clean_path(options["destination"], "image")
        return [
            Claim(LEAD, parent(image), image_key(image)),
            Claim(LEAD, disk.datastore, disk.key, shared=True),
        ]

    def mvds(self, request: Request) -> Reply:
        """Bring a persistent disk, with its layers, back to its image, as a copy that is published when it is whole."""
        disk = Disk(request["source"], request["datastore"])
        image = clean_path(request["destination"], "image")
        root = parent(image)
        if request.ran:
            return Answer(path=image)
        info = request.look(disk.path)
        if info is None:
            raise Missing(f"The disk {disk.path} is not there", request.site.lead.name)
        shop = request.shop(self.claims_mvds(request.options)[0])
        part = os.path.join(shop, base(image))
        files = snap_files(request, disk.path, base(image), LEAD)
        # a directory without snapshots replaces one with those that were deleted since
        snaps = request.look(disk.snap) is not None
        steps: list[Step] = [MakeDirectory(LEAD, part + ".snap", root)] if snaps else []
        steps += [CopyFile(LEAD, path, os.path.join(shop, name), root) for path, name in files]
        if snaps and info["kind"] == "link":
            # absolute names: the next VM may open it by a link that lies elsewhere (contract-tm 6.2)
            steps += relayer(request, disk.path, part, LEAD, root, image, folder=image + ".snap")
        else:
            steps.append(CopyFile(LEAD, request.site.lead.real(disk.path), part, root))
        return Plan(steps + put_back(request, part, image, snaps))

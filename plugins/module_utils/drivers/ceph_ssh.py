# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""TM driver ``ceph`` with an ``ssh`` system datastore (the ``*.ssh`` scripts, contract-tm 7.8).

Images are volumes, which the node reaches; a VM's disks are raw files of the node's own. All work is done there.
"""

from __future__ import annotations

import os

from .._errors import Missing, Refused, Unsupported
from ..steps.base import LEAD
from ..steps.claim import Claim
from ..steps.images import Resize
from ..steps.volume_names import PublishVolumeForGood
from ..steps.volumes import ExportVolume, FillVolume
from ..tools.rbd import unfinished, volume_of
from .base import Answer, Plan, Request
from .ceph_disks import BASE, closed, published
from .ceph_disks import settled as there
from .ceph_images import CephVolumes, Member, claim_of, family, needed, refuse_foreign
from .ceph_snapshots import numbered, retired_name
from .ssh import marker
from .vm_files import Disk, publish, settled
from .vm_layers import Stack
from .vm_live import copied, guest_of, reached
from .vm_resize import Resizing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ..steps.base import Step
    from .base import Reply


class CephSsh(CephVolumes, Resizing):
    """Volumes are copied to files of the node, and back."""

    name = "ceph.ssh"
    kind = "tm"

    def method(self, action: str) -> Callable[[Request], Reply]:
        """Snapshots are refused by name: oned lets a user ask for them."""
        if action.startswith("snap_"):
            raise Unsupported(
                f"{action}: disks of Ceph images in a system datastore of the driver ssh have no snapshots",
                todo="use a system datastore of the driver ceph",
            )
        return super().method(action)

    # ------------------------------------------------------------ clone, ln

    def claims_clone(self, options: dict[str, Any]) -> list[Claim]:
        disk = Disk(options["destination"], options["datastore"])
        return [Claim(LEAD, disk.datastore, disk.key), claim_of(*volume_of(options["source"]), shared=True)]

    claims_ln = claims_clone

    def clone(self, request: Request) -> Reply:
        """Copy the image to the node."""
        disk = Disk(request["destination"], request["datastore"])
        if settled(request, disk):
            return Answer(path=disk.path)
        return self._brought(request, disk, grows=True)

    def ln(self, request: Request) -> Reply:
        """Copy a persistent image to the node; ``mvds`` brings it back.

        :raises Refused: the image cannot be replaced at the end: a clone stands on it, or a backup's snapshot would go.
        """
        disk, (pool, name) = Disk(request["destination"], request["datastore"]), volume_of(request["source"])
        if settled(request, disk):
            return Answer(path=disk.path)
        members = family(request.site.volumes(), pool, name)
        refuse_foreign(members, pool, name, "written to")
        _refuse_lost(members, pool, name)
        return self._brought(request, disk, grows=False)

    @staticmethod
    def _brought(request: Request, disk: Disk, grows: bool) -> Plan:
        pool, name = volume_of(request["source"])
        needed(request.site.volumes(), pool, name)
        shop = request.shop(Claim(LEAD, disk.datastore, disk.key))
        part = os.path.join(shop, disk.name)
        steps: list[Step] = [ExportVolume(pool, name, part, disk.datastore)]
        if grows and request["original_size"] and request["size"] > request["original_size"]:
            steps.append(Resize(LEAD, part, "raw", request["size"], allocate=not request["sparse"]))
        return Plan([*steps, *publish(request, disk), *marker(request, disk.datastore, LEAD)])

    # ------------------------------------------------------------ mvds

    def claims_mvds(self, options: dict[str, Any]) -> list[Claim]:
        disk = Disk(options["source"], options["datastore"])
        return [claim_of(*volume_of(options["destination"])), Claim(LEAD, disk.datastore, disk.key, shared=True)]

    def mvds(self, request: Request) -> Reply:
        """Bring a persistent disk back to its image, as a volume that gets its name when it is whole.

        The image's snapshots stay, with the old volume, as after a revert. The disk stays on the node until the VM's
        directory goes, so that a repeated call finds it.
        """
        disk, (pool, name) = Disk(request["source"], request["datastore"]), volume_of(request["destination"])
        if request.ran:
            return Answer(path=request["destination"])
        file, cluster, run = _file(request, disk), request.site.volumes(), request.site.run
        image = needed(cluster, pool, name)
        members = family(cluster, pool, name)
        refuse_foreign(members, pool, name, "replaced")
        closed(request, pool, [name])
        current = next(member for member in members if member.name == name)
        ids = numbered(current)
        part, aside = unfinished(name, run), unfinished(f"{name}.old", run)
        label = cluster.ask("label", pool=pool, name=name)
        _refuse_lost(members, pool, name)
        return Plan(
            [
                FillVolume(file, pool, part, int(image["format"]), str(image["data_pool"])),
                PublishVolumeForGood(pool, part, name, retired_name(name, ids) if ids else aside, "image", label),
            ]
        )

    # ------------------------------------------------------------ cpds

    def claims_cpds(self, options: dict[str, Any]) -> list[Claim]:
        disk = Disk(options["source"], options["datastore"])
        return [claim_of(*volume_of(options["destination"])), Claim(LEAD, disk.datastore, disk.key)]

    def cpds(self, request: Request) -> Reply:
        """Write a disk as an image of its own, while a guest writes to it too."""
        if request["snapshot_id"] != -1:
            raise Unsupported("cpds: disks of Ceph images in a system datastore of the driver ssh have no snapshots")
        disk, (pool, name) = Disk(request["source"], request["datastore"]), volume_of(request["destination"])
        if there(request, pool, name):
            found = {"consistency": reached(request)} if request["running"] else {}
            return Answer(path=request["destination"], **found)
        file = _file(request, disk)
        steps: list[Step] = []
        if request["running"]:
            file = os.path.join(request.shop(Claim(LEAD, disk.datastore, disk.key)), "whole")
            stack = Stack(request, disk, "", False)
            steps.append(copied(LEAD, stack, file, disk.datastore, guest_of(request, "source")))
        part = unfinished(name, request.site.run)
        steps.append(FillVolume(file, pool, part, request["rbd_format"], request["data_pool"]))
        return Plan(steps + published(request, pool, part, name))

    # ------------------------------------------------------------ resize

    def claims_resize(self, options: dict[str, Any]) -> list[Claim]:
        disk = Disk(options["path"], options["datastore"])
        return [Claim(LEAD, disk.datastore, disk.key)]

    def _stack(self, request: Request) -> Stack:
        return Stack(request, Disk(request["path"], request["datastore"]), "", False)


def _refuse_lost(members: list[Member], pool: str, name: str) -> None:
    """``Refused`` when the image has a snapshot that would go with its volume, such as that of a backup.

    Those that oned counts stay, with the old volume.
    """
    for member in members:
        if member.name != name or numbered(member):
            continue
        for snapshot in member.snapshots():
            if snapshot != BASE:
                raise Refused(
                    f"{pool}/{name} has the snapshot {snapshot}, which would be lost when its disk comes back",
                    todo="remove it, after the backups that count on it, or use a system datastore of the driver ceph",
                )


def _file(request: Request, disk: Disk) -> str:
    """The file that a disk is; ``Missing`` without one."""
    info = request.look(disk.path)
    if info is None or info["kind"] != "file":
        raise Missing(f"The disk {disk.path} is not there", request.site.lead.name)
    return disk.path

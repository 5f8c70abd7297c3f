# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""TM driver ``ceph``: snapshots of VMs' disks, and disks that are saved as images (contract-tm 6.6, 7.7).

Snapshots are those of images: see :mod:`.ceph_snapshots`. What stands on what is read from the volumes, so every value
of ALLOW_ORPHANS means the same here (Q10).
"""

from __future__ import annotations

from .._errors import Missing, Refused
from ..steps.volume_base import snapshot_of
from ..steps.volume_live import LiveSnapshot, PassingSnapshot
from ..steps.volume_snapshots import ForgetSnapshot, SnapshotVolume
from ..steps.volumes import CopyVolume
from ..tools.rbd import unfinished, volume_of
from .base import Answer, Plan, Request
from .ceph_disks import CephDisks, closed, disk_volume, published, settled
from .ceph_images import claim_of, family, needed, needs_format_2
from .ceph_snapshots import delete, found, revert
from .vm_live import guest_of, reached
from .vm_snapshots import refuse_running, snapshot_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..steps.base import Step
    from ..steps.claim import Claim
    from .base import Reply


class CephDiskSnapshots(CephDisks):
    """``snap_create``, ``snap_create_live``, ``snap_delete``, ``snap_revert`` and ``cpds``."""

    def claims_snap_create(self, options: dict[str, Any]) -> list[Claim]:
        return [claim_of(*disk_volume(options, options["path"]))]

    claims_snap_delete = claims_snap_revert = claims_snap_create

    # ------------------------------------------------------------ create

    def snap_create(self, request: Request) -> Reply:
        """Take a snapshot."""
        refuse_running(request)
        return self._taken(request) or Plan(self._steps(request))

    @staticmethod
    def _taken(request: Request) -> Answer | None:
        """The answer, once the snapshot has been taken."""
        pool, name = disk_volume(request.options, request["path"])
        snapshot = str(snapshot_id(request))
        if not request.ran:
            return None
        if snapshot_of(request.site.volumes(), pool, name, snapshot) is None:
            raise Missing(f"The snapshot {pool}/{name}@{snapshot} is not there although it was taken")
        return Answer(path=request["path"], snapshot=f"{pool}/{name}@{snapshot}")

    @staticmethod
    def _steps(request: Request) -> list[Step]:
        """Steps that take the snapshot, in place of one that a failed attempt left."""
        pool, name = disk_volume(request.options, request["path"])
        snapshot = str(snapshot_id(request))
        cluster = request.site.volumes()
        needs_format_2(needed(cluster, pool, name), pool, name)
        steps: list[Step] = []
        for member in family(cluster, pool, name):
            if snapshot not in member.snapshots():
                continue
            needed_by = member.clones.get(snapshot) or [one["name"] for one in member.foreign.get(snapshot, [])]
            if not request["force"] or member.retired or needed_by:
                raise Refused(
                    f"There is a snapshot {snapshot} of {pool}/{name} already, {member.name}@{snapshot}",
                    todo="delete it first" if request["force"] else "force replaces it",
                )
            steps.append(ForgetSnapshot(pool, name, snapshot))
        return [*steps, SnapshotVolume(pool, name, snapshot)]

    claims_snap_create_live = claims_snap_create

    def snap_create_live(self, request: Request) -> Reply:
        """Take a snapshot of a disk of a running VM, which is held for that moment (Q4, Q28)."""
        guest = guest_of(request, "path")
        answer = self._taken(request)
        if answer is not None:
            answer.values["consistency"] = reached(request)
            return answer
        *first, _at_rest = self._steps(request)
        pool, name = disk_volume(request.options, request["path"])
        return Plan([*first, LiveSnapshot(pool, name, str(snapshot_id(request)), guest)])

    # ------------------------------------------------------------ delete, revert

    def snap_delete(self, request: Request) -> Reply:
        """Delete a snapshot, of a running VM too; what is gone is a success."""
        pool, name = disk_volume(request.options, request["path"])
        reply = delete(request, pool, name, str(snapshot_id(request)))
        return Answer(path=request["path"]) if isinstance(reply, Answer) else reply

    def snap_revert(self, request: Request) -> Reply:
        """Let the disk be what a snapshot holds; all snapshots stay.

        There is a volume with the disk's name and the right data at any moment but one, which whoever comes next
        settles (Q27).
        """
        refuse_running(request)
        pool, name = disk_volume(request.options, request["path"])
        if not request.ran:
            closed(request, pool, [name])
        snapshot = str(snapshot_id(request))
        # its data stay in the pool where they are
        data_pool = request["data_pool"] or str(needed(request.site.volumes(), pool, name)["data_pool"])
        reply = revert(request, pool, name, snapshot, data_pool)
        return Answer(path=request["path"], snapshot=snapshot) if isinstance(reply, Answer) else reply

    # ------------------------------------------------------------ cpds

    def claims_cpds(self, options: dict[str, Any]) -> list[Claim]:
        source = claim_of(*disk_volume(options, options["source"]), shared=not options["running"])
        return [claim_of(*volume_of(options["destination"])), source]

    def cpds(self, request: Request) -> Reply:
        """Copy a disk, or a snapshot of it, into a volume of its own, which stands on nothing.

        Of a running VM it is a snapshot of one moment that is copied, and removed again (Q29).
        """
        snapshot = "" if request["snapshot_id"] == -1 else str(snapshot_id(request))
        live = request["running"] and not snapshot
        (to, image), (pool, name) = volume_of(request["destination"]), disk_volume(request.options, request["source"])
        if (pool, name) == (to, image):
            raise Refused(f"The disk {request['source']} is the image {to}/{image} itself")
        if settled(request, to, image):
            return Answer(path=request["destination"], **({"consistency": reached(request)} if live else {}))
        cluster = request.site.volumes()
        volume = needed(cluster, pool, name)
        if snapshot:
            _current, holder = found(family(cluster, pool, name), pool, name, snapshot)
            name = holder.name
        steps: list[Step] = []
        if live:
            snapshot = unfinished(image, request.site.run)
            steps.append(PassingSnapshot(pool, name, snapshot, guest_of(request, "source")))
        part = unfinished(image, request.site.run)
        steps.append(CopyVolume((pool, name), snapshot, to, part, int(volume["format"]), request["data_pool"]))
        return Plan([*steps, *published(request, to, part, image)])

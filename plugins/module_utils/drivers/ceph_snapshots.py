# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""DS driver ``ceph``: snapshots of images that no VM uses (contract-ds 9.7).

Snapshot *k* is the RBD snapshot ``k``, protected, of the image's volume or of one that a revert retired. A revert gives
the old volume the name ``<image>-<ids of its snapshots>`` and lets a clone of the snapshot be the image.
"""

from __future__ import annotations

from .._errors import Corrupt, Missing, Refused
from ..steps.volume_names import DiscardVolume, PublishVolume, RenameVolume, TrashVolume
from ..steps.volume_snapshots import ForgetSnapshot
from ..steps.volumes import CloneVolume, CopyVolume, FlattenVolume
from ..tools.rbd import unfinished, volume_of
from .base import Answer, Plan, Request
from .ceph_images import CephImages, Member, family, needs_format_2, refuse_foreign

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..steps.base import Step
    from .base import Reply


class CephSnapshots(CephImages):
    """``snap_delete``, ``snap_revert`` and ``snap_flatten``."""

    claims_snap_delete = claims_snap_revert = claims_snap_flatten = CephImages.claims_existing

    def snap_delete(self, request: Request) -> Reply:
        """Remove a snapshot; what is gone is a success. A retired volume is renamed, or goes with its last one."""
        pool, name = volume_of(request["source"])
        return delete(request, pool, name, str(request["snapshot"]))

    def snap_revert(self, request: Request) -> Reply:
        """Let the image be what a snapshot holds; every snapshot stays."""
        pool, name = volume_of(request["source"])
        return revert(request, pool, name, str(request["snapshot"]), request["data_pool"])

    def snap_flatten(self, request: Request) -> Reply:
        """Let the image be what a snapshot holds, on its own feet, and remove every snapshot.

        The old volumes are set aside and go when all is over, so that a failure at any point loses none of them.
        """
        pool, name = volume_of(request["source"])
        members, run = family(request.site.volumes(), pool, name), request.site.run
        if request.ran or (members and not any(numbered(member) for member in members)):
            # without any snapshot there is nothing to flatten, or no more
            return Answer(source=request["source"])
        current, holder = found(members, pool, name, str(request["snapshot"]))
        refuse_foreign(members, pool, name, "flattened")
        part, aside = unfinished(name, run), unfinished(f"{name}.old", run)
        more = (int(current.volume["format"]), request["data_pool"])
        steps: list[Step] = [
            CopyVolume((pool, holder.name), str(request["snapshot"]), pool, part, *more),
            PublishVolume(pool, part, name, aside, "image"),
        ]
        for member in members:
            gone = aside if member.name == name else unfinished(member.name, run)
            steps.append(DiscardVolume(pool, aside if member.name == name else member.name, gone))
        return Plan(steps)


def found(members: list[Member], pool: str, name: str, snapshot: str) -> tuple[Member, Member]:
    """The volume that is written to, and the one that has a snapshot.

    :raises Missing: there is no such snapshot, or no such volume.
    """
    current = next((member for member in members if member.name == name), None)
    if current is None:
        raise Missing(f"The volume {pool}/{name} is not there")
    needs_format_2(current.volume, pool, name)
    holder = next((member for member in members if snapshot in member.snapshots()), None)
    if holder is None:
        raise Missing(f"The volume {pool}/{name} has no snapshot {snapshot}")
    return current, holder


def retired_name(name: str, ids: list[str]) -> str:
    """What a volume is called that has these snapshots and is not written to any more (contract-tm 6.6)."""
    return f"{name}-{':'.join(ids)}"


def numbered(member: Member) -> list[str]:
    """Ids of the snapshots that oned knows; others are bases of clones, and of backups."""
    return [snapshot for snapshot in member.snapshots() if snapshot.isdigit()]


def revert(request: Request, pool: str, name: str, snapshot: str, data_pool: str) -> Reply:
    """Steps of a revert, or the answer; also of a VM's disk."""
    run = request.site.run
    members = family(request.site.volumes(), pool, name)
    current, holder = found(members, pool, name, snapshot)
    if request.ran:
        stands_on = current.volume["parent"]
        if not stands_on or stands_on["snapshot"] != snapshot:
            raise Corrupt(f"The volume {pool}/{name} does not stand on the snapshot {snapshot} as it should")
        return Answer(source=f"{pool}/{name}")
    ids = numbered(current)
    part = unfinished(name, run)
    clone: Step = CloneVolume((pool, holder.name), snapshot, pool, part, data_pool)
    if ids:
        return Plan([clone, PublishVolume(pool, part, name, retired_name(name, ids), "image")])
    # nothing but what is reverted would be left of it
    refuse_foreign([current], pool, name, "reverted")
    aside = unfinished(f"{name}.old", run)
    return Plan([clone, PublishVolume(pool, part, name, aside, "image"), DiscardVolume(pool, aside, aside)])


def delete(request: Request, pool: str, name: str, snapshot: str) -> Reply:
    """Steps that remove a snapshot, or the answer; also of a VM's disk."""
    members = family(request.site.volumes(), pool, name)
    if not members:
        raise Missing(f"The volume {pool}/{name} is not there")
    steps: list[Step] = []
    for member in members:
        if snapshot in member.snapshots():
            needs_format_2(member.volume, pool, member.name)
            _refuse_needed(member, pool, snapshot)
            steps.append(ForgetSnapshot(pool, member.name, snapshot))
        if not member.retired:
            continue
        # also what a run that died between the two left to do
        left = [one for one in numbered(member) if one != snapshot]
        if not left and not member.clones and not member.foreign:
            steps.append(DiscardVolume(pool, member.name, unfinished(member.name, request.site.run)))
        elif left and retired_name(name, left) != member.name:
            steps.append(RenameVolume(pool, member.name, retired_name(name, left)))
    return Plan(steps) if steps else Answer(source=f"{pool}/{name}")


def gone(request: Request, pool: str, members: list[Member]) -> list[Step]:
    """Steps that delete volumes with their snapshots, or bring them to the trash (CEPH_TRASH) on their own feet.

    :param members: those that stand on others first.
    """
    steps: list[Step] = []
    for member in members:
        if request["ceph_trash"]:
            steps += [FlattenVolume(pool, member.name)] if member.volume["parent"] else []
            steps.append(TrashVolume(pool, member.name))
        else:
            steps.append(DiscardVolume(pool, member.name, unfinished(member.name, request.site.run)))
    return steps


def _refuse_needed(member: Member, pool: str, snapshot: str) -> None:
    if snapshot in member.clones:
        raise Refused(
            f"The snapshot {snapshot} of {pool}/{member.name} cannot be deleted: {pool}/{member.clones[snapshot][0]} "
            "was reverted to it and stands on it",
            todo="flatten the image to a snapshot, or revert it to another one first",
        )
    if snapshot in member.foreign:
        refuse_foreign([member], pool, f"{member.name}@{snapshot}", "deleted")

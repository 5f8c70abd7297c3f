# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""DS driver ``ceph``: what images are called, how their cluster is reached, which volumes belong to one (contract-ds 9,
contract-tm 6.6)."""

from __future__ import annotations

import os

from .._errors import Corrupt, Missing, Refused, StorageError, Unsupported, one_line
from ..steps.base import LEAD
from ..steps.claim import POOL, Claim
from ..tools.rbd import Access, unfinished, volume_of
from .base import Driver, Request, clean_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..steps.base import Site
    from ..tools.rbd.cluster import Cluster

#: Volumes that one image can be made of: each has a snapshot at least, and oned counts these.
_MOST = 10000


def cluster_of(options: dict[str, Any], site: Site) -> Cluster:
    """The cluster that an action's options name."""
    from ..tools.rbd.cluster import Cluster

    access = Access(options["ceph_user"], options["ceph_key"], options["ceph_conf"], options["ceph_host"])
    return Cluster(access, site.timeouts.stall, site.timeouts.command)


class CephVolumes(Driver):
    """What all drivers with volumes share."""

    name = "ceph"

    def cluster(self, options: dict[str, Any], site: Site) -> Cluster | None:
        # the size of what is to be imported is no cluster's business
        return cluster_of(options, site) if "ceph_user" in options else None

    def prepare(self, known: dict[str, Any]) -> None:
        if "ceph_user" in known:
            from ..tools.rbd.cluster import prepare

            prepare()


class CephImages(CephVolumes):
    """What all actions on images share."""

    kind = "ds"

    def claims(self, options: dict[str, Any]) -> list[Claim]:
        """The new volume, and room in the staging area."""
        pool, name = new_volume(options)
        return [claim_of(pool, name), Claim(LEAD, clean_path(options["staging_dir"], "staging directory"), name)]

    def claims_existing(self, options: dict[str, Any]) -> list[Claim]:
        """An image that there is."""
        return [claim_of(*volume_of(options["source"]))]


def claim_of(pool: str, name: str, shared: bool = False) -> Claim:
    """The claim on a volume."""
    return Claim(LEAD, POOL + pool, name, shared)


def new_volume(options: dict[str, Any]) -> tuple[str, str]:
    """Pool and name of a new image: its id gives the name, as in stock."""
    return volume_of(f"{options['pool']}/one-{options['image_id']}")


def part_of(request: Request) -> tuple[str, str]:
    """Pool and name under which this run builds the new image."""
    pool, name = new_volume(request.options)
    return pool, unfinished(name, request.site.run)


def label_of(options: dict[str, Any]) -> str:
    """By what a run knows the volume of its own image, whose name an earlier one may have had."""
    return f"{options['datastore_id']}:{options['image_id']}:{options['regtime']}"


def is_ours(request: Request) -> bool:
    """Whether the new image is there already; ``Refused`` when its name is another volume's."""
    pool, name = new_volume(request.options)
    cluster = request.site.volumes()
    if not cluster.ask("number", pool=pool, name=name):
        return False
    if cluster.ask("label", pool=pool, name=name) != label_of(request.options):
        raise Refused(
            f"The volume {pool}/{name} is there and was not made for this image",
            todo="look what it holds, then rename or remove it",
        )
    return True


def needed(cluster: Cluster, pool: str, name: str) -> dict[str, Any]:
    """A volume that has to be there."""
    found = cluster.seen(pool, name)
    if found is None:
        raise Missing(f"The volume {pool}/{name} is not there", os.uname().nodename)
    return found


def needs_format_2(volume: dict[str, Any], pool: str, name: str) -> None:
    """``Unsupported`` for a volume of RBD's first format, which has no protected snapshots."""
    if volume["format"] != 2:
        raise Unsupported(f"{pool}/{name}: Only RBD Format 2 is supported for this operation")


def pool_totals(request: Request, pool: str) -> dict[str, int]:
    """Used, free and total MB of a pool, under the names that modules return."""
    room = pool_room(request, pool)
    sizes = {name: room[name] >> 20 for name in ("used", "free")}
    return {"used_mb": sizes["used"], "free_mb": sizes["free"], "total_mb": sizes["used"] + sizes["free"]}


def pool_room(request: Request, pool: str) -> dict[str, int]:
    """``used`` and ``free`` bytes of a pool as ``ceph df detail`` says, quota considered."""
    found = request.site.volumes().ask("figures")
    stats = next((one["stats"] for one in found.get("pools", []) if one.get("name") == pool), None)
    if stats is None:
        # which says so when there is no such pool
        request.site.volumes().ask("read", pool=pool, entry="")
        raise StorageError(f"The cluster has no figures of the pool '{one_line(pool, 60)}' yet", request.site.lead.name)
    used = int(stats["stored"]) or int(stats["bytes_used"])
    free, quota = int(stats["max_avail"]), int(stats.get("quota_bytes", 0))
    if quota:
        free = min(free, max(quota - used, 0))
    return {"used": used, "free": free}


class Member:
    """One of the volumes that an image, or a disk of a VM, is made of.

    :ivar retired: whether a revert took it out of the way: it has the snapshots that were taken until then.
    :ivar clones: volumes of the same family that stand on its snapshots, by snapshot.
    :ivar foreign: the others that do.
    """

    def __init__(self, name: str, volume: dict[str, Any], retired: bool) -> None:
        self.name = name
        self.volume = volume
        self.retired = retired
        self.clones: dict[str, list[str]] = {}
        self.foreign: dict[str, list[dict[str, Any]]] = {}

    def snapshots(self) -> list[str]:
        """Names of its snapshots, the oldest first."""
        return [str(snapshot["name"]) for snapshot in self.volume["snapshots"]]


def is_retired(name: str, volume: str) -> bool:
    """Whether *volume* is a name that a revert gives to what was *name*: ``one-5-1:2`` of ``one-5``."""
    rest = volume[len(name) + 1 :]
    return volume.startswith(name + "-") and bool(rest) and all(part.isdigit() for part in rest.split(":"))


def family(cluster: Cluster, pool: str, name: str) -> list[Member]:
    """The volumes of an image, those that stand on others before these; found by what stands on what, never by names.

    A name only tells family from clones of VMs: ``one-5-1:2`` and ``one-5-1`` are retired, ``one-5-1-0`` is a clone.
    Of a volume that is not there the family is empty, and what a crash of other drivers left of it stays.
    """
    # most often it is looked at because nothing should be there
    there = cluster.ask("number", pool=pool, name=name)
    top, found = name, cluster.seen(pool, name) if there else None
    if found is None:
        return []
    seen = {name}
    volume = found
    while volume["parent"] and volume["parent"]["pool"] == pool and is_retired(name, volume["parent"]["name"]):
        top = volume["parent"]["name"]
        if top in seen:
            raise Corrupt(f"The volumes of {pool}/{name} stand on each other in a circle")
        seen.add(top)
        volume = needed(cluster, pool, top)
    members: list[Member] = []
    _descend(cluster, pool, name, top, volume, members)
    known = {member.name for member in members}
    for other in cluster.ask("names", pool=pool):
        # what was flattened stands on nothing; that its name lists its own snapshots is what tells it
        if is_retired(name, other) and other not in known:
            volume = needed(cluster, pool, other)
            if {snapshot["name"] for snapshot in volume["snapshots"]} & set(other[len(name) + 1 :].split(":")):
                _descend(cluster, pool, name, other, volume, members)
    return members


def _descend(cluster: Cluster, pool: str, name: str, here: str, volume: dict[str, Any], members: list[Member]) -> None:
    member = Member(here, volume, here != name)
    for snapshot in member.snapshots():
        for child in cluster.ask("children", pool=pool, name=here, snapshot=snapshot):
            ours = child["pool"] == pool and not child["trash"]
            if ours and (child["name"] == name or is_retired(name, child["name"])):
                member.clones.setdefault(snapshot, []).append(child["name"])
                if len(members) > _MOST:
                    raise Corrupt(f"More than {_MOST} volumes belong to {pool}/{name}")
                _descend(cluster, pool, name, child["name"], needed(cluster, pool, child["name"]), members)
            else:
                member.foreign.setdefault(snapshot, []).append(child)
    members.append(member)


def refuse_foreign(members: list[Member], pool: str, name: str, doing: str) -> None:
    """``Refused`` when something that stays stands on one of these volumes."""
    for member in members:
        for snapshot, children in member.foreign.items():
            child = children[0]
            trash = " in the trash" if child["trash"] else ""
            more = f" and {len(children) - 1} more" if len(children) > 1 else ""
            raise Refused(
                f"{pool}/{name} cannot be {doing}: the volume {child['pool']}/{child['name']}{trash}{more} stands on "
                f"its snapshot {member.name}@{snapshot}",
                todo="remove the clone, or flatten it" if not trash else "purge the trash first",
            )

# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What lies in a pool: each image, or disk of a VM, with what it stands on. The info modules look at it, as at
:mod:`.contents` of files. Sizes are in bytes."""

from __future__ import annotations

from .._errors import StorageError
from ..tools.host import Host
from .base import Answer, Request, clean_path
from .ceph_images import CephVolumes, pool_room
from .space import look

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..tools.rbd.cluster import Cluster
    from .base import Reply

    Volumes = dict[str, dict[str, Any]]

#: What the cluster says of a pool in one word, for people.
_FULL = {
    "full_quota": "the quota of the pool {pool} is used up: nothing can be written; raise it, or delete something",
    "full": "the pool {pool} is full: nothing can be written; add storage, or delete something",
    "backfillfull": "the pool {pool} is too full to be balanced; add storage, or delete something",
    "nearfull": "the pool {pool} is nearly full; add storage, or delete something",
}
#: A staging area is told that is as full as this.
_CROWDED = 0.95
#: Layers of one chain that are followed.
_MOST = 200


class CephContents(CephVolumes):
    """``usage`` and ``contents``."""

    def usage(self, request: Request) -> Reply:
        """``total_bytes``, ``used_bytes`` and ``free_bytes`` of the pool, its quota considered; ``warnings``, what the
        cluster says of its room. ``pool`` names it, with its cluster, alike on all hosts."""
        pool = request["pool"]
        room = pool_room(request, pool)
        told = request.site.volumes().ask("standing", pool=pool)
        said = [sentence.format(pool=pool) for flag, sentence in _FULL.items() if flag in told["flags"]]
        # a pool that is full is nearly full, too
        said = said[:1] + (_staging(request) if request.options["kind"] == "ds" else [])
        return Answer(
            total_bytes=room["used"] + room["free"],
            used_bytes=room["used"],
            free_bytes=room["free"],
            pool=f"Ceph pool {pool} of {told['cluster']}",
            warnings=said,
        )

    def contents(self, request: Request) -> Reply:
        """``items``, see :func:`.contents.item`; ``missed``; ``trash``, what lies in the pool's trash.

        What reverts retired counts to its image or disk; what a run is making is nobody's yet. What the option
        ``elsewhere`` names are images of other datastores in the same pool.
        """
        cluster, pool = request.site.volumes(), request["pool"]
        found: Volumes = cluster.ask("survey", pool=pool)
        images = request.options["kind"] == "ds"
        others = set(request.options.get("elsewhere") or [])
        known = {*request.options["formats"], *others} if images else set()
        items = _items(cluster, pool, found, known, images)
        items = [item for item in items if item["name"] not in others]
        trash = [
            {"name": one["name"], "id": one["id"], "virtual_bytes": one["size"], "allocated_bytes": one["used"]}
            for one in cluster.ask("discarded", pool=pool)
        ]
        return Answer(items=items, missed=[], trash=trash)


def _staging(request: Request) -> list[str]:
    """A sentence when images that have to be converted have no room on this host."""
    path = clean_path(request["staging_dir"], "staging directory")
    where = f"the staging area {path} on {request.site.lead.name}"
    try:
        [room] = look(request, path, "space", lambda: [Host("").space(path)])
    except StorageError as error:
        return [f"{where} cannot be looked at: {error.sentence}"]
    if room["used"] >= _CROWDED * room["total"]:
        return [f"{where} has {room['free'] >> 20} of {room['total'] >> 20} MB free; images that are not raw need it"]
    return []


def _items(cluster: Cluster, pool: str, found: Volumes, known: set[str], images: bool) -> list[dict[str, Any]]:
    """The images of a pool, by name, or the disks in it, by VM and number.

    :param known: names of volumes that are images of this datastore, whatever they are called.
    """
    # not at the start of every action
    from .ceph_names import named

    families: dict[str, list[str]] = {}
    numbers: dict[str, tuple[int, int]] = {}
    for name in sorted(found):
        told = named(name, known)
        if told.what == "disk" and not images:
            families.setdefault(told.owner, []).append(name)
            numbers[told.owner] = (told.vm, told.disk)
        elif told.what in ("image", "other") and images:
            families.setdefault(told.owner, []).append(name)
    items = []
    for owner, members in sorted(families.items(), key=lambda item: (numbers.get(item[0], (0, 0)), item[0])):
        row = _item(cluster, pool, found, owner, members)
        if owner in numbers:
            vm, disk = numbers[owner]
            row.update(name=f"{vm}/disk.{disk}", vm=vm, disk=disk)
        items.append(row)
    return items


def _item(cluster: Cluster, pool: str, found: Volumes, owner: str, members: list[str]) -> dict[str, Any]:
    broken: list[str] = []
    if owner in found:
        layers = _layers(cluster, pool, found, owner, broken)
    else:
        layers = []
        broken.append(f"There is {pool}/{members[0]}, which a revert retired, and no volume {pool}/{owner}")
    counted = {snapshot["name"] for name in members for snapshot in found[name]["snapshots"]}
    return {
        "name": owner,
        "path": f"{pool}/{owner}",
        "format": "raw",
        "virtual_bytes": found[owner]["size"] if owner in found else 0,
        "allocated_bytes": sum(found[name]["used"] for name in members),
        "linked": "",
        "layers": layers,
        # others are bases of clones, and of backups
        "snapshots": sum(name.isdigit() for name in counted),
        "broken": broken,
    }


def _layers(cluster: Cluster, pool: str, found: Volumes, name: str, broken: list[str]) -> list[dict[str, Any]]:
    """What is read of a volume, the top first; a layer below is a snapshot of another volume."""
    layers: list[dict[str, Any]] = []
    path, volume = f"{pool}/{name}", found[name]
    while len(layers) < _MOST:
        size, used = volume["size"], volume.get("used", 0)
        layers.append({"path": path, "format": "raw", "virtual_bytes": size, "allocated_bytes": used})
        below = volume["parent"]
        if below is None:
            return layers
        path = f"{below['pool']}/{below['name']}@{below['snapshot']}"
        there = found.get(below["name"]) if below["pool"] == pool else cluster.look(below["pool"], below["name"])
        if there is None:
            # the trash has it still
            layers.append({"path": path, "format": "raw", "virtual_bytes": 0, "allocated_bytes": 0})
            return layers
        volume = there
    broken.append(f"{pool}/{name} has more than {_MOST} layers")
    return layers

# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a whole pool has: every volume with its sizes, the trash, the room. Runs as a program."""

from __future__ import annotations

from datetime import timezone

from .content import shares

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import datetime
    from typing import Any

    from .volumes import Volumes

#: What the monitors call kinds of pools.
_KINDS = {1: "replicated", 3: "erasure"}


class Survey:
    """Operations on all that is in a pool. Sizes are bytes, times seconds since the epoch."""

    def __init__(self, volumes: Volumes) -> None:
        self._volumes = volumes
        self._rbd = volumes.rbd

    def survey(self, pool: str) -> dict[str, dict[str, Any]]:
        """Every volume by its name: what ``look`` tells, and ``used``, ``changed``.

        ``used`` counts the objects of the volume and of all its snapshots, as ``rbd du`` does; with the feature
        fast-diff they are read from maps. ``changed`` is when the volume was made, or written to last as far as the
        cluster noted it.
        """
        found: dict[str, dict[str, Any]] = {}

        def look(name: str) -> None:
            with self._volumes.open(pool, name, read_only=True) as image:
                found[name] = self._told(image)

        self._volumes.each(self._volumes.names(pool), look)
        return found

    def discarded(self, pool: str) -> list[dict[str, Any]]:
        """What lies in a pool's trash: also ``id``, ``name``, ``since``, ``until`` (before which nobody means it to be
        deleted) and ``clones``, how many volumes stand on its snapshots."""
        ioctx = self._volumes.cluster.pool(pool)
        items = {item["id"]: item for item in self._rbd.RBD().trash_list(ioctx)}
        found: list[dict[str, Any]] = []

        def look(number: str) -> None:
            item = items[number]
            with self._volumes.discarded(pool, number) as image:
                told = self._told(image)
                clones = self._clones(image)
            times = {"since": _seconds(item["deletion_time"]), "until": _seconds(item["deferment_end_time"])}
            found.append({**told, **times, "id": number, "name": item["name"], "clones": clones})

        self._volumes.each(list(items), look)
        return sorted(found, key=lambda item: (str(item["name"]), str(item["id"])))

    def purge(self, pool: str, number: str) -> None:
        """Delete a volume of the trash with its snapshots; fine when it is gone, an error when something needs it."""
        ioctx = self._volumes.cluster.pool(pool)
        try:
            with self._rbd.Image(ioctx, image_id=number) as image:
                for snapshot in list(image.list_snaps()):
                    if snapshot.get("namespace", 0) == 0:
                        if image.is_protected_snap(snapshot["name"]):
                            image.unprotect_snap(snapshot["name"])
                        image.remove_snap(snapshot["name"])
            self._rbd.RBD().trash_remove(ioctx, number, on_progress=self._volumes.passed)
        except self._rbd.ImageNotFound:
            pass

    def standing(self, pool: str, data_pool: str = "") -> dict[str, Any]:
        """What the monitors say of a pool.

        ``cluster``, the id of the cluster that it is of; ``flags``, those that tell how full it is: ``nearfull``,
        ``backfillfull``, ``full``, ``full_quota``; ``kind`` and ``data_kind``, of the pool and of that for data:
        ``replicated``, ``erasure``, or None where there is none; ``overwrites``, whether that for data takes them.
        """
        told = self._volumes.cluster.order({"prefix": "osd dump"})
        pools = {str(one["pool_name"]): one for one in told["pools"]}
        mine, data = pools.get(pool, {}), pools.get(data_pool, {})
        flags = {*str(told.get("flags", "")).split(","), *str(mine.get("flags_names", "")).split(",")}
        return {
            "cluster": str(told["fsid"]),
            "flags": sorted(flag for flag in flags if "full" in flag),
            "kind": _KINDS.get(mine.get("type")),
            "data_kind": _KINDS.get(data.get("type")),
            "overwrites": "ec_overwrites" in str(data.get("flags_names", "")).split(","),
        }

    def _told(self, image: Any) -> dict[str, Any]:
        told = self._volumes.told(image)
        # format 1 has no times
        changed = (
            max(_seconds(image.create_timestamp()), _seconds(image.modify_timestamp())) if told["format"] == 2 else 0
        )
        return {**told, "used": sum(share for _name, share in shares(image)), "changed": changed}

    @staticmethod
    def _clones(image: Any) -> int:
        count = 0
        for snapshot in list(image.list_snaps()):
            if snapshot.get("namespace", 0) == 0:
                image.set_snap(snapshot["name"])
                count += len(list(image.list_children2()))
        image.set_snap(None)
        return count


def _seconds(moment: datetime) -> int:
    """Since the epoch; librbd's times without a zone are UTC."""
    return int((moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp())

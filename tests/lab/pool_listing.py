# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that stands in the pools of a cluster, as JSON, in one connection.

A program for the system's Python, which has the bindings: ``pool_listing.py <configuration> <pool> …``.
"""

from __future__ import annotations

import json
import sys
from typing import Any

#: What pools keep by themselves, whether they have volumes or not.
_ALWAYS = ("rbd_directory", "rbd_info", "rbd_children", "rbd_trash", "rbd_purge_trash", "one_storage")


def main(conf: str, *pools: str) -> dict[str, Any]:
    """By pool: volumes, the trash, entries of the object that has locks and journals, objects that are no volume's."""
    import rados

    with rados.Rados(conffile=conf, name="client.oneadmin") as cluster:
        found = {}
        for pool in pools:
            with cluster.open_ioctx(pool) as place:
                found[pool] = _pool(place)
    return found


def _pool(place: Any) -> dict[str, Any]:
    import rbd

    names = rbd.RBD().list(place)
    volumes = {name: _volume(place, name) for name in names}
    trash = [item["name"] for item in rbd.RBD().trash_list(place)]
    objects = [item.key for item in place.list_objects()]
    known = {item.pop("id") for item in volumes.values()} | {item["id"] for item in rbd.RBD().trash_list(place)}
    foreign = [
        key
        for key in objects
        if key not in _ALWAYS
        and not any(key == f"rbd_id.{name}" for name in names)
        and not any(mark in key for mark in known)
    ]
    return {"volumes": volumes, "trash": trash, "entries": _entries(place), "objects": foreign}


def _volume(place: Any, name: str) -> dict[str, Any]:
    import rbd

    with rbd.Image(place, name, read_only=True) as image:
        parent = ""
        try:
            _pool_name, volume, snapshot = image.parent_info()
            parent = f"{volume}@{snapshot}"
        except rbd.ImageNotFound:
            pass
        snapshots = {item["name"]: image.is_protected_snap(item["name"]) for item in image.list_snaps()}
        watchers = [item["addr"] for item in image.watchers_list()]
        lockers = [client for client, _cookie, _address in (image.list_lockers() or {"lockers": []})["lockers"]]
        return {
            "id": image.id(),
            "size": image.size(),
            "parent": parent,
            "snapshots": snapshots,
            "watchers": watchers,
            "lockers": lockers,
        }


def _entries(place: Any) -> list[str]:
    import rados

    with rados.ReadOpCtx() as operation:
        found, _code = place.get_omap_keys(operation, "", 1000)
        try:
            place.operate_read_op(operation, "one_storage")
        except rados.ObjectNotFound:
            return []
        return [name for name, _value in found]


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))

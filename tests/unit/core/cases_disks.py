# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Actions on disks that are there, for the tests of the core: snapshots, saving, resizing. Part of `cases`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.unit.core.cases import Case
from tests.unit.core.golden import SHAPES, Golden, Shape
from tests.unit.core.support import World

SHAPE = {shape.name: shape for shape in SHAPES}


def used(shape: Shape, *events: str) -> Callable[[World], None]:
    """A disk to which this happened: `write`, `create`, `revert 1`, …"""

    def prepare(world: World) -> None:
        disk = Golden.made(world, shape)
        for event in events:
            name, *numbers = event.split()
            getattr(disk, name)(*map(int, numbers))

    return prepare


def of(shape: Shape, **more: Any) -> Callable[[World], dict[str, Any]]:
    """Options of an action on a disk of that shape."""

    def options(world: World) -> dict[str, Any]:
        given = dict(more)
        if "destination" in given:
            given["destination"] = world.root / "2" / given["destination"]
        return Golden(world, shape).options(**given)

    return options


def case(name: str, shape: str, action: str, *events: str, **more: Any) -> Case:
    """An action on a disk to which this happened."""
    return Case(f"{shape}: {name}", action, used(SHAPE[shape], *events), of(SHAPE[shape], **more))


BUSY = ("write", "create", "write", "create", "write", "create", "write")
NEW = "4" * 32

DISKS = [
    case("snapshot", "own layers", "tm_snap_create", "write", snapshot_id=0),
    case("snapshot with a marker", "own layers", "tm_snap_create", *BUSY[:3], snapshot_id=5),
    case("snapshot", "persistent", "tm_snap_create", "write", snapshot_id=0),
    case("snapshot", "raw, persistent", "tm_snap_create", "write", snapshot_id=0),
    case("snapshot", "persistent with layers", "tm_snap_create", "write", snapshot_id=1),
    case("delete", "persistent with layers", "tm_snap_delete", *BUSY, snapshot_id=1),
    case("snapshot", "ssh, qcow2", "tm_snap_create", "write", snapshot_id=0),
    case("snapshot", "ssh, layers", "tm_snap_create", "write", snapshot_id=1),
    case("revert", "own layers", "tm_snap_revert", *BUSY, snapshot_id=1),
    case("linear revert", "own layers", "tm_snap_revert", *BUSY, snapshot_id=0, linear=True),
    case("revert", "persistent", "tm_snap_revert", *BUSY, snapshot_id=0),
    case("revert", "raw, persistent", "tm_snap_revert", *BUSY, snapshot_id=0),
    case("linear revert", "ssh, raw", "tm_snap_revert", *BUSY, snapshot_id=0, linear=True),
    case("delete of the first", "own layers", "tm_snap_delete", *BUSY, snapshot_id=0),
    case("delete of two branches' root", "mixed", "tm_snap_delete", *BUSY, "revert 0", "write", snapshot_id=0),
    case("delete of the last", "persistent", "tm_snap_delete", *BUSY, snapshot_id=2),
    case("delete of a leaf", "own layers", "tm_snap_delete", *BUSY, "revert 0", snapshot_id=2),
    case("delete with a marker", "own layers", "tm_snap_delete", "write", "create 4", "write", snapshot_id=4),
    case("delete", "raw", "tm_snap_delete", *BUSY, snapshot_id=1),
    case("resize", "own layers", "tm_resize", *BUSY, size=4),
    case("resize", "persistent", "tm_resize", "write", size=4, sparse=False),
    case("resize", "raw, persistent", "tm_resize", "write", size=4),
    case("save", "own layers", "tm_cpds", *BUSY, destination=NEW),
    case("save a snapshot", "persistent", "tm_cpds", *BUSY, destination=NEW, snapshot_id=1),
    case("save", "raw, persistent", "tm_cpds", "write", destination=NEW),
    case("save", "mixed", "tm_cpds", *BUSY, destination=NEW),
    case("save", "ssh, raw", "tm_cpds", "write", destination=NEW),
    case("save layers", "ssh, layers", "tm_cpds", "write", "create", "write", destination=NEW),
]

# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two processes that work on one disk at the same time: one waits for the other, or is refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from plugins.module_utils import _run
from plugins.module_utils._errors import Busy
from plugins.module_utils.tools import chain
from plugins.module_utils.tools.host import Host
from tests.unit.core.golden import SHAPES, Golden
from tests.unit.core.support import World, act, child, ended, tree
from tests.unit.core.test_locks import holding

SHAPE = {shape.name: shape for shape in SHAPES}
NEW = "4" * 32


def grown(world: World, shape: str) -> Golden:
    """A disk with snapshots 0, 1 and 2 and something written since."""
    disk = Golden.made(world, SHAPE[shape])
    for _turn in range(3):
        disk.write()
        disk.create()
    disk.write()
    return disk


def task(disk: Golden, event: str, ready: int, go: int) -> Callable[[], None]:
    """An event in a process of its own, which begins when it is told to."""
    name, _blank, number = event.partition(" ")
    more: dict[str, Any] = {"snapshot_id": int(number)}
    if name == "cpds":
        more = {"snapshot_id": int(number), "destination": disk.world.root / "2" / NEW}
    elif name == "resize":
        more = {"size": int(number)}
    given = disk.options(**more)

    def run() -> None:
        os.write(ready, b"x")
        os.read(go, 1)
        _run.run(f"tm_{name}", given, _run.Mode()).close()

    return run


def at_once(disk: Golden, *events: str) -> None:
    """All events at the same moment; each ends well."""
    ready, say = os.pipe()
    go, start = os.pipe()
    with child(task(disk, events[0], say, go)) as one, child(task(disk, events[1], say, go)) as other:
        assert len(os.read(ready, 1) + os.read(ready, 1)) == 2
        os.write(start, b"xx")
        assert [ended(one), ended(other)] == [0, 0]
    for pipe in (ready, say, go, start):
        os.close(pipe)


@pytest.mark.parametrize(
    ("events", "made", "gone", "back"),
    [
        (("snap_create 3", "snap_create 4"), (3, 4), (), -1),
        (("snap_create 3", "snap_delete 1"), (3,), (1,), -1),
        (("snap_delete 1", "snap_delete 2"), (), (1, 2), -1),
        (("snap_delete 1", "snap_revert 2"), (), (1,), 2),
        (("snap_revert 1", "snap_revert 1"), (), (), 1),
        (("cpds 1", "snap_delete 2"), (), (2,), -1),
        (("cpds -1", "snap_create 3"), (3,), (), -1),
    ],
)
@pytest.mark.parametrize("shape", ["own layers", "persistent", "raw, persistent"])
def test_two_at_once(
    world: World, shape: str, events: tuple[str, ...], made: tuple[int, ...], gone: tuple[int, ...], back: int
) -> None:
    disk = grown(world, shape)
    at_once(disk, *events)
    for number in made:
        disk.snapshots[number] = disk.now
    for number in gone:
        del disk.snapshots[number]
    if back >= 0:
        disk.now = disk.snapshots[back]
    disk.check()
    if disk.shape.layered:
        roots = [str(world.images), str(world.system)]
        chain.sound(Host("here"), str(disk.snap), roots)


def test_a_disk_that_grows_while_its_snapshot_is_taken(world: World) -> None:
    disk = grown(world, "own layers")
    at_once(disk, "resize 4", "snap_create 3")
    size = 4 << 20
    snapshot = disk.now
    disk.now = disk.now.ljust(size, b"\0")
    # the snapshot is of before or of after
    number = disk.file_of(3)
    grew = int.from_bytes(number.read_bytes()[24:32], "big") == size
    disk.snapshots[3] = disk.now if grew else snapshot
    disk.check()


@pytest.mark.parametrize(
    ("shape", "what"),
    [
        *((shape, "disk") for shape in ("own layers", "persistent", "raw, persistent", "ssh, raw")),
        *((shape, "image") for shape in ("persistent", "raw, persistent")),
    ],
)
@pytest.mark.parametrize("action", ["tm_snap_create", "tm_snap_delete", "tm_snap_revert", "tm_resize"])
def test_one_that_cannot_wait_is_refused_and_changes_nothing(world: World, shape: str, action: str, what: str) -> None:
    """Of a persistent disk the image is locked too: its own actions meet these there."""
    disk = grown(world, shape)
    given = disk.options(**({"size": 4} if action == "tm_resize" else {"snapshot_id": 1, "force": True}))
    if action != "tm_snap_create":
        given.pop("force", None)
    before = tree(world.root)
    place, key = (world.system, "vm-5") if what == "disk" else (world.images, f"image-{disk.shape.image}")
    with holding(place, key), pytest.raises(Busy, match=f"has held {key} in .*nothing was changed"):
        act(action, **given, lock_timeout=0)
    assert tree(world.root) == before and world.is_tidy()

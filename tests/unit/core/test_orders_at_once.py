# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every pair of actions on one VM and its image at the same moment, as two processes: what comes of it is what would
have come of one after the other, in one order or the other, down to the last byte."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils import _run
from tests.unit.core.golden import SHAPES, Golden, Shape
from tests.unit.core.support import World, child, ended, strings, tree

SHAPE = {shape.name: shape for shape in SHAPES}
NEW = "4" * 32
#: What a disk, its VM and its image may meet.
EVENTS = (
    "snap_create",
    "snap_delete",
    "snap_revert",
    "resize",
    "cpds",
    "cpds snapshot",
    "mv",
    "mvds",
    "delete disk",
    "delete directory",
    "clone for another",
    "ln again",
    "image clone",
    "image rm",
)


def call(disk: Golden, event: str) -> tuple[str, dict[str, Any]]:
    """The module of an event and its options."""
    world, shape = disk.world, disk.shape
    image, directory = world.images / shape.image, disk.path.parent
    own = {**shape.driver, "datastore": world.system}
    images: dict[str, Any] = {"driver": "fs", "datastore": world.images, "source": image}
    found: dict[str, tuple[str, dict[str, Any]]] = {
        "snap_create": ("tm_snap_create", disk.options(snapshot_id=2)),
        "snap_delete": ("tm_snap_delete", disk.options(snapshot_id=1)),
        "snap_revert": ("tm_snap_revert", disk.options(snapshot_id=1)),
        "resize": ("tm_resize", disk.options(size=4)),
        "cpds": ("tm_cpds", disk.options(destination=world.root / "2" / NEW, snapshot_id=-1)),
        "cpds snapshot": ("tm_cpds", disk.options(destination=world.root / "2" / NEW, snapshot_id=1)),
        "mv": (
            "tm_mv",
            {
                **shape.driver,
                "datastore": world.root / "101",
                "source_datastore": world.system,
                "source": directory,
                "destination": world.root / "101" / directory.name,
            },
        ),
        "mvds": ("tm_mvds", {**own, "source": disk.path, "destination": image, "format": shape.format}),
        "delete disk": ("tm_delete", {**own, "path": disk.path}),
        "delete directory": ("tm_delete", {**own, "path": directory}),
        "clone for another": (
            "tm_clone",
            {**own, "source": image, "destination": world.system / "6" / "disk.0", "format": shape.format},
        ),
        "ln again": ("tm_ln", {**own, "source": image, "destination": disk.path, "format": shape.format}),
        "image clone": (
            "ds_clone",
            {**images, "datastore_id": 1, "image_id": 9, "regtime": 1700000000, "format": shape.format},
        ),
        "image rm": ("ds_rm", images),
    }
    return found[event]


def started(stack: ExitStack, asked: tuple[str, dict[str, Any]], ready: int, go: int) -> int:
    """A process that does one action when it is told to."""
    action, given = asked[0], strings(asked[1])

    def run() -> None:
        os.write(ready, b"x")
        os.read(go, 1)
        _run.run(action, given, _run.Mode()).close()

    return stack.enter_context(child(run))


def run(calls: Sequence[tuple[str, dict[str, Any]]], together: bool) -> list[bool]:
    """Whether each call went well: at the same moment, or one after the other."""
    ready, say = os.pipe()
    go, start = os.pipe()
    with ExitStack() as stack:
        for pipe in (ready, say, go, start):
            stack.callback(os.close, pipe)
        if together:
            pids = [started(stack, asked, say, go) for asked in calls]
            for _pid in pids:
                os.read(ready, 1)
            os.write(start, b"x" * len(pids))
            return [ended(pid) == 0 for pid in pids]
        ends = []
        for asked in calls:
            os.write(start, b"x")
            ends.append(ended(started(stack, asked, say, go)) == 0)
        return ends


def outcomes(disk: Golden, kept: Path, pair: tuple[str, str]) -> list[tuple[list[bool], dict[str, tuple[str, ...]]]]:
    """What comes of a pair: at once, then in each of the two orders."""
    found = []
    calls = [call(disk, event) for event in pair]
    orders: list[tuple[bool, Callable[[Any], Any]]] = [(True, list), (False, list), (False, lambda item: item[::-1])]
    for together, order in orders:
        shutil.rmtree(disk.world.root)
        shutil.copytree(kept, disk.world.root, symlinks=True)
        ends = order(run(order(calls), together))
        assert disk.world.is_tidy(), disk.world.hidden()
        found.append((ends, tree(disk.world.root)))
    return found


def pairs() -> list[Any]:
    """Every pair for every kind of disk; a short run takes one kind, and what changes the same chain or directory."""
    found = []
    short = [("snap_create", "snap_delete"), ("snap_delete", "snap_revert"), ("mv", "snap_create"), ("mv", "mv")]
    for shape in ("own layers", "persistent", "raw, persistent", "ssh, raw", "local, persistent", "mixed, persistent"):
        for pair in itertools.combinations_with_replacement(EVENTS, 2):
            quick = shape == "own layers" and (pair in short or pair[::-1] in short)
            marks = () if quick else pytest.mark.full
            found.append(pytest.param(SHAPE[shape], pair, id=f"{shape}: {pair[0]} + {pair[1]}", marks=marks))
    return found


@pytest.mark.parametrize(("shape", "pair"), pairs())
def test_two_at_once_are_as_one_after_the_other(
    world: World, tmp_path: Path, shape: Shape, pair: tuple[str, str]
) -> None:
    disk = Golden.made(world, shape)
    for _turn in range(2 - disk.next):
        disk.write()
        disk.create()
    disk.write()
    kept = tmp_path / "kept"
    shutil.copytree(world.root, kept, symlinks=True)
    at_once, *in_turn = outcomes(disk, kept, pair)
    # each of them alone goes well
    assert in_turn[0][0][0] and in_turn[1][0][1]
    differs = [
        [key for key in at_once[1].keys() | one[1].keys() if at_once[1].get(key) != one[1].get(key)] for one in in_turn
    ]
    assert at_once in in_turn, (at_once[0], [one[0] for one in in_turn], differs)

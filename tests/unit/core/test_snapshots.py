# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots of images: after every action, and after every death in the middle of one, what is to stay reads as before."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from plugins.module_utils._errors import BadCall, Corrupt, Missing, Refused, StorageError
from tests.unit.core.cases import CASES, Case
from tests.unit.core.chains import NAME, SIZE, Chain, branched, copies, layers, write
from tests.unit.core.conftest import new_folder
from tests.unit.core.support import MIB, World, act, bytes_of, explained, info, killed_at_change, tool
from tests.unit.core.test_faults import Copies, deaths, neighbour


def no_digest(chain: Chain) -> bool:
    return not (chain.world.images / f"{NAME}.md5sum").exists()


#: Chains by what they are: how layers name each other, and where the bottom lies.
SHAPES: dict[str, dict[str, bool]] = {
    "absolute": {},
    "relative": {"relative": True},
    "linked": {"linked": True},
    "relative, linked": {"relative": True, "linked": True},
}
PER_SHAPE = pytest.mark.parametrize("how", SHAPES.values(), ids=SHAPES.keys())
PER_COUNT = pytest.mark.parametrize("count", [1, 2, 20])


# ---------------------------------------------------------------- revert


@PER_SHAPE
@PER_COUNT
def test_a_revert_begins_again_on_the_snapshot(world: World, how: dict[str, bool], count: int) -> None:
    chain = layers(world, count, **how)
    for target in {0, count // 2, count - 1}:
        chain.run("revert", target)
        chain.check(now=chain.golden[target])
        assert info(chain.active())["backing-filename-format"] == "qcow2"
        assert os.path.isabs(info(chain.active())["backing-filename"]) != how.get("relative", False)
    assert no_digest(chain)
    assert world.is_tidy()


@pytest.mark.parametrize("image_format", ["raw", "qcow2"])
def test_a_revert_of_copies_brings_the_copy_back(world: World, image_format: str) -> None:
    chain = copies(world, 2, image_format)
    chain.run("revert", 0)
    chain.check(now=chain.golden[0])
    assert no_digest(chain)
    assert world.is_tidy()


# ---------------------------------------------------------------- flatten


@PER_SHAPE
@PER_COUNT
def test_a_flattened_image_stands_alone(world: World, how: dict[str, bool], count: int) -> None:
    for target in {0, count // 2, count - 1}:
        chain = layers(world, count, **how)
        chain.run("flatten", target)
        assert not chain.snap.exists()
        assert not chain.source.is_symlink()
        assert "backing-filename" not in info(chain.source)
        assert bytes_of(chain.source, "qcow2") == chain.golden[target]
        assert no_digest(chain)
        assert world.is_tidy()
        chain.source.unlink()


@pytest.mark.parametrize("image_format", ["raw", "qcow2"])
def test_a_flattened_image_of_copies_is_the_copy(world: World, image_format: str) -> None:
    chain = copies(world, 3, image_format)
    chain.run("flatten", 1)
    assert not chain.snap.exists()
    assert bytes_of(chain.source, image_format) == chain.golden[1]
    assert no_digest(chain)


# ---------------------------------------------------------------- delete


@PER_SHAPE
def test_a_leaf_goes(world: World, how: dict[str, bool]) -> None:
    chain = branched(world, **how)
    chain.run("delete", 1)
    assert not (chain.snap / "1").exists()
    chain.check(1)
    assert no_digest(chain)
    assert world.is_tidy()


@pytest.mark.parametrize("image_format", ["raw", "qcow2"])
def test_a_copy_goes(world: World, image_format: str) -> None:
    chain = copies(world, 3, image_format)
    chain.run("delete", 1)
    assert sorted(path.name for path in chain.snap.iterdir()) == ["0", "2"]
    chain.check(1)


@PER_SHAPE
@PER_COUNT
def test_layers_that_stand_on_a_snapshot_keep_it(world: World, how: dict[str, bool], count: int) -> None:
    chain = layers(world, count, **how)
    before = world.tree()
    for target in {0, count // 2, count - 1}:
        with pytest.raises(Refused, match=f"layer {target + 1} stands on it"):
            chain.run("delete", target)
    assert world.tree() == before


@PER_SHAPE
@PER_COUNT
def test_orphans_are_given_the_data(world: World, how: dict[str, bool], count: int) -> None:
    """With ALLOW_ORPHANS=YES oned deletes any: first the bottom, then the top, then the rest."""
    chain = layers(world, count, **how)
    gone: list[int] = []
    for target in sorted(range(count), key=lambda number: (min(number, count - 1 - number), number)):
        chain.run("delete", target, allow_orphans=True)
        gone.append(target)
        assert not os.path.lexists(chain.snap / str(target))
        chain.check(*gone)
        assert chain.source.exists()
    assert "backing-filename" not in info(chain.active())
    assert chain.source.resolve() == chain.active().resolve(), "the image is not the oldest of its layers for ever"
    assert world.is_tidy()


@PER_SHAPE
def test_every_orphan_is_given_the_data(world: World, how: dict[str, bool]) -> None:
    chain = branched(world, **how)
    chain.run("delete", 0, allow_orphans=True)
    chain.check(0)
    assert not os.path.lexists(chain.snap / "0")
    chain.run("delete", 2, allow_orphans=True)
    chain.check(0, 2)


# ---------------------------------------------------------------- killed

KILLED = [case for case in CASES if case.action.startswith("ds_snap")]


def whole_after(case: Case, world: World, before: dict[int, bytes]) -> None:
    """Without any recovery: all snapshots but the one that goes read as before, and the image holds the old or the new."""
    image_format = str(case.options(world)["format"])
    chain = Chain(world, image_format, layered=image_format == "qcow2")
    target = int(case.options(world)["snapshot"])
    flat = case.action == "ds_snap_flatten"
    if flat and image_format == "raw" and not chain.snap.exists():
        # the only moment in which something is out of its place: the image is what it was, or all is done
        neighbour(world)
    for number, data in before.items():
        if number < 0:
            assert chain.view(-1) in ([data] if case.action == "ds_snap_delete" else [data, before[target]])
        elif os.path.lexists(chain.snap / str(number)) or not (flat or number == target):
            assert chain.view(number) == data or (number == target and case.action == "ds_snap_delete"), number
    if not chain.snap.exists():
        assert flat and bytes_of(chain.source, image_format) == before[target]


@pytest.mark.parametrize("case", KILLED, ids=str)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_between_steps_nothing_is_lost(case: Case, after: bool) -> None:
    copied = Copies(new_folder(), case)
    try:
        before = golden(case, copied)
        for _point, world in deaths(case, copied, after):
            whole_after(case, world, before)
    finally:
        shutil.rmtree(copied.place.parent)


@pytest.mark.full
@pytest.mark.parametrize("case", KILLED, ids=str)
def test_killed_at_any_moment_nothing_is_lost(case: Case) -> None:
    signal.alarm(200)
    copied = Copies(new_folder(), case)
    try:
        before = golden(case, copied)
        for number in itertools.count():
            world = copied.fresh()
            survived = not killed_at_change(number, case.action, case.options(world))
            whole_after(case, world, before)
            if survived:
                assert number > 10
                break
    finally:
        shutil.rmtree(copied.place.parent)


def golden(case: Case, copied: Copies) -> dict[int, bytes]:
    """What is in the image and its snapshots before."""
    world = copied.fresh()
    image_format = str(case.options(world)["format"])
    return Chain(world, image_format, layered=image_format == "qcow2").look().golden

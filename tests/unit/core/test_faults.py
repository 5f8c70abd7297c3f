# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every action, killed between any two of its steps, and what comes then: a second run, a neighbour, a delete."""

from __future__ import annotations

import itertools
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.core.cases import CASES, Case
from tests.unit.core.conftest import new_folder
from tests.unit.core.support import CHAINED, World, act, killed_at, killed_at_change, tree

PER_CASE = pytest.mark.parametrize("case", CASES, ids=str)


class Copies:
    """Worlds that are alike: each is a copy of one that was prepared once, at the same path.

    Paths stand in qcow2 headers and links, so the copies take turns at one place.
    """

    def __init__(self, folder: Path, case: Case) -> None:
        self.place = folder / "world"
        self.kept = folder / "kept"
        self.place.mkdir()
        case.prepare(World(self.place))
        self.place.rename(self.kept)
        self.before = tree(self.kept)

    def fresh(self) -> World:
        """A new world."""
        if self.place.exists():
            shutil.rmtree(self.place)
        shutil.copytree(self.kept, self.place, symlinks=True)
        world = World.__new__(World)
        world.root, world.images, world.system = self.place, self.place / "1", self.place / "100"
        return world


@pytest.fixture(scope="module")
def prepared() -> Iterator[dict[str, Copies]]:
    """Worlds by case, each prepared once."""
    found: dict[str, Copies] = {}
    yield found
    for copies in found.values():
        shutil.rmtree(copies.place.parent)


@pytest.fixture
def copies(prepared: dict[str, Copies], case: Case) -> Copies:
    """Worlds for a case."""
    if case.name not in prepared:
        prepared[case.name] = Copies(new_folder(), case)
    return prepared[case.name]


def points(after: bool) -> Iterator[str]:
    """Where to kill: before (or after) each step, then at the end."""
    return (f"{number}+" if after else f"{number}" for number in itertools.count())


def deaths(case: Case, copies: Copies, after: bool) -> Iterator[tuple[str, World]]:
    """Worlds in which the action was killed, each at another point."""
    survived = False
    for point in points(after):
        world = copies.fresh()
        if not killed_at(point, case.action, case.options(world)):
            survived = True
            break
        yield point, world
    assert survived
    world = copies.fresh()
    assert killed_at("end", case.action, case.options(world))
    yield "end", world


@PER_CASE
@pytest.mark.parametrize(
    "after", [pytest.param(False, marks=pytest.mark.full, id="before"), pytest.param(True, id="after")]
)
def test_run_again_it_ends_as_if_it_had_run_once(case: Case, copies: Copies, after: bool) -> None:
    world = copies.fresh()
    expected = act(case.action, **case.options(world))
    whole = world.tree()
    assert whole != copies.before, "the case has something to do"
    assert world.is_tidy()
    for point, world in deaths(case, copies, after):
        result = act(case.action, **case.options(world))
        assert world.tree() == whole, f"killed at {point}"
        assert world.is_tidy(), f"killed at {point}: {world.hidden()}"
        for key in ("source", "format", "path", "target"):
            assert result.get(key) == expected.get(key), f"killed at {point}"


@PER_CASE
def test_run_twice_it_changes_nothing(case: Case, copies: Copies) -> None:
    world = copies.fresh()
    act(case.action, **case.options(world))
    once = world.tree()
    act(case.action, **case.options(world))
    assert world.tree() == once
    assert world.is_tidy()


@pytest.mark.full
@PER_CASE
def test_killed_twice_and_run_again(case: Case, copies: Copies) -> None:
    """The second run dies where it has most to clear up: at its first step, and at its end."""
    world = copies.fresh()
    act(case.action, **case.options(world))
    whole = world.tree()
    for point, world in deaths(case, copies, after=True):
        for second in ("0", "end"):
            killed_at(second, case.action, case.options(world))
        act(case.action, **case.options(world))
        assert world.tree() == whole, f"killed at {point}"
        assert world.is_tidy(), f"killed at {point}"


#: A few that have a bit of everything; the others only in a full run.
THOROUGH = ("cp, converted", "qcow2 clone, forced", "ssh mv onto another", "delete of a VM")


@pytest.mark.parametrize(
    "case",
    [case if case.name in THOROUGH else pytest.param(case, marks=pytest.mark.full) for case in CASES],
    ids=str,
)
def test_killed_at_any_moment_and_run_again(case: Case, copies: Copies) -> None:
    """Not between steps, but before each single change on the disk: inside steps, journals, locks and clearing up."""
    signal.alarm(150)
    world = copies.fresh()
    act(case.action, **case.options(world))
    whole = world.tree()
    for number in itertools.count():
        world = copies.fresh()
        survived = not killed_at_change(number, case.action, case.options(world))
        if not survived:
            # the answer may have been given, so that a new image stays; it is the same one then
            act(case.action, **case.options(world))
        assert world.tree() == whole, f"killed at change {number}"
        neighbour(world)
        assert world.is_tidy(), f"killed at change {number}: {world.hidden()}"
        if survived:
            assert number > 10
            break


def neighbour(world: World) -> None:
    """Another action in each datastore, on other objects."""
    for number in (1, 2):
        act("ds_rm", driver="fs", datastore=world.root / str(number), source=world.root / str(number) / "nothing")
    for number in (100, 101):
        act("tm_delete", driver="qcow2", datastore=world.root / str(number), path=world.root / str(number) / "99")


@PER_CASE
def test_killed_before_its_first_step_it_leaves_nothing(case: Case, copies: Copies) -> None:
    world = copies.fresh()
    assert killed_at("0", case.action, case.options(world))
    neighbour(world)
    assert world.tree() == copies.before
    assert world.is_tidy()


@PER_CASE
def test_the_next_action_in_the_datastore_sweeps(case: Case, copies: Copies) -> None:
    """oned never repeats cp, mkfs and clone: it forgets the image. Other actions it follows by a delete."""
    for point, world in deaths(case, copies, after=True):
        neighbour(world)
        assert world.is_tidy(), f"killed at {point}: {world.hidden()}"
        if case.new_image:
            assert world.tree() == copies.before, f"killed at {point}"


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.action in ("tm_clone", "tm_ln", "tm_mkimage", "tm_context")], ids=str
)
def test_a_delete_after_a_killed_run_leaves_nothing(case: Case, copies: Copies) -> None:
    for point, world in deaths(case, copies, after=True):
        for _again in range(2):
            act("tm_delete", driver="qcow2", datastore=world.system, path=world.disk().parent)
        assert sorted(path.name for path in world.system.iterdir() if path.name != ".monitor") == [".one_storage"]
        # the workshop of a linked image is in the image's datastore: whatever is done next there clears it
        neighbour(world)
        assert world.is_tidy(), f"killed at {point}: {world.hidden()}"


@pytest.mark.parametrize("case", [case for case in CASES if "forced" in case.name], ids=str)
def test_the_old_disk_is_whole_or_the_new_one_is(case: Case, copies: Copies) -> None:
    """A run that dies while it replaces a disk never leaves less than there was."""
    world = copies.fresh()
    act(case.action, **case.options(world))
    whole = world.tree()
    for point, world in deaths(case, copies, after=True):
        neighbour(world)
        found = world.tree()
        assert found.get("100/5/disk.0") in (copies.before["100/5/disk.0"], whole["100/5/disk.0"]), point
        assert found["100/5/disk.0"][0] != "link" or world.disk().exists(), f"killed at {point}: it points nowhere"


@pytest.mark.parametrize("case", [case for case in CASES if case.action in ("tm_mv", "tm_mvds")], ids=str)
def test_a_killed_move_keeps_the_data_at_one_end(case: Case, copies: Copies) -> None:
    """oned often sends a delete for one end, and no retry: nothing may have gone that is not at the other."""
    for point, world in deaths(case, copies, after=True):
        neighbour(world)
        old, new = world.disk(), world.disk(system=101)
        if case.action == "tm_mv":
            assert old.exists() or new.exists(), f"killed at {point}"
            kept = old if old.exists() else new
            assert (kept.parent / "deployment.0").read_text() == "<domain/>", f"killed at {point}"
        else:
            assert old.exists(), f"killed at {point}"
            assert (world.images / CHAINED).exists(), f"killed at {point}: the image points nowhere"


@pytest.mark.parametrize("case", [case for case in CASES if not case.new_image], ids=str)
def test_an_answer_that_was_given_counts(case: Case, copies: Copies) -> None:
    """Killed after the answer went out, before the run had cleared up: what was done must stay."""
    world = copies.fresh()
    act(case.action, **case.options(world))
    whole = world.tree()
    world = copies.fresh()
    assert killed_at("end", case.action, case.options(world))
    neighbour(world)
    assert world.tree() == whole

# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""prebackup and postbackup, killed between any two of their steps: the disk stays, and the chain goes on."""

from __future__ import annotations

import copy
import itertools
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils import _run
from plugins.module_utils._errors import Cancelled
from tests.unit.core.backups import DOCUMENT, Backed
from tests.unit.core.support import World, bytes_of, killed_at, killed_at_change, strings


class Scene:
    """A disk with a chain of two increments and a write behind them, as often as it is wanted, at one place."""

    def __init__(self, folder: Path, shape: str, increments: str) -> None:
        self.place, self.kept = folder / "world", folder / "kept"
        self.place.mkdir()
        self.disk = Backed.of(World(self.place), shape, increments)
        for _number in range(2):
            self.disk.write()
            self.disk.back_up()
        self.disk.write()
        self.place.rename(self.kept)

    def fresh(self, made: bool = False) -> Backed:
        """A new one.

        :param made: whether the files of the third increment are there, and in the repository.
        """
        if self.place.exists():
            shutil.rmtree(self.place)
        shutil.copytree(self.kept, self.place, symlinks=True)
        disk = copy.copy(self.disk)
        disk.kept = dict(self.disk.kept)
        if made:
            disk.before()
            disk.repository.take(disk.folder, disk.last + 1)
        return disk


@pytest.fixture
def scene(folder: Path, shape: str, increments: str) -> Scene:
    return Scene(folder, shape, increments)


SCENES = pytest.mark.parametrize(
    ("shape", "increments"),
    [
        ("own layers", "cbt"),
        pytest.param("own layers", "snapshot", marks=pytest.mark.full),
        pytest.param("persistent", "cbt", marks=pytest.mark.full),
        pytest.param("persistent", "snapshot", marks=pytest.mark.full),
        pytest.param("ssh, qcow2", "cbt", marks=pytest.mark.full),
        pytest.param("ssh, qcow2", "snapshot", marks=pytest.mark.full),
    ],
)


def points(action: str, disk_of: Any, given: dict[str, Any]) -> Iterator[tuple[str, Backed]]:
    """Disks whose action was killed, each before another step: after a step that is done already nobody dies."""
    for number in itertools.count(1):
        disk = disk_of()
        if not killed_at(f"{number}", action, disk.backup_options(**given)):
            break
        yield f"{number}", disk
    disk = disk_of()
    assert killed_at("end", action, disk.backup_options(**given))
    yield "end", disk


def goes_on(disk: Backed, point: str, increments: int = 2) -> None:
    """The guest writes, and more increments are made; what kills cost may be room, and nothing else."""
    for _number in range(increments):
        disk.write()
        shown = disk.now
        number = int(disk.before()["increment"])
        disk.repository.take(disk.folder, number)
        disk.after()
        disk.kept[number], disk.last = shown, number
    # later increments stand on the earlier ones, which lie where nothing touches them
    for number in range(2, disk.last + 1):
        wanted = disk.kept[number]
        assert disk.repository.restored(0, number) == wanted, f"killed at {point}: increment {number}"
    assert disk.world.is_tidy(), f"killed at {point}: {disk.world.hidden()}"


@SCENES
@pytest.mark.parametrize("then", [pytest.param("again", marks=pytest.mark.full), "failed"])
def test_prebackup_is_killed(scene: Scene, then: str) -> None:
    """It is called again, or oned gives it up and says so, and the machine is started."""
    signal.alarm(120)
    given = {"document": DOCUMENT}
    for point, disk in points("tm_prebackup", scene.fresh, given):
        assert bytes_of(disk.path, "qcow2") == disk.now, f"killed at {point}: the disk"
        if then == "failed":
            disk.after(failed=True)
        goes_on(disk, point)


@pytest.mark.parametrize(
    ("shape", "increments"),
    [
        ("own layers", "snapshot"),
        pytest.param("own layers", "cbt", marks=pytest.mark.full),
        pytest.param("persistent", "snapshot", marks=pytest.mark.full),
        pytest.param("ssh, qcow2", "snapshot", marks=pytest.mark.full),
    ],
)
@pytest.mark.parametrize("failed", [False, pytest.param(True, marks=pytest.mark.full)], ids=["kept", "failed"])
@pytest.mark.parametrize("again", [pytest.param(True, marks=pytest.mark.full), False], ids=["again", "given up"])
def test_postbackup_is_killed(scene: Scene, failed: bool, again: bool) -> None:
    """It is called again, or never; whether oned has the increment or not."""
    signal.alarm(120)
    for point, disk in points("tm_postbackup", lambda: scene.fresh(made=True), {"failed": failed}):
        assert bytes_of(disk.path, "qcow2") == disk.now, f"killed at {point}: the disk"
        if again:
            disk.after(failed)
        if not failed:
            disk.last += 1
            disk.kept[disk.last] = disk.now
        goes_on(disk, point)


@SCENES
@pytest.mark.full
def test_killed_at_any_moment(scene: Scene) -> None:
    """Not between steps, but before each change on the disk that the action itself does."""
    signal.alarm(1200)
    for action, made, more in (
        ("tm_prebackup", False, {"document": DOCUMENT}),
        ("tm_postbackup", True, {}),
    ):
        for number in itertools.count():
            disk = scene.fresh(made)
            if not killed_at_change(number, action, strings(disk.backup_options(**more))):
                break
            assert bytes_of(disk.path, "qcow2") == disk.now
            if made:
                disk.last += 1
                disk.kept[disk.last] = disk.now
            else:
                disk.after(failed=True)
            goes_on(disk, f"change {number} of {action}", 1)


@pytest.mark.parametrize(("shape", "increments"), [("own layers", "cbt")])
def test_stopped_before_each_step_nothing_is_left(scene: Scene) -> None:
    """What a cancel does: the caller is gone, and all of it is taken back at once."""
    disk = scene.fresh()
    before = disk.world.tree()
    for number in itertools.count():
        asked = itertools.count()
        mode = _run.Mode(stopped=lambda asked=asked, number=number: next(asked) >= number)  # type: ignore[misc]
        try:
            _run.run("tm_prebackup", disk.backup_options(document=DOCUMENT), mode).close()
        except Cancelled:
            assert not disk.folder.exists()
            assert disk.world.is_tidy()
            continue
        break
    assert number > 4
    after = {name: value for name, value in disk.world.tree().items() if not name.startswith("100/5/backup")}
    # a bitmap is begun in the disk itself; all else is as it was
    assert {name for name in {*before, *after} if before.get(name) != after.get(name)} <= {"100/5/disk.0.snap/0"}
    disk.after()
    goes_on(disk, "cancel")

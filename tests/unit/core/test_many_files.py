# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Datastores with very many files: no action lists the folder, so none is slower for them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils.tools.hidden import HIDDEN
from tests.unit.core.support import CHAINED, PLAIN, World, act

Options = Callable[[World], dict[str, Any]]


def _new(number: int) -> dict[str, Any]:
    return {"datastore_id": 1, "image_id": number, "regtime": 99}


ACTIONS: dict[str, Options] = {
    "monitor": lambda world: {},
    "cp": lambda world: {**_new(1), "source": world.root / "source"},
    "mkfs": lambda world: {**_new(2), "size": 1, "format": "raw"},
    "clone": lambda world: {**_new(3), "source": world.images / PLAIN},
    "clone of layers": lambda world: {**_new(4), "source": world.images / CHAINED, "format": "qcow2"},
    "export": lambda world: {"source": world.images / PLAIN},
    "export of layers": lambda world: {"source": world.images / CHAINED, "format": "qcow2"},
    "rm": lambda world: {"source": world.images / PLAIN},
}


@pytest.mark.parametrize("name", ACTIONS)
def test_nobody_lists_the_datastore(world: World, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    world.raw()
    world.layered()
    (world.root / "source").write_bytes(b"to be imported")
    # what a run that died has left is swept by the way
    left = world.images / HIDDEN / "image-dead" / "run"
    left.mkdir(parents=True)
    listed: list[str] = []

    def noted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any = ".", *more: Any) -> Any:
            listed.append(os.path.realpath(f"/proc/self/fd/{path}" if isinstance(path, int) else path))
            return real(path, *more)

        return call

    for function in ("listdir", "scandir"):
        monkeypatch.setattr(os, function, noted(getattr(os, function)))
    options = ACTIONS[name](world)
    act(f"ds_{name.split()[0]}", driver="fs", datastore=world.images, **options)
    monkeypatch.undo()
    assert os.path.realpath(world.images) not in listed
    # what only looks has nothing to sweep; the others list the folder of journals, so the list is not blind
    assert (str(world.images / HIDDEN) in listed) is (name != "monitor")
    assert left.exists() is (name == "monitor")


def test_a_sweep_looks_at_journals_and_not_at_images(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many looks at files whether there are 3 images or 300."""
    counts = []
    real = os.lstat
    for number in (3, 300):
        for name in range(number):
            (world.images / f"{name:032x}").touch()
        count = 0

        def counted(path: Any, *more: Any, **named: Any) -> Any:
            nonlocal count
            count += 1
            return real(path, *more, **named)

        monkeypatch.setattr(os, "lstat", counted)
        act("ds_rm", driver="fs", datastore=world.images, source=world.images / "gone")
        monkeypatch.undo()
        counts.append(count)
    assert counts[0] == counts[1] > 0


def test_figures_are_those_of_the_file_system(world: World) -> None:
    """Nothing is added up over files."""
    before = act("ds_monitor", driver="fs", datastore=world.images)
    (Path(world.images) / "hole").touch()
    os.truncate(world.images / "hole", 1 << 40)
    after = act("ds_monitor", driver="fs", datastore=world.images)
    assert abs(after["used_mb"] - before["used_mb"]) < 1024 and after["total_mb"] == before["total_mb"]

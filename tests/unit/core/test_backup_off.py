# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups of VMs that are off: chains that restore byte for byte, whatever the disk is made of and whatever goes wrong."""

from __future__ import annotations

import pytest

from tests.unit.core.backups import Backed
from tests.unit.core.support import World, bytes_of

QCOW2_SHAPES = [
    "own layers",
    "own layers on layers",
    "persistent",
    "persistent with layers",
    "ssh, qcow2",
    "ssh, layers",
    "mixed",
    "mixed, persistent",
]


@pytest.mark.parametrize(
    "shape", ["own layers", "persistent with layers", "raw", "raw, persistent", "ssh, raw", "ssh, layers"]
)
def test_a_full_backup_stands_alone(world: World, shape: str) -> None:
    disk = Backed.of(world, shape)
    disk.mode = "full"
    disk.write()
    before = world.tree()
    disk.back_up()
    after = {name: value for name, value in world.tree().items() if not name.startswith("repository")}
    assert after == before, "nothing of a full backup is left"
    disk.check_all()


@pytest.mark.parametrize("increments", ["cbt", "snapshot"])
@pytest.mark.parametrize("shape", QCOW2_SHAPES)
def test_a_chain_of_five(world: World, shape: str, increments: str) -> None:
    disk = Backed.of(world, shape, increments)
    for _number in range(5):
        disk.write()
        disk.back_up()
    disk.write()
    disk.check_all()
    assert world.is_tidy(), world.hidden()

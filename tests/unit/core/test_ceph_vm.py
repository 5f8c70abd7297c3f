# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The directory of a VM whose disks are volumes: it goes with the VM, the volumes stay where they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._errors import Missing
from tests.unit.core.cases import move
from tests.unit.core.cases_migrate import way
from tests.unit.core.support import World, act, tree

CEPH = {"driver": "ceph"}
#: Nothing of these actions is the cluster's business: they have no options for it.
DISKS = ["0:raw", "1:raw"]


@pytest.fixture
def home(world: World) -> Path:
    """A VM's directory as oned and this driver leave it: the context image, and oned's own files."""
    path = world.disk().parent
    path.mkdir()
    (path / "disk.2").write_bytes(b"context" * 1000)
    (path / "deployment.0").write_bytes(b"<domain/>")
    return path


def test_a_directory_is_moved_and_no_host_is_told_to_measure_it(world: World, home: Path) -> None:
    before = tree(home)
    given = move(CEPH)(world)
    act("tm_mv", **given)
    assert not home.exists()
    assert tree(world.root / "101" / "5") == before
    assert not (world.root / "101" / ".monitor").exists()
    assert not act("tm_mv", **given)["changed"]
    assert world.is_tidy()


def test_a_disk_moves_nowhere_and_a_lost_host_is_not_touched(world: World, home: Path) -> None:
    given = move(CEPH)(world)
    disk = {"source": home / "disk.0", "destination": world.disk(system=101)}
    assert not act("tm_mv", **{**given, **disk})["changed"]
    assert not act("tm_mv", **given, source_lost=True)["changed"]
    assert home.exists()


def test_what_is_gone_before_it_was_moved_is_missed(world: World) -> None:
    with pytest.raises(Missing, match=r"The directory .*/100/5 is not there"):
        act("tm_mv", **move(CEPH)(world))


def hook(world: World) -> dict[str, Any]:
    return {**way(CEPH)(world), "disks": DISKS}


def test_a_live_migration_takes_the_directory_along(world: World, home: Path) -> None:
    before = tree(home)
    act("tm_premigrate", **hook(world))
    assert tree(home) == before == tree(world.root / "101" / "5")
    act("tm_postmigrate", **hook(world))
    assert not home.exists()
    assert tree(world.root / "101" / "5") == before
    assert not (world.root / "101" / ".monitor").exists()
    assert world.receipts() == []


def test_a_live_migration_that_fails_leaves_the_directory_where_it_was(world: World, home: Path) -> None:
    before = tree(home)
    act("tm_premigrate", **hook(world))
    act("tm_failmigrate", **hook(world))
    assert tree(home) == before
    assert not (world.root / "101" / "5").exists()
    assert world.is_tidy() and world.receipts() == []

# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The doctor of backups, with VMs that are off: what it finds and mends, and that nothing goes that is needed."""

from __future__ import annotations

from typing import Any

import pytest

from plugins.module_utils._errors import BadCall, Missing
from plugins.module_utils.tools import bitmaps
from tests.unit.core.backups import Backed
from tests.unit.core.support import World, act, explained, tool


def visited(disk: Backed, **more: Any) -> dict[str, Any]:
    """What the doctor says."""
    return act("tm_backup_doctor", **disk.backup_options(**more))


def codes(result: dict[str, Any]) -> list[str]:
    return [f"{row['level']} {row['code']}" for row in result["findings"]]


def chain_of_two(world: World, shape: str = "own layers", increments: str = "cbt") -> Backed:
    disk = Backed.of(world, shape, increments)
    for _number in range(2):
        disk.write()
        disk.back_up()
    return disk


def marks(disk: Backed) -> list[str]:
    return sorted(bitmap.name for bitmap in bitmaps.read(str(disk.path)))


@pytest.mark.parametrize("increments", ["cbt", "snapshot"])
def test_a_chain_that_is_well(world: World, increments: str) -> None:
    disk = chain_of_two(world, increments=increments)
    before = world.tree()
    found = visited(disk)
    assert found["findings"] == [] and found["sound"] and not found["changed"]
    assert visited(disk, repair=True)["changed"] is False
    after = {name: value for name, value in world.tree().items() if not name.endswith("locks")}
    assert after == {name: value for name, value in before.items() if not name.endswith("locks")}


def test_what_backups_left_is_found_and_removed(world: World) -> None:
    """Bitmaps of a backup that nobody ended, of one long ago and of another VM; its directory, and stock's folder."""
    disk = chain_of_two(world)
    disk.write()
    disk.before()
    for name in ("one-5-9", "one-77-0", "somebody-s"):
        tool("qemu-img", "bitmap", "--add", "-f", "qcow2", disk.path, name)
    (disk.path.parent / "tmp").mkdir()
    (disk.path.parent / "tmp" / "overlay_0.qcow2").write_bytes(b"x")
    shown, before = disk.now, world.tree()
    found = visited(disk)
    strays = ["problem stray-bitmap"] * 3
    assert codes(found) == [*strays, "problem directory", "problem folder"] and not found["sound"]
    assert all(row["repairable"] and row["todo"].startswith("remove it") for row in found["findings"])
    assert world.tree() == before, "a look changes nothing"
    told = explained("tm_backup_doctor", **disk.backup_options(repair=True))["actions"]
    assert len(told) == 3 and world.tree() == before, told
    mended = visited(disk, repair=True)
    assert mended["sound"] and mended["findings"] == [] and mended["changed"] and len(mended["actions"]) == 3
    assert marks(disk) == ["one-5-0", "one-5-1", "somebody-s"]
    assert not disk.folder.exists() and not (disk.path.parent / "tmp").exists()
    assert disk.now == shown and world.is_tidy()
    # and the chain goes on with what changed alone
    disk.back_up()
    disk.check_all()


def test_a_bitmap_that_is_gone_costs_room_only(world: World) -> None:
    disk = chain_of_two(world)
    tool("qemu-img", "bitmap", "--remove", "-f", "qcow2", disk.path, "one-5-1")
    found = visited(disk)
    assert codes(found) == ["note no-bitmap"] and found["sound"]
    assert found["findings"][0]["todo"] == "nothing: increment 2 has all of this disk"
    disk.write()
    disk.back_up(warned="one-5-1 is not there")
    disk.check_all()


def test_layers_that_are_not_those_of_the_chain(world: World) -> None:
    """The disk was restored from elsewhere, or flattened: it has lost the base."""
    disk = chain_of_two(world, increments="snapshot")
    whole = disk.path.parent / "whole"
    tool("qemu-img", "convert", "-O", "qcow2", disk.path, whole)
    disk.path.unlink()
    whole.rename(disk.path)
    found = visited(disk)
    assert codes(found) == ["problem disk"] and not found["findings"][0]["repairable"]
    assert "layers of increments would lie there" in found["findings"][0]["sentence"]


def test_a_backup_that_nobody_ended(world: World) -> None:
    """Its layer goes on, and has what changed: only the directory is in the way."""
    disk = chain_of_two(world, increments="snapshot")
    disk.write()
    disk.back_up(heard=False)
    assert codes(visited(disk)) == ["problem directory"]
    assert visited(disk, repair=True)["sound"]
    disk.write()
    disk.back_up()
    disk.check_all()


def test_misuse_is_told_in_a_sentence(world: World) -> None:
    disk = chain_of_two(world)
    with pytest.raises(BadCall, match="target of disk 0 is not given"):
        visited(disk, domain="one-5")
    with pytest.raises(Missing, match="directory .*/6 is not there"):
        visited(disk, path=disk.path.parent.parent / "6")
    with pytest.raises(BadCall, match="There is no disk"):
        visited(disk, disks=[])

# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stock's defects in disks at rest (contract-tm 12) that no other test is about, and the list of them for sites.

Those that are only seen while a VM runs are in ``tests/lab/test_stock_bugs_live.py``.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._errors import Missing
from tests.unit.core.cases import LOCAL, MIXED, QCOW2, SSH
from tests.unit.core.golden import Golden, Shape
from tests.unit.core.support import MIB, OVERLAID, PLAIN, World, act, bytes_of

DOCS = Path(__file__).resolve().parents[3] / "docs"
#: Defects of what is not here: of lvm, of backups and restores, of the image cache, of replicas. Q18 itself is
#: of restores too, but what it leaves is met here.
ELSEWHERE = ("Q8", "Q18b", "Q18c", "Q19", "Q22", "Q37", "Q39")
#: Harmless with stock, and with nothing here that could go the same way.
HARMLESS = ("Q2d",)


def test_every_defect_of_stock_is_in_the_list_of_differences() -> None:
    """A site that switches reads there what it gets."""
    section = (DOCS / "contract-tm.md").read_text().partition("\n## 12.")[2].partition("\n## 13.")[0]
    known = re.findall(r"(?m)^\| (Q\d+\w?) \|", section)
    assert len(known) > 45
    named = set(re.findall(r"\bQ\d+\w?\b", (DOCS / "deviations.md").read_text()))
    assert [bug for bug in known if bug not in named and bug not in (*ELSEWHERE, *HARMLESS)] == []


def test_the_drivers_that_stay_with_stock_are_named() -> None:
    """No site shall look for them here."""
    text = (DOCS / "deviations.md").read_text()
    sentence = next(line for line in text.splitlines() if line.endswith("stay with stock."))
    assert [name for name in ("dev", "iscsi_libvirt", "virtiofs", "interactive") if f"`{name}`" not in sentence] == []


@pytest.mark.parametrize("driver", [MIXED, SSH, LOCAL, QCOW2], ids=lambda driver: "+".join(driver.values()))
def test_an_old_disk_is_not_taken_for_the_copy_that_failed(world: World, driver: dict[str, Any]) -> None:
    """Stock grows what stands there and is content (Q13)."""
    world.disk().parent.mkdir()
    world.disk().write_bytes(b"old" * 1000)
    given = {"datastore": world.system, "source": world.images / "gone", "destination": world.disk()}
    with pytest.raises(Missing, match=r"The image .*/gone is not there.*nothing was changed"):
        act("tm_clone", **driver, **given, format="raw", size=4, original_size=2, force=True)
    assert world.disk().read_bytes() == b"old" * 1000


@pytest.mark.parametrize("driver", [LOCAL, QCOW2, MIXED], ids=lambda driver: "+".join(driver.values()))
def test_a_qcow2_disk_that_is_one_file_has_snapshots_too(world: World, driver: dict[str, Any]) -> None:
    """Stock's restore leaves such a disk, and its next snapshot fails (Q18)."""
    world.qcow2(OVERLAID)
    disk = Golden(world, Shape("restored", driver, OVERLAID, "tm_clone", False))
    given = {"datastore": world.system, "source": world.images / OVERLAID, "destination": disk.path}
    act("tm_clone", **SSH, **given, format="qcow2")
    assert not disk.path.is_symlink()
    disk.now = bytes_of(disk.path, "qcow2")
    for event in ("create", "create", "create", "revert 1", "delete 0", "save", "save 2", "resize"):
        disk.write()
        name, *numbers = event.split()
        getattr(disk, name)(*map(int, numbers))
        disk.check()
    assert not disk.path.is_symlink() and sorted(os.listdir(disk.snap)) == ["1", "2"]


@pytest.mark.parametrize("driver", [SSH, MIXED], ids=lambda driver: "+".join(driver.values()))
def test_snapshots_keep_their_holes_on_the_way_back(disk_world: World, driver: dict[str, Any]) -> None:
    """Stock brings them back by rsync, which writes all zeros out (Q33)."""
    world = disk_world
    world.raw(size=64 * MIB)
    given = {"datastore": world.system, "format": "raw"}
    act("tm_ln", **driver, **given, source=world.images / PLAIN, destination=world.disk())
    act("tm_snap_create", **driver, **given, path=world.disk(), snapshot_id=0, image=world.images / PLAIN)
    act("tm_mvds", **driver, **given, source=world.disk(), destination=world.images / PLAIN)
    for path in (world.images / PLAIN, world.images / f"{PLAIN}.snap" / "0"):
        info = path.stat()
        assert info.st_size == 64 * MIB and info.st_blocks * 512 < 4 * MIB, path

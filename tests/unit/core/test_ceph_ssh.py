# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images that are volumes, and disks that are files of the node's own."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from plugins.module_utils._errors import BadCall, Missing, Refused, StorageError, Unsupported
from tests.unit.core.pools import image
from tests.unit.core.support import MIB, act, bytes_of, killed_at
from tests.unit.core.vm_volumes import Disks, opened

MIXED = {"system_driver": "ssh"}


def brought(disks: Disks, action: str, **more: Any) -> bytes:
    """Image 5 on the node; what the disk holds."""
    given = {"source": "one/one-5", "destination": disks.path(), "force": True, **MIXED, **more}
    disks.act(action, **given)
    return disks.path().read_bytes()


def tidy(disks: Disks) -> bool:
    """Whether nothing is left of journals, locks and workshops."""
    return disks.world.is_tidy() and disks.pools.left() == []


def test_a_clone_is_a_file_with_holes_and_leaves_the_image_alone(disks: Disks) -> None:
    disks.pools.volume("one-5")
    before = disks.pools.tree()
    assert brought(disks, "tm_clone", size=8, original_size=6) == image("one-5") + bytes(2 * MIB)
    assert disks.path().stat().st_blocks * 512 < 5 * MIB
    assert (disks.world.system / ".monitor").read_text() == "ssh\n"
    assert disks.pools.tree() == before
    disks.act("tm_delete", path=disks.path(), image="one/one-5", **MIXED)
    assert not disks.path().exists()
    assert disks.pools.tree() == before
    assert tidy(disks)


def test_a_persistent_image_comes_back_with_what_was_written(disks: Disks) -> None:
    pools = disks.pools
    act("ds_cp", **pools.new(5, source=pools.file(), size=6))
    assert brought(disks, "tm_ln") == image("source")
    with open(disks.path(), "r+b") as file:
        file.seek(2 * MIB)
        file.write(b"guest" * 1000)
        file.truncate(9 * MIB)
    wanted = disks.path().read_bytes()
    given = {"source": disks.path(), "destination": "one/one-5", **MIXED}
    disks.act("tm_mvds", **given)
    assert pools.content("one/one-5") == wanted
    disks.act("tm_mvds", **given)
    assert pools.content("one/one-5") == wanted
    assert pools.names() == ["one-5"]
    assert tidy(disks)
    # the image is still known as what it was made for
    assert not act("ds_cp", **pools.new(5, source=pools.file(), size=6))["changed"]


def test_snapshots_of_the_image_stay_when_its_disk_comes_back(disks: Disks) -> None:
    pools = disks.pools
    held = pools.reverted()
    assert brought(disks, "tm_ln") == held["now"]
    pools.snapshot("one-5", "4")
    disks.path().write_bytes(image("written"))
    disks.act("tm_mvds", source=disks.path(), destination="one/one-5", **MIXED)
    assert pools.content("one/one-5") == image("written")
    assert pools.names() == ["one-5", "one-5-1:2:3", "one-5-4"]
    assert pools.content("one/one-5-1:2:3@3") == held["3"]
    assert pools.content("one/one-5-4@4") == held["now"]
    act("ds_snap_revert", **pools.options(source="one/one-5", snapshot=3))
    assert pools.content("one/one-5") == held["3"]
    act("ds_rm", **pools.options(source="one/one-5"))
    assert pools.names() == []


@pytest.mark.full
def test_killed_between_any_two_steps_the_image_is_whole_and_comes_back(disks: Disks) -> None:
    pools = disks.pools
    disks.vm.mkdir()
    disks.path().write_bytes(image("written"))
    given = disks.options(source=disks.path(), destination="one/one-5", **MIXED)
    for number in range(10):
        for fault in (f"{number}", f"{number}+"):
            pools.clear()
            pools.volume("one-5")
            if not killed_at(fault, "tm_mvds", given):
                assert number == 2
                return
            assert pools.content("one/one-5") in (image("one-5"), image("written"))
            act("tm_mvds", **given)
            assert pools.content("one/one-5") == image("written")
            assert pools.names() == ["one-5"]
            assert tidy(disks)


def test_a_disk_is_saved_and_grows(disks: Disks) -> None:
    disks.pools.volume("one-5")
    brought(disks, "tm_clone")
    of_disk = {"image": "one/one-5", **MIXED}
    disks.act("tm_resize", path=disks.path(), size=8, **of_disk)
    assert disks.path().read_bytes() == image("one-5") + bytes(2 * MIB)
    disks.act("tm_cpds", source=disks.path(), destination="one2/one-9", force=True, **of_disk)
    assert disks.pools.content("one2/one-9") == image("one-5") + bytes(2 * MIB)
    assert tidy(disks)


def test_what_cannot_be_done_is_said_and_leaves_nothing(disks: Disks) -> None:
    pools = disks.pools
    pools.volume("one-5")
    brought(disks, "tm_clone")
    before, file = pools.tree(), disks.path().read_bytes()
    of_disk = {"image": "one/one-5", "snapshot_id": 1, **MIXED}
    cases: list[tuple[str, dict[str, Any], type[StorageError], str]] = [
        (
            f"tm_snap_{name}",
            {"path": disks.path(), **of_disk},
            Unsupported,
            f"snap_{name}: disks of Ceph images in a sys",
        )
        for name in ("create", "create_live", "delete", "revert")
    ]
    cases += [
        ("tm_cpds", {"source": disks.path(), "destination": "one/one-9", **of_disk}, Unsupported, "have no snapshots"),
        ("tm_clone", {"source": "one/one-9", "destination": disks.path(1), **MIXED}, Missing, "one/one-9 is not there"),
        ("tm_mvds", {"source": disks.path(7), "destination": "one/one-5", **MIXED}, Missing, "disk.7 is not there"),
        ("tm_mvds", {"source": disks.path(), "destination": "one/one-9", **MIXED}, Missing, "one-9 is not there"),
    ]
    for action, given, error, said in cases:
        with pytest.raises(error, match=said):
            disks.act(action, **given)
    assert (pools.tree(), disks.path().read_bytes()) == (before, file)
    pools.snapshot("one-5", "snap")
    pools.clone("one-5", "snap", "one-5-7-0")
    for action, given in (
        ("tm_ln", {"source": "one/one-5", "destination": disks.path(1)}),
        ("tm_mvds", {"source": disks.path(), "destination": "one/one-5"}),
    ):
        with pytest.raises(Refused, match=r"the volume one/one-5-7-0 stands on its snapshot"):
            disks.act(action, **given, **MIXED)
    pools.look.ask("remove", pool="one", name="one-5-7-0")
    pools.look.ask("forget", pool="one", name="one-5", snapshot="snap")
    pools.snapshot("one-5", "one_backup_3")
    with pytest.raises(Refused, match=r"one/one-5 has the snapshot one_backup_3, which would be lost"):
        disks.act("tm_ln", source="one/one-5", destination=disks.path(1), **MIXED)
    assert not disks.path(1).exists()
    assert tidy(disks)


@pytest.mark.full
def test_an_image_that_is_open_is_not_replaced(disks: Disks) -> None:
    disks.pools.volume("one-5")
    brought(disks, "tm_ln")
    with opened(disks.pools, "one-5"), pytest.raises(StorageError, match="one/one-5 is open at"):
        disks.act("tm_mvds", source=disks.path(), destination="one/one-5", **MIXED)
    assert tidy(disks)


@pytest.mark.parametrize("action", ["tm_clone", "tm_ln"])
def test_a_disk_in_a_file_is_backed_up_and_restored_as_one(disks: Disks, action: str) -> None:
    """By the driver ssh, which oned calls for such a VM; the image in the pool has no part in it."""
    disks.pools.volume("one-5")
    brought(disks, action)
    before = disks.pools.tree()
    with open(disks.path(), "r+b") as file:
        file.seek(3 * MIB)
        file.write(b"guest" * 1000)
    wanted = disks.path().read_bytes()
    given = {"driver": "ssh", "datastore": disks.world.system, "path": disks.vm, "disks": ["0:raw"]}
    persistent = ["0"] if action == "tm_ln" else []
    act("tm_prebackup", **given, persistent=persistent, document="<VM/>")
    kept = disks.world.root / "kept"
    shutil.copy(disks.vm / "backup" / "disk.0.0", kept)
    assert bytes_of(kept, "qcow2") == wanted
    act("tm_postbackup", **given)
    disks.path().write_bytes(image("lost"))
    act("tm_restore", **given, persistent=persistent, sizes=["0:6"], sources=[f"0:{kept}"])
    assert disks.path().read_bytes() == wanted
    assert disks.pools.tree() == before
    with pytest.raises(BadCall, match="Disk 0 is raw, and increments need qcow2"):
        act("tm_prebackup", **given, mode="increment", document="<VM/>")
    assert tidy(disks)

# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks of VMs as volumes of a real Ceph cluster: what comes, what goes, what grows, with every byte known."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from plugins.module_utils._errors import BadCall, Busy, Missing, Refused, StorageError
from plugins.module_utils.tools.rbd.cluster import Cluster
from tests.unit.core.pools import image, info
from tests.unit.core.support import MIB, act, explained
from tests.unit.core.vm_volumes import Disks, opened

# -------------------------------------------------------------------- clone, delete


def test_a_clone_holds_what_the_image_holds_and_goes_without_a_trace(disks: Disks) -> None:
    pools = disks.pools
    pools.volume("one-5")
    before = pools.tree()
    result = disks.clone(size=6, original_size=6)
    assert (result["path"], result["changed"]) == (str(disks.path()), True)
    assert pools.content("one/one-5-42-0") == image("one-5")
    assert pools.names() == ["one-5", "one-5-42-0"]
    parent = info("one/one-5-42-0", pools.cluster)["parent"]
    assert (parent["image"], parent["snapshot"]) == ("one-5", "snap")
    pools.patch("one-5-42-0", "guest")
    assert pools.content("one/one-5") == image("one-5")
    assert disks.delete()["changed"]
    assert pools.tree() == before
    assert pools.left() == []
    assert disks.world.is_tidy()
    assert not disks.delete()["changed"]


def test_a_clone_that_is_asked_for_larger_is_larger_and_the_rest_is_zeros(disks: Disks) -> None:
    disks.pools.volume("one-5")
    disks.clone(size=9, original_size=6)
    assert disks.pools.content("one/one-5-42-0") == image("one-5") + bytes(3 * MIB)


def test_force_replaces_a_clone_and_without_it_it_stays(disks: Disks) -> None:
    pools = disks.pools
    pools.volume("one-5")
    disks.clone()
    pools.patch("one-5-42-0", "old")
    pools.snapshot("one-5-42-0", "0")
    held = pools.content("one/one-5-42-0")
    assert not disks.clone(force=False)["changed"]
    assert pools.content("one/one-5-42-0") == held
    disks.clone()
    assert pools.content("one/one-5-42-0") == image("one-5")
    assert pools.names() == ["one-5", "one-5-42-0"]
    assert pools.left() == []


def test_an_image_of_the_first_format_is_copied(disks: Disks, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clusters of today do not make such images any more, and still have them: it has to be looked at as one."""

    def look(self: Cluster, pool: str, name: str) -> dict[str, Any] | None:
        found = real(self, pool, name)
        return {**found, "format": 1} if found else None

    pools, real = disks.pools, Cluster.look
    pools.volume("one-5")
    monkeypatch.setattr(Cluster, "look", look)
    disks.clone(size=8, original_size=6)
    assert pools.content("one/one-5-42-0") == image("one-5") + bytes(2 * MIB)
    assert "parent" not in info("one/one-5-42-0", pools.cluster)
    assert pools.look.ask("look", pool="one", name="one-5")["snapshots"] == []


def test_data_of_a_clone_lies_in_the_pool_that_is_named(disks: Disks) -> None:
    disks.pools.volume("one-5")
    disks.clone(data_pool="one_ec")
    assert info("one/one-5-42-0", disks.pools.cluster)["data_pool"] == "one_ec"
    assert disks.pools.content("one/one-5-42-0") == image("one-5")


def test_disks_whose_names_begin_alike_do_not_concern_each_other(disks: Disks) -> None:
    """`one-1` and `one-10`, VM 4 and VM 42, disk 1 and disk 10."""
    pools = disks.pools
    for number in (1, 10):
        pools.volume(f"one-{number}", image(str(number)))
    places = [(number, vm, disk) for number in (1, 10) for vm, disk in ((4, 1), (4, 10), (42, 1))]
    for number, vm, disk in places:
        disks.clone(number, disk, vm)
    disks.delete(1, 4, image="one/one-1")
    left = {f"one-{number}-{vm}-{disk}" for number, vm, disk in places} - {"one-1-4-1"}
    assert set(pools.names()) == left | {"one-1", "one-10"}
    for name in left:
        assert pools.content(f"one/{name}") == image(name.split("-")[1])


@pytest.mark.full
def test_the_base_stays_while_another_clone_stands_on_it(disks: Disks) -> None:
    pools = disks.pools
    pools.volume("one-5")
    disks.clone()
    disks.clone(vm=43)
    disks.delete()
    assert pools.names() == ["one-5", "one-5-43-0"]
    assert pools.content("one/one-5-43-0") == image("one-5")
    disks.delete(vm=43)
    found = pools.look.look("one", "one-5")
    assert found and found["snapshots"] == []


def test_a_volume_that_is_open_is_never_deleted_nor_replaced(disks: Disks) -> None:
    pools = disks.pools
    pools.volume("one-5")
    disks.clone()
    with opened(pools, "one-5-42-0"):
        held = pools.content("one/one-5-42-0")
        for action in (disks.delete, disks.clone):
            with pytest.raises(Busy, match=r"The volume one/one-5-42-0 is open at .*is the virtual machine still run"):
                action()
        assert pools.content("one/one-5-42-0") == held
        assert pools.left() == []
    disks.delete()
    assert pools.names() == ["one-5"]


def test_a_disk_goes_to_the_trash_on_its_own_feet(disks: Disks) -> None:
    pools = disks.pools
    pools.volume("one-5")
    disks.clone()
    pools.patch("one-5-42-0", "guest")
    pools.snapshot("one-5-42-0", "0")
    held = pools.content("one/one-5-42-0")
    disks.delete(ceph_trash=True)
    assert (pools.names(), pools.trash()) == (["one-5"], ["one-5-42-0"])
    [item] = pools.look.ask("trash", pool="one")
    pools.look.ask("restore", pool="one", number=item["id"], name="one-back")
    assert pools.content("one/one-back") == held
    found = pools.look.look("one", "one-5")
    assert found and found["snapshots"] == []


def test_what_a_strangers_clone_stands_on_is_kept_and_said(disks: Disks) -> None:
    pools = disks.pools
    pools.volume("one-5")
    disks.clone()
    pools.snapshot("one-5-42-0", "0")
    pools.clone("one-5-42-0", "0", "one-copy")
    with pytest.raises(Refused, match=r"one/one-5-42-0 cannot be deleted: the volume one/one-copy stands on its sna"):
        disks.delete()
    assert pools.names() == ["one-5", "one-5-42-0", "one-copy"]


def test_what_a_crash_of_stocks_revert_left_goes_with_the_disk(disks: Disks) -> None:
    """Stock renames the volume, then clones it: killed in between there is no volume of the disk's name (Q27)."""
    pools = disks.pools
    pools.volume("one-5")
    disks.clone()
    pools.snapshot("one-5-42-0", "0")
    pools.cluster.rbd("rename", "one/one-5-42-0", "one/one-5-42-0-0")
    disks.delete()
    assert pools.names() == ["one-5"]


@pytest.mark.parametrize("count", [4, pytest.param(30, marks=pytest.mark.full)])
def test_clones_and_deletes_of_one_image_at_once(disks: Disks, count: int) -> None:
    pools = disks.pools
    pools.volume("one-5")
    before = pools.tree()

    def life(vm: int) -> bool:
        disks.clone(vm=vm, lock_timeout=60)
        same = pools.content(f"one/one-5-{vm}-0") == image("one-5") if vm % 10 == 0 else True
        disks.delete(vm=vm, lock_timeout=60)
        return same

    with ThreadPoolExecutor(count) as some:
        assert all(some.map(life, range(100, 100 + count)))
    assert pools.tree() == before
    assert pools.left() == []


# -------------------------------------------------------------------- persistent


def test_a_persistent_disk_is_the_image_and_its_old_base_goes(disks: Disks) -> None:
    """A clone that came after would have been made of what the image held long ago."""
    pools = disks.pools
    pools.volume("one-5")
    pools.snapshot("one-5", "snap")
    disks.act("tm_ln", source="one/one-5", destination=disks.path(), force=True)
    pools.patch("one-5", "guest")
    written = pools.content("one/one-5")
    assert not disks.act("tm_mvds", source=disks.path(), destination="one/one-5")["changed"]
    assert not disks.act("tm_delete", path=disks.path(), image="one/one-5", persistent=True)["changed"]
    assert pools.content("one/one-5") == written
    disks.clone()
    assert pools.content("one/one-5-42-0") == written


def test_an_image_that_clones_stand_on_is_not_written_to(disks: Disks) -> None:
    disks.pools.volume("one-5")
    disks.clone(vm=7)
    with pytest.raises(Refused, match=r"one/one-5 cannot be written to: the volume one/one-5-7-0 stands on its snapsh"):
        disks.act("tm_ln", source="one/one-5", destination=disks.path(), force=True)


# -------------------------------------------------------------------- volatile


@pytest.mark.parametrize("kind", ["raw", "ext4", "swap"])
def test_an_empty_disk_is_made_and_goes(disks: Disks, kind: str) -> None:
    pools = disks.pools
    given = {"destination": disks.path(3), "size": 20, "force": True}
    if kind == "swap":
        disks.act("tm_mkswap", **given)
    else:
        disks.act("tm_mkimage", **given, format="raw", fs="" if kind == "raw" else kind)
    data = pools.content("one/one-sys-42-3")
    assert len(data) == 20 * MIB
    if kind == "raw":
        assert not any(data)
    elif kind == "swap":
        assert data[4086:4096] == b"SWAPSPACE2"
    else:
        assert data[1080:1082] == b"\x53\xef"
    assert not disks.path(3).exists()
    assert pools.left() == []
    assert disks.world.is_tidy()
    disks.act("tm_delete", path=disks.path(3))
    assert pools.names() == []


def test_a_directory_goes_with_the_volume_of_the_machines_memory(disks: Disks) -> None:
    disks.vm.mkdir()
    (disks.vm / "disk.1").write_bytes(b"context")
    disks.pools.volume("one-sys-42-checkpoint")
    disks.pools.volume("one-sys-4-checkpoint")
    disks.act("tm_delete", path=disks.vm)
    assert not disks.vm.exists()
    assert disks.pools.names() == ["one-sys-4-checkpoint"]


def test_a_directory_goes_also_from_a_host_without_the_cluster(disks: Disks) -> None:
    disks.vm.mkdir()
    result = disks.act("tm_delete", path=disks.vm, ceph_conf="/nix/ceph.conf")
    assert not disks.vm.exists()
    [warning] = result["warnings"]
    assert warning.startswith("Whether there is a volume one/one-sys-42-checkpoint is not known: ")


# -------------------------------------------------------------------- resize


@pytest.mark.parametrize("persistent", [False, pytest.param(True, marks=pytest.mark.full)])
def test_a_disk_grows_and_keeps_every_byte(disks: Disks, persistent: bool) -> None:
    disks.pools.volume("one-5")
    disks.clone()
    given = {"path": disks.path(), "image": "one/one-5", "persistent": persistent}
    name = "one/one-5" if persistent else "one/one-5-42-0"
    disks.act("tm_resize", **given, size=10)
    assert disks.pools.content(name) == image("one-5") + bytes(4 * MIB)
    assert not disks.act("tm_resize", **given, size=10)["changed"]
    with pytest.raises(Refused, match=rf"The volume {name} cannot be made smaller: it has 10 MB, not 8 MB"):
        disks.act("tm_resize", **given, size=8)
    assert not disks.act("tm_resize", **given, size=20, running=True)["changed"]


# -------------------------------------------------------------------- misuse


@pytest.mark.parametrize(
    ("action", "more", "error", "said"),
    [
        ("tm_clone", {"source": "one/one-9"}, Missing, "The volume one/one-9 is not there"),
        ("tm_clone", {"source": "/var/lib/one/datastores/1/x"}, BadCall, "is not the name of a volume"),
        ("tm_clone", {"source": "one/one-5@snap"}, BadCall, "is not the name of a volume"),
        ("tm_clone", {"source": "nix/one-5"}, Missing, "there is no pool 'nix'"),
        ("tm_clone", {"destination": "kernel"}, BadCall, "is not the place of a disk"),
        ("tm_ln", {"source": "one/one-9"}, Missing, "The volume one/one-9 is not there"),
        ("tm_resize", {"image": "one/one-5", "size": 9}, Missing, "The volume one/one-5-42-0 is not there"),
        ("tm_mkimage", {"size": 0}, BadCall, "The size 0 MB is not possible"),
        ("tm_mkimage", {"size": 9, "fs": "ntfs"}, BadCall, "Unsupported file system type 'ntfs'"),
    ],
)
def test_a_call_that_cannot_be_done_says_why_and_leaves_nothing(
    disks: Disks, action: str, more: dict[str, Any], error: type[StorageError], said: str
) -> None:
    disks.pools.volume("one-5")
    before = disks.pools.tree()
    given: dict[str, Any] = {"path": disks.path()} if action == "tm_resize" else {"destination": disks.path()}
    given.update({"source": "one/one-5"} if action in ("tm_clone", "tm_ln") else {}, **more)
    if "destination" in more:
        given["destination"] = disks.vm / more["destination"]
    with pytest.raises(error, match=said):
        disks.act(action, **given)
    assert disks.pools.tree() == before
    assert disks.pools.left() == []


def test_a_check_says_what_would_be_done_and_does_nothing(disks: Disks) -> None:
    disks.pools.volume("one-5")
    before = disks.pools.tree()
    given = {"source": "one/one-5", "destination": disks.path(), "force": True}
    found = explained("tm_clone", **disks.options(**given))
    words = [action.split(": ", 1)[1] for action in found["actions"]]
    assert words == [
        "take the snapshot one/one-5@snap",
        "clone one/one-5@snap for one/one-5-42-0",
        "put the disk one/one-5-42-0 in place",
    ]
    assert disks.pools.tree() == before


# -------------------------------------------------------------------- monitor


def test_monitor_tells_the_pools_room_and_what_each_disk_takes(disks: Disks) -> None:
    pools = disks.pools
    pools.volume("one-5")
    disks.clone()
    disks.clone(disk=1, vm=7)
    pools.patch("one-5-42-0", "guest")
    disks.act("tm_mkimage", destination=disks.path(2), size=20, format="raw", force=True)
    found = act("tm_monitor", **pools.options(vm_disks=True))
    assert found["total_mb"] == found["used_mb"] + found["free_mb"] > 0
    assert found["vms"] == [
        {"id": 7, "disks": [{"id": 1, "size_mb": 0, "snapshots": []}]},
        {
            "id": 42,
            "disks": [{"id": 0, "size_mb": 4, "snapshots": []}, {"id": 2, "size_mb": 0, "snapshots": []}],
        },
    ]
    assert act("tm_monitor", **pools.options(vm_disks=False))["vms"] == []


def test_monitor_tells_snapshots_as_rbd_counts_them_and_what_reverts_retired(disks: Disks) -> None:
    """Every object is counted once: with the snapshot until which it was written, or with the disk."""
    pools = disks.pools
    pools.volume("one-5", bytes(24 * MIB))
    disks.clone()
    given = {"path": disks.path(), "image": "one/one-5"}
    for number, objects in enumerate((1, 2, 3)):
        for place in range(objects):
            pools.patch("one-5-42-0", f"{number}", place=4 * MIB * place)
        disks.act("tm_snap_create", **given, snapshot_id=number)
    pools.patch("one-5-42-0", "lost", place=20 * MIB)
    disks.act("tm_snap_revert", **given, snapshot_id=1)
    pools.patch("one-5-42-0", "now", place=0)
    disks.act("tm_snap_create", **given, snapshot_id=10)
    pools.patch("one-5-42-0", "later", place=8 * MIB)
    pools.look.ask("snapshot", pool="one", name="one-5-42-0", snapshot="one_backup_3")
    (vm,) = act("tm_monitor", **pools.options(vm_disks=True))["vms"]
    snapshots = [{"id": number, "size_mb": size} for number, size in ((0, 4), (1, 8), (2, 12), (10, 4))]
    # one object that was written before the revert, one since the snapshot
    assert vm == {"id": 42, "disks": [{"id": 0, "size_mb": 8, "snapshots": snapshots}]}
    told = [json.loads(pools.cluster.rbd("du", "--format", "json", f"one/{name}")) for name in pools.names()[1:]]
    used = sum(image["used_size"] for one in told for image in one["images"])
    assert used == sum((4, 8, 12, 4, 8)) * MIB

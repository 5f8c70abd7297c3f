# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the info modules tell of pools of a real cluster: images and disks by their exact names, chains, room, trash."""

from __future__ import annotations

import json
from typing import Any

import pytest

from plugins.module_utils import _info
from plugins.module_utils.drivers.ceph_names import named
from plugins.module_utils.tools.host import Host
from tests.lab.looking import wait_for
from tests.unit.core.pools import Pools
from tests.unit.core.support import MIB, act

#: Objects are of 4 MiB, and the tests' volumes have data in their first and in their last one.
OBJECT = 4 * MIB


def asked(module: str, pools: Pools, kind: str = "image", **more: Any) -> dict[str, Any]:
    """What a module says of one datastore."""
    defaults = {name: rule.get("default") for name, rule in _info.MODULES[module].options.items()}
    settings = {
        key: value for key, value in pools.options().items() if key in ("ceph_user", "ceph_conf", "staging_dir")
    }
    store = {"id": 100, "path": "/var/lib/one/datastores/100", "type": kind, "ds_mad": "ceph", "tm_mad": "ceph"}
    store["settings"] = {**settings, **more.pop("settings", {})}
    store["formats"] = more.pop("formats", {})
    store["elsewhere"] = more.pop("elsewhere", [])
    [row] = _info.MODULES[module].run({**defaults, **more, "datastores": [store]})["datastores"]
    found: dict[str, Any] = row
    assert json.loads(json.dumps(found)) == found
    return found


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("one-1", ("image", "one-1", "", -1, -1)),
        ("one-10", ("image", "one-10", "", -1, -1)),
        ("one-1-0", ("image", "one-1", "0", -1, -1)),
        ("one-1-0:12", ("image", "one-1", "0:12", -1, -1)),
        ("one-1-10-0", ("disk", "one-1-10-0", "", 10, 0)),
        ("one-1-10-0-3", ("disk", "one-1-10-0", "3", 10, 0)),
        ("one-1-10-0-3:4", ("disk", "one-1-10-0", "3:4", 10, 0)),
        ("one-sys-10-1", ("disk", "one-sys-10-1", "", 10, 1)),
        ("one-sys-10-1-2", ("disk", "one-sys-10-1", "2", 10, 1)),
        ("one-sys-10-checkpoint", ("memory", "one-sys-10-checkpoint", "", 10, -1)),
        ("one_storage.abc.one-1", ("unfinished", "one_storage.abc.one-1", "", -1, -1)),
        ("gold", ("image", "gold", "", -1, -1)),
        ("gold-7-0", ("disk", "gold-7-0", "", 7, 0)),
        ("gold-7-0-1:2", ("disk", "gold-7-0", "1:2", 7, 0)),
        ("gold-1", ("image", "gold", "1", -1, -1)),
        ("gold-two", ("image", "gold-two", "", -1, -1)),
        ("gold-two-7-0", ("disk", "gold-two-7-0", "", 7, 0)),
        ("goldfish", ("other", "goldfish", "", -1, -1)),
        ("one-sys-10", ("other", "one-sys-10", "", -1, -1)),
        ("one-1-", ("other", "one-1-", "", -1, -1)),
        ("one-1-1-1-1-1", ("other", "one-1-1-1-1-1", "", -1, -1)),
        ("one-1-1:", ("other", "one-1-1:", "", -1, -1)),
        ("one-١", ("other", "one-١", "", -1, -1)),
    ],
)
def test_a_name_says_whose_a_volume_is(name: str, told: tuple[Any, ...]) -> None:
    found = named(name, {"gold", "gold-two"})
    assert (found.what, found.owner, found.retired, found.vm, found.disk) == told


def test_images_and_disks_of_one_pool(pools: Pools) -> None:
    pools.reverted("one-1")
    pools.volume("one-10")
    pools.snapshot("one-10", "snap")
    pools.clone("one-10", "snap", "one-10-1-0")
    pools.patch("one-10-1-0", "guest")
    act("tm_mkimage", **pools.options(destination="/var/lib/one/datastores/100/1/disk.1", size=8))
    pools.volume("one_storage.run.one-9")
    pools.volume("somebody's")
    pools.volume("one-7")
    pools.look.ask("discard", pool="one", name="one-7")

    row = asked("images_info", pools)
    assert (row["error"], row["missed"], row["driver"]) == ("", [], "ceph")
    told = {one["name"]: (one["virtual_bytes"], one["snapshots"], one["depth"], one["vm"]) for one in row["images"]}
    assert told == {
        "one-1": (6 * MIB, 3, 2, None),
        "one-10": (6 * MIB, 0, 1, None),
        "somebody's": (6 * MIB, 0, 1, None),
    }
    sizes = {one["name"]: one["allocated_bytes"] for one in row["images"]}
    # objects of three snapshots and above them, in the volume that the revert retired, and those written to since
    assert sizes["one-1"] == _du(pools, "one-1") + _du(pools, "one-1-1:2:3")
    assert sizes["one-10"] == _du(pools, "one-10") == 2 * MIB + OBJECT
    assert [(one["name"], one["virtual_bytes"]) for one in row["trash"]] == [("one-7", 6 * MIB)]
    assert row["trash"][0]["allocated_bytes"] == 2 * MIB + OBJECT

    row = asked("images_info", pools, "system")
    told = {one["name"]: (one["path"], one["vm"], one["disk"], one["depth"]) for one in row["images"]}
    assert told == {
        "1/disk.0": ("one/one-10-1-0", 1, 0, 2),
        "1/disk.1": ("one/one-sys-1-1", 1, 1, 1),
    }
    assert [one["allocated_bytes"] for one in row["images"]] == [OBJECT, 0]

    [chain] = asked("chains_info", pools, "system")["chains"]
    assert [layer["path"] for layer in chain["layers"]] == ["one/one-10-1-0", "one/one-10@snap"]
    assert pools.watched() == []


def test_what_a_crash_of_a_revert_left_is_told(pools: Pools) -> None:
    pools.branched("one-5")
    pools.cluster.rbd("rename", "one/one-5", "one/one-5-1:2:3")
    [image] = asked("images_info", pools)["images"]
    assert (image["name"], image["virtual_bytes"], image["snapshots"], image["depth"]) == ("one-5", 0, 3, 0)
    [chain] = asked("chains_info", pools)["chains"]
    assert chain["broken"] == ["There is one/one-5-1:2:3, which a revert retired, and no volume one/one-5"]


def test_images_of_any_name_and_their_clones(pools: Pools) -> None:
    pools.volume("gold")
    pools.snapshot("gold", "snap")
    pools.clone("gold", "snap", "gold-7-0")
    assert [one["name"] for one in asked("images_info", pools, formats={"gold": "raw"})["images"]] == ["gold"]
    # of another datastore in the same pool
    assert asked("images_info", pools, elsewhere=["gold"])["images"] == []


def test_a_parent_in_another_pool_and_one_in_the_trash(pools: Pools) -> None:
    pools.volume("one-5", pool="one2")
    pools.snapshot("one-5", "snap", pool="one2")
    pools.look.ask(
        "clone", pool="one2", name="one-5", snapshot="snap", to_pool="one", to_name="one-5-1-0", data_pool=""
    )
    [chain] = asked("chains_info", pools, "system")["chains"]
    assert [layer["path"] for layer in chain["layers"]] == ["one/one-5-1-0", "one2/one-5@snap"]
    assert (chain["depth"], chain["broken"]) == (2, [])


def test_room_of_a_pool(pools: Pools) -> None:
    pools.volume("one-5")
    row = asked("datastores_info", pools)
    monitored = act("ds_monitor", **pools.options())
    assert abs((row["total_bytes"] >> 20) - monitored["total_mb"]) <= 1
    assert row["total_bytes"] == row["used_bytes"] + row["free_bytes"]
    fsid = json.loads(pools.cluster.ceph("status", "--format", "json"))["fsid"]
    assert row["pool"] == f"Ceph pool one of {fsid}"
    assert (row["items"], row["logical_bytes"], row["warnings"], row["trash_bytes"]) == (1, 6 * MIB, [], 0)
    assert row["largest"][0]["name"] == "one-5"


def test_a_staging_area_without_room_is_told(pools: Pools, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Host, "space", lambda *_: {"total": 100 << 20, "used": 97 << 20, "free": 3 << 20})
    [said] = asked("datastores_info", pools)["warnings"]
    assert said.startswith(f"the staging area {pools.staging} on ")
    assert said.endswith(" has 3 of 100 MB free; images that are not raw need it")
    monkeypatch.undo()
    [said] = asked("datastores_info", pools, settings={"staging_dir": "/nix"})["warnings"]
    assert "the staging area /nix on " in said and "is not there" in said


@pytest.mark.full
def test_a_quota_that_is_used_up_is_told(pools: Pools) -> None:
    def said() -> list[str]:
        found: list[str] = asked("datastores_info", pools, settings={"pool": "one2"})["warnings"]
        return found

    pools.volume("one-5", pool="one2")
    pools.cluster.ceph("osd", "pool", "set-quota", "one2", "max_objects", "1")
    try:
        wait_for("the cluster to see the quota", said, 25)
        assert said() == [
            "the quota of the pool one2 is used up: nothing can be written; raise it, or delete something"
        ]
    finally:
        pools.cluster.ceph("osd", "pool", "set-quota", "one2", "max_objects", "0")
        wait_for("the cluster to forget the quota", lambda: not said(), 25)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"pool": "nix"}, "there is no pool 'nix'"),
        ({"ceph_user": "nobody"}, "does not let client.nobody in"),
        ({"ceph_conf": "/nix/ceph.conf"}, "/nix/ceph.conf"),
    ],
)
def test_a_pool_that_cannot_be_looked_at_is_told_in_its_place(
    pools: Pools, settings: dict[str, Any], said: str
) -> None:
    for module in ("datastores_info", "images_info"):
        row = asked(module, pools, settings=settings)
        assert said in row["error"]
        assert "images" not in row and "total_bytes" not in row


def _du(pools: Pools, name: str) -> int:
    """What ``rbd du`` says of a volume with its snapshots."""
    told = json.loads(pools.cluster.rbd("du", "--format", "json", f"one/{name}"))
    return sum(int(one["used_size"]) for one in told["images"])

# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots of images in a Ceph pool: deleted, reverted to, flattened; on trees of ours and of stock's."""

from __future__ import annotations

import pytest

from plugins.module_utils._errors import Missing, Refused
from tests.unit.core.pools import Pools
from tests.unit.core.support import act


def snapshots(pools: Pools, volume: str) -> list[str]:
    """The snapshots of a volume of pool one."""
    found = pools.look.look("one", volume)
    assert found
    return [one["name"] for one in found["snapshots"]]


def revert(pools: Pools, number: int, name: str = "one-5") -> None:
    act("ds_snap_revert", **pools.options(source=f"one/{name}", snapshot=number))


def delete(pools: Pools, number: int, name: str = "one-5") -> bool:
    return bool(act("ds_snap_delete", **pools.options(source=f"one/{name}", snapshot=number))["changed"])


def test_a_revert_keeps_all_snapshots_under_the_names_that_stock_gives(pools: Pools) -> None:
    held = pools.branched()
    revert(pools, 2)
    assert pools.names() == ["one-5", "one-5-1:2:3"]
    assert pools.content("one/one-5") == held["2"]
    assert snapshots(pools, "one-5") == []
    for number in ("1", "2", "3"):
        assert pools.content(f"one/one-5-1:2:3@{number}") == held[number]
    # nothing has been written since, so nothing of it is worth a name
    revert(pools, 3)
    assert pools.names() == ["one-5", "one-5-1:2:3"]
    assert pools.content("one/one-5") == held["3"]
    assert pools.left() == []


def test_a_tree_grows_over_several_reverts(pools: Pools) -> None:
    held = pools.branched()
    revert(pools, 1)
    pools.patch("one-5", "four")
    pools.snapshot("one-5", "4")
    held["4"] = pools.content("one/one-5")
    revert(pools, 3)
    assert pools.names() == ["one-5", "one-5-1:2:3", "one-5-4"]
    assert pools.content("one/one-5") == held["3"]
    revert(pools, 4)
    assert pools.content("one/one-5") == held["4"]
    assert delete(pools, 2)
    assert pools.names() == ["one-5", "one-5-1:3", "one-5-4"]
    with pytest.raises(Refused, match="snapshot 1 of one/one-5-1:3 cannot be deleted: one/one-5-4 was reverted to it"):
        delete(pools, 1)
    act("ds_snap_flatten", **pools.options(source="one/one-5", snapshot=1))
    assert pools.names() == ["one-5"]
    assert pools.content("one/one-5") == held["1"]
    assert pools.tree()["one/one-5"][4:] == ("", {})
    assert pools.left() == []


def test_a_retired_volume_goes_with_its_last_snapshot(pools: Pools) -> None:
    held = pools.reverted()
    assert delete(pools, 1)
    assert pools.names() == ["one-5", "one-5-2:3"]
    assert delete(pools, 3)
    assert pools.names() == ["one-5", "one-5-2"]
    # somebody makes the image stand alone, so that nothing but the name ties the retired one to it
    pools.look.ask("flatten", pool="one", name="one-5")
    assert delete(pools, 2)
    assert pools.names() == ["one-5"]
    assert pools.content("one/one-5") == held["now"]
    assert delete(pools, 2) is False
    assert pools.left() == []


def test_a_flatten_leaves_the_image_alone_with_what_the_snapshot_held(pools: Pools) -> None:
    held = pools.reverted()
    act("ds_snap_flatten", **pools.options(source="one/one-5", snapshot=3))
    assert pools.names() == ["one-5"]
    assert pools.content("one/one-5") == held["3"]
    assert pools.left() == []


def test_a_snapshot_that_is_not_there_changes_nothing(pools: Pools) -> None:
    """Stock renames the volume before it finds that out."""
    pools.branched()
    before = pools.tree()
    for action in ("ds_snap_revert", "ds_snap_flatten"):
        with pytest.raises(Missing, match="one/one-5 has no snapshot 9"):
            act(action, **pools.options(source="one/one-5", snapshot=9))
        with pytest.raises(Missing, match="one/one-6 is not there"):
            act(action, **pools.options(source="one/one-6", snapshot=1))
    assert pools.tree() == before
    assert pools.left() == []


def test_a_flatten_that_fails_loses_no_snapshot(pools: Pools) -> None:
    """Stock removes the old tree whatever became of the new volume."""
    pools.reverted()
    before = pools.tree()
    with pytest.raises(Missing, match="nix|not there"):
        act("ds_snap_flatten", **pools.options(source="one/one-5", snapshot=2, data_pool="nix"))
    assert pools.tree() == before
    assert pools.left() == []


def test_what_a_virtual_machine_has_a_clone_of_stays(pools: Pools) -> None:
    pools.branched()
    pools.clone("one-5", "2", "one-5-3-0")
    before = pools.tree()
    for action, number in (("ds_snap_delete", 2), ("ds_snap_flatten", 1)):
        with pytest.raises(Refused, match="one/one-5-3-0 stands on its snapshot one-5@2"):
            act(action, **pools.options(source="one/one-5", snapshot=number))
    assert pools.tree() == before
    # a revert takes nothing from anybody
    revert(pools, 1)
    assert "one-5-3-0" in pools.names()
    assert pools.left() == []


def test_neighbours_whose_names_begin_alike_are_left_alone(pools: Pools) -> None:
    held = {name: pools.branched(name) for name in ("one-1", "one-10")}
    pools.volume("one-1-10-0")
    revert(pools, 1, "one-1")
    act("ds_snap_flatten", **pools.options(source="one/one-1", snapshot=2))
    assert pools.names() == ["one-1", "one-1-10-0", "one-10"]
    assert pools.content("one/one-1") == held["one-1"]["2"]
    assert pools.content("one/one-10") == held["one-10"]["now"]
    assert snapshots(pools, "one-10") == ["1", "2", "3"]

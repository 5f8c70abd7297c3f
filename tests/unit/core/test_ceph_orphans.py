# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What nobody knows in a pool of a real cluster: found by exact names, kept while something needs it, put into the
trash and back, purged."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from plugins.module_utils._errors import BadCall, Busy, Missing, Refused
from plugins.module_utils.tools.hidden import HIDDEN
from tests.unit.core.pools import Pools, image
from tests.unit.core.support import MIB, act, explained, killed_at

#: A client that keeps a volume open, as a guest does, until its stdin closes.
_OPEN = """
import sys, rados, rbd
with rados.Rados(conffile=sys.argv[1], name="client.oneadmin") as cluster:
    with cluster.open_ioctx("one") as pool, rbd.Image(pool, sys.argv[2]):
        print("open", flush=True)
        sys.stdin.read()
"""


def ask(pools: Pools, **given: Any) -> dict[str, Any]:
    return act("ds_orphans", **pools.options(**{"min_age": 0, **given}))


def found(result: dict[str, Any]) -> dict[str, str]:
    return {row["name"]: row["protected"] for row in result["orphans"]}


def places(result: dict[str, Any]) -> dict[str, str]:
    return {row["name"]: row["place"] for row in result["quarantined"]}


def test_volumes_by_their_exact_names(pools: Pools) -> None:
    names = ["one-1", "one-10", "one-10-42-0", "one-10-420-0", "one-sys-42-1", "one-sys-7-1", "one-sys-7-checkpoint"]
    for name in [*names, "one-10-4:5", "one-1-3", "one-3-1", "somebody's", "one_storage.ab12.one-8"]:
        pools.look.ask("create", pool="one", name=name, size=MIB, image_format=2, data_pool="")
    before = pools.tree()
    result = ask(pools, known=["one-10", "one-77", "one-10-42-0", "@7"])
    rows = {row["name"]: (row["what"], row["ours"], row["protected"]) for row in result["orphans"]}
    assert rows == {
        "one-1": ("image", True, ""),
        "one-1-3": ("snapshots", True, ""),
        "one-3-1": ("snapshots", True, ""),
        "one-10-420-0": ("disk", True, ""),
        "one-sys-42-1": ("disk", True, ""),
        "somebody's": ("other", False, ""),
        "one_storage.ab12.one-8": ("workshop", True, ""),
    }
    # one-77 is not there
    assert (result["known"], result["changed"]) == (2, False)
    assert pools.tree() == before


def test_what_something_needs_stays_and_says_so(pools: Pools) -> None:
    pools.volume("one-5")
    pools.snapshot("one-5", "snap")
    pools.clone("one-5", "snap", "one-5-42-0")
    pools.volume("one-6")
    pools.snapshot("one-6", "snap")
    pools.clone("one-6", "snap", "one-6-9-0")
    pools.look.ask("discard", pool="one", name="one-6-9-0")
    before = pools.tree()
    said = {
        "one-5": "the volume one/one-5-42-0 stands on its snapshot snap",
        "one-6": "the volume one/one-6-9-0 in the trash stands on its snapshot snap",
    }
    assert found(ask(pools, known=["one-5-42-0"])) == said
    for name, words in said.items():
        with pytest.raises(Refused, match=f"one/{name} stays: {words}"):
            ask(pools, known=["one-5-42-0"], state="quarantined", names=[name])
    assert pools.tree() == before and pools.left() == []


def test_the_young_and_the_new_stay(pools: Pools) -> None:
    pools.volume("one-5")
    assert found(ask(pools, min_age=3600)) == {"one-5": "it changed a short while ago"}
    assert found(ask(pools, since=1)) == {"one-5": "it may belong to what is being made"}


def test_what_is_open_stays(pools: Pools) -> None:
    pools.volume("one-5")
    opened = subprocess.Popen(
        ["/usr/bin/python3", "-c", _OPEN, str(pools.cluster.conf), "one-5"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert opened.stdout and opened.stdout.readline() == b"open\n"
        [why] = found(ask(pools)).values()
        assert why.startswith("it is open at ")
        with pytest.raises(Refused, match="one/one-5 stays: it is open at "):
            ask(pools, state="quarantined", names=["one-5"])
    finally:
        opened.communicate(timeout=20)
    assert found(ask(pools)) == {"one-5": ""}
    assert pools.names() == ["one-5"]


def test_into_the_trash_and_back_and_gone(pools: Pools) -> None:
    held = pools.reverted("one-5")
    pools.volume("one-1")
    pools.volume("one-10")
    given = {"min_age": 0, "known": ["one-10"], "state": "quarantined", "names": ["one-1", "one-5"]}
    said = explained("ds_orphans", **pools.options(**given))
    assert said["actions"][0].endswith("move the volume one/one-1 to the trash")
    assert pools.trash() == []

    done = ask(pools, known=["one-10"], state="quarantined", names=["one-1", "one-5"])
    assert done["changed"] and pools.left() == []
    assert pools.trash() == ["one-1", "one-5"] and "one-10" in pools.names()
    result = ask(pools, known=["one-10"])
    rows = {row["name"]: row for row in result["quarantined"]}
    assert {name: (row["what"], row["size"], row["protected"]) for name, row in rows.items()} == {
        "one-1": ("image", 6 * MIB, ""),
        "one-5": ("image", 6 * MIB, ""),
    }
    # what stands on a snapshot in it is in the trash, so it stays
    assert found(result)["one-5-1:2:3"].startswith("the volume one/one-5 in the trash stands on its snapshot 2")
    again = ask(pools, known=["one-10"], state="quarantined", names=["one-1", "one-5"])
    assert again["changed"] is False

    assert ask(pools, state="restored", names=[rows["one-5"]["place"]])["changed"]
    assert pools.content("one/one-5") == held["now"]
    assert ask(pools, state="restored", names=[rows["one-5"]["place"]])["changed"] is False

    with pytest.raises(Refused, match=r"trash/\w+/one-1 has been in the trash of one for \d+ of 604800 seconds"):
        ask(pools, state="purged", names=[rows["one-1"]["place"]])
    assert ask(pools, state="purged", keep=0, names=[rows["one-1"]["place"]])["changed"]
    assert pools.trash() == []
    assert ask(pools, state="purged", keep=0, names=[rows["one-1"]["place"]])["changed"] is False
    assert pools.content("one/one-10") == image("one-10")
    assert pools.left() == []


def test_a_volume_with_snapshots_is_purged_whole_and_one_that_is_needed_is_not(pools: Pools) -> None:
    pools.branched("one-5")
    pools.volume("one-6")
    pools.snapshot("one-6", "snap")
    ask(pools, state="quarantined", names=["one-5", "one-6"])
    place = places(ask(pools))
    # a clone can be made of what lies in the trash by nobody, but by whoever takes it out
    ask(pools, state="purged", keep=0, names=[place["one-5"]])
    assert pools.trash() == ["one-6"]
    ask(pools, state="restored", names=[place["one-6"]])
    assert [one["protected"] for one in (pools.look.look("one", "one-6") or {})["snapshots"]] == [True]


@pytest.mark.full
@pytest.mark.parametrize("fault", ["0", "0+", "end"])
def test_killed_and_run_again(pools: Pools, fault: str) -> None:
    pools.branched("one-5")
    before = pools.tree()
    aside = pools.options(min_age=0, state="quarantined", names=["one-5"])
    assert killed_at(fault, "ds_orphans", aside)
    act("ds_orphans", **aside)
    assert (pools.names(), pools.trash(), pools.left()) == ([], ["one-5"], [])
    back = pools.options(min_age=0, state="restored", names=[places(ask(pools))["one-5"]])
    assert killed_at(fault, "ds_orphans", back)
    act("ds_orphans", **back)
    assert pools.tree() == before and pools.left() == []
    act("ds_orphans", **aside)
    gone = pools.options(min_age=0, state="purged", keep=0, names=[places(ask(pools))["one-5"]])
    assert killed_at(fault, "ds_orphans", gone)
    act("ds_orphans", **gone)
    assert pools.tree() == {} and pools.left() == []


def test_a_name_that_is_taken_again_is_not_overwritten(pools: Pools) -> None:
    pools.volume("one-5")
    ask(pools, state="quarantined", names=["one-5"])
    place = places(ask(pools))["one-5"]
    pools.volume("one-5", image("new"))
    with pytest.raises(Refused, match=r"one/one-5 is there again, so trash/\w+/one-5 stays in the trash"):
        ask(pools, state="restored", names=[place])
    assert pools.content("one/one-5") == image("new") and pools.trash() == ["one-5"]


def test_what_somebody_else_put_into_the_trash_is_nobodys_here(pools: Pools) -> None:
    pools.volume("customer")
    pools.look.ask("discard", pool="one", name="customer")
    [item] = pools.look.ask("trash", pool="one")
    assert ask(pools)["quarantined"] == []
    with pytest.raises(Refused, match="is not what a driver of OpenNebula put into the trash"):
        ask(pools, state="purged", keep=0, names=[f"trash/{item['id']}/customer"])
    assert pools.trash() == ["customer"]


def test_snapshots_that_an_image_should_not_have_are_told(pools: Pools) -> None:
    pools.branched("one-5")
    pools.snapshot("one-5", "snap")
    pools.snapshot("one-5", "one_backup_3_0")
    result = ask(pools, known=["one-5", "one-5@", "one-5@1", "one-5@3"])
    assert found(result) == {"one-5@2": "a pool has no trash for snapshots: rbd snap rm one-5@2"}
    # of a volume whose snapshots are not told nothing is said
    assert found(ask(pools, known=["one-5"])) == {}


def test_journals_and_locks_of_dead_runs_are_settled(pools: Pools) -> None:
    given = pools.new(5, source=pools.file(), size=6)
    assert killed_at("0+", "ds_cp", given)
    [part] = pools.names()
    rows = found(ask(pools))
    journal, staged = f"{HIDDEN}/one-5.journal", f"{HIDDEN}/staging/one-5"
    assert rows == {part: "a journal speaks of it", journal: "", staged: ""}
    # in a check nothing is settled
    explained("ds_orphans", **pools.options(min_age=0, state="quarantined", names=[journal]))
    assert pools.names() == [part]
    ask(pools, state="quarantined", names=[journal])
    ask(pools, state="quarantined", names=[staged])
    assert pools.names() == [] and pools.left() == [] and found(ask(pools)) == {}


def test_a_lock_of_a_dead_run_is_given_back(pools: Pools) -> None:
    code = (
        "import os, sys\n"
        "from plugins.module_utils.tools.rbd import Access\n"
        "from plugins.module_utils.tools.rbd.cluster import Cluster\n"
        "cluster = Cluster(Access('oneadmin', conf=sys.argv[1]), 20, 60)\n"
        "cluster.lock('rbd:one', 'one-7', False, 5)\n"
        "os._exit(9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(pools.cluster.conf)], timeout=60).returncode == 9
    lock = f"{HIDDEN}/one-7.lock"
    assert found(ask(pools)) == {lock: ""}
    ask(pools, state="quarantined", names=[lock])
    assert pools.left() == []


def test_the_staging_area(pools: Pools) -> None:
    shop = pools.staging / HIDDEN / "one-5" / "deadrun"
    shop.mkdir(parents=True)
    (shop / "fetched").write_bytes(b"x" * 5000)
    (pools.staging / ("a" * 32)).write_bytes(b"y" * 7000)
    rows = {row["name"]: row for row in ask(pools)["orphans"]}
    mine, stocks = f"{HIDDEN}/staging/one-5", str(pools.staging / ("a" * 32))
    assert {name: (row["what"], row["protected"]) for name, row in rows.items()} == {
        mine: ("workshop", ""),
        stocks: ("staging", "a staging file is not set aside: delete it by hand"),
    }
    ask(pools, state="quarantined", names=[mine])
    assert not shop.exists()
    assert found(ask(pools)) == {stocks: "a staging file is not set aside: delete it by hand"}


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"state": "quarantined", "names": ["one-5"]}, Missing, "one/one-5 is not there"),
        ({"state": "quarantined", "names": ["one-1"], "known": ["one-1"]}, Refused, "no orphan: it is known"),
        ({"state": "quarantined", "names": []}, BadCall, "No names are given"),
        ({"state": "restored", "names": ["one-1"]}, BadCall, "is not a place in a quarantine"),
        ({"state": "restored", "names": ["2026-01-01/one-1"]}, BadCall, "trash/<id>/<name>"),
        ({"state": "restored", "names": ["trash/77/one-1"]}, Missing, "is not in the trash of one"),
        ({"pool": "nix"}, Missing, "there is no pool 'nix'"),
    ],
)
def test_a_call_that_cannot_be_done(pools: Pools, given: dict[str, Any], error: type[Exception], said: str) -> None:
    pools.volume("one-1")
    with pytest.raises(error, match=said):
        ask(pools, **given)
    assert pools.names() == ["one-1"] and pools.left() == []


def test_an_action_that_works_on_it_is_waited_for(pools: Pools) -> None:
    pools.volume("one-5")
    pools.look.lock("rbd:one", "one-5", False, 5)
    try:
        assert found(ask(pools)) == {"one-5": "an action works on it"}
        with pytest.raises(Busy):
            ask(pools, state="quarantined", names=["one-5"], lock_timeout=1)
    finally:
        pools.look.unlock("rbd:one", "one-5")
    assert pools.names() == ["one-5"]

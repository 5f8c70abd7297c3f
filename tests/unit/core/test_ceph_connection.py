# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The talk with a cluster: what is looked at once, what is looked at anew, when the program is started."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from plugins.module_utils import _run
from plugins.module_utils.tools.rbd import cluster as talk
from plugins.module_utils.tools.rbd import program
from plugins.module_utils.tools.rbd.cluster import Cluster
from tests.unit.core.pools import Pools, connection, info
from tests.unit.core.support import MIB
from tests.unit.core.vm_volumes import Disks


@pytest.fixture
def made(pools: Pools) -> Iterator[Cluster]:
    """A connection, and volumes: one-6 stands on one-5@snap."""
    pools.volume("one-5")
    pools.snapshot("one-5", "snap")
    pools.clone("one-5", "snap", "one-6")
    found = connection(pools.cluster)
    yield found
    found.close()


def size(made: Cluster, name: str) -> Any:
    found = made.seen("one", name)
    return found and found["size"] // MIB


def test_what_others_change_is_seen_a_moment_later_and_looked_at_at_once(pools: Pools, made: Cluster) -> None:
    assert size(made, "one-5") == 6 and made.seen("one", "one-7") is None
    pools.look.ask("resize", pool="one", name="one-5", size=8 * MIB)
    pools.look.ask("create", pool="one", name="one-7", size=MIB, image_format=2, data_pool="")
    assert size(made, "one-5") == 6
    found = made.look("one", "one-5")
    assert found and found["size"] == 8 * MIB
    time.sleep(1.1)
    assert size(made, "one-7") == 1


@pytest.mark.parametrize(
    ("operation", "values", "anew"),
    [
        ("resize", {"name": "one-6", "size": 9 * MIB}, {"one-6"}),
        # what stands on a volume tells its parent's name
        ("rename", {"name": "one-5", "new": "one-7"}, {"one-5", "one-6", "one-7"}),
        ("snapshot", {"name": "one-6", "snapshot": "1"}, {"one-6"}),
        ("write_entry", {"entry": "journal/one-6", "text": ""}, set()),
        ("names", {}, set()),
        # whoever had the lock may have changed anything
        ("lock", {"key": "one-6", "holder": {"id": "1", "shared": False}}, {"one-5", "one-6", "one-7"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_we_change_is_looked_at_anew(
    made: Cluster, monkeypatch: pytest.MonkeyPatch, operation: str, values: dict[str, Any], anew: set[str]
) -> None:
    names = ("one-5", "one-6", "one-7")
    for name in names:
        made.seen("one", name)
    made.ask(operation, pool="one", **values)
    looked = set()
    real = Cluster.look

    def look(self: Cluster, pool: str, name: str) -> Any:
        looked.add(name)
        return real(self, pool, name)

    monkeypatch.setattr(Cluster, "look", look)
    seen = {name: made.seen("one", name) for name in names}
    assert looked == anew
    assert seen == {name: real(made, "one", name) for name in names}


def test_an_id_is_read_without_the_volume_being_opened(pools: Pools, made: Cluster) -> None:
    number = made.ask("number", pool="one", name="one-5")
    assert number == info("one/one-5", pools.cluster)["id"]
    made.ask("rename", pool="one", name="one-5", new="one-8")
    assert [made.ask("number", pool="one", name=name) for name in ("one-5", "one-8")] == ["", number]
    made.ask("create", pool="one2", name="old", size=MIB, image_format=1, data_pool="")
    found = made.look("one2", "old")
    assert found and made.ask("number", pool="one2", name="old") == found["id"] != ""


def test_the_program_that_was_started_ahead_is_the_one_that_connects(pools: Pools, disks: Disks) -> None:
    pools.volume("one-5")
    _run.preload("tm_clone", "ceph", "")
    _run.prepare("tm_clone", "ceph", "")
    (waiting,) = talk._ready
    assert waiting.alive()
    made = connection(pools.cluster)
    try:
        assert made.ask("names", pool="one") == ["one-5"]
        assert made._child is waiting and not talk._ready
    finally:
        made.close()


@pytest.mark.parametrize("action", ["tm_mv", "tm_premigrate", "ds_stat"])
def test_nothing_is_started_for_what_does_not_reach_the_cluster(action: str) -> None:
    _run.preload(action, "ceph", "")
    assert not talk._ready


def test_programs_that_are_over_do_not_pile_up(pools: Pools) -> None:
    for _time in range(3):
        made = connection(pools.cluster)
        made.ask("names", pool="one")
        child = made._child
        made.close()
        assert child
        until = time.monotonic() + 5
        while os.path.exists(f"/proc/{child.pid}") and child.alive() and time.monotonic() < until:
            time.sleep(0.02)
    assert len(talk._ended) <= 1


def test_the_program_comes_out_of_an_archive_too(pools: Pools, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Ansible brings it, where no part of it is a file."""
    pools.volume("one-5")
    with monkeypatch.context() as without_files:
        without_files.setattr(os.path, "exists", lambda _path: False)
        text = program()
    assert "SourceFileLoader" in program() and "SourceFileLoader" not in text
    monkeypatch.setattr(talk, "program", lambda: text)
    made = connection(pools.cluster)
    try:
        assert made.ask("names", pool="one") == ["one-5"]
    finally:
        made.close()

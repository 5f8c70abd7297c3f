# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster of three OSDs: a pool that really is erasure-coded, OSDs that die, a cluster that is gone and back."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from plugins.module_utils._errors import StorageError
from plugins.module_utils.tools.rbd.cluster import Cluster as Connection
from tests.lab.ceph import CODED, Cluster, is_there
from tests.unit.core.conftest import new_folder
from tests.unit.core.pools import Pools, connection, image
from tests.unit.core.support import MIB, act, pattern
from tests.unit.core.vm_volumes import Disks

pytestmark = pytest.mark.full

OSDS = ("osd.0", "osd.1", "osd.2")


@pytest.fixture(scope="module")
def three() -> Iterator[tuple[Cluster, Connection]]:
    """The cluster, and a connection to it."""
    if not is_there():
        pytest.skip("Ceph's daemons are not installed")
    # it takes longer to come than a test may
    before = signal.alarm(0)
    place = new_folder()
    made = Cluster(place / "ceph", osds=len(OSDS))
    made.start()
    look = connection(made)
    signal.alarm(before)
    yield made, look
    look.close()
    made.stop()
    shutil.rmtree(place)


@pytest.fixture
def pools(three: tuple[Cluster, Connection], folder: Path) -> Iterator[Pools]:
    """Empty pools of that cluster; whatever a test ended, the cluster is whole afterwards."""
    signal.alarm(240)
    made = Pools(*three, folder)
    yield made
    for name in ("mon.a", *OSDS):
        if name not in three[0].running():
            three[0].restart(name)
    three[0].wait_healthy()


def objects(pools: Pools, pool: str) -> list[str]:
    """The objects of a pool that have data of volumes."""
    line = ["rados", "-c", str(pools.cluster.conf), "--id", "oneadmin", "-p", pool, "ls"]
    found = subprocess.run(line, capture_output=True, text=True, timeout=60, check=True).stdout.split()
    return [name for name in found if name.startswith("rbd_data.")]


def test_a_disks_life_in_an_erasure_coded_pool(disks: Disks) -> None:
    pools = disks.pools
    coded: dict[str, Any] = {"data_pool": CODED}
    act("ds_cp", **pools.new(5, source=pools.file("data"), size=6, **coded))
    act("ds_clone", **pools.new(6, source="one/one-5", **coded))
    act("ds_mkfs", **pools.new(7, size=8, fs="ext4", **coded))
    assert pools.content("one/one-5") == pools.content("one/one-6") == image("data")
    disks.clone(**coded)
    pools.patch("one-5-42-0", "before")
    held = pools.content("one/one-5-42-0")
    given = {"path": disks.path(), "image": "one/one-5"}
    disks.act("tm_snap_create", **given, snapshot_id=0)
    pools.patch("one-5-42-0", "after", place=2 * MIB)
    written = pools.content("one/one-5-42-0")
    disks.act("tm_cpds", **{"source": disks.path(), "image": "one/one-5", "destination": "one/one-8", **coded})
    disks.act("tm_snap_revert", **given, snapshot_id=0)
    assert pools.content("one/one-5-42-0") == held != written == pools.content("one/one-8")
    disks.act("tm_resize", **given, size=10)
    assert pools.content("one/one-5-42-0") == held.ljust(10 * MIB, b"\0")
    for name in ("one-5", "one-6", "one-7", "one-8", "one-5-42-0"):
        volume = pools.look.look("one", name)
        assert volume and volume["data_pool"] == CODED, name
    assert objects(pools, CODED) and not objects(pools, "one")
    disks.delete()
    for number in (5, 6, 7, 8):
        act("ds_rm", **pools.options(source=f"one/one-{number}"))
    assert pools.names() == pools.left() == objects(pools, CODED) == []


@dataclass(frozen=True)
class Case:
    """An action on data in the erasure-coded pool.

    :ivar right: whether it has done what it should.
    """

    name: str
    prepare: Callable[[Disks], object]
    run: Callable[[Disks, float], object]
    right: Callable[[Disks], bool]

    def __str__(self) -> str:
        return self.name


def _image(disks: Disks) -> None:
    disks.pools.volume("one-5", data=CODED)


def _disk(disks: Disks) -> None:
    _image(disks)
    disks.clone(data_pool=CODED)
    disks.pools.patch("one-5-42-0", "guest")


def _imported(disks: Disks, stall: float) -> None:
    source = disks.pools.folder / "large"
    act("ds_cp", **disks.pools.new(5, source=source, size=24, data_pool=CODED, stall_timeout=stall))


def _large(disks: Disks) -> Any:
    return disks.pools.file("large", pattern("large", 24 * MIB))


CASES = [
    Case("import", _large, _imported, lambda disks: disks.pools.content("one/one-5") == pattern("large", 24 * MIB)),
    Case(
        "clone",
        _image,
        lambda disks, stall: disks.clone(data_pool=CODED, stall_timeout=stall),
        lambda disks: disks.pools.content("one/one-5-42-0") == image("one-5"),
    ),
    Case(
        "delete",
        _disk,
        lambda disks, stall: disks.delete(stall_timeout=stall),
        lambda disks: disks.pools.names() == ["one-5"] and disks.pools.content("one/one-5") == image("one-5"),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_one_osd_that_is_down_holds_nothing_up(disks: Disks, case: Case) -> None:
    case.prepare(disks)
    disks.pools.cluster.kill("osd.1")
    case.run(disks, 40)
    assert case.right(disks)
    assert disks.pools.left() == []


@pytest.mark.parametrize("case", CASES, ids=str)
def test_too_few_osds_are_a_sentence_and_the_next_run_is_right(disks: Disks, case: Case) -> None:
    case.prepare(disks)
    cluster = disks.pools.cluster
    for name in OSDS:
        cluster.kill(name)
    begun = time.monotonic()
    with pytest.raises(StorageError, match=r"Ceph cluster (has not answered for 6 seconds|does not answer)"):
        case.run(disks, 6)
    assert time.monotonic() - begun < 40
    for name in OSDS:
        cluster.restart(name)
    cluster.wait_healthy()
    case.run(disks, 40)
    assert case.right(disks)
    assert disks.pools.left() == []


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_cluster_that_is_gone_and_comes_back_in_time_is_waited_for(disks: Disks, case: Case) -> None:
    case.prepare(disks)
    cluster = disks.pools.cluster
    everything = ("mon.a", *OSDS)

    # daemons end with the thread that started them
    with ThreadPoolExecutor(1) as other:
        running = other.submit(case.run, disks, 90)
        time.sleep(0.15)
        for name in everything:
            cluster.kill(name)
        time.sleep(4)
        for name in everything:
            cluster.restart(name)
        running.result()
    assert case.right(disks)
    assert disks.pools.left() == []

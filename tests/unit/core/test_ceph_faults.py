# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Actions on volumes that are killed between any two steps, and a cluster that is slow, full, gone."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from plugins.module_utils import _run
from plugins.module_utils._errors import Busy, DeadlineOver, NoSpace, StorageError
from plugins.module_utils.tools.hidden import HIDDEN
from plugins.module_utils.tools.rbd.cluster import Cluster
from tests.unit.core.pools import Pools, connection, image, qemu
from tests.unit.core.support import MIB, act, child, ended, killed_at, pattern, strings


@dataclass(frozen=True)
class Case:
    """An action and the pools it is run in.

    :ivar always: a volume that has to be there, with old content or new, whenever the action dies.
    """

    name: str
    action: str
    prepare: Callable[[Pools], object]
    options: Callable[[Pools], dict[str, Any]]
    always: str = ""

    def __str__(self) -> str:
        return self.name


def qcow2(pools: Pools) -> None:
    """A file to import that has to be converted."""
    qemu("convert", "-f", "raw", "-O", "qcow2", pools.file(), pools.folder / "q")


CASES = [
    Case("cp", "ds_cp", lambda p: p.file(), lambda p: p.new(5, source=p.folder / "source", size=6)),
    Case("cp, converted", "ds_cp", qcow2, lambda p: p.new(5, source=p.folder / "q", size=6)),
    Case("mkfs", "ds_mkfs", lambda p: None, lambda p: p.new(5, size=8, fs="ext4")),
    Case("clone", "ds_clone", lambda p: p.volume("one-4"), lambda p: p.new(5, source="one/one-4")),
    Case("rm", "ds_rm", lambda p: p.reverted(), lambda p: p.options(source="one/one-5")),
    Case("rm to the trash", "ds_rm", lambda p: p.reverted(), lambda p: p.options(source="one/one-5", ceph_trash=True)),
    Case(
        "revert",
        "ds_snap_revert",
        lambda p: p.branched(),
        lambda p: p.options(source="one/one-5", snapshot=2),
        "one/one-5",
    ),
    Case(
        "revert of a revert",
        "ds_snap_revert",
        lambda p: p.reverted(),
        lambda p: p.options(source="one/one-5", snapshot=3),
        "one/one-5",
    ),
    Case(
        "flatten",
        "ds_snap_flatten",
        lambda p: p.reverted(),
        lambda p: p.options(source="one/one-5", snapshot=3),
        "one/one-5",
    ),
    Case(
        "delete of a snapshot",
        "ds_snap_delete",
        lambda p: p.reverted(),
        lambda p: p.options(source="one/one-5", snapshot=1),
        "one/one-5",
    ),
]
QUICK = ("cp", "flatten")


def without_dates(tree: dict[str, Any]) -> dict[str, Any]:
    """A tree in which the digest of a file system, which has its date in it, does not count."""
    return {
        name: (*found[:3], "", *found[4:]) if found and found[0] == 8 * MIB else found for name, found in tree.items()
    }


@pytest.mark.parametrize("point", [pytest.param("before", marks=pytest.mark.full), "after"])
@pytest.mark.parametrize(
    "case",
    [case if case.name in QUICK else pytest.param(case, marks=pytest.mark.full) for case in CASES],
    ids=str,
)
def test_killed_between_two_steps_and_run_again(pools: Pools, case: Case, point: str) -> None:
    signal.alarm(120)
    case.prepare(pools)
    before = pools.tree()
    act(case.action, **case.options(pools))
    whole = without_dates(pools.tree())
    assert whole != before
    assert pools.left() == []
    for fault in points(point == "after"):
        pools.clear()
        case.prepare(pools)
        held = {pools.content(case.always)} if case.always else set()
        if not killed_at(fault, case.action, case.options(pools)):
            break
        if case.always:
            held.add(content_after(pools, case))
            assert pools.content(case.always) in held, f"killed at {fault}"
        act(case.action, **case.options(pools))
        assert without_dates(pools.tree()) == whole, f"killed at {fault}"
        assert pools.left() == [], f"killed at {fault}"


#: Calls that change something in the cluster.
CHANGES = frozenset(
    "create clone copy fill finish rename remove resize flatten discard restore set_label snapshot protect forget"
    " write_entry lock unlock".split()
)


def killed_at_call(number: int, action: str, given: dict[str, Any]) -> bool:
    """Run an action in a process that dies before its n-th call that changes the cluster; False when it survived."""

    def task() -> None:
        left = number
        real = Cluster.ask

        def deadly(self: Cluster, operation: str, **values: Any) -> Any:
            nonlocal left
            if operation in CHANGES:
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                left -= 1
            return real(self, operation, **values)

        Cluster.ask = deadly  # type: ignore[method-assign]
        _run.run(action, strings(given), _run.Mode()).close()

    with child(task) as pid:
        return ended(pid) != 0


@pytest.mark.full
@pytest.mark.parametrize("case", CASES, ids=str)
def test_killed_before_any_change_and_run_again(pools: Pools, case: Case) -> None:
    """Not between steps, but before each single change: inside steps, locks, journals and what comes after the end."""
    signal.alarm(600)
    case.prepare(pools)
    act(case.action, **case.options(pools))
    whole = without_dates(pools.tree())
    for number in itertools.count():
        pools.clear()
        case.prepare(pools)
        if not killed_at_call(number, case.action, case.options(pools)):
            break
        act(case.action, **case.options(pools))
        assert without_dates(pools.tree()) == whole, f"killed before change {number}"
        assert pools.left() == [], f"killed before change {number}"
    assert number > 5


def test_killed_between_the_two_renames_the_old_volume_comes_back_with_the_next_action(pools: Pools) -> None:
    """The one moment in which nothing has the name ends with whoever comes next, whatever that is about."""
    held = pools.branched()
    given = pools.options(source="one/one-5", snapshot=2)
    for number in itertools.count():
        assert killed_at_call(number, "ds_snap_revert", given)
        if "one-5" not in pools.names():
            break
    act("ds_mkfs", **pools.new(6, size=8))
    assert pools.names() == ["one-5", "one-6"]
    assert pools.content("one/one-5") == held["now"]
    assert pools.left() == []


def points(after: bool) -> Iterator[str]:
    """Where to kill: before or after each step, then at the end."""
    yield "end"
    yield from (f"{number}+" if after else f"{number}" for number in itertools.count())


def content_after(pools: Pools, case: Case) -> bytes:
    """What the image holds once the action has ended: that of the snapshot, where it is found."""
    number = case.options(pools).get("snapshot")
    for name in pools.names():
        volume = pools.look.look("one", name)
        if volume and any(one["name"] == str(number) for one in volume["snapshots"]):
            return pools.content(f"one/{name}@{number}")
    return b""


def test_what_a_dead_run_left_goes_with_the_next_action_of_any_image(pools: Pools) -> None:
    """Even when that is another host's: what settles it lies in the pool."""
    assert killed_at("0+", "ds_cp", pools.new(5, source=pools.file(), size=6))
    assert [name for name in pools.names() if not name.startswith("one-")]
    act("ds_mkfs", **pools.new(6, size=8))
    assert pools.names() == ["one-6"]
    assert pools.left() == []


def test_an_image_that_oned_never_heard_of_is_taken_back(pools: Pools) -> None:
    assert killed_at("end", "ds_cp", pools.new(5, source=pools.file(), size=6))
    assert pools.names() == ["one-5"]
    act("ds_mkfs", **pools.new(6, size=8))
    assert pools.names() == ["one-6"]
    assert pools.left() == []


def test_a_run_that_lives_is_waited_for_and_one_that_died_is_not(pools: Pools) -> None:
    pools.volume("one-5")
    pools.look.lock("rbd:one", "one-5", False, 0)
    try:
        with pytest.raises(Busy, match="Another action has held one-5 in rbd:one for more than 1 seconds"):
            act("ds_rm", **pools.options(source="one/one-5", lock_timeout=1))
        assert pools.names() == ["one-5"]
    finally:
        pools.look.unlock("rbd:one", "one-5")

    def hold() -> None:
        made = connection(pools.cluster)
        made.lock("rbd:one", "one-5", False, 0)
        os.kill(os.getpid(), signal.SIGKILL)

    with child(hold) as pid:
        assert ended(pid) == -signal.SIGKILL
    begun = time.monotonic()
    act("ds_rm", **pools.options(source="one/one-5"))
    assert time.monotonic() - begun < 10
    assert pools.names() == []
    assert pools.left() == []


@pytest.mark.full
def test_a_holder_on_another_host_is_dead_after_its_lease_and_shut_out(pools: Pools) -> None:
    """Its host is gone, or cannot reach the cluster: what it has on its way may not arrive any more."""
    signal.alarm(120)
    pools.volume("one-5")
    other = connection(pools.cluster)
    other.lock("rbd:one", "one-5", False, 0)
    pools.look.ask("write_entry", pool="one", entry="lock/one-5", text=elsewhere(pools))
    os.kill(other._child.pid, signal.SIGSTOP)  # type: ignore[union-attr]
    begun = time.monotonic()
    act("ds_rm", **pools.options(source="one/one-5"))
    assert 25 < time.monotonic() - begun < 60
    os.kill(other._child.pid, signal.SIGCONT)  # type: ignore[union-attr]
    with pytest.raises(OSError, match="took this one for dead|broke off"):
        other.set_journal("rbd:one", "one-9", "too late")
    other.close()
    assert pools.left() == []


def test_what_only_looks_is_asked_again_when_librbd_dies_under_it(pools: Pools) -> None:
    pools.volume("one-5")
    made = connection(pools.cluster)
    try:
        made.lock("rbd:one", "one-5", False, 0)
        for change in (False, True):
            os.kill(made._child.pid, signal.SIGKILL)  # type: ignore[union-attr]
            if change:
                with pytest.raises(OSError, match="the connection to the cluster broke off"):
                    made.ask("rename", pool="one", name="one-5", new="one-6")
            assert made.ask("names", pool="one") == ["one-5"]
        with pytest.raises(BlockingIOError):
            pools.look.lock("rbd:one", "one-5", False, 0)
    finally:
        made.close()
    assert pools.left() == []


def elsewhere(pools: Pools) -> str:
    """The entry of a lock as if its holder were on another host."""
    text = str(pools.look.ask("read", pool="one", entry="lock/one-5"))
    return text.replace(os.uname().nodename, "another-host")


def test_a_volume_that_is_still_open_is_not_deleted(pools: Pools) -> None:
    pools.volume("one-5")
    pools.look.ask("begin", pool="one", name="one-5")
    try:
        with pytest.raises(Busy, match=r"one/one-5 is open at 127.0.0.1:.*; nothing was changed"):
            act("ds_rm", **pools.options(source="one/one-5", stall_timeout=2))
    finally:
        pools.look.ask("leave")
    assert pools.content("one/one-5") == image("one-5")
    assert pools.left() == []
    act("ds_rm", **pools.options(source="one/one-5"))
    assert pools.names() == []


def test_a_cluster_that_hangs_is_left_at_the_deadline_and_settled_later(pools: Pools) -> None:
    source = pools.file("big", pattern("big", 24 * MIB))
    given = pools.new(5, source=source, size=24, stall_timeout=4)
    pools.cluster.pause("osd.0")
    try:
        with pytest.raises(StorageError, match=r"has not answered for 4 seconds|does not answer"):
            act("ds_cp", **given)
    finally:
        pools.cluster.resume("osd.0")
    act("ds_cp", **{**given, "stall_timeout": 20})
    assert pools.content("one/one-5") == source.read_bytes()
    assert pools.left() == []


def test_a_cluster_that_comes_back_in_time_is_waited_for(pools: Pools) -> None:
    source = pools.file("big", pattern("big", 24 * MIB))
    pools.cluster.pause("osd.0")
    back = threading.Timer(3, pools.cluster.resume, ["osd.0"])
    back.start()
    act("ds_cp", **pools.new(5, source=source, size=24))
    back.join()
    assert pools.content("one/one-5") == source.read_bytes()
    assert pools.left() == []


def test_a_full_pool_takes_nothing_and_can_be_emptied(pools: Pools) -> None:
    pools.volume("one-4", pattern("four", 8 * MIB), pool="one2")
    for number in (2, 3):
        act("ds_mkfs", **pools.new(number, size=8, pool="one2"))
    # no pool can delete anything whose first delete comes when it is full
    act("ds_rm", **pools.options(source="one2/one-2", pool="one2"))
    pools.cluster.ceph("osd", "pool", "set-quota", "one2", "max_bytes", str(4 * MIB))
    try:
        until = time.monotonic() + 20
        while "full" not in pools.cluster.ceph("osd", "pool", "ls", "detail") and time.monotonic() < until:
            time.sleep(0.2)
        with pytest.raises(NoSpace, match="quota|No space left"):
            act("ds_cp", **pools.new(5, source=pools.file(), size=6, pool="one2"))
        act("ds_rm", **pools.options(source="one2/one-4", pool="one2"))
    finally:
        pools.cluster.ceph("osd", "pool", "set-quota", "one2", "max_bytes", "0")
    assert pools.names("one2") == ["one-3"]
    assert pools.left() == []


def test_an_action_that_is_told_to_stop_takes_back_what_it_did(pools: Pools) -> None:
    source = pools.file("big", pattern("big", 24 * MIB))

    def stopped() -> None:
        from plugins.module_utils.tools.command import stop_work

        threading.Timer(0.7, stop_work).start()
        mode = _run.Mode(stopped=lambda: False)
        options = pools.new(5, source=source, size=24, limit_rate="4M")
        _run.run("ds_cp", {**options, "source": str(source)}, mode).close()

    with child(stopped) as pid:
        assert ended(pid) == 1
    assert pools.names() == []
    assert pools.left() == []
    assert not list((pools.staging / HIDDEN).glob("one-*"))


def test_the_deadline_has_a_sentence_when_no_monitor_answers(pools: Pools) -> None:
    pools.cluster.pause("mon.a")
    try:
        with pytest.raises((DeadlineOver, StorageError), match="the Ceph cluster (does not answer|has not answered)"):
            act("ds_monitor", **pools.options(stall_timeout=3))
    finally:
        pools.cluster.resume("mon.a")

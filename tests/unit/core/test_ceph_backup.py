# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups of volumes of VMs that are off: chains that restore byte for byte, whatever goes wrong."""

from __future__ import annotations

import itertools
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from plugins.module_utils._errors import BadCall, Busy, Missing, NoSpace
from plugins.module_utils.tools.host import Host
from tests.unit.core.backups import DOCUMENT
from tests.unit.core.support import MIB, act, bytes_of, killed_at, tool
from tests.unit.core.vm_volume_backups import Backed
from tests.unit.core.vm_volumes import Disks, opened


@pytest.mark.parametrize(
    "length", [3, pytest.param(4, marks=pytest.mark.full), pytest.param(12, marks=pytest.mark.full)]
)
def test_a_chain_restores_at_every_point(disks: Disks, length: int) -> None:
    """With twelve, one that is sorted as text goes wrong at increment 10."""
    signal.alarm(280)
    vm = Backed(disks, (0, 1, 2))
    for number in range(length):
        vm.write()
        vm.back_up()
        assert [name for name in vm.snapshots() if name.startswith("one_backup")] == [f"one_backup_{number}"]
    vm.check_all()
    # an increment has what changed, and nothing besides
    assert all(vm.size_of(number) < vm.size_of(0) for number in range(1, length))
    assert disks.pools.left() == []
    assert disks.world.is_tidy(), disks.world.hidden()


def test_a_full_backup_stands_alone_and_leaves_nothing(disks: Disks) -> None:
    vm = Backed(disks)
    vm.write()
    vm.mode = "full"
    before = disks.pools.tree()
    vm.back_up()
    assert disks.pools.tree() == before
    vm.check_all()
    assert disks.pools.left() == []


@pytest.mark.full
def test_a_full_backup_ends_a_chain_and_stays_clear_of_stale_snapshots(disks: Disks) -> None:
    vm = Backed(disks)
    vm.back_up()
    disks.pools.snapshot("one-5-42-0", "one_backup")
    vm.write()
    vm.mode = "full"
    vm.back_up()
    vm.check_all()
    assert vm.snapshots() == []


@pytest.mark.parametrize("how", ["failed", pytest.param("silent", marks=pytest.mark.full)])
def test_the_increment_that_failed_is_made_again(disks: Disks, how: str) -> None:
    """The files were made, the repository did not get them; postbackup says so, or is never called."""
    vm = Backed(disks)
    for number in range(2):
        vm.write()
        vm.before()
        if how == "failed":
            vm.after(failed=True)
            assert vm.snapshots() == ([f"one_backup_{number - 1}"] if number else [])
        vm.write()
        assert vm.back_up() == number
    vm.check_all()


@pytest.mark.full
def test_postbackup_that_is_never_called_and_one_that_is_called_twice(disks: Disks) -> None:
    vm = Backed(disks)
    for number in range(3):
        vm.write()
        vm.back_up(heard=number == 2)
    assert vm.snapshots() == ["one_backup_2"]
    vm.last = 1
    assert not vm.after()["changed"]
    assert vm.snapshots() == ["one_backup_2"]
    vm.check_all()


@pytest.mark.full
def test_after_a_revert_an_increment_has_the_whole_disk(disks: Disks) -> None:
    """The snapshot of the increment before stays with the volume that was retired, and goes from there."""
    vm = Backed(disks)
    given = {"path": disks.path(), "image": "one/one-5", "snapshot_id": 0}
    vm.write()
    disks.act("tm_snap_create", **given)
    vm.back_up()
    vm.write()
    disks.act("tm_snap_revert", **given)
    vm.back_up(warned="Increment 1 has all of disk 0, as the snapshot one/one-5-42-0@one_backup_0 is not there")
    vm.write()
    vm.back_up()
    vm.check_all()
    assert "one_backup_2" in vm.snapshots()
    assert not any("one_backup_0" in str(volume) for volume in disks.pools.tree().values())


@pytest.mark.full
def test_a_disk_that_grew_goes_on_with_its_chain(disks: Disks) -> None:
    vm = Backed(disks)
    vm.back_up()
    disks.act("tm_resize", path=disks.path(), image="one/one-5", size=9)
    disks.pools.patch("one-5-42-0", "beyond", place=8 * MIB)
    vm.back_up()
    vm.check_all()


@pytest.mark.full
def test_our_snapshots_are_those_of_stock(disks: Disks) -> None:
    """What stock does around an increment, by its commands (contract-tm 8.4): ours goes on, and stock after us."""
    vm = Backed(disks)
    rbd, volume = disks.pools.cluster.rbd, vm.volume(0)
    vm.back_up()
    vm.write()
    # stock's increment 1: its snapshot; the repository's file is made from the very difference
    rbd("snap", "create", "--no-progress", f"{volume}@one_backup_1")
    rbd("snap", "protect", f"{volume}@one_backup_1")
    changed = rbd("diff", "--from-snap", "one_backup_0", "--format", "json", f"{volume}@one_backup_1")
    assert changed.startswith("[{")
    shown = vm.now()
    rbd("snap", "unprotect", f"{volume}@one_backup_0")
    rbd("snap", "rm", "--no-progress", f"{volume}@one_backup_0")
    vm.last = 1
    vm.write()
    vm.back_up()
    assert vm.snapshots() == ["one_backup_2"]
    # increment 2 has nothing but what was written after stock's snapshot
    assert vm.now() != shown
    assert vm.size_of(2) < vm.size_of(0)


def test_an_image_that_comes_from_another_vm_brings_no_chain_with_it(disks: Disks) -> None:
    """Its snapshots have the names that this VM's would have."""
    vm = Backed(disks, (1,))
    for _number in range(2):
        vm.write()
        vm.back_up()
    other = disks.world.root / "100" / "43"
    other.mkdir()
    vm.write()
    given = {**vm.options(document=DOCUMENT), "path": str(other)}
    result = act("tm_prebackup", **given)
    assert result["warnings"] == [
        "Increment 2 has all of disk 1, as the snapshot one/one-6@one_backup_1 belongs to the backups of VM 42"
    ]
    assert bytes_of(other / "backup" / "disk.1.2", "qcow2") == vm.now()[1]


@pytest.mark.parametrize("count", [3, pytest.param(30, marks=pytest.mark.full)])
def test_clones_of_one_image_come_and_go_while_they_are_backed_up(disks: Disks, count: int) -> None:
    """Every second one is in a chain, the others have full backups; each backup has what its own disk held."""
    signal.alarm(280)
    pools = disks.pools
    pools.volume("one-5")
    before = pools.tree()

    def life(vm: int) -> bool:
        home = disks.path(0, vm).parent
        home.mkdir(parents=True)
        disks.clone(vm=vm, lock_timeout=120)
        wanted, found = [], []
        for turn in range(1 + vm % 2):
            with writing:
                pools.patch(f"one-5-{vm}-0", f"{vm} {turn}", place=(1 + turn) * MIB)
                wanted.append(pools.content(f"one/one-5-{vm}-0"))
            mode = {"mode": "increment", "last_increment": turn - 1} if vm % 2 else {}
            given = disks.options(path=home, disks=["0:raw"], images=["0:one/one-5"], lock_timeout=120, **mode)
            act("tm_prebackup", **given, document="<VM/>")
            (home / "backup" / f"disk.0.{turn}").rename(home / f"kept.{turn}")
            act("tm_postbackup", **given)
            if turn:
                tool("qemu-img", "rebase", "-u", "-f", "qcow2", "-F", "qcow2", "-b", "kept.0", home / "kept.1")
            found.append(bytes_of(home / f"kept.{turn}", "qcow2"))
        disks.delete(vm=vm, lock_timeout=120)
        return wanted == found

    # the tests' own connection is for one at a time
    writing = threading.Lock()
    with ThreadPoolExecutor(min(count, 15)) as some:
        assert all(some.map(life, range(100, 100 + count)))
    assert pools.tree() == before
    assert pools.left() == []


# ---------------------------------------------------------------- trouble


@pytest.mark.parametrize("point", ["some", *(pytest.param(one, marks=pytest.mark.full) for one in ("after", "before"))])
def test_killed_between_two_steps_and_run_again(disks: Disks, point: str) -> None:
    signal.alarm(280)
    vm = Backed(disks, (0, 1))
    vm.back_up()
    steps = 0
    for number in (1, 6) if point == "some" else itertools.count():
        vm.write()
        fault = str(number) if point == "before" else f"{number}+"
        if not killed_at(fault, "tm_prebackup", vm.options(document=DOCUMENT)):
            break
        steps += 1
        vm.back_up()
        assert disks.pools.left() == [], f"killed at {fault}"
        assert vm.snapshots() == [f"one_backup_{vm.last}"], f"killed at {fault}"
    assert steps == 2 if point == "some" else steps > 8
    vm.check_all()


@pytest.mark.full
def test_killed_in_postbackup(disks: Disks) -> None:
    vm = Backed(disks)
    vm.back_up()
    for number in range(3):
        vm.write()
        vm.back_up(heard=False)
        vm.last -= 1
        killed_at(f"{number}+", "tm_postbackup", vm.options(failed=False))
        vm.after()
        vm.last += 1
        assert vm.snapshots() == [f"one_backup_{vm.last}"]
        assert disks.pools.left() == []
    vm.check_all()


def test_no_room_is_told_before_anything_is_written(disks: Disks, monkeypatch: pytest.MonkeyPatch) -> None:
    vm = Backed(disks)
    before = disks.pools.tree()
    monkeypatch.setattr(Host, "space", lambda self, path: {"free": 1000, "total": 2000, "used": 1000})
    with pytest.raises(NoSpace, match="There is no room for the backup"):
        vm.before()
    monkeypatch.undo()
    assert disks.pools.tree() == before
    assert not vm.folder.exists()
    assert disks.pools.left() == []


def test_a_volume_that_is_open_is_not_that_of_a_vm_that_is_off(disks: Disks) -> None:
    vm = Backed(disks)
    with opened(disks.pools, "one-5-42-0"), pytest.raises(Busy, match="is open at"):
        vm.before()
    assert vm.snapshots() == []


MISUSE: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"disks": ["0:qcow2"]}, BadCall, "a volume is raw"),
    ({"disks": []}, BadCall, "There is no disk to back up"),
    ({"images": ["0:/a/path"]}, BadCall, "is not the name of a volume"),
    ({"images": ["0:one/one-9"]}, Missing, "The volume one/one-9-42-0 is not there"),
    ({"last_increment": -2}, BadCall, "is not the number of an increment"),
]


def test_misuse(disks: Disks) -> None:
    vm = Backed(disks)
    before = disks.pools.tree()
    for more, error, words in MISUSE:
        with pytest.raises(error, match=words):
            act("tm_prebackup", **{**vm.options(document=DOCUMENT), **more})
    assert disks.pools.tree() == before
    assert not vm.folder.exists()

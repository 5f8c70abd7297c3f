# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Chains of backups that stock began in its old form: restored, gone on with, by both sides."""

from __future__ import annotations

import itertools
import shutil
import signal

import pytest

from plugins.module_utils._errors import BadCall, Corrupt
from tests.unit.core.old_chains import Old
from tests.unit.core.support import act, killed_at
from tests.unit.core.vm_volumes import Disks

FULL = pytest.mark.full
LONGER = pytest.param("rsync", (3, 1), marks=FULL)
RESTIC = pytest.param("restic", 3, marks=FULL)
ELEVEN = pytest.param("rsync", 11, marks=FULL)


@pytest.mark.parametrize(("kind", "length"), [("rsync", 2), RESTIC, ELEVEN])
def test_a_chain_goes_on_and_restores_at_every_point(disks: Disks, kind: str, length: int) -> None:
    """Stock begins, we go on, stock goes on: each point is read by us, in place, as a new image; and by stock."""
    signal.alarm(280)
    vm = Old(disks, (0, 1) if length > 2 else (0,), kind)
    for number in range(length + 1):
        vm.write()
        made = vm.stock() if number % 3 != 1 else vm.ours()
        assert made == number
    vm.check_increments()
    assert vm.size_told() == 6
    if kind == "rsync":
        for number in (0, 1, length) if length > 2 else (length,):
            assert vm.stock_restores(number) == vm.kept[number][0]
    for number in (1, length) if length > 2 else (1,):
        vm.write()
        act("tm_restore", **vm.restore_options(vm.store, number))
        assert vm.now() == vm.kept[number], f"increment {number}"
    assert disks.pools.left() == []
    assert disks.world.is_tidy(), disks.world.hidden()


def test_the_first_file_is_of_the_moment_of_its_snapshot(disks: Disks) -> None:
    """A guest that writes while stock exports its volume spoils what stock restores, and not what we do. A full backup
    has no such snapshot: one that lies there is of an older chain, and what the volume holds counts."""
    vm = Old(disks)
    vm.write()
    vm.stock(while_exported=True)
    vm.check_increments()
    assert vm.stock_restores(0) != vm.kept[0][0]
    vm.forget()
    vm.write()
    vm.stock("FULL")
    assert "one_backup_0" in vm.snapshots()
    vm.check_increments()


@pytest.mark.parametrize(("kind", "keeps"), [("rsync", (2,)), LONGER, pytest.param("restic", (3, 1), marks=FULL)])
def test_increments_are_merged_and_the_chain_goes_on(disks: Disks, kind: str, keeps: tuple[int, ...]) -> None:
    """What stays restores as before, by us and by stock; and everything that is kept is verified."""
    signal.alarm(280)
    vm = Old(disks, (0,), kind)
    last = keeps[0]
    for number in range(last + 1):
        vm.write()
        assert (vm.ours() if number == 2 else vm.stock()) == number
    for keep in keeps:
        result = vm.flatten(keep)
        assert result["chain"] == [f"{number}:{reference}" for number, reference in vm.store.chain]
        vm.kept = {number: disks for number, disks in vm.kept.items() if number > last - keep}
        assert [number for number, _reference in vm.store.chain] == list(vm.kept)
        vm.check_increments()
        if kind == "rsync":
            assert vm.stock_restores(keep - 1) == vm.kept[last][0]
        assert not vm.flatten(keep)["changed"]
    for make in (vm.stock, vm.ours) if len(keeps) > 1 else (vm.stock,):
        vm.write()
        make()
    vm.check_increments()
    told = vm.verify(restore="all")
    assert told["sound"], told
    assert [row["restored"] for row in told["backups"]] == [["0"]] * len(vm.kept)
    assert list(vm.store.scratch.iterdir()) == []


@pytest.mark.full
def test_killed_while_it_merges_and_run_again(disks: Disks) -> None:
    signal.alarm(280)
    vm = Old(disks)
    for _number in range(3):
        vm.write()
        vm.stock()
    killed = 0
    fresh = disks.world.root / "fresh"
    shutil.copytree(vm.store.base, fresh)
    for step in itertools.count():
        shutil.rmtree(vm.store.base)
        shutil.copytree(fresh, vm.store.base)
        vm.store.chain = [(number, f"{0xABC000 + number:06x}") for number in range(3)]
        if not killed_at(f"{step}+", "ds_increment_flatten", vm.flattening(2)):
            break
        killed += 1
        vm.flatten(2)
        assert vm.stock_restores(1) == vm.kept[2][0], f"killed at {step}"
        assert vm.verify()["sound"], f"killed at {step}"
    assert killed > 3


def test_a_verification_sees_what_is_damaged_without_a_manifest(disks: Disks) -> None:
    vm = Old(disks)
    for _number in range(3):
        vm.write()
        vm.stock()
    told = vm.verify()
    assert told["sound"]
    assert all("only that its files are whole" in row["notes"][0] for row in told["backups"])
    damaged = vm.file(*vm.store.chain[1], 0)
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-5])
    rows = vm.verify()["backups"]
    assert rows[0]["problems"] == []
    assert rows[1]["problems"] == ["The file disk.0.1.rbdiff is damaged, or not of this chain: it ends early"]
    damaged.write_bytes(whole)
    # an increment that lies in the wrong place
    vm.file(*vm.store.chain[2], 0).write_bytes(whole)
    assert "it goes on from the snapshot one_backup_0, and the file before ends with one_backup_1" in str(vm.verify())
    tree = list(vm.store.files().values())
    with pytest.raises(Corrupt, match="cannot be merged: it goes on from the snapshot one_backup_0"):
        vm.flatten(1)
    assert [data for path, data in vm.store.files().items() if "/.one_storage/" not in path] == tree


def test_disks_that_are_new_in_a_chain_or_whose_changes_nobody_knows(disks: Disks) -> None:
    """Both have the whole disk: one in a file that stands alone, the other in one that follows, as stock needs it."""
    vm = Old(disks)
    vm.write()
    vm.stock()
    vm.add(1)
    vm.write()
    said = [f"Increment 1 has all of disk 1, as the snapshot {vm.volume(1)}@one_backup_0 is not there"]
    assert vm.ours(chain_disks=["0"], warned=said) == 1
    assert vm.file(*vm.store.chain[1], 1).name == "disk.1.rbd2"
    disks.pools.cluster.rbd("snap", "unprotect", f"{vm.volume(0)}@one_backup_1")
    disks.pools.cluster.rbd("snap", "rm", f"{vm.volume(0)}@one_backup_1")
    vm.write()
    said = [f"Increment 2 has all of disk 0, as the snapshot {vm.volume(0)}@one_backup_1 is not there"]
    vm.ours(chain_disks=["0", "1"], warned=said)
    assert vm.file(*vm.store.chain[2], 0).name == "disk.0.2.rbdiff"
    vm.check_increments()
    assert vm.stock_restores(2, 0) == vm.kept[2][0]


def test_disks_in_files_have_no_such_chains(disks: Disks) -> None:
    vm = Old(disks)
    given = {**vm.options(document="<VM/>"), "driver": "qcow2", "images": [], "backup_format": "rbd"}
    with pytest.raises(BadCall, match="which only disks that are volumes have"):
        act("tm_prebackup", **given)
    vm.last = 0
    with pytest.raises(BadCall, match="'one' of chain_disks is not the id of a disk"):
        vm.before(backup_format="rbd", chain_disks=["one"])
    assert not vm.folder.exists()


@pytest.mark.full
def test_killed_between_two_steps_and_run_again(disks: Disks) -> None:
    signal.alarm(280)
    vm = Old(disks)
    vm.write()
    vm.stock()
    killed = 0
    for step in itertools.count():
        vm.write()
        if not killed_at(f"{step}+", "tm_prebackup", vm.options(document="<VM/>", backup_format="rbd")):
            break
        killed += 1
        vm.ours()
        assert disks.pools.left() == [], f"killed at {step}"
        assert vm.snapshots() == [f"one_backup_{vm.last}"], f"killed at {step}"
    assert killed > 5
    vm.check_increments()
    assert vm.stock_restores(vm.last) == vm.kept[vm.last][0]

# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Volumes restored out of a chain of backups, in place and as new images, with every byte known."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from plugins.module_utils._errors import BadCall, Busy, Corrupt, Missing, Refused, StorageError, Unsupported
from tests.unit.core.pools import info
from tests.unit.core.stored import tpm_state
from tests.unit.core.support import MIB, act, killed_at
from tests.unit.core.vm_volume_backups import VOLUMES, Backed
from tests.unit.core.vm_volumes import Disks, opened

RESTIC = pytest.param("restic", 3, marks=pytest.mark.full)


def chain(disks: Disks, numbers: tuple[int, ...], length: int) -> Backed:
    """A VM whose disks have a chain, and were written to since."""
    vm = Backed(disks, numbers)
    for _number in range(length):
        vm.write()
        vm.back_up()
    vm.write()
    return vm


@pytest.mark.parametrize(
    ("kind", "length"),
    [
        ("rsync", 3),
        RESTIC,
        pytest.param("rsync", 4, marks=pytest.mark.full),
        pytest.param("rsync", 12, marks=pytest.mark.full),
    ],
)
def test_each_point_of_a_chain_in_place_and_as_a_new_image(disks: Disks, kind: str, length: int) -> None:
    signal.alarm(240)
    vm = chain(disks, (0, 1), length)
    stored = vm.stored(kind)
    # tens come after nines, and a point in the middle is no less than the last one
    for upto in [number for number in range(length) if number % 2 == 0 or number > 8]:
        result = act("tm_restore", **vm.restore_options(stored, upto))
        assert result["restored"] == ["disk.0", "disk.1"]
        assert vm.now() == vm.kept[upto], f"increment {upto}"
        file = disks.pools.file("read", stored.read(stored.url(0, upto)))
        image = disks.pools.new(20 + upto, source=file, size=6)
        assert act("ds_cp", **image)["source"] == f"one/one-{20 + upto}"
        assert disks.pools.content(f"one/one-{20 + upto}") == vm.kept[upto][0]
    assert disks.pools.left() == []
    assert disks.world.is_tidy(), disks.world.hidden()
    # a restore ends the chain: the next one begins anew
    assert [name for name in vm.snapshots() if name.startswith("one_backup")] == []
    vm.last = -1
    vm.back_up()


@pytest.mark.full
def test_one_disk_alone_with_its_snapshots_and_what_reverts_retired(disks: Disks) -> None:
    vm = chain(disks, (0, 1), 2)
    given = {"path": disks.path(), "image": "one/one-5", "snapshot_id": 0}
    disks.act("tm_snap_create", **given)
    disks.act("tm_snap_revert", **given)
    stored, other = vm.stored(), vm.now()[1]
    act("tm_restore", **vm.restore_options(stored, 0, sources=[f"0:{stored.url(0, 0)}"]))
    assert vm.now() == {0: vm.kept[0][0], 1: other}
    assert disks.pools.names() == ["one-5", "one-5-42-0", "one-6"]
    assert "parent" not in info("one/one-5-42-0", disks.pools.cluster)


def test_a_disk_that_grew_since_stays_as_large_and_one_that_would_be_larger_is_refused(disks: Disks) -> None:
    vm = chain(disks, (0,), 1)
    stored = vm.stored()
    act("tm_restore", **vm.restore_options(stored, sizes=["0:9"]))
    assert vm.now()[0] == vm.kept[0][0] + bytes(3 * MIB)
    before = disks.pools.tree()
    with pytest.raises(Refused, match="has 6 MB, more than the 5 MB"):
        act("tm_restore", **vm.restore_options(stored, sizes=["0:5"]))
    assert disks.pools.tree() == before


@pytest.mark.full
def test_the_data_stays_in_the_pool_where_it_was(disks: Disks) -> None:
    vm = Backed(disks)
    disks.clone(data_pool="one_ec")
    vm.back_up()
    act("tm_restore", **vm.restore_options(vm.stored()))
    assert info("one/one-5-42-0", disks.pools.cluster)["data_pool"] == "one_ec"
    assert vm.now() == vm.kept[0]


@pytest.mark.full
def test_a_volume_that_is_gone_comes_back(disks: Disks) -> None:
    vm = chain(disks, (0,), 2)
    disks.delete()
    act("tm_restore", **vm.restore_options(vm.stored(), 1))
    assert vm.now() == vm.kept[1]


@pytest.mark.parametrize("step", [1, pytest.param(0, marks=pytest.mark.full)])
def test_killed_at_every_step_it_has_all_old_disks_or_all_new_ones(disks: Disks, step: int) -> None:
    signal.alarm(280)
    vm = chain(disks, (0, 1), 1)
    (disks.vm / "tpm").mkdir()
    (disks.vm / "tpm" / "state").write_bytes(b"old")
    packed = disks.world.root / "packed"
    packed.write_bytes(tpm_state({"tpm/state": b"new"}))
    stored = vm.stored()
    seen = set()
    # the quick form kills where volumes change their names
    for number in (9, 15) if step else [*range(40), "end"]:
        vm.write()
        before = vm.now()
        (disks.vm / "tpm" / "state").write_bytes(b"old")
        options = vm.restore_options(stored)
        options["sources"] = [*options["sources"], f"tpm:{packed}"]
        if not killed_at(f"{number}+" if number != "end" else "end", "tm_restore", options):
            continue
        # any action on the disks brings them to rest, one that fails too
        with pytest.raises(StorageError):
            act("tm_restore", **vm.restore_options(stored, sources=["0:/nowhere/disk"]))
        now, state = vm.now(), (disks.vm / "tpm" / "state").read_bytes()
        assert (now, state) in ((before, b"old"), (vm.kept[0], b"new")), f"killed at {number}"
        seen.add(state)
        assert disks.pools.names() == ["one-5", "one-5-42-0", "one-6"]
        act("tm_restore", **options)
        assert vm.now() == vm.kept[0]
        assert disks.pools.left() == [], f"killed at {number}"
        assert disks.world.is_tidy(), f"killed at {number}: {disks.world.hidden()}"
    assert b"old" in seen


def test_a_backup_that_is_damaged_touches_nothing(disks: Disks) -> None:
    """It is the second disk: the first one is whole, and stays as it is all the same."""
    vm = chain(disks, (0, 1), 2)
    stored = vm.stored()
    stored.change(1, "disk.1.1", lambda data: data.__setitem__(len(data) // 2, data[len(data) // 2] ^ 1))
    before = disks.pools.tree()
    with pytest.raises(Corrupt):
        act("tm_restore", **vm.restore_options(stored))
    assert disks.pools.tree() == before
    assert disks.pools.left() == []


@pytest.mark.full
def test_a_volume_that_is_open_is_left_alone(disks: Disks) -> None:
    vm = chain(disks, (0,), 1)
    stored, before = vm.stored(), disks.pools.tree()
    with opened(disks.pools, VOLUMES[0]), pytest.raises(Busy, match="is open at"):
        act("tm_restore", **vm.restore_options(stored))
    assert disks.pools.names() == [name.partition("/")[2] for name in before]


MISUSE: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"running": True}, Unsupported, "a disk of a running VM is not supported"),
    ({"sources": ["0:/nowhere/disk"]}, Missing, "/nowhere/disk is not there"),
    ({"disks": ["0:qcow2"]}, BadCall, "a volume is raw"),
]


def test_misuse(disks: Disks) -> None:
    vm = chain(disks, (0,), 1)
    stored, before = vm.stored(), disks.pools.tree()
    for more, error, words in MISUSE:
        with pytest.raises(error, match=words):
            act("tm_restore", **vm.restore_options(stored, **more))
    assert disks.pools.tree() == before

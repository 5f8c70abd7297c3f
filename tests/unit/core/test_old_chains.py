# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Chains of backups that stock began in its old form: restored, gone on with, by both sides."""

from __future__ import annotations

import signal

import pytest

from tests.unit.core.old_chains import Old
from tests.unit.core.support import act
from tests.unit.core.vm_volumes import Disks

RESTIC = pytest.param("restic", 3, marks=pytest.mark.full)
ELEVEN = pytest.param("rsync", 11, marks=pytest.mark.full)


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
    if kind == "rsync":
        for number in (0, 1, length):
            assert vm.stock_restores(number) == vm.kept[number][0]
    for number in (1, length):
        vm.write()
        act("tm_restore", **vm.restore_options(vm.store, number))
        assert vm.now() == vm.kept[number], f"increment {number}"
    assert disks.pools.left() == []
    assert disks.world.is_tidy(), disks.world.hidden()

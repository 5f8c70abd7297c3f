# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backup datastores, killed between any two steps, and what comes then."""

from __future__ import annotations

import itertools
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from plugins.module_utils._errors import StorageError
from tests.unit.core.keeping import Keeping
from tests.unit.core.support import act, killed_at

PER_KIND = pytest.mark.parametrize("kind", ["rsync", pytest.param("restic", marks=pytest.mark.full)])


class Copies:
    """States of one keeping, put back at its place."""

    def __init__(self, keeping: Keeping, folder: Path) -> None:
        self.keeping, self.kept = keeping, folder / "kept"
        shutil.copytree(keeping.root, self.kept, symlinks=True)
        self.chain = list(keeping.chain)

    def fresh(self) -> Keeping:
        shutil.rmtree(self.keeping.root)
        shutil.copytree(self.kept, self.keeping.root, symlinks=True)
        self.keeping.chain = list(self.chain)
        return self.keeping


@pytest.fixture
def keeping(folder: Path, kind: str) -> Keeping:
    signal.alarm(600)
    return Keeping(folder / "world", kind)


def points() -> Iterator[str]:
    """After each step, then the end."""
    return (f"{number}+" for number in itertools.count())


@PER_KIND
def test_a_killed_backup_leaves_nothing_once_the_next_has_run(keeping: Keeping, folder: Path) -> None:
    keeping.fill(1)
    keeping.prepare(1)
    copies = Copies(keeping, folder)
    for point in points():
        copies.fresh()
        survived = not killed_at(point, "ds_backup", keeping.backup_options)
        if survived:
            copies.fresh()
            assert killed_at("end", "ds_backup", keeping.backup_options)
        result = act("ds_backup", **keeping.backup_options)
        known = [keeping.chain[0].partition(":")[2], result["reference"]]
        assert keeping.references() == sorted(known), f"killed at {point}"
        assert keeping.is_tidy(), f"killed at {point}"
        keeping.chain.append(f"1:{result['reference']}")
        assert keeping.restored(1) == keeping.golden[0][1], f"killed at {point}"
        if survived:
            assert point != "0+"
            return


@PER_KIND
def test_a_killed_flatten_loses_no_point_and_ends_when_run_again(keeping: Keeping, folder: Path) -> None:
    keeping.fill(4)
    copies = Copies(keeping, folder)
    for point in points():
        copies.fresh()
        options = {**keeping.flatten_options, "keep_last": 2}
        survived = not killed_at(point, "ds_increment_flatten", options)
        if survived:
            copies.fresh()
            assert killed_at("end", "ds_increment_flatten", options)
        keeping.flatten(2)
        assert len(keeping.chain) == 2
        for number in (2, 3):
            assert keeping.restored(number) == keeping.golden[0][number], f"killed at {point}"
        assert keeping.references() == sorted(word.partition(":")[2] for word in keeping.chain), f"killed at {point}"
        assert keeping.is_tidy(), f"killed at {point}"
        if survived:
            return


@PER_KIND
def test_a_flatten_whose_answer_got_lost_is_answered_again(keeping: Keeping) -> None:
    """oned heard nothing and asks with the chain that it knows, when the old increments are gone."""
    keeping.fill(4)
    before = list(keeping.chain)
    keeping.flatten(2)
    once = list(keeping.chain)
    keeping.chain = before
    keeping.flatten(2)
    assert keeping.chain == once
    keeping.chain = [*before, ""][:4]
    keeping.back_up(4)
    keeping.flatten(2)
    assert [word.partition(":")[0] for word in keeping.chain] == ["3", "4"]
    for number in (3, 4):
        assert keeping.restored(number) == keeping.golden[0][number]
    assert keeping.references() == sorted(word.partition(":")[2] for word in keeping.chain)


@PER_KIND
def test_a_flatten_takes_no_increment_for_what_it_merged_itself(keeping: Keeping) -> None:
    """The older ones are gone, and nobody merged them: what is left is not the chain."""
    keeping.named = False
    keeping.fill(3)
    lost = [word for word in keeping.chain if not word.startswith("2:")]
    act("ds_rm", **{**keeping.options, "source": "x", "increments": lost})
    with pytest.raises(StorageError, match="is not (there|in the repository)"):
        keeping.flatten(1)
    assert keeping.references() == [keeping.chain[-1].partition(":")[2]]
    assert keeping.is_tidy()


@PER_KIND
def test_a_killed_removal_goes_on(keeping: Keeping, folder: Path) -> None:
    keeping.fill(2)
    copies = Copies(keeping, folder)
    options = {**keeping.options, "source": "x", "increments": list(keeping.chain)}
    for point in points():
        copies.fresh()
        survived = not killed_at(point, "ds_rm", options)
        act("ds_rm", **options)
        assert keeping.references() == [] and keeping.is_tidy(), f"killed at {point}"
        if survived:
            return

# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of a repository that were altered, cut off or removed: a verification names the backup, and no other one."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.core.keeping import VM, Keeping


@pytest.fixture(autouse=True)
def longer() -> None:
    """restic reads what it cannot have again and again, for most of a minute each time."""
    signal.alarm(600)


def altered(path: Path, data: bytes) -> None:
    place = len(data) // 2
    path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])


def cut_off(path: Path, data: bytes) -> None:
    path.write_bytes(data[:-512])


def removed(path: Path, _data: bytes) -> None:
    path.unlink()


DAMAGES: tuple[Callable[[Path, bytes], None], ...] = (altered, cut_off, removed)


def filled(keeping: Keeping, count: int) -> list[Path]:
    """A chain, and the largest file that each increment brought: a disk, or restic's pack with it."""
    found: list[Path] = []
    seen: set[Path] = set()
    folder = keeping.base / str(VM)
    for number in range(count):
        keeping.back_up(number)
        there = set((folder / "data").rglob("*") if keeping.kind == "restic" else folder.rglob("disk.*"))
        found.append(max((path for path in there - seen if path.is_file()), key=lambda path: path.stat().st_size))
        seen |= there
    return found


@pytest.mark.parametrize("number", [0, 1, 2], ids=["full", "increment", "last"])
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", ["rsync", pytest.param("restic", marks=pytest.mark.full)])
def test_the_backup_that_is_not_whole_is_named(
    folder: Path, kind: str, damage: Callable[[Path, bytes], None], number: int
) -> None:
    keeping = Keeping(folder, kind)
    victim = filled(keeping, 3)[number]
    whole = victim.read_bytes()
    victim.chmod(0o600)
    damage(victim, whole)
    found = keeping.verify()
    assert not found["sound"]
    wrong = [bool(row["problems"]) for row in found["backups"]]
    # restic stores what is the same in later ones, such as vm.xml, once: in the pack of the first
    sure = number + 1 if kind == "restic" and damage is not altered else 3
    assert wrong[:sure] == [index == number for index in range(sure)], found
    victim.write_bytes(whole)
    found = keeping.verify()
    assert found["sound"], found

# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The disks of a VM that is off, on this machine alone, by the lines of the stand-in for oned, for every pairing."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.disks import DiskStory
from tests.lab.ground import LocalGround
from tests.lab.story import PAIRINGS
from tests.unit.door.front_end import quick_folder


@pytest.fixture
def ground() -> Iterator[LocalGround]:
    made = LocalGround(Path(tempfile.mkdtemp(prefix="one_storage-", dir=quick_folder())))
    yield made
    made.close()


#: A short run takes what differs most.
SHORT = ("qcow2", "ssh")


def pairings() -> list[Any]:
    """Every pairing of drivers, those for a full run marked."""
    return [name if name in SHORT else pytest.param(name, marks=pytest.mark.full) for name in PAIRINGS]


@pytest.mark.parametrize("pairing", pairings())
def test_snapshots_in_process(ground: LocalGround, pairing: str) -> None:
    story = DiskStory(ground, PAIRINGS[pairing], {"ONE_STORAGE_LAUNCHER": "in_process"})
    story.tell()
    assert told(story) == []
    assert {call.action.partition(".")[0] for chapter in story.chapters for call in chapter.calls} >= {
        "snap_create",
        "snap_delete",
        "snap_revert",
        "resize",
        "cpds",
    }


def told(story: DiskStory) -> list[str]:
    """What went wrong, and whether the story came to its end."""
    found = [
        f"{chapter.title}: {call.action} {call.reason}\n{call.stderr}"
        for chapter in story.chapters
        for call in chapter.calls
        if not call.ok
    ]
    # what went well is not told as an error (Q14)
    found += [
        f"{chapter.title}: {call.action} {call.stderr}"
        for chapter in story.chapters
        for call in chapter.calls
        if call.ok and "ERROR" in call.stderr
    ]
    found += [
        f"{chapter.title}: {check.what}: {check.detail}"
        for chapter in story.chapters
        for check in chapter.checks
        if not check.ok
    ]
    return found if story.chapters[-1].title == "CLEAN UP" else [*found, f"it ended at {story.chapters[-1].title}"]

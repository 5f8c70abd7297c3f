# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM's whole life on this machine alone, driven by the stand-in for oned, for every pairing of drivers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.ground import LocalGround
from tests.lab.story import PAIRINGS, Story


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[LocalGround]:
    made = LocalGround(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("pairing", PAIRINGS)
def test_whole_life_in_process(ground: LocalGround, pairing: str) -> None:
    story = Story(ground, PAIRINGS[pairing], {"ONE_STORAGE_LAUNCHER": "in_process", "ONE_STORAGE_TRACE": "1"})
    right = story.tell()
    told = [
        f"{chapter.title}: {call.action} {call.reason}\n{call.stderr}"
        for chapter in story.chapters
        for call in chapter.calls
        if not call.ok
    ]
    told += [
        f"{chapter.title}: {check.what}: {check.detail}"
        for chapter in story.chapters
        for check in chapter.checks
        if not check.ok
    ]
    assert right and not told, "\n".join(told)
    calls = [call for chapter in story.chapters for call in chapter.calls]
    assert len(calls) > 10
    # every call speaks oned's language on success too: only log lines on stderr, and nothing for a person
    assert {call.reason for call in calls} == {"-"}
    assert {log.text.split(", run")[0].split(": ")[-1] for call in calls for log in call.logs} == {
        "launcher in process"
    }
    # one request for each object and action (the datastores of images are asked for by clone and ln only)
    assert len(ground.server.requests) <= 2 * len(calls)

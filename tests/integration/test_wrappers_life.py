# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM's whole life on this machine alone, driven by the stand-in for oned, for every pairing of drivers."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.ground import LocalGround
from tests.lab.oned import Call
from tests.lab.story import PAIRINGS, Story
from tests.unit.door.front_end import quick_folder


@pytest.fixture
def ground() -> Iterator[LocalGround]:
    made = LocalGround(Path(tempfile.mkdtemp(prefix="one_storage-", dir=quick_folder())))
    yield made
    made.close()


@pytest.mark.parametrize("pairing", PAIRINGS)
def test_whole_life_in_process(ground: LocalGround, pairing: str) -> None:
    twice = []

    def count(call: Call) -> None:
        """One request for each object and action."""
        asked = [(request.method, request.arguments) for request in ground.server.requests]
        ground.server.requests.clear()
        if len(asked) != len(set(asked)):
            twice.append((call.command, asked))

    environment = {"ONE_STORAGE_LAUNCHER": "in_process", "ONE_STORAGE_TRACE": "1"}
    story = Story(ground, PAIRINGS[pairing], environment, observer=count)
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
    said = {log.text.split(", run")[0].split(": ")[-1] for call in calls for log in call.logs}
    # an import tells, in one line, what it took
    assert {line for line in said if not line.startswith("imported ")} == {"launcher in process"}
    assert twice == []

# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Live migration between two real libvirts, of a guest that writes all the time: premigrate, the hypervisor's own
migration, which may be ended half-way, postmigrate or failmigrate."""

from __future__ import annotations

import pytest

from tests.lab.ground import LabGround
from tests.lab.looking import left_of_ours
from tests.lab.moving import Moving, told
from tests.lab.oned import Call
from tests.lab.story import ALL, PAIRINGS
from tests.lab.virt import Hypervisor


@pytest.mark.parametrize(
    "pairing", [name if name == "qcow2+ssh" else pytest.param(name, marks=pytest.mark.full) for name in ALL]
)
def test_there_and_back(quiet: LabGround, lent: dict[str, Hypervisor], pairing: str) -> None:
    """Contents, links and leftovers after each way; a failed one leaves everything as it was."""
    story = Moving(quiet, ALL[pairing], lent)
    first, second = quiet.nodes[:2]
    story.begin()
    written = story.written()
    outcome = story.migrate(second)
    assert outcome.ok and told(outcome) == [("premigrate", True), ("postmigrate", True)], outcome.calls
    assert not story.wrong() and not story.receipts()
    assert story.written() > written and story.running().on.host == second
    story.fails = True
    outcome = story.migrate(first)
    assert not outcome.ok and told(outcome) == [("premigrate", True), ("failmigrate", True)], outcome.calls
    assert not story.wrong() and not story.receipts()
    story.fails = False
    outcome = story.migrate(first)
    assert outcome.ok and told(outcome) == [("premigrate", True), ("postmigrate", True)], outcome.calls
    assert not story.wrong() and not story.receipts()
    # what has arrived can be moved like any other
    for moved in (*story._migrate(), *story._stop(), *story._resume()):
        assert moved.ok, moved.reason
        assert not story.wrong()
    story.end()


@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.full)])
def test_a_premigrate_that_is_killed_is_taken_back(
    quiet: LabGround, hypervisors: dict[str, Hypervisor], every: int
) -> None:
    """The wrapper's node dies between any two steps; the VM manager sends failmigrate, and the next try works."""
    environment: dict[str, str] = {}
    story = Moving(quiet, PAIRINGS["qcow2+ssh"], hypervisors, environment)
    story.runner.environment = given = dict(story.runner.environment)
    story.begin()
    second = quiet.nodes[1]
    points = 0
    for point in [str(number) for number in range(0, 40, every)]:
        given["ONE_STORAGE_FAULT"] = point

        def once(_call: Call) -> None:
            given.pop("ONE_STORAGE_FAULT", None)

        story.runner.observer = once
        outcome = story.migrate(second)
        if outcome.ok:
            break
        points += 1
        assert told(outcome) == [("premigrate", False), ("failmigrate", True)], f"killed at {point}"
        assert not story.wrong(), f"killed at {point}: {story.wrong()}"
        assert left_of_ours(quiet) == [], f"killed at {point}"
    assert points * every > 8
    assert not story.wrong() and not story.receipts()
    story.end()


def test_a_hook_finds_one_storage_under_the_ssh_driver(quiet: LabGround, hypervisors: dict[str, Hypervisor]) -> None:
    """A system datastore that is shared though it says ssh: the migration is refused before anything is touched."""
    story = Moving(quiet, PAIRINGS["ssh"], hypervisors)
    story.begin()
    first, second = quiet.nodes[:2]
    directory = story._directory()
    shared = f"{quiet.oned.settings.datastore_location}/103"
    store = directory.rpartition("/")[0]
    for node in (first, second):
        quiet.run(node, ["mv", store, f"{store}.own"])
        quiet.run(node, ["ln", "-s", shared, store])
    quiet.run(first, ["cp", "-r", f"{store}.own/{story.vm}", f"{shared}/{story.vm}"])
    before = {path.name: path.stat().st_mtime for path in quiet.path(first, f"{shared}/{story.vm}").iterdir()}
    try:
        outcome = story.migrate(second)
        assert told(outcome) == [("premigrate", False), ("failmigrate", True)]
        assert "are the same storage" in outcome.reason
        after = {path.name: path.stat().st_mtime for path in quiet.path(first, f"{shared}/{story.vm}").iterdir()}
        assert after == before
    finally:
        quiet.run(first, ["rm", "-rf", f"{shared}/{story.vm}", f"{shared}/.monitor", f"{shared}/.one_storage"])
        for node in (first, second):
            quiet.run(node, ["rm", store])
            quiet.run(node, ["mv", f"{store}.own", store])
    assert not story.wrong()
    story.end()


def test_an_unreachable_destination_changes_nothing(quiet: LabGround, hypervisors: dict[str, Hypervisor]) -> None:
    """One sentence, in time; failmigrate says the same, and the VM runs on."""
    story = Moving(quiet, PAIRINGS["ssh"], hypervisors, {"ONE_STORAGE_CONNECT_TIMEOUT": "3"})
    story.begin()
    second = quiet.nodes[1]
    quiet.lab.stop_sshd(second)
    try:
        outcome = story.migrate(second)
    finally:
        quiet.lab.start_sshd(second)
    assert told(outcome) == [("premigrate", False), ("failmigrate", False)]
    assert (second in outcome.reason and "nothing was changed" in outcome.reason) or "Cannot log in" in outcome.reason
    assert not story.wrong()
    story.end()

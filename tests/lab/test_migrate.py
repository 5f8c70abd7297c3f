# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Live migration on real hosts: premigrate, a hypervisor that copies or fails, postmigrate or failmigrate.

The hypervisor is stood in for by what it does to the files: it writes the guest's data to the images that it finds at
the destination. Everything else is real.
"""

from __future__ import annotations

import os

import pytest

from tests.lab.ground import LabGround
from tests.lab.looking import left_of_ours
from tests.lab.oned import Call, Outcome, Vm
from tests.lab.story import PAIRINGS, Check, Story


class Live(Story):
    """A VM that is migrated while it runs.

    :ivar fails: whether the hypervisor gives up, after it has begun to write at the destination.
    """

    fails = False

    def _guest(self, step: str, vm: Vm) -> None:
        if step != "migrate":
            super()._guest(step, vm)
            return
        old, new = vm.history[-2].hostname, vm.history[-1].hostname
        for disk in (0, 1, 2, 3) if self.pairing.local else ():
            name = self._written_file(old, disk)
            source, target = self.ground.path(old, name), self.ground.path(new, name)
            # room was made for it: the very file is written to
            content = source.read_bytes()
            with target.open("r+b") as file:
                file.truncate(0)
                file.write(content[: 70_000 if self.fails else None])
            if self.fails:
                raise RuntimeError("the hypervisor gives up")
        if self.fails:
            raise RuntimeError("the hypervisor gives up")

    def _written_file(self, host: str, disk: int) -> str:
        path = self._disk(disk)
        seen = self.ground.path(host, path)
        return f"{self._directory()}/{os.readlink(seen)}" if seen.is_symlink() else path

    def begin(self) -> None:
        """Until the VM runs on the first node."""
        self.prepare()
        for event in (self._import, self._create):
            for outcome in event():
                assert outcome.ok, outcome.reason

    def end(self) -> None:
        """Terminate it and remove the images; nothing may be left."""
        for event in (self._shutdown, self._clean_up):
            for outcome in event():
                assert outcome.ok, outcome.reason
        wrong = [check for check in self._look_empty() if not check.ok]
        assert not wrong, wrong

    def migrate(self, host: str) -> Outcome:
        """One live migration."""
        return self.life.live_migrate(self.vm, host)

    def wrong(self) -> list[Check]:
        """What is not as it should be, wherever the VM is now."""
        return [check for check in self._look_disks() if not check.ok]

    def receipts(self) -> list[str]:
        """Receipts on all hosts."""
        return [name for name in left_of_ours(self.ground) if name.endswith(".receipt")]


def told(outcome: Outcome) -> list[tuple[str, bool]]:
    """The calls of a migration, and whether each was right."""
    return [(call.action, call.ok) for call in outcome.calls]


@pytest.mark.parametrize(
    "pairing", [name if "ssh" in name else pytest.param(name, marks=pytest.mark.full) for name in PAIRINGS]
)
def test_there_and_back(tidy: LabGround, pairing: str) -> None:
    """Contents, links and leftovers after each way; a failed one leaves everything as it was."""
    story = Live(tidy, PAIRINGS[pairing])
    first, second = tidy.nodes[:2]
    story.begin()
    outcome = story.migrate(second)
    assert outcome.ok and told(outcome) == [("premigrate", True), ("postmigrate", True)], outcome.calls
    assert not story.wrong() and not story.receipts()
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


def test_a_premigrate_that_is_killed_is_taken_back(tidy: LabGround) -> None:
    """The wrapper's node dies between any two steps; the VM manager sends failmigrate, and the next try works."""
    environment: dict[str, str] = {}
    story = Live(tidy, PAIRINGS["qcow2+ssh"], environment)
    story.runner.environment = given = dict(story.runner.environment)
    story.begin()
    second = tidy.nodes[1]
    points = 0
    for point in [str(number) for number in range(40)]:
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
        assert left_of_ours(tidy) == [], f"killed at {point}"
    assert points > 8
    assert not story.wrong() and not story.receipts()
    story.end()


def test_a_hook_finds_one_storage_under_the_ssh_driver(tidy: LabGround) -> None:
    """A system datastore that is shared though it says ssh: the migration is refused before anything is touched."""
    story = Live(tidy, PAIRINGS["ssh"])
    story.begin()
    first, second = tidy.nodes[:2]
    directory = story._directory()
    shared = f"{tidy.oned.settings.datastore_location}/103"
    store = directory.rpartition("/")[0]
    for node in (first, second):
        tidy.run(node, ["mv", store, f"{store}.own"])
        tidy.run(node, ["ln", "-s", shared, store])
    tidy.run(first, ["cp", "-r", f"{store}.own/{story.vm}", f"{shared}/{story.vm}"])
    before = {path.name: path.stat().st_mtime for path in tidy.path(first, f"{shared}/{story.vm}").iterdir()}
    try:
        outcome = story.migrate(second)
        assert told(outcome) == [("premigrate", False), ("failmigrate", True)]
        assert "are the same storage" in outcome.reason
        after = {path.name: path.stat().st_mtime for path in tidy.path(first, f"{shared}/{story.vm}").iterdir()}
        assert after == before
    finally:
        tidy.run(first, ["rm", "-rf", f"{shared}/{story.vm}", f"{shared}/.monitor", f"{shared}/.one_storage"])
        for node in (first, second):
            tidy.run(node, ["rm", store])
            tidy.run(node, ["mv", f"{store}.own", store])
    assert not story.wrong()
    story.end()


def test_an_unreachable_destination_changes_nothing(tidy: LabGround) -> None:
    """One sentence, in time; failmigrate says the same, and the VM runs on."""
    story = Live(tidy, PAIRINGS["ssh"], {"ONE_STORAGE_CONNECT_TIMEOUT": "3"})
    story.begin()
    second = tidy.nodes[1]
    tidy.lab.stop_sshd(second)
    try:
        outcome = story.migrate(second)
    finally:
        tidy.lab.start_sshd(second)
    assert told(outcome) == [("premigrate", False), ("failmigrate", False)]
    assert (second in outcome.reason and "nothing was changed" in outcome.reason) or "Cannot log in" in outcome.reason
    assert not story.wrong()
    story.end()

# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks of a running VM by oned's own lines: live snapshots, their deletion, hot saveas, on every pairing of drivers.

The guest writes by itself all the time, so what a snapshot or a saved image holds lies between what it had written
before the call and after it.
"""

from __future__ import annotations

import signal
import threading
from pathlib import PurePosixPath

import pytest

from tests.lab.ground import LabGround
from tests.lab.looking import all_running, end, left_of_ours, on_its_way, wait_for
from tests.lab.moving import Moving
from tests.lab.oned import Outcome
from tests.lab.pool import POOL, VOLUME
from tests.lab.story import ALL, PAIRINGS
from tests.lab.virt import Hypervisor

#: What the short form has: the pairing that has a driver of its own for each of these calls.
_QUICK = ("local",)


def right(outcome: Outcome) -> Outcome:
    """It went well, with not a word to the user."""
    assert outcome.ok, outcome.reason
    assert [call.reason for call in outcome.calls] == ["-"] * len(outcome.calls), outcome.calls
    return outcome


class LiveLife(Moving):
    """What happens to the disks of one running VM.

    :ivar had: what each snapshot of the first disk has of the guest's row, by id.
    """

    had: dict[int, int]

    def folder(self) -> str:
        """Where the snapshots of the first disk lie."""
        return f"{self._disk(0)}.snap"

    def file_of(self, snapshot: int) -> str:
        """What holds a snapshot: the file of its number, the one that a marker names, or the volume's own."""
        if self.pairing.disks_in_pool:
            return f"{self._disk(0)}@{snapshot}"
        marker = self.ground.path(self._where(), f"{self.folder()}/{snapshot}.current")
        return marker.read_text(encoding="utf-8").strip() if marker.exists() else f"{self.folder()}/{snapshot}"

    def take(self) -> None:
        """A live snapshot of the first disk."""
        before = self.written()
        outcome = right(self.life.snapshot_disk(self.vm, 0))
        assert [call.action.partition(".")[0] for call in outcome.calls] == ["snap_create_live"]
        number = max(self._vm().snapshots[0].entries)
        count = self.kept(self._where(), self.file_of(number))
        assert before <= count <= self.written()
        self.had[number] = count

    def drop(self, snapshot: int) -> None:
        """Delete one; the others stay what they are, and nothing of it stays."""
        outcome = right(self.life.delete_snapshot(self.vm, 0, snapshot))
        assert [call.action.partition(".")[0] for call in outcome.calls] == ["snap_delete"]
        del self.had[snapshot]
        self.look()

    def look(self) -> None:
        """The disk and its snapshots are right, and the guest runs."""
        assert self.written() >= max(self.had.values(), default=1)
        host = self._where()
        assert {number: self.kept(host, self.file_of(number)) for number in self.had} == self.had
        machine = self.running()
        assert machine.state() == "running" and not machine.job()

    def save(self) -> None:
        """Hot saveas of the first disk."""
        before = self.written()
        outcome = right(self.life.save_disk(self.vm, 0, f"saved-{self.vm}"))
        assert [call.action.partition(".")[0] for call in outcome.calls] == ["mkfs", "cpds"]
        image = max(self.ground.oned.images)
        source = self._source(image)
        assert before <= self.kept(self.ground.frontend, source) <= self.written()
        assert PurePosixPath(source).parent.name in (str(self.pairing.image_ds), f"{VOLUME}{POOL}")
        right(self.life.delete_image(image))


@pytest.mark.parametrize(
    "pairing",
    [name if name in _QUICK else pytest.param(name, marks=pytest.mark.full) for name in ALL if ALL[name].snapshots],
)
def test_disks_of_a_running_vm(quiet: LabGround, lent: dict[str, Hypervisor], pairing: str) -> None:
    story = LiveLife(quiet, ALL[pairing], lent)
    story.had = {}
    story.begin()
    try:
        for _number in range(4):
            story.take()
        assert not story.wrong()
        # in the middle, the first, the last
        for number in (1, 0, 3):
            story.drop(number)
        story.save()
        story.drop(2)
        assert not story.wrong()
        assert left_of_ours(quiet) == []
        # what went on while it ran is at rest afterwards, and can be taken elsewhere
        for moved in story._migrate():
            right(moved)
        assert not story.wrong()
        story.end()
    finally:
        story.close()


#: Calls on a running VM, and what each asks libvirt for first, beyond a look.
_CALLS = {"snap_create_live": "snapshot", "snap_delete": "commit", "cpds": "copy"}


@pytest.mark.full
@pytest.mark.parametrize("action", _CALLS)
def test_the_wrapper_dies_while_libvirt_is_asked(
    quiet: LabGround, hypervisors: dict[str, Hypervisor], action: str
) -> None:
    """The node ends its talk with libvirt and stops; the guest goes on, no job is left, the next call is right."""
    story = LiveLife(quiet, PAIRINGS["qcow2+ssh"], hypervisors)
    story.had = {}
    story.begin()
    try:
        for _number in range(3):
            story.take()

        def call() -> Outcome:
            if action == "snap_create_live":
                return story.life.snapshot_disk(story.vm, 0)
            if action == "snap_delete":
                return story.life.delete_snapshot(story.vm, 0, 1)
            return story.life.save_disk(story.vm, 0, f"killed-{story.vm}")

        outcomes: list[Outcome] = []
        calling = threading.Thread(target=lambda: outcomes.append(call()))
        calling.start()
        where, words = quiet.nodes[0], ("m.main(sys.argv[1])", f'"operation":"{_CALLS[action]}"')
        wait_for("asked", lambda: on_its_way(quiet, where, *words), 30)
        # it stands still wherever it is, so that it cannot have ended when the wrapper dies
        helpers = on_its_way(quiet, where, *words)
        for process in helpers[:1]:
            end(process, signal.SIGSTOP)
        for process in on_its_way(quiet, quiet.frontend, f"/{action}"):
            end(process)
        calling.join(60)
        assert not outcomes[0].ok
        wait_for("idle", lambda: not _ours(quiet), 20)
        machine = story.running()
        machine.on.until("the guest goes on", lambda: machine.state() == "running" and not machine.job())
        if action == "snap_delete":
            # a commit that libvirt has begun goes on to its end
            story.had.pop(1)
            right(call())
        story.take()
        story.save()
        story.look()
        assert not story.wrong() and left_of_ours(quiet) == []
        story.end()
    finally:
        story.close()


def _ours(ground: LabGround) -> list[tuple[str, tuple[str, ...]]]:
    """What runs of ours on any host: all but libvirt and its guests."""
    return [(host, argv) for host, argv in all_running(ground) if "libvirt" not in argv[0] and "qemu" not in argv[0]]

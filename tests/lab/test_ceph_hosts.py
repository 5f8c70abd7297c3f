# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks in a pool when a call dies, or the host that makes it: what is locked there is locked on no host."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable

import pytest

from tests.lab.ground import LabGround
from tests.lab.looking import all_running, end, left_of_ours, on_its_way, stopped, wait_for
from tests.lab.oned import HostState, Outcome
from tests.lab.pool import LabPool
from tests.lab.story import MB, VOLUMES, Story

pytestmark = pytest.mark.full


def born(ground: LabGround) -> Story:
    """A VM with a disk of each kind, on the first node."""
    story = Story(ground, VOLUMES["ceph"])
    story.prepare()
    for outcome in (*story._import(), *story._create()):
        assert outcome.ok, outcome.reason
    return story


def right(story: Story) -> None:
    """Every disk has what it must have, wherever the VM is."""
    assert [check for check in story._look_disks() if not check.ok] == []


def ended(story: Story) -> None:
    """The VM ends, then its images; nothing may be left."""
    for event in (story._shutdown, story._clean_up):
        for outcome in event():
            assert outcome.ok, outcome.reason
    assert [check for check in story._look_empty() if not check.ok] == []


@pytest.mark.parametrize("point", ["0", "1", "2+", "3"])
def test_a_clone_that_dies_is_made_again(tidy: LabGround, ceph_pool: LabPool, point: str) -> None:
    """oned sends the whole transfer again: the disks that are there are made anew, and nothing is there twice."""
    story = Story(tidy, VOLUMES["ceph"])
    story.prepare()
    for outcome in story._import():
        assert outcome.ok, outcome.reason
    given = dict(story.runner.environment)
    story.runner.environment = {**given, "ONE_STORAGE_FAULT": point}
    (failed,) = story._create()
    assert not failed.ok
    story.runner.environment = given
    again = story.life.retry(story.vm)
    assert again.ok, again.reason
    right(story)
    assert ceph_pool.left() == []
    ended(story)


def test_a_bridge_that_is_gone_holds_a_disk_of_a_stopped_vm(tidy: LabGround, ceph_pool: LabPool) -> None:
    """Its call stands still with the disk locked, then its network is lost. Another bridge waits until it counts as
    dead, shuts it out and goes on; what it still wanted to do when it comes back is refused."""
    story = born(tidy)
    for outcome in [story.life.undeploy(story.vm)]:
        assert outcome.ok, outcome.reason
    given, size = dict(story.runner.environment), len(story.base) // MB + 4
    story.runner.environment = {**given, "ONE_STORAGE_FAULT": "0="}
    outcomes: list[Outcome] = []
    calling = threading.Thread(target=lambda: outcomes.append(story.life.resize_disk(story.vm, 0, size)))
    calling.start()
    wait_for("a call that stands still", lambda: stopped(tidy), 30)
    standing = stopped(tidy)
    assert standing is not None
    gone = next(host for host in tidy.nodes if standing.pid in {one.pid for one in tidy.lab.processes(host)})
    story.runner.environment = given
    tidy.lab.cut(gone)
    try:
        # the front-end gives up too: oned was restarted, say
        for process in on_its_way(tidy, tidy.frontend, "/resize"):
            end(process)
        calling.join(30)
        assert not outcomes[0].ok
        assert [entry for entry in ceph_pool.left() if "lock/" in entry] != []
        tidy.oned.host_named(gone).state = HostState.ERROR
        again = story.life.resize_disk(story.vm, 0, size + 4)
        assert again.ok, again.reason
        story.golden[0] += bytes(8 * MB)
        assert ceph_pool.left() == []
        other = next(host for host in tidy.nodes if host != gone)
        back = story.life.resume(story.vm, other)
        assert back.ok, back.reason
        right(story)
    finally:
        tidy.lab.heal(gone)
        end(standing, signal.SIGCONT)
    # it finds itself shut out, or nobody to tell; either way it ends, and does not make the disk smaller again
    wait_for("idle", lambda: not all_running(tidy), 60)
    tidy.oned.host_named(gone).state = HostState.MONITORED
    right(story)
    _goes_on(story, gone)


def test_a_host_restarts_in_the_middle_of_a_revert(tidy: LabGround, ceph_pool: LabPool) -> None:
    """What its call left is settled by its next one at once: a process of the host itself is known to be gone."""
    story = born(tidy)
    life, host = story.life, tidy.nodes[0]
    for outcome in (life.poweroff(story.vm), life.snapshot_disk(story.vm, 0)):
        assert outcome.ok, outcome.reason
    then = bytes(story.golden[0])
    story._guest("deploy", story._vm())
    given = dict(story.runner.environment)
    for point in ("0+", "1", "1+"):
        story.runner.environment = {**given, "ONE_STORAGE_FAULT": point}
        assert not life.revert_disk(story.vm, 0, 0).ok
        story.runner.environment = given
        reverted = life.revert_disk(story.vm, 0, 0)
        assert reverted.ok, reverted.reason
        story.golden[0] = bytearray(then)
        right(story)
        assert ceph_pool.left() == [] and left_of_ours(tidy) == []
        story._guest("deploy", story._vm())
    back = life.resume(story.vm, host)
    assert back.ok, back.reason
    _goes_on(story, tidy.nodes[1])


def _goes_on(story: Story, host: str) -> None:
    """A life like any other: to another host and back through a stop."""
    events: list[Callable[[], Outcome]] = [
        lambda: story.life.migrate(story.vm, host),
        lambda: story.life.stop(story.vm),
        lambda: story.life.resume(story.vm, host),
    ]
    for event in events:
        outcome = event()
        assert outcome.ok, outcome.reason
        right(story)
    ended(story)

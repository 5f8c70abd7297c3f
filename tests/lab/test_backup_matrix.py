# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups end to end, as oned makes them: each driver, each repository, each way of making increments, VMs that run and
VMs that do not.

The guest writes between the backups and, when it runs, while they are made. Every point is restored in place and as new
images, and compared byte for byte; then the chain is merged down to two points, and these are compared again.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import pytest

from tests.lab.backing import DRIVERS, KINDS, WAYS, Backing
from tests.lab.ground import LabGround
from tests.lab.virt import Hypervisor

STATES = ("off", "live")
#: Where a point goes: to the VM's disks, or to new images.
GOALS = ("in place", "as new")
#: Every pair of two of driver, repository, way, state and goal stands in one of these.
PAIRS = {
    ("shared", "rsync", "full", "live", "in place"),
    ("shared", "restic", "cbt", "off", "as new"),
    ("shared", "rsync", "snapshot", "off", "in place"),
    ("qcow2", "restic", "full", "off", "as new"),
    ("qcow2", "rsync", "cbt", "live", "in place"),
    ("qcow2", "restic", "snapshot", "live", "as new"),
    ("ssh", "restic", "full", "live", "in place"),
    ("ssh", "rsync", "cbt", "off", "as new"),
    ("ssh", "restic", "snapshot", "live", "as new"),
    ("local", "rsync", "full", "off", "as new"),
    ("local", "restic", "cbt", "live", "in place"),
    ("local", "rsync", "snapshot", "off", "in place"),
}
ALL = list(itertools.product(DRIVERS, KINDS, WAYS, STATES))


def test_every_pair_is_in_the_short_form() -> None:
    def pairs(rows: Sequence[tuple[str, ...]]) -> set[tuple[tuple[int, str], ...]]:
        return {pair for row in rows for pair in itertools.combinations(enumerate(row), 2)}

    whole = [(*row, goal) for row in ALL for goal in GOALS]
    assert set(whole) >= PAIRS and pairs(sorted(PAIRS)) == pairs(whole)


@pytest.fixture
def backing(
    request: pytest.FixtureRequest, quiet: LabGround, driver: str, kind: str, way: str, state: str
) -> Iterator[Backing]:
    hypervisors: dict[str, Hypervisor] | None = request.getfixturevalue("hypervisors") if state == "live" else None
    made = Backing(quiet, driver, kind, way, hypervisors)
    made.begin()
    yield made
    made.close()


@pytest.mark.parametrize(("driver", "kind", "way", "state", "goal"), sorted(PAIRS))
def test_a_short_chain(backing: Backing, goal: str) -> None:
    for _number in range(3):
        backing.scribble()
        backing.back_up()
    backing.off()
    backing.flatten(2)
    # the last one stands on what was merged
    (backing.restore if goal == "in place" else backing.restore_as_new)(backing.points[-1])
    backing.finish()


@pytest.mark.full
@pytest.mark.parametrize(("driver", "kind", "way", "state"), ALL)
def test_a_chain_of_five(backing: Backing) -> None:
    for _number in range(5):
        backing.scribble()
        backing.back_up()
    backing.off()
    backing.check()
    backing.flatten(2)
    backing.check()
    # a VM that was restored begins a chain of its own
    backing.scribble()
    backing.back_up()
    assert len({point.image for point in backing.points}) == (3 if backing.way == "full" else 2)
    backing.scribble()
    backing.restore(backing.points[-1])
    backing.finish()

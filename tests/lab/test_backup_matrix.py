# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups end to end, as oned makes them: each driver, each repository, each way of making increments, VMs that run and
VMs that do not.

The guest writes between the backups and, when it runs, while they are made. Every point is restored in place and as new
images, and compared byte for byte; then the chain is merged down to two points, and these are compared again.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from tests.lab.backing import DRIVERS, KINDS, WAYS, Backing
from tests.lab.ground import LabGround
from tests.lab.virt import Hypervisor

STATES = ("off", "live")
#: Every pair of two of driver, repository, way and state stands in one of these.
PAIRS = {
    ("shared", "rsync", "full", "live"),
    ("shared", "restic", "cbt", "off"),
    ("shared", "rsync", "snapshot", "off"),
    ("qcow2", "restic", "full", "off"),
    ("qcow2", "rsync", "cbt", "live"),
    ("qcow2", "restic", "snapshot", "live"),
    ("ssh", "restic", "full", "live"),
    ("ssh", "rsync", "cbt", "off"),
    ("ssh", "restic", "snapshot", "live"),
    ("local", "rsync", "full", "off"),
    ("local", "restic", "cbt", "live"),
    ("local", "rsync", "snapshot", "off"),
}
ALL = list(itertools.product(DRIVERS, KINDS, WAYS, STATES))


def test_every_pair_is_in_the_short_form() -> None:
    def pairs(rows: list[tuple[str, ...]]) -> set[tuple[tuple[int, str], ...]]:
        return {pair for row in rows for pair in itertools.combinations(enumerate(row), 2)}

    assert set(ALL) >= PAIRS and pairs(sorted(PAIRS)) == pairs(list(ALL))


@pytest.fixture
def backing(
    request: pytest.FixtureRequest, quiet: LabGround, driver: str, kind: str, way: str, state: str
) -> Iterator[Backing]:
    hypervisors: dict[str, Hypervisor] | None = request.getfixturevalue("hypervisors") if state == "live" else None
    made = Backing(quiet, driver, kind, way, hypervisors)
    made.begin()
    yield made
    made.close()


@pytest.mark.parametrize(("driver", "kind", "way", "state"), sorted(PAIRS))
def test_a_short_chain(backing: Backing) -> None:
    for _number in range(3):
        backing.scribble()
        backing.back_up()
    backing.off()
    backing.flatten(2)
    backing.restore(backing.points[0])
    backing.restore_as_new(backing.points[1])
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

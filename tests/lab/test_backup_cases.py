# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens to a VM between two increments: the chain goes on, and every point of it is what the disks were.

One VM goes through all of it, so that its chain becomes longer than ten: numbers are not sorted as text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.lab.backing import DRIVERS, WAYS, Backing
from tests.lab.ground import LabGround
from tests.lab.virt import Hypervisor

#: Gives the disks whose changes nobody can tell afterwards.
Event = Callable[[Backing], set[int]]


def nothing(backing: Backing) -> set[int]:
    return set()


def grows(backing: Backing) -> set[int]:
    backing.grow(0)
    backing.grow(1)
    return set()


def one_more(backing: Backing) -> set[int]:
    return {backing.attach()}


def one_less(backing: Backing) -> set[int]:
    backing.detach(max(backing.disks()))
    return set()


def power_cycle(backing: Backing) -> set[int]:
    backing.off()
    backing.life.resume(backing.vm).check()
    return set()


def backed_up_while_off(backing: Backing) -> set[int]:
    """An increment of the same chain in between."""
    backing.off()
    backing.scribble()
    backing.back_up()
    backing.life.resume(backing.vm).check()
    return set()


def goes_elsewhere(backing: Backing) -> set[int]:
    """Saved, and restored on the other host."""
    backing.life.migrate(backing.vm, other(backing)).check()
    return set()


def goes_elsewhere_live(backing: Backing) -> set[int]:
    """Where the storage is shared its marks go with the disk; a disk that libvirt copies has none at its new place."""
    backing.migrate(other(backing)).check()
    return set(backing.disks()) if backing.pairing.local else set()


def other(backing: Backing) -> str:
    """The host where the VM is not."""
    return next(node for node in backing.ground.nodes if node != backing._where())


LIFE: dict[str, Event] = {
    "begun": nothing,
    "goes on": nothing,
    "grows": grows,
    "a disk comes": one_more,
    "it stays": nothing,
    "it goes": one_less,
    "a disk in one increment only": one_more,
    "which goes": one_less,
    "power cycle": power_cycle,
    "backed up while it is off": backed_up_while_off,
    "goes elsewhere": goes_elsewhere,
    "goes elsewhere live": goes_elsewhere_live,
    "goes on there": nothing,
}


@pytest.fixture
def backing(
    quiet: LabGround, hypervisors: dict[str, Hypervisor], driver: str, kind: str, way: str
) -> Iterator[Backing]:
    made = Backing(quiet, driver, kind, way, hypervisors)
    made.begin()
    yield made
    made.close()


@pytest.mark.full
@pytest.mark.parametrize(
    ("driver", "kind", "way"),
    [
        # what happens on the VM's host is the same for each repository, and rsync is quicker to look at
        *((driver, "rsync", way) for driver in DRIVERS for way in WAYS if way != "full"),
        ("qcow2", "restic", "snapshot"),
    ],
)
def test_a_whole_life(backing: Backing) -> None:
    backing.has_tpm()
    for what, event in LIFE.items():
        print(what)
        whole = event(backing)
        backing.scribble()
        backing.back_up(whole if backing.points else ())
    backing.off()
    assert len(backing.points) > 12 and {point.image for point in backing.points} == {backing.points[0].image}
    for number, point in enumerate(backing.points):
        backing.restore(point)
        if number % 3 == 0:
            backing.restore_as_new(point)
    # one disk of an old increment, the others stay
    backing.restore(backing.points[2], 1)
    backing.flatten(5)
    backing.flatten(2)
    backing.check()
    backing.finish()

# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many wrappers at once, as oned starts them: sshd lets in ten logins and ten sessions at a time, all have to pass."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.lab.ground import LabGround
from tests.lab.looking import all_running, differences, end_shared_connections, left_of_ours, state, wait_for
from tests.lab.oned import use_image, use_swap
from tests.lab.scene import ANSIBLE, Done, Scene, Task


def together(scene: Scene, tasks: Sequence[Task], **environment: str) -> list[Done]:
    """Start all wrappers before waiting for any; all have to succeed, with not a word to the user."""
    running = [scene.start(task, **environment) for task in tasks]
    ends = [one.finish(120) for one in running]
    wrong = [done.err for done in ends if not done.ok or done.warnings]
    assert not wrong, f"{len(wrong)} of {len(tasks)}: {wrong[0]}"
    return ends


def clones(scene: Scene, name: str, count: int) -> list[Task]:
    """Clones of one image for so many VMs on one node."""
    pairing = scene.pairing(name)
    image = scene.image(pairing)
    return [scene.vm(pairing, [use_image(image)])[1][0] for _number in range(count)]


def deletes(scene: Scene, made: Sequence[Task]) -> list[Task]:
    """The directories of these VMs are removed."""
    remotes = scene.ground.oned.settings.remotes
    found = []
    for task in made:
        place = task.argv[2].rsplit("/", 1)[0]
        driver, store = ("ssh", "105") if "/105/" in place else ("qcow2", "101")
        found.append(Task((f"{remotes}/tm/{driver}/delete", place, place.rsplit("/", 1)[1], store)))
    return found


@pytest.mark.parametrize("count", [15, 30])
@pytest.mark.parametrize("name", ["qcow2", pytest.param("qcow2+ssh", marks=pytest.mark.full)])
def test_one_node(scene: Scene, tidy: LabGround, name: str, count: int) -> None:
    """The first of them opens the shared connection while the others want it already."""
    end_shared_connections(tidy)
    tasks = clones(scene, name, count)
    before = state(tidy)
    together(scene, tasks)
    disks = [key for key in set(state(tidy)) - set(before) if key.endswith("/disk.0.snap/0")]
    assert len(disks) == count
    together(scene, deletes(scene, tasks))
    left = [line for line in differences(state(tidy), before) if "/.monitor" not in line]
    assert left == [] and left_of_ours(tidy) == []
    wait_for("idle", lambda: not all_running(tidy))


@pytest.mark.parametrize("count", [15, pytest.param(30, marks=pytest.mark.full)])
def test_copies_to_one_node(scene: Scene, tidy: LabGround, count: int) -> None:
    """Data streams have connections of their own: more logins than sshd takes at a time."""
    end_shared_connections(tidy)
    tasks = clones(scene, "ssh", count)
    before = state(tidy)
    together(scene, tasks)
    disks = [key for key in set(state(tidy)) - set(before) if key.endswith("/disk.0")]
    assert len(disks) == count
    together(scene, deletes(scene, tasks))
    assert [line for line in differences(state(tidy), before) if "/.monitor" not in line] == []


@pytest.mark.parametrize("count", [8, pytest.param(15, marks=pytest.mark.full)])
def test_moves_between_nodes(scene: Scene, tidy: LabGround, count: int) -> None:
    """Each has a login with the agent on the source, and two from there on the destination."""
    tasks = clones(scene, "ssh", count)
    before = state(tidy)
    together(scene, tasks)
    source, destination = tidy.nodes
    moves = []
    for task in tasks:
        place = task.argv[2].partition(":")[2].rsplit("/", 1)[0]
        words = [f"{source}:{place}", f"{destination}:{place}", place.rsplit("/", 1)[1], "105"]
        moves.append(Task((task.argv[0].replace("/clone", "/mv"), *words)))
    together(scene, moves)
    disks = [key for key in set(state(tidy)) - set(before) if key.endswith("/disk.0")]
    assert len(disks) == count and all(key.startswith(f"{destination}:") for key in disks)
    together(scene, [task.instead(f"{source}:", f"{destination}:") for task in deletes(scene, tasks)])
    assert [line for line in differences(state(tidy), before) if "/.monitor" not in line] == []


def test_one_vm(scene: Scene, tidy: LabGround) -> None:
    """Calls for disks of one VM wait for each other."""
    pairing = scene.pairing("qcow2")
    before_vm = state(tidy)
    image = scene.image(pairing)
    _vm, tasks = scene.vm(pairing, [use_image(image), use_image(image), use_swap(2), use_swap(2)])
    together(scene, tasks)
    together(scene, [*deletes(scene, tasks[:1]), *deletes(scene, tasks[:1])])
    left = [line for line in differences(state(tidy), before_vm) if not line.startswith("frontend:100/")]
    assert left == []


@pytest.mark.full
def test_through_ansible(scene: Scene, tidy: LabGround) -> None:
    tasks = clones(scene, "qcow2", 15)
    together(scene, tasks, LAUNCHER="ansible", ANSIBLE=ANSIBLE)
    together(scene, deletes(scene, tasks))

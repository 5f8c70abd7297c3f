# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What oned sends after a failure when it is not the same call again: deletes, other moves, other images."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.cases import Case, Cases
from tests.lab.ground import LabGround
from tests.lab.looking import State, differences, left_of_ours, restore, state
from tests.lab.oned import use_image
from tests.lab.scene import Scene, Task
from tests.lab.story import PAIRINGS

MOST = 40


@pytest.fixture(params=[3, pytest.param(1, marks=pytest.mark.full)], ids=lambda number: f"every{number}")
def every(request: pytest.FixtureRequest) -> int:
    """Kill at every so many points only."""
    return int(request.param)


def killed(cases: Cases, case: Case, every: int = 1) -> Iterator[str]:
    """Kill a call at each point in turn, its end too; each time the datastores begin as they were before it."""
    for point in [*map(str, range(every // 2, MOST, every)), "end"]:
        restore(cases.scene.ground, case.before)
        if cases.scene.run(case.task, FAULT=point).ok:
            if point == "end":
                return
            continue
        yield point


def delete_all(scene: Scene, case: Case, places: list[str], story: str) -> None:
    """A VM is thrown away at each of these ``host:directory``: disks first, then its directory."""
    pairing, remotes = PAIRINGS[story], scene.ground.oned.settings.remotes
    vm = places[0].rsplit("/", 1)[1]
    for place in places:
        for disk in (0, 1):
            scene.right(
                Task((f"{remotes}/tm/{pairing.image_tm}/delete", f"{place}/disk.{disk}", vm, str(pairing.system_ds)))
            )
        scene.right(Task((f"{remotes}/tm/{pairing.system_tm}/delete", place, vm, str(pairing.system_ds))))


def nothing_of(found: State, place: str) -> list[str]:
    """What is left of a VM's directory on any host."""
    _host, _colon, path = place.partition(":")
    end = "/".join(path.split("/")[-2:])
    return [key for key in found if key.partition(":")[2].startswith(end)]


@pytest.mark.parametrize(
    ("story", "name"),
    [
        ("ssh", "resume_mv"),
        pytest.param("ssh", "stop_mv", marks=pytest.mark.full),
        pytest.param("ssh", "migrate_mv", marks=pytest.mark.full),
        pytest.param("qcow2+ssh", "migrate_mv", marks=pytest.mark.full),
    ],
)
def test_a_move_is_killed_and_the_vm_deleted(cases: Cases, tidy: LabGround, story: str, name: str, every: int) -> None:
    """Deleted at the new place, then at the old one: both hosts have nothing left."""
    case, count = cases.get(story, name), 0
    for point in killed(cases, case, every):
        count += 1
        delete_all(cases.scene, case, [case.task.argv[2], case.task.argv[1]], story)
        assert nothing_of(state(tidy), case.task.argv[1]) == [], point
        assert left_of_ours(tidy) == [], point
    assert count > 1


def test_a_move_fails_and_the_vm_is_deleted(cases: Cases, tidy: LabGround) -> None:
    """The new host has no room."""
    case = cases.get("ssh", "migrate_mv")
    restore(tidy, case.before)
    system = "/var/lib/one/datastores/105"
    source, destination = case.task.argv[1], case.task.argv[2]
    host = destination.partition(":")[0]
    tidy.lab.tiny(host, system, 1)
    try:
        cases.scene.wrong(case.task, host, "No space left")
        delete_all(cases.scene, case, [destination, source], "ssh")
        assert nothing_of(state(tidy), source) == [] and left_of_ours(tidy) == []
    finally:
        tidy.lab.untiny(host, system)


@pytest.mark.parametrize(
    ("story", "name"),
    [
        ("qcow2", "ln"),
        ("ssh", "clone"),
        *(pytest.param("qcow2", name, marks=pytest.mark.full) for name in ("clone", "mkimage", "mkswap")),
        *(pytest.param("qcow2+ssh", name, marks=pytest.mark.full) for name in ("clone", "ln")),
        pytest.param("ssh", "ln", marks=pytest.mark.full),
    ],
)
def test_a_new_disk_is_killed_and_the_vm_deleted(
    cases: Cases, tidy: LabGround, story: str, name: str, every: int
) -> None:
    """What the dead one left where the delete does not come by goes with the next VM's disk."""
    case, scene = cases.get(story, name), cases.scene
    place = case.task.argv[-3].rsplit("/", 1)[0]
    clone = another_clone(cases, story)
    for point in killed(cases, case, every):
        delete_all(scene, case, [place], story)
        assert nothing_of(state(tidy), place) == [], point
        scene.right(clone)
        assert left_of_ours(tidy) == [], point


def another_clone(cases: Cases, story: str) -> Task:
    """A clone of the same image for another VM."""
    source = cases.get(story, "clone").task.argv[1].partition(":")[2]
    scene = cases.scene
    image = next(image for image in scene.ground.oned.images.values() if image.source == source)
    _vm, tasks = scene.vm(PAIRINGS[story], [use_image(image.id)])
    return tasks[0]


@pytest.mark.full
def test_a_move_between_nodes_is_killed_and_the_vm_stopped(cases: Cases, tidy: LabGround) -> None:
    """Another host leads then, and finds what the dead one began on its own."""
    case, scene = cases.get("ssh", "migrate_mv"), cases.scene
    source, destination = case.task.argv[1], case.task.argv[2]
    place = source.partition(":")[2]
    restore(tidy, case.before)
    wanted = nothing_but_stop(scene, source, place)
    for point in killed(cases, case):
        here = source if nothing_at(state(tidy), source) else destination
        scene.right(Task((case.task.argv[0], here, f"{tidy.frontend}:{place}", *case.task.argv[3:])))
        found = {key: item for key, item in state(tidy).items() if key.startswith("frontend:105/")}
        assert differences(found, wanted) == [], point
        delete_all(scene, case, [f"{tidy.frontend}:{place}", destination, source], "ssh")
        assert nothing_of(state(tidy), source) == [], point
        assert left_of_ours(tidy) == [], point


def nothing_but_stop(scene: Scene, source: str, place: str) -> State:
    """The front-end's datastore after an undisturbed stop."""
    words = [source, f"{scene.ground.frontend}:{place}", place.rsplit("/", 1)[1], "105"]
    scene.right(Task((f"{scene.ground.oned.settings.remotes}/tm/ssh/mv", *words)))
    return {key: item for key, item in state(scene.ground).items() if key.startswith("frontend:105/")}


def nothing_at(found: State, place: str) -> list[str]:
    """What is at ``host:directory``."""
    host, _colon, path = place.partition(":")
    end = "/".join(part for part in path.split("/")[-2:])
    return [key for key in found if key.startswith(f"{host}:{end}/")]


# ---------------------------------------------------------------- images


@pytest.mark.parametrize("name", ["cp", "mkfs", "clone"])
def test_a_new_image_is_killed_and_never_asked_for_again(cases: Cases, tidy: LabGround, name: str) -> None:
    """oned removes the image and that is all: the next action on the datastore removes what it left."""
    case, scene = cases.get("fs", name), cases.scene
    other = cases.get("fs", "mkfs" if name != "mkfs" else "clone")
    count = 0
    for point in killed(cases, case):
        count += 1
        begin = set(case.before)
        scene.right(other.task)
        added = set(state(tidy)) - begin
        assert added <= {f"frontend:100/{other.answer.split()[0].rsplit('/', 1)[1]}"}, point
        assert left_of_ours(tidy) == [], point
    assert count > 1


def test_an_answer_that_nobody_hears_is_taken_back(cases: Cases, tidy: LabGround) -> None:
    """stdout is closed: oned never learns the name of the image, so there is none."""
    case, scene = cases.get("fs", "mkfs"), cases.scene
    restore(tidy, case.before)
    run = scene.start(case.task)
    assert run.process.stdout is not None
    run.process.stdout.close()
    run.process.stdout = None
    assert not run.finish().ok
    scene.right(cases.get("fs", "monitor").task)
    scene.right(cases.get("fs", "clone").task)
    name = case.answer.split()[0].rsplit("/", 1)[1]
    assert f"frontend:100/{name}" not in state(tidy)


# ---------------------------------------------------------------- what is gone already


@pytest.mark.parametrize(
    ("story", "name"),
    [("fs", "rm"), ("qcow2", "delete"), ("qcow2", "delete_directory"), ("ssh", "delete"), ("ssh", "delete_directory")],
)
def test_removed_twice(cases: Cases, tidy: LabGround, story: str, name: str) -> None:
    case = cases.get(story, name)
    restore(tidy, case.before)
    for _time in range(2):
        cases.again(case, "never")

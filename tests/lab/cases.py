# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls of every action of oned's, with the state of all datastores before and after each: what kill tests repeat."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest

from tests.lab.looking import State, all_running, differences, left_of_ours, state, wait_for, wipe
from tests.lab.oned import Life, Outcome, use_image, use_swap, use_volatile
from tests.lab.scene import Done, Scene, Task
from tests.lab.story import PAIRINGS


@dataclass(frozen=True)
class Case:
    """One call, the state of all datastores before it and after it, and what it answered."""

    task: Task
    before: State = field(repr=False)
    after: State = field(repr=False)
    answer: str


@dataclass
class Cases:
    """Makes the cases of each story when one is first asked for, by running its calls undisturbed."""

    scene: Scene
    made: dict[str, dict[str, Case]] = field(default_factory=dict, repr=False)
    _contents: dict[bytes, bytes] = field(default_factory=dict, repr=False)

    def get(self, story: str, name: str) -> Case:
        if story not in self.made:
            wipe(self.scene.ground)
            cases: dict[str, Case] = {}
            for label, task in STORIES[story](self.scene):
                before = self._state()
                done = self.scene.right(task)
                cases.setdefault(label, Case(task, before, self._state(), done.out))
            self.made[story] = cases
        return self.made[story][name]

    def _state(self) -> State:
        """All datastores; equal contents are held in memory once."""
        found = state(self.scene.ground)
        return {key: (kind, self._contents.setdefault(data, data)) for key, (kind, data) in found.items()}

    def again(self, case: Case, where: str) -> Done:
        """The same call once more, which has to end as an undisturbed one."""
        ground = self.scene.ground
        done = self.scene.right(case.task)
        self.ends_right(case, where)
        if case.task.action != "monitor":
            assert done.out == case.answer, where
        wait_for(f"idle, {where}", lambda: not all_running(ground))
        return done

    def ends_right(self, case: Case, where: str) -> None:
        """The state of all datastores is that of an undisturbed call."""
        wrong = differences(state(self.scene.ground), case.after)
        assert not wrong, f"killed {where}:\n" + "\n".join(wrong)
        assert left_of_ours(self.scene.ground) == [], where


def _life(scene: Scene, name: str) -> Iterator[tuple[str, Task]]:
    """The calls of a VM's life with all kinds of disks."""
    pairing = scene.pairing(name)
    images = [scene.image(pairing), scene.image(pairing, persistent=True)]
    kind = pairing.disk_format
    disks = [use_image(images[0]), use_image(images[1]), use_volatile(4, kind, "ext4"), use_swap(2)]
    vm, tasks = scene.vm(pairing, disks, context={"HELLO": "world"})
    yield from ((task.action.partition(".")[0], task) for task in tasks)
    host, other = scene.ground.nodes
    # what the guest wrote has to come home
    disk = f"{scene.place(pairing, vm)}/disk.1"
    scene.ground.run(host, ["qemu-io", "-f", kind, "-c", "write -q -P 7 1M 64k", disk])
    yield from ((f"stop_{task.action.partition('.')[0]}", task) for task in _directory(scene, vm.id, "stop"))
    yield from ((f"resume_{task.action.partition('.')[0]}", task) for task in _directory(scene, vm.id, "resume"))
    yield from ((f"migrate_{task.action.partition('.')[0]}", task) for task in _directory(scene, vm.id, "migrate"))
    if not pairing.local:
        # to another system datastore, which both hosts see
        store = 103 if pairing.system_ds != 103 else 101
        old = f"{scene.place(pairing, vm)}"
        new = old.replace(f"/{pairing.system_ds}/", f"/{store}/")
        remotes = scene.ground.oned.settings.remotes
        words = [f"{other}:{old}", f"{other}:{new}", str(vm.id), str(store)]
        yield "move", Task((f"{remotes}/tm/{pairing.system_tm}/mv", *words))
        words[0], words[1], words[3] = words[1], words[0], str(pairing.system_ds)
        yield "move_back", Task((f"{remotes}/tm/{pairing.system_tm}/mv", *words))
    _number, tasks = scene.tasks(lambda life: life.terminate(vm.id))
    for task in tasks:
        label = task.action.partition(".")[0]
        yield (f"{label}_directory" if "/disk." not in task.argv[1] else label), task


def _directory(scene: Scene, vm: int, event: str) -> list[Task]:
    """The calls of an event that move the VM's directory; those of single disks do nothing."""
    nodes = scene.ground.nodes
    events: dict[str, Callable[[], tuple[int, list[Task]]]] = {
        "stop": lambda: scene.tasks(lambda life: life.stop(vm)),
        "resume": lambda: scene.tasks(lambda life: life.resume(vm, nodes[0])),
        "migrate": lambda: scene.tasks(lambda life: life.migrate(vm, nodes[1])),
    }
    tasks = events[event]()[1]
    return [task for task in tasks if task.action.startswith("mv") and "/disk." not in task.argv[1]]


def _disks(scene: Scene, name: str) -> Iterator[tuple[str, Task]]:
    """The calls for the disks of a VM that is off; a guest writes between them."""
    pairing = scene.pairing(name)
    images = [scene.image(pairing), scene.image(pairing, persistent=True)]
    vm, tasks = scene.vm(pairing, [use_image(image) for image in images])
    yield from (("", task) for task in tasks)
    yield from (("", task) for task in scene.tasks(lambda life: life.poweroff(vm.id))[1])
    events: list[tuple[str, Callable[[Life], Outcome]]] = [
        ("snap_create", lambda life: life.snapshot_disk(vm.id, 0)),
        ("", lambda life: life.snapshot_disk(vm.id, 1)),
        ("", lambda life: life.snapshot_disk(vm.id, 0)),
        ("", lambda life: life.snapshot_disk(vm.id, 1)),
        ("resize", lambda life: life.resize_disk(vm.id, 1, 8)),
        ("cpds", lambda life: life.save_disk(vm.id, 0, "killed-save")),
        ("cpds_snapshot", lambda life: life.save_disk(vm.id, 1, "killed-save-snapshot", 1)),
        ("snap_delete", lambda life: life.delete_snapshot(vm.id, 1, 1)),
        ("snap_revert", lambda life: life.revert_disk(vm.id, 0, 0)),
    ]
    for number, (label, event) in enumerate(events):
        for disk in (0, 1):
            path = f"{scene.place(pairing, vm)}/disk.{disk}"
            form = ["-f", pairing.disk_format]
            scene.ground.run(
                scene.ground.nodes[0], ["qemu-io", *form, "-c", f"write -q -P {number + 3} {number}00k 256k", path]
            )
        # oned makes a saved image by mkfs first, to have its name
        image = f"/var/lib/one/datastores/{pairing.image_ds}/{number:032d}"
        for task in scene.tasks(event)[1]:
            if task.action != "mkfs":
                yield label, Task(tuple(image if word == "x" else word for word in task.argv), task.stdin)


def _images(scene: Scene, name: str) -> Iterator[tuple[str, Task]]:
    """The calls of an image's life."""
    pairing = scene.pairing(name)
    source = scene.source(pairing)
    first = scene.image(pairing)
    _number, tasks = scene.tasks(lambda life: life.import_image("killed-cp", pairing.image_ds, source))
    yield from ((task.action, task) for task in tasks)
    _number, tasks = scene.tasks(lambda life: life.create_datablock("killed-mkfs", pairing.image_ds, 4, fs="ext4"))
    yield "mkfs", tasks[0]
    _number, tasks = scene.tasks(lambda life: life.clone_image(first, "killed-clone"))
    yield "clone", tasks[0]
    _number, tasks = scene.tasks(lambda life: life.monitor_datastore(pairing.image_ds))
    yield "monitor", tasks[0]
    _number, tasks = scene.tasks(lambda life: life.delete_image(first))
    yield "rm", tasks[0]


STORIES: dict[str, Callable[[Scene], Iterator[tuple[str, Task]]]] = {
    **{name: partial(_life, name=name) for name in PAIRINGS},
    **{f"disks-{name}": partial(_disks, name=name) for name in PAIRINGS},
    "fs": partial(_images, name="qcow2"),
}
_DISKS = "snap_create snap_delete snap_revert resize"
#: Names of the cases by story. What the core leads from where: the node that has the disk,
ON_NODE = {"qcow2": "clone ln mkimage mkswap delete delete_directory move", "qcow2+ssh": "clone ln mvds"}
ON_NODE_TOO = {
    "shared": "clone ln move",
    "ssh": "mkimage mkswap delete delete_directory",
    "local": "mkimage delete delete_directory",
    "shared+ssh": "clone ln mvds",
    "disks-qcow2": f"{_DISKS} cpds cpds_snapshot",
    "disks-shared": f"{_DISKS} cpds cpds_snapshot",
    "disks-ssh": _DISKS,
    "disks-local": _DISKS,
    "disks-qcow2+ssh": f"{_DISKS} cpds cpds_snapshot",
    "disks-shared+ssh": f"{_DISKS} cpds cpds_snapshot",
}
#: two hosts,
TWO_HOSTS = {"ssh": "clone ln context stop_mv resume_mv migrate_mv mvds"}
TWO_HOSTS_TOO = {
    "qcow2": "context",
    "local": "clone ln stop_mv resume_mv migrate_mv mvds",
    "qcow2+ssh": "stop_mv resume_mv migrate_mv",
    "shared+ssh": "stop_mv resume_mv migrate_mv",
    "disks-ssh": "cpds cpds_snapshot",
    "disks-local": "cpds cpds_snapshot",
}
#: the front-end alone.
HERE = {"fs": "cp mkfs clone rm stat monitor"}


def listed(*tables: dict[str, str], now: Sequence[dict[str, str]] | None = None) -> list[Any]:
    """Every (story, name) in tables, as parameters of a test.

    :param now: what every run does; the rest is for the run of all tests. All by default.
    """
    chosen = {(story, name) for table in now or tables for story, names in table.items() for name in names.split()}
    return [
        pytest.param(story, name, id=f"{story}-{name}", marks=[] if (story, name) in chosen else [pytest.mark.full])
        for table in tables
        for story, names in table.items()
        for name in names.split()
    ]

# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups of VMs that are off, on real hosts: made on the node, cancelled on the front-end, cleared up."""

from __future__ import annotations

import os
import signal

import pytest

from tests.lab.ground import LabGround
from tests.lab.looking import all_running, left_of_ours, wait_for
from tests.lab.oned import Vm, use_image
from tests.lab.scene import IMPOSTORS, Scene, Task, impostor
from tests.lab.story import Pairing


class Machine:
    """A VM on a node, with one disk.

    :ivar store: where the node keeps copies of what was backed up.
    """

    def __init__(self, scene: Scene, name: str) -> None:
        self.scene, self.ground = scene, scene.ground
        self.pairing: Pairing = scene.pairing(name)
        self.vm: Vm
        self.vm, tasks = scene.vm(self.pairing, [use_image(scene.image(self.pairing))])
        for task in tasks:
            scene.right(task)
        self.node = self.ground.nodes[0]
        self.place = scene.place(self.pairing, self.vm)
        self.format = self.pairing.disk_format
        self.store = f"/var/tmp/backups{self.vm.id}"
        self.sh(f"mkdir -p {self.store}")

    def sh(self, line: str) -> str:
        return self.ground.run(self.node, ["sh", "-ec", line])

    def task(self, action: str, config: str = "") -> Task:
        """The call as oned makes it, with its document."""
        document = self.vm.element().render()
        assert "<BACKUP_CONFIG/>" in document
        document = document.replace("<BACKUP_CONFIG/>", f"<BACKUP_CONFIG>{config}</BACKUP_CONFIG>")
        wrapper = f"{self.ground.oned.settings.remotes}/tm/{self.pairing.system_tm}/{action}"
        words = [
            f"{self.node}:{self.place}",
            "0",
            f"one-{self.vm.id}",
            "-",
            str(self.vm.id),
            str(self.pairing.system_ds),
        ]
        return Task((wrapper, *words), document.encode())

    def write(self, number: int) -> None:
        self.sh(f"qemu-io -f {self.format} -c 'write -q -P {number + 10} {number * 300}k 200k' {self.place}/disk.0")


@pytest.mark.parametrize(
    ("pairing", "way"),
    [
        ("qcow2", "CBT"),
        pytest.param("local", "SNAPSHOT", marks=pytest.mark.full),
        pytest.param("ssh", "", marks=pytest.mark.full),
    ],
)
def test_a_chain_is_made_on_the_node(scene: Scene, tidy: LabGround, pairing: str, way: str) -> None:
    machine = Machine(scene, pairing)
    for number in range(3):
        machine.write(number)
        config = f"<MODE>INCREMENT</MODE><INCREMENT_MODE>{way}</INCREMENT_MODE>" if way else ""
        config += f"<LAST_INCREMENT_ID>{number - 1}</LAST_INCREMENT_ID>" if way else ""
        scene.right(machine.task("prebackup", config), LAUNCHER="ssh")
        name = f"disk.0.{number if way else 0}"
        machine.sh(f"cp {machine.place}/backup/{name} {machine.store}; test -s {machine.place}/backup/manifest.json")
        scene.right(machine.task("postbackup", config), LAUNCHER="ssh")
        machine.sh(f"test ! -e {machine.place}/backup")
    if way:
        machine.sh(f"cd {machine.store}; for n in 1 2; do "
                   "qemu-img rebase -u -F qcow2 -b disk.0.$((n - 1)) disk.0.$n; done")  # fmt: skip
    machine.sh(f"qemu-img compare -f qcow2 -F {machine.format} {machine.store}/{name} {machine.place}/disk.0")


def test_a_cancel_on_the_front_end_ends_the_work_on_the_node(scene: Scene, tidy: LabGround) -> None:
    """SIGTERM, as the cancel of a repository's driver sends it; then oned clears up."""
    machine = Machine(scene, "ssh")
    machine.write(1)
    with impostor(tidy, machine.node, "qemu-img", "sleep 300"):
        run = Scene(tidy, IMPOSTORS).start(machine.task("prebackup"), LAUNCHER="ssh")
        wait_for("the copy", lambda: "sleep" in str(all_running(tidy)) or bool(left_of_ours(tidy)), 20)
        os.kill(run.pid, signal.SIGTERM)
        done = run.finish(15)
    assert done.rc == 1 and done.sentence.startswith("The backup was cancelled"), done.err
    wait_for("the node's end of it", lambda: not all_running(tidy), 10)
    machine.sh(f"test ! -e {machine.place}/backup")
    scene.right(machine.task("postbackup"), LAUNCHER="ssh")
    scene.right(machine.task("prebackup"), LAUNCHER="ssh")
    scene.right(machine.task("postbackup"), LAUNCHER="ssh")


def test_a_node_that_cannot_be_reached_does_not_fail_postbackup(scene: Scene, tidy: LabGround) -> None:
    machine = Machine(scene, "ssh")
    task = machine.task("postbackup").instead(f"{machine.node}:", "nobody.invalid:")
    done = scene.run(task, LAUNCHER="ssh", CONNECT_TIMEOUT="5")
    assert done.rc == 0 and "nobody.invalid" in done.sentence

# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The doctor of backups with a real libvirt: what running guests are left with is found, and mended without harm."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.backed_guest import Machine, machine_of
from tests.lab.ground import LabGround
from tests.lab.virt import Hypervisor


@pytest.fixture
def machine(ground: LabGround, hypervisors: dict[str, Hypervisor]) -> Iterator[Machine]:
    yield from machine_of(hypervisors[ground.nodes[0]])


def _visited(vm: Machine, last: int, **more: Any) -> dict[str, Any]:
    return vm.right("backup_doctor", mode="increment", increment_mode="cbt", last_increment=last, **more)


def _codes(result: dict[str, Any]) -> list[str]:
    return sorted(f"{row['level']} {row['code']}" for row in result["findings"])


def test_the_doctor_of_a_running_guest(machine: Machine) -> None:
    for number in range(2):
        machine.scribble(number)
        machine.back_up("cbt", number - 1)
    found = _visited(machine, 1)
    assert found["findings"] == [] and found["sound"] and not found["changed"]
    # a backup that nobody ended, a bitmap of another VM, a checkpoint without a bitmap, a job that runs on
    machine.right("prebackup_live", last_increment=1, mode="increment", increment_mode="cbt")
    guest, virsh = machine.guest, machine.hypervisor.virsh
    node = machine.sh(f"virsh -c qemu:///system dumpxml {guest.name} | grep -o \"index='[0-9]*'\" | head -1")
    node = "libvirt-" + node.strip().split("'")[1] + "-format"
    guest.qmp("block-dirty-bitmap-add", node=node, name="one-99-4", persistent=True)
    virsh("checkpoint-create-as", guest.name, f"one-{machine.id}-7", "--diskspec", "vdb")
    nodes = guest.qmp("query-named-block-nodes", flat=True)
    assert isinstance(nodes, list)
    holders = [each for each in nodes if f"one-{machine.id}-7" in str(each)]
    guest.qmp("block-dirty-bitmap-remove", node=holders[0]["node-name"], name=f"one-{machine.id}-7")
    disks = ""
    for target in ("vda", "vdb"):
        machine.sh(f"qemu-img create -q -f qcow2 /var/tmp/scratch.{target} 16M")
        disks += f"<disk name='{target}' type='file'><scratch file='/var/tmp/scratch.{target}'/></disk>"
    server = f"<server transport='unix' socket='{machine.folder}/backup.socket'/>"
    job = f"<domainbackup mode='pull'>{server}<disks>{disks}</disks></domainbackup>"
    machine.lab.path(machine.host, "/var/tmp/job.xml").write_text(job)
    before = machine.sh(f"find {machine.folder} | sort")
    found = _visited(machine, 1)
    strays = ["problem stray-bitmap"] * 3
    assert _codes(found) == sorted([*strays, "problem directory", "problem lost-bitmap"]) and not found["sound"]
    assert machine.sh(f"find {machine.folder} | sort") == before
    assert f"one-{machine.id}-7" in machine.checkpoints() and "one-99-4" in machine.marks(), "a look changes nothing"
    virsh("backup-begin", "--reuse-external", guest.name, "/var/tmp/job.xml")
    assert "problem job" in _codes(_visited(machine, 1))

    mended = _visited(machine, 1, repair=True)
    assert mended["sound"] and mended["findings"] == [] and len(mended["actions"]) == 2, mended
    machine.at_rest()
    assert machine.checkpoints() == machine.marks() == [f"one-{machine.id}-{number}" for number in (0, 1)]
    machine.scribble(7)
    assert "warnings" not in machine.back_up("cbt", 1)
    machine.check()


@pytest.mark.full
def test_the_doctor_of_a_guest_that_was_killed(machine: Machine) -> None:
    """Its bitmaps are not to be believed, and libvirt has forgotten the checkpoints."""
    for number in range(3):
        machine.scribble(number)
        machine.back_up("cbt", number - 1)
    machine.flush()
    machine.sh(f"kill -9 $(pgrep -f guest=[o]ne-{machine.id},)")
    machine.hypervisor.until(
        "the end", lambda: machine.guest.name not in machine.hypervisor.virsh("list", "--all", "--name"), 20
    )
    machine.start_guest()
    found = _visited(machine, 2)
    # what QEMU had not written down when it was killed is not there, else it is marked as not to be believed
    assert found["sound"] and set(_codes(found)) <= {"note broken-bitmap", "note no-bitmap"} and found["findings"]
    result = machine.back_up("cbt", 2)
    assert len(result["warnings"]) == 2 and all("has all of disk" in text for text in result["warnings"])
    machine.check()


def test_the_doctor_says_when_it_cannot_look(machine: Machine) -> None:
    asked = {"mode": "increment", "last_increment": 0}
    assert "one-nobody" in machine.act("backup_doctor", **asked, domain="one-nobody")["sentence"]
    found = machine.right("backup_doctor", **asked, domain="")
    assert _codes(found) == ["problem running"] * 2
    assert "vdz" in machine.act("backup_doctor", **asked, targets=["0:vdz", "1:vdb"])["sentence"]

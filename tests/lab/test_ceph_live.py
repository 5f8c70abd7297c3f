# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A volume of a running guest, through a real Ceph cluster, libvirt and QEMU: held for snapshots, never deleted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.ground import LabGround
from tests.lab.looking import all_running, wait_for, wipe
from tests.lab.pool import CONF, LabPool
from tests.lab.test_live import Machine, Writing, _ids
from tests.lab.virt import Guest, Hypervisor

pytestmark = pytest.mark.full

_SYSTEM = "/var/lib/one/datastores/100"
_BLOCK = 65536


class VolumeMachine(Machine):
    """A VM whose disk is a clone of the image ``one/one-5`` of 16 MiB."""

    def __init__(self, hypervisor: Hypervisor, pool: LabPool) -> None:
        self.hypervisor, self.cluster = hypervisor, pool.cluster
        self.lab, self.host = hypervisor.lab, hypervisor.host
        self.id = next(_ids)
        self.disk = f"{_SYSTEM}/{self.id}/disk.0"
        self.volume = f"one/one-5-{self.id}-0"
        self.written = 0
        self.off = {"running": False, "domain": "", "target": ""}
        self.sh(f"mkdir -p {_SYSTEM}/{self.id}")
        self.cluster.rbd("create", "one/one-5", "--size", "16M")
        self.right("clone", source="one/one-5", destination=self.disk)
        self.guest = Guest(hypervisor, f"one-{self.id}", [("vda", f"rbd:{self.volume}", "raw")], volumes=pool.source)

    def options(self, **more: Any) -> dict[str, Any]:
        """Options of the driver; those that are given count."""
        given = {"driver": "ceph", "datastore": _SYSTEM, "ceph_user": "oneadmin", "ceph_conf": CONF}
        return {**given, "stall_timeout": 20, "lock_timeout": 3, **more}

    def live(self, **more: Any) -> dict[str, Any]:
        """What an action is told of a running guest's disk."""
        return {"image": "one/one-5", "running": True, "domain": self.guest.name, "target": "vda", **more}

    def row(self, volume: str) -> int:
        """How many blocks of the row a volume has; it must have nothing else."""
        self.guest.io("flush")
        data = self.cluster.content(volume)
        count = next(number for number in range(len(data) // _BLOCK) if not data[number * _BLOCK])
        assert data == b"".join(bytes([n % 255 + 1]) * _BLOCK for n in range(count)).ljust(len(data), b"\0")
        return count


@pytest.fixture
def machine(ground: LabGround, ceph_pool: LabPool) -> Iterator[VolumeMachine]:
    hypervisor = Hypervisor(ground.lab, ground.nodes[0])
    ceph_pool.lend(hypervisor)
    made = VolumeMachine(hypervisor, ceph_pool)
    yield made
    hypervisor.stop()
    wait_for("libvirt to end", lambda: not all_running(ground), 20)
    wipe(ground)
    ceph_pool.empty()


def test_a_running_guest_is_held_for_a_snapshot_and_its_volume_never_deleted(machine: VolumeMachine) -> None:
    kept = {}
    for number in range(2):
        before = machine.written
        with Writing(machine):
            result = machine.right("snap_create_live", path=machine.disk, snapshot_id=number, **machine.live())
        assert result["consistency"] == "suspend" and machine.guest.state() == "running"
        kept[number] = machine.row(f"{machine.volume}@{number}")
        assert before < kept[number] < machine.written
    with Writing(machine):
        saved = machine.right("cpds", source=machine.disk, destination="one2/one-9", **machine.live())
    assert saved["consistency"] == "suspend"
    assert kept[1] < machine.row("one2/one-9") < machine.written
    machine.right("snap_delete", path=machine.disk, snapshot_id=0, **machine.live())
    assert machine.row(f"{machine.volume}@1") == kept[1]
    # whatever oned believes, a volume that a guest has open is left alone
    for action, more in (("delete", {"path": machine.disk}), ("snap_revert", {"path": machine.disk, "snapshot_id": 1})):
        said = machine.act(action, image="one/one-5", **more)["sentence"]
        assert said.startswith(f"The volume {machine.volume} is open at ")
    wrong = machine.act("snap_create_live", path=machine.disk, snapshot_id=7, **machine.live(image="one/one-6"))
    assert wrong["sentence"] == f"The volume one/one-6-{machine.id}-0 is not there"
    assert machine.row(machine.volume) == machine.written
    assert machine.guest.state() == "running"
    now = machine.cluster.content(f"{machine.volume}@1")
    machine.guest.destroy()
    machine.right("snap_revert", path=machine.disk, snapshot_id=1, image="one/one-5", lock_timeout=60)
    assert machine.cluster.content(machine.volume) == now
    machine.right("delete", path=machine.disk, image="one/one-5", lock_timeout=60)
    assert machine.cluster.rbd("ls", "one").split() == ["one-5"]
    assert machine.cluster.rbd("snap", "ls", "one/one-5") == ""
    assert machine.cluster.rbd("trash", "ls", "one") == ""

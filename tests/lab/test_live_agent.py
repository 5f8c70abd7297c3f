# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Freezing by a real guest agent, in a small Linux that writes to a mounted file system all the time.

A file system that was frozen has an empty journal: nothing is to be recovered when it is mounted again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from tests.lab.ground import LabGround
from tests.lab.hosts import repository
from tests.lab.linux import COMMAND_LINE, NoLinux, build
from tests.lab.looking import all_running, wait_for, wipe
from tests.lab.test_live import Machine
from tests.lab.virt import Guest, Hypervisor

pytestmark = pytest.mark.full


class Linux(Machine):
    """A VM with a system, an agent in it, and ext4 on its first disk."""

    def boot(self, disks: list[tuple[str, str, str]]) -> Guest:
        try:
            parts = build(repository() / ".cache" / "linux")
        except NoLinux as error:
            pytest.skip(str(error))
        places = [f"/var/tmp/{self.id}.{part.name}" for part in parts]
        for part, place in zip(parts, places, strict=True):
            self.lab.path(self.host, place).write_bytes(part.read_bytes())
        self.sh("truncate -s 16M /var/tmp/ext4 && mkfs.ext4 -q -F /var/tmp/ext4")
        self.sh(f"qemu-img convert -f raw -O qcow2 /var/tmp/ext4 {self.snap}/0")
        kernel, initramfs = places
        return Guest(self.hypervisor, f"one-{self.id}", disks, linux=(kernel, initramfs, COMMAND_LINE))

    def agent(self, command: str) -> object:
        """The agent's answer; raises CommandFailed when there is none."""
        said = self.hypervisor.virsh("qemu-agent-command", self.guest.name, json.dumps({"execute": command}))
        return json.loads(said)["return"]

    def frozen(self) -> bool:
        return self.agent("guest-fsfreeze-status") == "frozen"

    def looked_at(self, path: str) -> tuple[bool, int]:
        """Whether a file system would have to be recovered, and how many rows the guest had written to it."""
        flat = "/var/tmp/looked-at"
        self.sh(f"qemu-img convert -U -f qcow2 -O raw {path} {flat}")
        recovers = "needs_recovery" in self.sh(f"dumpe2fs -h {flat} 2>/dev/null")
        if not recovers:
            self.sh(f"e2fsck -f -n {flat}")
        rows = self.sh(f"debugfs -R 'cat /rows' {flat} 2>/dev/null").split()
        return recovers, len(rows)


@pytest.fixture(scope="module")
def hypervisor(ground: LabGround) -> Iterator[Hypervisor]:
    """libvirt on the first node."""
    made = Hypervisor(ground.lab, ground.nodes[0])
    yield made
    made.stop()
    wait_for("libvirt to end", lambda: not all_running(ground), 20)
    wipe(ground)


@pytest.fixture
def linux(hypervisor: Hypervisor) -> Iterator[Linux]:
    made = Linux(hypervisor)
    hypervisor.until("the agent", lambda: made.agent("guest-ping") == {}, 90)
    yield made
    made.guest.destroy()


def test_file_systems_are_frozen_by_the_agent(linux: Linux) -> None:
    frozen = linux.right("snap_create_live", path=linux.disk, snapshot_id=0)
    assert frozen["consistency"] == "agent" and not linux.frozen()
    recovers, rows = linux.looked_at(frozen["snapshot"])
    assert not recovers and rows > 0
    # the journal of one that was only suspended is not empty: it shows that the test can tell
    time.sleep(1)
    suspended = linux.right("snap_create_live", path=linux.disk, snapshot_id=1, quiesce="suspend")
    assert suspended["consistency"] == "suspend"
    assert linux.looked_at(suspended["snapshot"])[0]
    image = f"{linux.image or linux.disk}.saved".replace(linux.folder, "/var/lib/one/datastores/1")
    saved = linux.right("cpds", source=linux.disk, destination=image, snapshot_id=-1, quiesce="agent")
    assert saved["consistency"] == "agent" and not linux.frozen()
    later = linux.looked_at(image)
    assert not later[0] and later[1] > rows
    assert linux.guest.state() == "running" and linux.left() == []


def test_a_frozen_guest_is_thawed_when_we_are_killed(linux: Linux) -> None:
    process = linux.start("snap_create_live", pause="held", path=linux.disk, snapshot_id=0)
    linux.hypervisor.until("the guest is frozen", linux.frozen, 20)
    linux.kill(process)
    linux.hypervisor.until("the guest is thawed", lambda: not linux.frozen(), 20)
    assert linux.right("snap_create_live", path=linux.disk, snapshot_id=0)["consistency"] == "agent"
    assert linux.left() == []


def test_a_frozen_guest_is_not_held_for_longer_than_it_may(linux: Linux) -> None:
    process = linux.start("snap_create_live", pause="held", path=linux.disk, snapshot_id=0, freeze_timeout=2)
    linux.hypervisor.until("the guest is frozen", linux.frozen, 20)
    linux.hypervisor.until("the guest is thawed", lambda: not linux.frozen(), 20)
    linux.kill(process)

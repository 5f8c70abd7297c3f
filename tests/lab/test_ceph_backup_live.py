# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups of a volume that a running guest writes to, through a real Ceph cluster, libvirt and QEMU."""

from __future__ import annotations

import itertools
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.lab.test_ceph_live import VolumeMachine, machine
from tests.lab.test_live import Writing

pytestmark = pytest.mark.full
__all__ = ["machine"]

_BLOCK = 65536


class Chain:
    """Backups of the machine, and what is kept of them in a folder of the host."""

    def __init__(self, machine: VolumeMachine) -> None:
        self.machine = machine
        self.last = -1
        self.folder = f"{Path(machine.disk).parent}/backup"

    def options(self, **more: Any) -> dict[str, Any]:
        """Options that pre and post have in common."""
        machine = self.machine
        return {
            "path": str(Path(machine.disk).parent),
            "disks": ["0:raw"],
            "images": ["0:one/one-5"],
            "targets": ["0:vda"],
            "domain": machine.guest.name,
            "mode": "increment",
            "last_increment": self.last,
            **more,
        }

    def before(self, **more: Any) -> dict[str, Any]:
        """prebackup_live; its result, or the error."""
        given = {"document": "<VM/>", "freeze_timeout": 30, **self.options(), **more}
        return dict(self.machine.act("prebackup_live", **given))

    def after(self, **more: Any) -> None:
        """postbackup_live."""
        self.machine.right("postbackup_live", **self.options(**more))

    def back_up(self, **more: Any) -> dict[str, Any]:
        """A backup that the repository takes."""
        result = self.before(**more)
        assert "sentence" not in result, result
        self.machine.sh(f"mkdir -p /var/tmp/kept && cp {self.folder}/disk.0.* /var/tmp/kept/")
        told = json.loads(self.machine.sh(f"cat {self.folder}/manifest.json"))
        assert told["consistency"] == result["consistency"]
        self.after()
        self.last = int(result["increment"])
        return result

    def row(self, number: int) -> int:
        """How many blocks of the guest's row an increment restores to; it must have nothing else."""
        names = [f"disk.0.{one}" for one in range(number + 1)]
        orders = ["rm -rf /var/tmp/made", "cp -r /var/tmp/kept /var/tmp/made", "cd /var/tmp/made"]
        for below, above in itertools.pairwise(names):
            orders.append(f"qemu-img rebase -u -f qcow2 -F qcow2 -b {below} {above}")
        orders.append(f"qemu-img convert -f qcow2 -O raw {names[-1]} raw")
        self.machine.sh(" && ".join(orders))
        data = self.machine.lab.path(self.machine.host, "/var/tmp/made/raw").read_bytes()
        count = next(one for one in range(len(data) // _BLOCK) if not data[one * _BLOCK])
        assert data == b"".join(bytes([n % 255 + 1]) * _BLOCK for n in range(count)).ljust(len(data), b"\0")
        return count

    def snapshots(self) -> list[str]:
        """Names of the volume's snapshots."""
        said = self.machine.cluster.rbd("snap", "ls", "--format", "json", self.machine.volume)
        return [item["name"] for item in json.loads(said)]


def test_a_chain_of_a_guest_that_writes_all_the_time(machine: VolumeMachine, tmp_path: Path) -> None:
    chain = Chain(machine)
    kept = {}
    for number, freeze in enumerate(("suspend", "none", "suspend")):
        before = machine.written
        with Writing(machine):
            result = chain.back_up(freeze=freeze)
        assert (result["consistency"], machine.guest.state()) == ({"none": "crash"}.get(freeze, freeze), "running")
        assert chain.snapshots() == [f"one_backup_{number}"]
        kept[number] = chain.row(number)
        assert before < kept[number] < machine.written
    assert [chain.row(number) for number in kept] == list(kept.values())
    assert machine.row(machine.volume) == machine.written
    # killed while the guest is held: it goes on, and the next call makes the same increment
    given = {"document": "<VM/>", "freeze": "suspend", "freeze_timeout": 60, **chain.options()}
    process = machine.start("prebackup_live", pause="held", **given)
    helper = machine.helper("hold", "held")
    assert machine.guest.state() == "paused"
    machine.kill(process)
    os.kill(helper.pid, signal.SIGKILL)
    machine.hypervisor.until("the guest to go on", lambda: machine.guest.state() == "running", 30)
    with Writing(machine):
        assert chain.back_up(freeze="suspend")["increment"] == 3
    assert chain.snapshots() == ["one_backup_3"]
    assert kept[2] < chain.row(3) < machine.written
    assert not [name for name in machine.cluster.rbd("ls", "one").split() if name.startswith("one_storage.")]
    # what cannot be frozen is told, and what has to be is an error
    chain.last = -1
    wrong = chain.before(freeze="agent", require_quiesce=True)
    assert "does not freeze its file systems" in wrong["sentence"]
    assert chain.snapshots() == ["one_backup_3"]
    with Writing(machine):
        result = chain.back_up(freeze="agent")
    assert result["consistency"] == "crash"
    assert any("does not freeze its file systems" in text for text in result["warnings"])
    assert machine.guest.state() == "running"
    assert kept[2] < chain.row(0) < machine.written
    missing = chain.before(domain="one-999", freeze="suspend")
    assert "one-999" in missing["sentence"]
    chain.after(failed=True, last_increment=chain.last)
    assert chain.snapshots() == ["one_backup_0"]
    # a chain that stock began goes on in its form, as rbd reads it
    rbd, whole = machine.cluster.rbd, str(tmp_path / "disk.0.rbd2")
    rbd("export", "--no-progress", "--export-format", "2", machine.volume, whole)
    before = machine.written
    with Writing(machine):
        result = chain.back_up(freeze="suspend", backup_format="rbd")
    assert (result["consistency"], chain.snapshots()) == ("suspend", ["one_backup_1"])
    rbd("import", "--no-progress", "--export-format", "2", whole, "one2/one-again")
    changed = machine.lab.path(machine.host, "/var/tmp/kept/disk.0.1.rbdiff")
    rbd("import-diff", "--no-progress", str(changed), "one2/one-again")
    assert before < machine.row("one2/one-again") < machine.written
    machine.guest.destroy()

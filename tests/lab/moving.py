# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM that is migrated while it runs, between two real libvirts, and writes all the time."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from tests.lab.ground import LabGround
from tests.lab.looking import left_of_ours
from tests.lab.oned import Outcome, Vm
from tests.lab.story import MB, SIZE, Check, Pairing, Story
from tests.lab.virt import Guest, Hypervisor
from tests.lab.writer import SECTOR, row

#: Where the guest writes by itself, on its first disk: behind all that the story writes.
FIRST, LAST = 10 * MB // SECTOR, SIZE * MB // SECTOR
#: What the guest calls its disks.
TARGETS = {0: "vda", 1: "vdb", 2: "vdc", 3: "vdd"}


class Moving(Story):
    """A life with a machine in it, that runs from *deploy* or *restore* to *shutdown* or *save*.

    :param hypervisors: by host.
    :ivar fails: whether the hypervisor's migration is ended by somebody when it has begun.
    :ivar more: more options of the hypervisor's migration.
    """

    def __init__(
        self,
        ground: LabGround,
        pairing: Pairing,
        hypervisors: dict[str, Hypervisor],
        environment: dict[str, str] | None = None,
    ) -> None:
        super().__init__(ground, pairing, environment)
        self.lab_ground = ground
        self.hypervisors = hypervisors
        self.fails = False
        self.more: tuple[str, ...] = ()
        self.machine: Guest | None = None

    # ------------------------------------------------------------ the machine

    def _guest(self, step: str, vm: Vm) -> None:
        super()._guest(step, vm)
        if step in ("deploy", "restore"):
            where = self.hypervisors[vm.record.hostname]
            places = {disk: self._as_attached(self._disk(disk)) for disk in (*TARGETS, 4)}
            disks = [(target, places[disk], self._format(disk)) for disk, target in TARGETS.items()]
            # oned knows it by its UUID
            vm.deploy_id = vm.deploy_id or str(uuid.uuid4())
            writes, volumes = (FIRST, LAST), self.ground.pool.source if self.ground.pool else ""
            self.machine = Guest(where, f"one-{vm.id}", disks, places[4], writes, vm.deploy_id, volumes=volumes)
            where.until("the guest writes", lambda: self.written() > 0, 20)
        elif step in ("shutdown", "save"):
            self.close()
        elif step == "migrate":
            self._move(vm.record.hostname)

    def running(self) -> Guest:
        """The machine; ``AssertionError`` when there is none."""
        assert self.machine is not None
        return self.machine

    def _move(self, host: str) -> None:
        machine = self.running()
        copied = list(TARGETS.values()) if self.pairing.own_disks else []
        if not self.fails:
            machine.migrate(self.hypervisors[host], copied, self.more)
            return
        # slow enough to be ended half-way
        ending = threading.Thread(target=self._break_off)
        ending.start()
        try:
            machine.migrate(self.hypervisors[host], copied, ["--bandwidth", "1"])
        except Exception as error:
            raise RuntimeError("the hypervisor gives up") from error
        finally:
            ending.join()

    def _break_off(self) -> None:
        machine = self.running()

        def ended() -> bool:
            machine.on.virsh("domjobabort", machine.name)
            return True

        machine.on.until("a migration to end", ended)

    def close(self) -> None:
        """Pull the plug, if it runs."""
        if self.machine is not None:
            self.machine.destroy()
            self.machine = None

    @contextmanager
    def held(self) -> Iterator[None]:
        """The guest stands still, and what it wrote is in its files."""
        if self.machine is None:
            yield
            return
        self.machine.on.virsh("suspend", self.machine.name)
        yield
        self.machine.on.virsh("resume", self.machine.name)

    # ------------------------------------------------------------ what it wrote

    def written(self) -> int:
        """How many sectors of its row the guest has written: what the disk holds of it has no gap."""
        with self.held():
            return self._note_row()

    def _note_row(self) -> int:
        data = self.bytes_of(self._where(), self._disk(0), self._format(0))
        count = row(data, FIRST, LAST)
        end = (FIRST + count) * SECTOR
        self.golden[0][FIRST * SECTOR : end] = data[FIRST * SECTOR : end]
        return count

    def kept(self, host: str, path: str) -> int:
        """How many sectors of the row a snapshot or an image of the first disk has; all else in it has to be right."""
        data = self.bytes_of(host, path, self._format(0))
        count = row(data, FIRST, LAST)
        wanted = bytes(self.golden[0][: FIRST * SECTOR])
        assert data[: len(wanted)] == wanted, f"{path} is not what the disk was"
        return count

    def bytes_of(self, host: str, path: str, disk_format: str) -> bytes:
        """What a guest would read from a disk, a snapshot or an image."""
        with self._raw(host, path, disk_format) as scratch:
            return self.ground.path(host, scratch).read_bytes()

    # ------------------------------------------------------------ its life

    def begin(self) -> None:
        """Until the VM runs on the first node."""
        self.prepare()
        for event in (self._import, self._create):
            for outcome in event():
                assert outcome.ok, outcome.reason

    def end(self) -> None:
        """Terminate it and remove the images; nothing may be left."""
        for event in (self._shutdown, self._clean_up):
            for outcome in event():
                assert outcome.ok, outcome.reason
        wrong = [check for check in self._look_empty() if not check.ok]
        assert not wrong, wrong

    def migrate(self, host: str) -> Outcome:
        """One live migration."""
        return self.life.live_migrate(self.vm, host)

    def wrong(self) -> list[Check]:
        """What is not as it should be, wherever the VM is now."""
        with self.held():
            self._note_row()
            return [check for check in [*self._look_disks(), *self._look_openers()] if not check.ok]

    def _look_openers(self) -> list[Check]:
        """The volumes are open on the machine's host and nowhere else; none is when there is no machine."""
        pool = self.ground.pool
        if not self.pairing.disks_in_pool or pool is None:
            return []
        openers = pool.watchers()
        host = {self.lab_ground.lab.address(self.machine.on.host)} if self.machine else set()
        found = {watcher.partition(":")[0] for watchers in openers.values() for watcher in watchers}
        count = len(TARGETS) if self.machine else 0
        return [Check("who has the volumes open", (found, len(openers)) == (host, count), json.dumps(openers))]

    def receipts(self) -> list[str]:
        """Receipts on all hosts."""
        return [name for name in left_of_ours(self.ground) if name.endswith(".receipt")]


def told(outcome: Outcome) -> list[tuple[str, bool]]:
    """The calls of a migration, and whether each was right."""
    return [(call.action, call.ok) for call in outcome.calls]

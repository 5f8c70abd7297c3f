# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can happen to a VM, with the lines that oned sends then; each is told to the model of what has to be there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from tests.lab.ground import LabGround
from tests.lab.looks import Looks
from tests.lab.model import Disk, Image
from tests.lab.model_pool import VolumeDisk
from tests.lab.oned import (
    Completed,
    ImageType,
    LabHost,
    Outcome,
    Runner,
    Vm,
    use_image,
    use_swap,
    use_volatile,
)
from tests.lab.story import CONTEXT, MB, Pairing
from tests.lab.virt import Guest, Hypervisor

_TARGETS = {0: "vda", 1: "vdb", 2: "vdc", 3: "vdd"}


class Broken(LabHost):
    """A front-end on which no driver does anything, and each fails."""

    def run(self, argv: Sequence[str], *, stdin: bytes, env: Mapping[str, str], cwd: str, timeout: float) -> Completed:
        return Completed(1, b"", b"it is broken\n")


class Acts(Looks):
    """A life, event by event.

    :param hypervisors: libvirt by host, for events of a running guest; none: these are left out.
    """

    def __init__(
        self,
        ground: LabGround,
        pairing: Pairing,
        hypervisors: Mapping[str, Hypervisor] | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        super().__init__(ground, pairing, environment)
        self.hypervisors = hypervisors or {}
        self.machine: Guest | None = None

    # ------------------------------------------------------------ the guest

    def _guest(self, step: str, vm: Vm) -> None:
        if step in ("deploy", "restore"):
            for disk in self.model.values():
                self._write(disk)
        elif step == "resize" and self._growing is not None:
            path, size = self._opened(self._disk(self._growing.number)), f"{vm.disk(self._growing.number).size}M"
            self.ground.run(vm.record.hostname, ["qemu-img", "resize", "-q", "-f", self._growing.format, path, size])
        elif step == "migrate":
            assert self.machine is not None
            targets = [_TARGETS[disk.id] for disk in vm.disks] if self.pairing.own_disks else []
            if self.fails:
                # what it has written at the destination by then is nothing to go by
                self.machine.qmp("query-status")
                raise RuntimeError("the hypervisor gives up")
            self.machine.migrate(self.hypervisors[vm.record.hostname], targets)

    fails = False
    _growing: Disk | None = None

    def _write(self, disk: Disk) -> None:
        """A new pattern somewhere on a disk."""
        self._writes += 1
        pattern, start = self._writes % 250 + 1, self._writes * 3 % 14 * MB + 4096 * disk.number
        disk.write(pattern, start, MB // 2)
        command = f"write -q -P {pattern} {start} {MB // 2}"
        if self.machine is not None:
            self.machine.io(command, _TARGETS[disk.number])
            self.machine.io("flush", _TARGETS[disk.number])
            return
        host = self._vm().record.hostname
        self.ground.run(host, ["qemu-io", "-f", disk.format, "-c", command, self._opened(self._disk(disk.number))])

    @contextmanager
    def _running(self) -> Iterator[None]:
        """With a machine that has all disks, on the VM's host."""
        vm = self._vm()
        disks = [(_TARGETS[disk.id], self._as_attached(self._disk(disk.id)), disk.format) for disk in vm.disks]
        where, volumes = self.hypervisors[vm.record.hostname], self.ground.pool.source if self.ground.pool else ""
        self.machine = Guest(where, f"one-{vm.id}", disks, identity=vm.deploy_id, volumes=volumes)
        try:
            yield
        finally:
            self.machine.destroy()
            self.machine = None

    # ------------------------------------------------------------ events

    def _import(self) -> list[Outcome]:
        source = f"{self.sources}/base.{self.pairing.disk_format}"
        outcomes = []
        for label, path, persistent in (
            ("os", source, False),
            ("data", source, True),
            ("more", source, True),
            ("kernel", f"{self.sources}/kernel", False),
            ("initrd", f"{self.sources}/initrd", False),
        ):
            boots = label in ("kernel", "initrd")
            store, kind = (self.files, ImageType.KERNEL) if boots else (self.pairing.image_ds, ImageType.OS)
            made = self.life.import_image(f"{self.pairing.name} {label}", store, path, kind, persistent=persistent)
            outcomes.append(made)
            if made.ok:
                content = self.ground.path(self.ground.frontend, path).read_bytes() if boots else bytes(self.base)
                self._knows(Image(label, made.object_id, self.ground.oned.image(made.object_id).format, content))
        return outcomes

    def _knows(self, image: Image) -> None:
        self.known[image.label] = image
        self._images.append(image.id)

    def _new(self, number: int, label: str) -> None:
        """A disk of an image comes to be."""
        image, in_place = self.known[label], not self.pairing.local
        persistent = label in ("data", "more")
        if self.pairing.disks_in_pool:
            self.model[number] = VolumeDisk(number, image, persistent, self.vm)
        else:
            self.model[number] = Disk(number, image, persistent, in_place, standing=in_place)

    def _create(self) -> list[Outcome]:
        kind = "qcow2" if self.pairing.disk_format == "qcow2" else "raw"
        images = self.known
        disks = [use_image(images["os"].id), use_image(images["data"].id), use_volatile(20, kind, "ext4"), use_swap(8)]
        self.vm = max(self.ground.oned.vms, default=-1) + 1
        self.system_ds, self.model, self.stays = self.pairing.system_ds, {}, {}
        self._new(0, "os")
        self._new(1, "data")
        boot = {"KERNEL_DS": str(images["kernel"].id), "INITRD_DS": str(images["initrd"].id)}
        return [
            self.life.create_vm(
                f"{self.pairing.name} {self.vm}",
                disks,
                self.pairing.system_ds,
                self.ground.nodes[0],
                context=CONTEXT,
                template={"OS": boot},
                vm_id=self.vm,
            )
        ]

    def _attach(self, label: str) -> list[Outcome]:
        outcome = self.life.attach(self.vm, use_image(self.known[label].id))
        if outcome.ok:
            number = max(disk.id for disk in self._vm().disks)
            self._new(number, label)
            self._write(self.model[number])
        return [outcome]

    def _attach_volatile(self) -> list[Outcome]:
        return [self.life.attach(self.vm, use_volatile(12, "raw", "ext4"))]

    def _detach(self) -> list[Outcome]:
        number = max(disk.id for disk in self._vm().disks)
        outcome = self.life.detach(self.vm, number)
        if outcome.ok and number in self.model:
            disk = self.model.pop(number)
            self.stays.update(disk.in_directory() if disk.persistent else {})
            self._leaves(disk)
        return [outcome]

    def _leaves(self, disk: Disk) -> None:
        """A disk ends in order: what was persistent is the image from now on."""
        if disk.persistent:
            disk.come_home(absolute=self.pairing.name in ("qcow2+ssh", "shared+ssh"))

    def _snapshot(self) -> list[Outcome]:
        outcomes = []
        for disk in list(self.model.values()):
            self._write(disk)
            outcomes.append(self.life.snapshot_disk(self.vm, disk.number))
            if outcomes[-1].ok:
                disk.create()
            self._write(disk)
        return outcomes

    def _revert(self, number: int) -> list[Outcome]:
        outcomes = [self.life.revert_disk(self.vm, disk, number) for disk in self.model]
        for disk in self.model.values():
            disk.revert(number)
        return outcomes

    def _delete(self, number: int) -> list[Outcome]:
        outcomes = [self.life.delete_snapshot(self.vm, disk, number) for disk in self.model]
        for disk in self.model.values():
            disk.delete(number)
        return outcomes

    def _refused(self) -> list[Outcome]:
        """Where disks have no snapshots, oned's call is refused by name, and nothing happens."""
        outcomes = [self.life.snapshot_disk(self.vm, disk) for disk in self.model]
        for outcome in outcomes:
            assert not outcome.ok and "have no snapshots" in outcome.reason, outcome.reason
        return []

    def _delete_youngest(self) -> list[Outcome]:
        return self._delete(max(self.model[0].snapshots))

    def _save(self, snapshot: int) -> list[Outcome]:
        outcomes = []
        for disk in self.model.values():
            label = f"saved{len(self.known)}"
            outcomes.append(self.life.save_disk(self.vm, disk.number, f"{self.pairing.name} {label}", snapshot))
            content = bytes(disk.now) if snapshot < 0 else disk.snapshots[snapshot]
            self._knows(Image(label, max(self.ground.oned.images), disk.format, content))
        return outcomes

    def _resize(self) -> list[Outcome]:
        outcomes = []
        for disk in self.model.values():
            self._growing = disk
            # oned's figure: a disk that went back to a snapshot may be smaller
            size = self._vm().disk(disk.number).size + 2
            outcomes.append(self.life.resize_disk(self.vm, disk.number, size))
            disk.now = disk.now.ljust(size * MB, b"\0")
        return outcomes

    def _to_datastore(self, datastore: int, host: str) -> list[Outcome]:
        before, self.system_ds = self.system_ds, datastore
        outcome = self.life.migrate(self.vm, host, datastore)
        if not outcome.ok:
            self.system_ds = before
        return [outcome]

    def _with_machine(self, event: Callable[[], list[Outcome]]) -> list[Outcome]:
        with self._running():
            return event()

    def _migrate_live(self, fails: bool) -> list[Outcome]:
        here = self._vm().record.hostname
        there = next(node for node in self.ground.nodes[:2] if node != here)
        self.fails = fails
        outcome = self.life.live_migrate(self.vm, there)
        if fails:
            assert not outcome.ok and "gives up" in outcome.reason, outcome.reason
            outcome.ok = True
        return [outcome]

    def _terminate(self) -> list[Outcome]:
        outcome = self.life.terminate(self.vm)
        if outcome.ok:
            self._end(True)
        return [outcome]

    def _terminate_stopped(self) -> list[Outcome]:
        """A whole life once more, that ends while the VM's files are on the front-end."""
        made = self._create()
        return [*made, self.life.stop(self.vm), *self._terminate()]

    def _end(self, orderly: bool) -> None:
        """The VM is gone. A persistent disk that is the image itself has kept what was written in any case."""
        for disk in self.model.values():
            if orderly or disk.linked:
                self._leaves(disk)
        self.gone.append(self.vm)
        self.model = {}

    def _hard_delete(self) -> list[Outcome]:
        outcome = self.life.delete(self.vm)
        self._end(False)
        return [outcome]

    def _delete_both(self) -> list[Outcome]:
        """A migration that is killed in the middle, or never begins where the storage is one; then all is deleted."""
        life, there = self.life, self.ground.nodes[1]
        broken = Runner(Broken(self.lab_ground.lab, self.ground.frontend), self.ground.oned.settings)
        given = dict(self.runner.environment)
        if self.pairing.local:
            self.runner.environment = {**given, "ONE_STORAGE_FAULT": "3"}
        else:
            life.runner = broken
        try:
            failed = life.migrate(self.vm, there)
        finally:
            self.runner.environment, life.runner = given, self.runner
        assert not failed.ok
        return self._hard_delete()

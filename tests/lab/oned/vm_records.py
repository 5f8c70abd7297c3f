# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What oned writes down about VMs: new ones, their disks, their history."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence

from .datastore import Datastore
from .disk import Disk, image_disk, place_image_disk, place_volatile, volatile_disk
from .images import ImageLife
from .snapshots import Snapshots
from .states import Action, ImageType, Lcm, VmState
from .store import next_id
from .vm import History, Vm
from .xmldoc import TemplateValue


class VmRecords(ImageLife):
    """The documents of VMs. Callers hold the lock where several of these must be seen together."""

    def _allocate_vm(
        self,
        name: str,
        disks: Sequence[Mapping[str, str]],
        context: Mapping[str, str] | None,
        template: Mapping[str, TemplateValue] | None,
        vm_id: int | None,
    ) -> Vm:
        vm = Vm(id=next_id(self.oned.vms) if vm_id is None else vm_id, name=name, stime=self.oned.now())
        vm.template.update(CPU="0.1", MEMORY="64", OS={"MACHINE": "q35"})
        vm.template.update(template or {})
        given = vm.template.get("OS")
        machine = dict(given) if isinstance(given, Mapping) else {}
        vm.template["OS"] = {"UUID": str(uuid.uuid4()), **machine, **self._boot_files(machine)}
        vm.template.update(
            AUTOMATIC_DS_REQUIREMENTS='("CLUSTERS/ID" @> 0)',
            AUTOMATIC_NIC_REQUIREMENTS='("CLUSTERS/ID" @> 0)',
            AUTOMATIC_REQUIREMENTS="(CLUSTER_ID = 0) & !(PIN_POLICY = PINNED)",
        )
        if context is not None:
            # The ISO is the disk after those of the template.
            vm.context = {"TARGET": "sda", **context, "DISK_ID": str(len(disks))}
            vm.context_files = vm.context.get("FILES", "").split()
        self.oned.vms[vm.id] = vm
        return vm

    def _boot_files(self, machine: Mapping[str, str]) -> dict[str, str]:
        """What oned adds when KERNEL_DS or INITRD_DS names an image of a files datastore."""
        found: dict[str, str] = {}
        for name in ("KERNEL_DS", "INITRD_DS"):
            if name in machine:
                image = self.oned.image(int(machine[name]))
                driver = self.oned.datastore(image.datastore_id).tm_mad
                found[f"{name}_ID"] = str(image.id)
                found[f"{name}_DSID"] = str(image.datastore_id)
                found[f"{name}_SOURCE"] = image.source
                found[f"{name}_TM"] = driver
        return found

    def _place_disks(self, vm: Vm, disks: Sequence[Mapping[str, str]], system: Datastore) -> None:
        for given in disks:
            disk = self._new_disk(vm, given)
            vm.disks.append(disk)
            self._place_disk(disk, system)
        vm.next_disk_id = len(disks) + (vm.context is not None)

    def _place_disk(self, disk: Disk, system: Datastore) -> None:
        if disk.is_volatile:
            place_volatile(disk, system)
        else:
            place_image_disk(disk, self.oned.datastore(disk.datastore_id), system)

    def _forget(self, vm: Vm) -> None:
        """A VM that oned would not even accept."""
        self._release_all(vm)
        del self.oned.vms[vm.id]

    def _new_disk(self, vm: Vm, given: Mapping[str, str]) -> Disk:
        disk_id = vm.next_disk_id
        vm.next_disk_id += 1
        target = given.get("TARGET", f"vd{chr(ord('a') + disk_id)}")
        if "IMAGE_ID" not in given:
            return volatile_disk(disk_id, target, {"DEV_PREFIX": "sd", **given})
        image = self.oned.image(int(given["IMAGE_ID"]))
        datastore = self.oned.datastore(image.datastore_id)
        image.use(vm.id)
        disk = image_disk(disk_id, target, image, datastore, given)
        if image.persistent and image.snapshots.entries:
            kept = Snapshots(image.snapshots.allow_orphans, disk_id)
            kept.entries, kept.next_id = dict(image.snapshots.entries), image.snapshots.next_id
            kept.active, kept.current_base = image.snapshots.active, image.snapshots.current_base
            vm.snapshots[disk_id] = kept
        return disk

    def _drop_disk(self, vm: Vm, disk: Disk) -> None:
        with self.oned.lock:
            vm.disks.remove(disk)
            self._release(vm, disk)

    def _release(self, vm: Vm, disk: Disk) -> None:
        snapshots = vm.snapshots.pop(disk.id, None)
        if disk.image_id is None or disk.image_id not in self.oned.images:
            return
        image = self.oned.images[disk.image_id]
        if image.persistent and snapshots is not None:
            snapshots.disk_id = None
            image.snapshots = snapshots
        if disk.is_saved:
            image.size, image.modtime = disk.size, self.oned.now()
        if not any(other.image_id == image.id for other in vm.disks if other is not disk):
            image.release(vm.id)

    def _release_all(self, vm: Vm) -> None:
        for disk in vm.disks:
            self._release(vm, disk)
        for image in self.oned.images.values():
            # a backup outlives its VM, and goes on to say whose it is
            if vm.id in image.vms and image.type is not ImageType.BACKUP:
                image.release(vm.id)

    def _gone(self, vm: Vm) -> None:
        with self.oned.lock:
            vm.etime = self.oned.now()
            self._state(vm, VmState.DONE)
            for host in self.oned.hosts.values():
                host.vms.discard(vm.id)
            self._release_all(vm)

    def _new_record(self, vm: Vm, host: str, ds_id: int) -> History:
        known = self.oned.host_named(host)
        now = self.oned.now()
        record = History(
            vm_id=vm.id,
            seq=vm.history[-1].seq + 1 if vm.history else 0,
            hostname=host,
            host_id=known.id,
            cluster_id=known.cluster_id,
            ds_id=ds_id,
            tm_mad=self.oned.datastore(ds_id).tm_mad,
            vm_mad=known.vm_mad,
            stime=now,
        )
        vm.history.append(record)
        return record

    def _next_record(self, vm: Vm, action: Action) -> None:
        """An operation on a disk ends the current record and opens one for the same place."""
        record = vm.record
        self._close(record, action)
        self._new_record(vm, record.hostname, record.ds_id).rstime = self.oned.now()

    def _move_record(self, vm: Vm, host: str, ds_id: int) -> None:
        self.oned.host_named(vm.record.hostname).vms.discard(vm.id)
        self._new_record(vm, host, ds_id)
        self.oned.host_named(host).vms.add(vm.id)
        self._place_volatiles(vm)
        driver = vm.template.get("TM_MAD_SYSTEM")
        vm.template["AUTOMATIC_DS_REQUIREMENTS"] = f'("CLUSTERS/ID" @> 0) & (TM_MAD = "{driver}")'

    def _place_volatiles(self, vm: Vm) -> None:
        system = self.oned.datastore(vm.record.ds_id)
        for disk in vm.disks:
            if disk.is_volatile:
                disk.attributes.update(DATASTORE=system.name, DATASTORE_ID=str(system.id))

    def _close(self, record: History, action: Action, final: bool = True) -> None:
        now = self.oned.now()
        record.action, record.uid, record.gid = action, 0, 0
        record.request_id = now % 10000
        record.retime = record.retime or now
        if final:
            record.etime = now

    def _off_again(self, vm: Vm) -> None:
        """After work on a disk of a powered-off VM the new record says what state it is in."""
        vm.record.retime = self.oned.now()
        vm.record.action = Action.SUSPEND if vm.state is VmState.SUSPENDED else Action.POWEROFF_HARD

    def _expect(self, vm_id: int, *states: VmState) -> Vm:
        vm = self.oned.vm(vm_id)
        if vm.state not in states:
            raise ValueError(f"VM {vm_id} is {vm.state.name}")
        return vm

    def _running(self, vm: Vm) -> None:
        if vm.lcm_state is not Lcm.RUNNING:
            raise ValueError(f"VM {vm.id} is {vm.lcm_state.name}")

    def _state(self, vm: Vm, state: VmState, lcm: Lcm = Lcm.INIT) -> None:
        """Both numbers in one, whoever reads the document meanwhile."""
        with self.oned.lock:
            vm.state, vm.lcm_state = state, lcm

    def _active(self, vm: Vm, lcm: Lcm) -> None:
        self._state(vm, VmState.ACTIVE, lcm)

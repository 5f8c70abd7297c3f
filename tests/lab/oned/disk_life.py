# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens to single disks of a VM: attach, detach, save as, snapshots, resize."""

from __future__ import annotations

from collections.abc import Mapping

from . import transfers
from .disk import Disk
from .outcome import Outcome
from .snapshots import Snapshots, resolve_orphans
from .states import Action, ImageState, Lcm, VmState
from .stock import LIVE_DISK_SNAPSHOTS
from .vm import Vm
from .vm_steps import VmSteps

_ON_FRONT_END = (VmState.STOPPED, VmState.UNDEPLOYED)


class DiskLife(VmSteps):
    """Operations on disks, of running VMs by the VM manager, of all others by transfer file."""

    def attach(self, vm_id: int, disk: Mapping[str, str]) -> Outcome:
        """A disk more, for a running or powered-off VM."""
        vm = self._expect(vm_id, VmState.ACTIVE, VmState.POWEROFF)
        powered_off = vm.state is VmState.POWEROFF
        outcome = Outcome("attach", object_id=vm.id)
        with self.oned.lock:
            new = self._new_disk(vm, disk)
            system = self.oned.datastore(vm.record.ds_id)
            vm.disks.append(new)
            try:
                self._place_disk(new, system)
            except ValueError:
                self._drop_disk(vm, new)
                raise
            self._next_record(vm, Action.DISK_ATTACH)
            # From its first deploy on a VM names its system driver, and disks that come later take the name over.
            new.attributes["TM_MAD_SYSTEM"] = str(vm.template["TM_MAD_SYSTEM"])
        line = transfers.disk_prolog(self.oned.settings, vm, new)
        if self._disk_event(vm, outcome, "prolog_attach", line, powered_off, "attach"):
            return outcome
        rollback = transfers.disk_epilog(self.oned.settings, vm, new)
        if not powered_off and outcome.calls[-1].ok:
            outcome.calls.append(self.runner.tm_line("attach", rollback, checked=False))
        self._drop_disk(vm, new)
        return outcome

    def detach(self, vm_id: int, disk_id: int) -> Outcome:
        """A disk less, for a running or powered-off VM. On failure the disk stays."""
        vm = self._expect(vm_id, VmState.ACTIVE, VmState.POWEROFF)
        disk = vm.disk(disk_id)
        powered_off = vm.state is VmState.POWEROFF
        outcome = Outcome("detach", object_id=vm.id)
        with self.oned.lock:
            self._next_record(vm, Action.DISK_DETACH)
        line = transfers.disk_epilog(self.oned.settings, vm, disk)
        if self._disk_event(vm, outcome, "epilog_detach", line, powered_off, "detach"):
            self._drop_disk(vm, disk)
        return outcome

    def save_disk(self, vm_id: int, disk_id: int, name: str, snapshot: int = -1) -> Outcome:
        """Copies a disk, as it is or as it was at a snapshot, to a new image in the datastore of the disk's image."""
        vm = self._expect(vm_id, VmState.ACTIVE, VmState.POWEROFF, VmState.SUSPENDED, *_ON_FRONT_END)
        disk = vm.disk(disk_id)
        if disk.image_id is None:
            raise ValueError(f"disk {disk_id} of VM {vm_id} is volatile")
        states = {
            VmState.ACTIVE: Lcm.HOTPLUG_SAVEAS,
            VmState.POWEROFF: Lcm.HOTPLUG_SAVEAS_POWEROFF,
            VmState.SUSPENDED: Lcm.HOTPLUG_SAVEAS_SUSPENDED,
            VmState.STOPPED: Lcm.HOTPLUG_SAVEAS_STOPPED,
            VmState.UNDEPLOYED: Lcm.HOTPLUG_SAVEAS_UNDEPLOYED,
        }
        image, outcome = self.allocate_save_as(name, disk.image_id, disk.size, vm.id, disk.id)
        if not outcome.ok:
            return outcome
        before, lcm = vm.state, vm.lcm_state
        line = transfers.save_as(self.oned.settings, vm, disk, image.source, snapshot, before in _ON_FRONT_END)
        self._active(vm, states[before])
        outcome.add(*self.runner.transfer("saveas", self._file(vm, "disk_saveas", [line])))
        with self.oned.lock:
            self._state(vm, before, lcm)
            if outcome.ok:
                image.format = disk.format
                image.settle(ImageState.READY)
            else:
                image.settle(ImageState.ERROR)
        return outcome

    def snapshot_disk(self, vm_id: int, disk_id: int, name: str = "") -> Outcome:
        """Takes a snapshot of a disk of a running, powered-off or suspended VM; a failed one leaves no entry."""
        vm = self._expect(vm_id, VmState.ACTIVE, VmState.POWEROFF, VmState.SUSPENDED)
        disk = vm.disk(disk_id)
        live = vm.state is VmState.ACTIVE
        if live and disk.tm_mad not in LIVE_DISK_SNAPSHOTS[vm.record.vm_mad]:
            raise ValueError(f"{vm.record.vm_mad} cannot snapshot a disk of {disk.tm_mad} while the VM runs")
        outcome = Outcome("snapshot", object_id=vm.id)
        with self.oned.lock:
            self._next_record(vm, Action.DISK_SNAPSHOT_CREATE)
            policy = resolve_orphans(disk.attributes.get("ALLOW_ORPHANS", "NO"), disk.format)
            snapshots = vm.snapshots.setdefault(disk_id, Snapshots(policy, disk_id))
            taken = snapshots.create(disk.size, self.oned.now(), name)
            self._count_snapshots(disk, snapshots)
            marks = {"DISK_SNAPSHOT_ACTIVE": "YES", "DISK_SNAPSHOT_ID": str(taken.id)}
            disk.attributes.update(marks)
        line = transfers.snapshot(self.oned.settings, vm, disk, "SNAP_CREATE", taken.id)
        ok = self._snapshot_event(vm, outcome, line, live, (Lcm.DISK_SNAPSHOT, Lcm.DISK_SNAPSHOT_POWEROFF))
        with self.oned.lock:
            for mark in marks:
                disk.attributes.pop(mark, None)
            if ok:
                snapshots.confirm(taken.id)
            else:
                snapshots.remove(taken.id)
            self._count_snapshots(disk, snapshots)
        return outcome

    def revert_disk(self, vm_id: int, disk_id: int, snapshot_id: int) -> Outcome:
        """Takes a disk of a powered-off VM back to a snapshot."""
        vm = self._expect(vm_id, VmState.POWEROFF)
        disk, snapshots = self._snapshots(vm, disk_id, snapshot_id)
        outcome = Outcome("revert", object_id=vm.id)
        with self.oned.lock:
            self._next_record(vm, Action.DISK_SNAPSHOT_REVERT)
        line = transfers.snapshot(self.oned.settings, vm, disk, "SNAP_REVERT", snapshot_id)
        states = (Lcm.DISK_SNAPSHOT_REVERT_POWEROFF, Lcm.DISK_SNAPSHOT_REVERT_POWEROFF)
        if self._snapshot_event(vm, outcome, line, False, states):
            with self.oned.lock:
                snapshots.revert(snapshot_id)
                self._count_snapshots(disk, snapshots)
        return outcome

    def delete_snapshot(self, vm_id: int, disk_id: int, snapshot_id: int) -> Outcome:
        """Deletes a snapshot of a disk; there is no live form of it, a running VM gets the same line."""
        vm = self._expect(vm_id, VmState.ACTIVE, VmState.POWEROFF, VmState.SUSPENDED)
        disk, snapshots = self._snapshots(vm, disk_id, snapshot_id)
        outcome = Outcome("snapshot_delete", object_id=vm.id)
        with self.oned.lock:
            self._next_record(vm, Action.DISK_SNAPSHOT_DELETE)
            disk.attributes.update(DISK_SNAPSHOT_ACTIVE="YES", DISK_SNAPSHOT_ID=str(snapshot_id))
        line = transfers.snapshot(self.oned.settings, vm, disk, "SNAP_DELETE", snapshot_id)
        states = (Lcm.DISK_SNAPSHOT_DELETE, Lcm.DISK_SNAPSHOT_DELETE_POWEROFF)
        ok = self._snapshot_event(vm, outcome, line, False, states)
        with self.oned.lock:
            for mark in ("DISK_SNAPSHOT_ACTIVE", "DISK_SNAPSHOT_ID"):
                disk.attributes.pop(mark, None)
            if ok:
                snapshots.remove(snapshot_id)
                self._count_snapshots(disk, snapshots)
        return outcome

    def resize_disk(self, vm_id: int, disk_id: int, size: int) -> Outcome:
        """Grows a disk to `size` MB; a failure gives the old size back. Raises ValueError for a smaller size."""
        vm = self._expect(vm_id, VmState.ACTIVE, VmState.POWEROFF, VmState.UNDEPLOYED)
        disk = vm.disk(disk_id)
        old = disk.size
        if size <= old:
            raise ValueError(f"disk {disk_id} of VM {vm_id} is {old} MB already")
        before, lcm = vm.state, vm.lcm_state
        outcome = Outcome("resize", object_id=vm.id)
        with self.oned.lock:
            if before is not VmState.UNDEPLOYED:
                self._next_record(vm, Action.DISK_RESIZE)
            disk.attributes["SIZE"] = str(size)
        line = transfers.resize(self.oned.settings, vm, disk, size, before is VmState.UNDEPLOYED)
        if before is VmState.ACTIVE:
            self._active(vm, Lcm.DISK_RESIZE)
            if outcome.add(self.runner.tm_line("resize", line, checked=False)):
                self._hypervisor("resize", vm)
        else:
            self._active(vm, Lcm.DISK_RESIZE_POWEROFF if before is VmState.POWEROFF else Lcm.DISK_RESIZE_UNDEPLOYED)
            outcome.add(*self.runner.transfer("resize", self._file(vm, "disk_resize", [line])))
        with self.oned.lock:
            if not outcome.ok:
                disk.attributes["SIZE"] = str(old)
            self._state(vm, before, lcm)
            if before is VmState.POWEROFF:
                self._off_again(vm)
        return outcome

    def _disk_event(self, vm: Vm, outcome: Outcome, suffix: str, line: str, powered_off: bool, step: str) -> bool:
        """Attach or detach of one disk: by transfer file when off, else by the VM manager around the hypervisor."""
        if powered_off:
            self._active(vm, Lcm.HOTPLUG_PROLOG_POWEROFF if step == "attach" else Lcm.HOTPLUG_EPILOG_POWEROFF)
            outcome.add(*self.runner.transfer(step, self._file(vm, suffix, [line])))
        else:
            self._active(vm, Lcm.HOTPLUG)
            if step == "detach" and not self._try(outcome, step, vm):
                pass
            elif outcome.add(self.runner.tm_line(step, line, checked=False)) and step == "attach":
                self._try(outcome, step, vm)
        with self.oned.lock:
            if powered_off:
                self._state(vm, VmState.POWEROFF)
                self._off_again(vm)
            else:
                self._active(vm, Lcm.RUNNING)
        return outcome.ok

    def _snapshot_event(self, vm: Vm, outcome: Outcome, line: str, by_vmm: bool, states: tuple[Lcm, Lcm]) -> bool:
        before, lcm = vm.state, vm.lcm_state
        self._active(vm, states[0] if before is VmState.ACTIVE else states[1])
        if by_vmm:
            outcome.add(self.runner.tm_line(outcome.event, _live(line), checked=False))
        else:
            outcome.add(*self.runner.transfer(outcome.event, self._file(vm, "disk_snapshot", [line])))
        with self.oned.lock:
            self._state(vm, before, lcm)
            if before is not VmState.ACTIVE:
                self._off_again(vm)
        return outcome.ok

    def _snapshots(self, vm: Vm, disk_id: int, snapshot_id: int) -> tuple[Disk, Snapshots]:
        snapshots = vm.snapshots.get(disk_id)
        if snapshots is None or snapshot_id not in snapshots.entries:
            raise ValueError(f"disk {disk_id} of VM {vm.id} has no snapshot {snapshot_id}")
        return vm.disk(disk_id), snapshots

    def _count_snapshots(self, disk: Disk, snapshots: Snapshots) -> None:
        disk.attributes["DISK_SNAPSHOT_TOTAL_SIZE"] = str(snapshots.total_size)


def _live(line: str) -> str:
    """SNAP_CREATE of a running VM becomes SNAP_CREATE_LIVE; a suffix stays."""
    return line.replace("SNAP_CREATE", "SNAP_CREATE_LIVE", 1)

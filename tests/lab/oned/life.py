# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of VMs: for each event the states oned goes through, the lines it sends and what it writes down.

Every method runs its event to the end and returns an Outcome with the calls; the documents that the API answers with
change on the way, so that a driver that asks in the middle of a call sees what a real oned would show then. A driver's
failure leaves the VM in the same failure state as with oned; `retry` and `delete` are what an operator has then.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from . import transfers
from .context import context_sh
from .datastore import Datastore
from .disk import Disk, image_disk, place_image_disk, place_volatile, volatile_disk
from .images import ImageLife
from .messages import encode, vm_document
from .outcome import Outcome
from .runner import Runner
from .snapshots import Snapshots, resolve_orphans
from .states import Action, ImageState, Lcm, VmState
from .stock import LIVE_DISK_SNAPSHOTS
from .store import Oned, next_id
from .vm import History, Vm
from .xmldoc import TemplateValue

WriteFile = Callable[[str, str], None]
Guest = Callable[[str, Vm], None]
"""Called where the hypervisor would act: deploy, save, restore, shutdown, migrate, attach, detach, snapshot, resize."""

_SETTLED = (VmState.STOPPED, VmState.UNDEPLOYED)


@dataclass(frozen=True)
class _Pending:
    """A transfer that failed, as `retry` runs it again."""

    event: str
    lines: list[str]
    working: Lcm
    failed: Lcm
    then: Callable[[Outcome], None]
    suffix: str


def use_image(image_id: int, **attributes: str) -> dict[str, str]:
    """A disk for `create_vm` or `attach` that comes from an image."""
    return {"IMAGE_ID": str(image_id), **attributes}


def use_volatile(size: int, format: str = "raw", fs: str = "", **attributes: str) -> dict[str, str]:
    """A volatile disk of `size` MB; with `fs` it carries a file system."""
    values = {"TYPE": "fs", "SIZE": str(size), "FORMAT": format, **attributes}
    if fs:
        values["FS"] = fs
    return values


def use_swap(size: int, **attributes: str) -> dict[str, str]:
    """A swap disk of `size` MB."""
    return {"TYPE": "swap", "SIZE": str(size), **attributes}


class Life(ImageLife):
    """Plays oned's life cycle manager. `write_file` puts a file on the front-end (context.sh, transfer files)."""

    def __init__(
        self, oned: Oned, runner: Runner, write_file: WriteFile | None = None, guest: Guest | None = None
    ) -> None:
        super().__init__(oned, runner)
        self._write_file = write_file or runner.front_end.write
        self._guest = guest
        self._pending: dict[int, _Pending] = {}
        self.transfer_files: list[str] = []
        """The text of every transfer file, in the order they were sent."""

    # -- birth and death -------------------------------------------------------------------------------------------

    def create_vm(
        self,
        name: str,
        disks: Sequence[Mapping[str, str]],
        system_ds: int,
        host: str,
        context: Mapping[str, str] | None = None,
        template: Mapping[str, TemplateValue] | None = None,
        vm_id: int | None = None,
    ) -> Outcome:
        """A VM is made and started. `context` None: no context ISO; else its variables.

        Raises ValueError when oned would refuse the template or the placement, NotFoundError for unknown objects.
        """
        system = self.oned.datastore(system_ds)
        known = self.oned.host_named(host)
        with self.oned.lock:
            vm = self._allocate_vm(name, disks, context, template, vm_id)
            try:
                self._place_disks(vm, disks, system)
            except (ValueError, LookupError):
                self._forget(vm)
                raise
            vm.template["TM_MAD_SYSTEM"] = system.tm_mad
            record = self._new_record(vm, host, system_ds)
            record.pstime = self.oned.now()
            known.vms.add(vm.id)
        self._write_context(vm)
        outcome = Outcome("create", object_id=vm.id)
        lines = transfers.prolog(self.oned.settings, vm)

        def then(result: Outcome) -> None:
            record.petime = record.rstime = self.oned.now()
            self._boot(vm, result, "deploy", Lcm.BOOT, Lcm.BOOT_FAILURE)

        self._transfer(vm, outcome, _Pending("create", lines, Lcm.PROLOG, Lcm.PROLOG_FAILURE, then, "prolog"))
        return outcome

    def terminate(self, vm_id: int) -> Outcome:
        """Shuts the VM down and ends it, wherever it is: running, powered off, stopped, undeployed."""
        vm = self._expect(vm_id, VmState.ACTIVE, VmState.POWEROFF, VmState.SUSPENDED, *_SETTLED)
        local = vm.state in _SETTLED
        if vm.state is VmState.ACTIVE:
            self._running(vm)
            vm.active(Lcm.SHUTDOWN)
            self._hypervisor("shutdown", vm)
        record = vm.record
        self._close(record, Action.TERMINATE, final=False)
        record.estime = self.oned.now()
        outcome = Outcome("terminate", object_id=vm.id)
        lines = transfers.epilog(self.oned.settings, vm, local)

        def then(result: Outcome) -> None:
            record.eetime = record.etime = self.oned.now()
            self._gone(vm)

        self._transfer(vm, outcome, _Pending("terminate", lines, Lcm.EPILOG, Lcm.EPILOG_FAILURE, then, "epilog"))
        return outcome

    def delete(self, vm_id: int) -> Outcome:
        """Throws the VM away at once (recover with delete). Failures of drivers are passed over, as oned does."""
        vm = self.oned.vm(vm_id)
        if vm.state is VmState.DONE:
            raise ValueError(f"VM {vm_id} is gone already")
        settings = self.oned.settings
        outcome = Outcome("delete", object_id=vm.id)
        self._pending.pop(vm.id, None)
        if vm.history:
            if vm.lcm_state in (Lcm.PROLOG_MIGRATE, Lcm.PROLOG_MIGRATE_FAILURE, Lcm.PROLOG_MIGRATE_POWEROFF_FAILURE):
                lines, suffix = transfers.delete_both(settings, vm), "delete_both"
            else:
                lines = transfers.delete(settings, vm, local=vm.state in _SETTLED)
                suffix = "delete"
            in_hypervisor = vm.state is VmState.ACTIVE and vm.lcm_state is Lcm.RUNNING
            vm.active(Lcm.CLEANUP_DELETE)
            self._close(vm.record, Action.DELETE)
            if in_hypervisor:
                outcome.calls.extend(self.runner.cleanup("delete", lines))
            else:
                outcome.add(*self.runner.transfer("delete", self._file(vm, suffix, lines)))
        self._gone(vm)
        return outcome

    # -- moving about ----------------------------------------------------------------------------------------------

    def stop(self, vm_id: int) -> Outcome:
        """Saves the guest and moves everything to the front-end."""
        return self._park(vm_id, "stop", Action.STOP, VmState.STOPPED, Lcm.EPILOG_STOP, Lcm.EPILOG_STOP_FAILURE)

    def undeploy(self, vm_id: int) -> Outcome:
        """Shuts the guest down and moves everything to the front-end."""
        return self._park(
            vm_id, "undeploy", Action.UNDEPLOY, VmState.UNDEPLOYED, Lcm.EPILOG_UNDEPLOY, Lcm.EPILOG_UNDEPLOY_FAILURE
        )

    def resume(self, vm_id: int, host: str | None = None) -> Outcome:
        """Brings a VM back from STOPPED or UNDEPLOYED (to `host`), POWEROFF or SUSPENDED (where it was)."""
        vm = self._expect(vm_id, VmState.POWEROFF, VmState.SUSPENDED, *_SETTLED)
        outcome = Outcome("resume", object_id=vm.id)
        before = vm.state
        vm.record.etime = vm.record.etime or self.oned.now()
        record = self._new_record(vm, host or vm.record.hostname, vm.record.ds_id)
        if before is VmState.POWEROFF:
            record.rstime = self.oned.now()
            self._boot(vm, outcome, "deploy", Lcm.BOOT_POWEROFF, Lcm.BOOT_FAILURE)
        elif before is VmState.SUSPENDED:
            record.rstime = self.oned.now()
            self._boot(vm, outcome, "restore", Lcm.BOOT_SUSPENDED, Lcm.BOOT_FAILURE)
        else:
            self._unpark(vm, outcome, before, record)
        return outcome

    def migrate(self, vm_id: int, host: str, system_ds: int | None = None) -> Outcome:
        """Cold migration of a running or powered-off VM to another host, system datastore or both.

        Raises ValueError when oned would refuse it.
        """
        vm = self._expect(vm_id, VmState.ACTIVE, VmState.POWEROFF)
        target_ds = vm.record.ds_id if system_ds is None else system_ds
        self._check_migration(vm, host, target_ds)
        powered_off = vm.state is VmState.POWEROFF
        if not powered_off:
            self._running(vm)
            vm.active(Lcm.SAVE_MIGRATE)
            self._hypervisor("save", vm)
        self._close(vm.record, Action.MIGRATE)
        with self.oned.lock:
            self._move_record(vm, host, target_ds)
            vm.record.pstime = self.oned.now()
        outcome = Outcome("migrate", object_id=vm.id)
        lines = transfers.migrate(self.oned.settings, vm)

        def then(result: Outcome) -> None:
            vm.record.petime = self.oned.now()
            if powered_off:
                vm.set_state(VmState.POWEROFF)
                vm.record.action = Action.POWEROFF_HARD
                return
            vm.record.rstime = self.oned.now()
            self._boot(vm, result, "restore", Lcm.BOOT_MIGRATE, Lcm.BOOT_MIGRATE_FAILURE)

        working, failed = (
            (Lcm.PROLOG_MIGRATE_POWEROFF, Lcm.PROLOG_MIGRATE_POWEROFF_FAILURE)
            if powered_off
            else (Lcm.PROLOG_MIGRATE, Lcm.PROLOG_MIGRATE_FAILURE)
        )
        self._transfer(vm, outcome, _Pending("migrate", lines, working, failed, then, "migrate"))
        return outcome

    def live_migrate(self, vm_id: int, host: str, system_ds: int | None = None) -> Outcome:
        """Live migration: premigrate, the hypervisor, postmigrate; failmigrate when one of the first two fails."""
        vm = self._expect(vm_id, VmState.ACTIVE)
        self._running(vm)
        target_ds = vm.record.ds_id if system_ds is None else system_ds
        self._check_migration(vm, host, target_ds, live=True)
        before = vm.record
        with self.oned.lock:
            self._move_record(vm, host, target_ds)
            vm.active(Lcm.MIGRATE)
        outcome = Outcome("live_migrate", object_id=vm.id)
        line = transfers.live_migrate(self.oned.settings, vm)
        with self.oned.lock:
            document = encode(vm_document(vm))

        def hook(prefix: str) -> bool:
            call = self.runner.tm_line("live_migrate", prefix + line, document, checked=False)
            outcome.calls.append(call)
            if prefix == "PRE" and not call.ok:
                outcome.fail(call.reason)
            return call.ok

        moved = hook("PRE")
        if moved:
            try:
                self._hypervisor("migrate", vm)
            except RuntimeError as error:
                moved = False
                outcome.fail(str(error))
        # A failure of postmigrate or failmigrate changes nothing for oned.
        hook("POST" if moved else "FAIL")
        with self.oned.lock:
            if moved:
                self._close(before, Action.LIVE_MIGRATE)
                vm.record.rstime = self.oned.now()
            else:
                self._new_record(vm, before.hostname, before.ds_id).rstime = self.oned.now()
                self._place_volatiles(vm)
            vm.active(Lcm.RUNNING)
        return outcome

    def poweroff(self, vm_id: int, hard: bool = False) -> Outcome:
        """Ends the guest; its disks stay where they are. No driver is called."""
        vm = self._expect(vm_id, VmState.ACTIVE)
        self._running(vm)
        vm.active(Lcm.SHUTDOWN_POWEROFF)
        self._hypervisor("shutdown", vm)
        with self.oned.lock:
            self._close(vm.record, Action.POWEROFF_HARD if hard else Action.POWEROFF, final=False)
            vm.set_state(VmState.POWEROFF)
        return Outcome("poweroff", object_id=vm.id)

    def suspend(self, vm_id: int) -> Outcome:
        """Saves the guest beside its disks. No driver is called."""
        vm = self._expect(vm_id, VmState.ACTIVE)
        self._running(vm)
        vm.active(Lcm.SAVE_SUSPEND)
        self._hypervisor("save", vm)
        with self.oned.lock:
            self._close(vm.record, Action.SUSPEND, final=False)
            vm.set_state(VmState.SUSPENDED)
        return Outcome("suspend", object_id=vm.id)

    def retry(self, vm_id: int) -> Outcome:
        """Sends a failed transfer once more, from its first line. Raises ValueError when none failed."""
        vm = self.oned.vm(vm_id)
        pending = self._pending.pop(vm_id, None)
        if pending is None:
            raise ValueError(f"VM {vm_id} has no failed transfer")
        outcome = Outcome(pending.event, object_id=vm.id)
        self._transfer(vm, outcome, pending)
        return outcome

    # -- disks -----------------------------------------------------------------------------------------------------

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
            # From its first deploy on a VM names its system driver, and disks that come later take the name over.
            self._next_record(vm, Action.DISK_ATTACH)
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
        vm = self._expect(vm_id, VmState.ACTIVE, VmState.POWEROFF, VmState.SUSPENDED, *_SETTLED)
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
        line = transfers.save_as(self.oned.settings, vm, disk, image.source, snapshot, before in _SETTLED)
        vm.active(states[before])
        outcome.add(*self.runner.transfer("saveas", self._file(vm, "disk_saveas", [line])))
        with self.oned.lock:
            vm.set_state(before, lcm)
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
            vm.active(Lcm.DISK_RESIZE)
            if outcome.add(self.runner.tm_line("resize", line, checked=False)):
                self._hypervisor("resize", vm)
        else:
            vm.active(Lcm.DISK_RESIZE_POWEROFF if before is VmState.POWEROFF else Lcm.DISK_RESIZE_UNDEPLOYED)
            outcome.add(*self.runner.transfer("resize", self._file(vm, "disk_resize", [line])))
        with self.oned.lock:
            if not outcome.ok:
                disk.attributes["SIZE"] = str(old)
            vm.set_state(before, lcm)
            if before is VmState.POWEROFF:
                self._off_again(vm)
        return outcome

    # -- steps that several events share ---------------------------------------------------------------------------

    def _park(self, vm_id: int, event: str, action: Action, end: VmState, working: Lcm, failed: Lcm) -> Outcome:
        vm = self._expect(vm_id, VmState.ACTIVE, VmState.POWEROFF)
        if vm.state is VmState.ACTIVE:
            self._running(vm)
            vm.active(Lcm.SAVE_STOP if event == "stop" else Lcm.SHUTDOWN_UNDEPLOY)
            self._hypervisor("save" if event == "stop" else "shutdown", vm)
        record = vm.record
        self._close(record, action, final=False)
        record.estime = self.oned.now()
        outcome = Outcome(event, object_id=vm.id)
        lines = transfers.stop(self.oned.settings, vm)

        def then(result: Outcome) -> None:
            with self.oned.lock:
                record.eetime = record.etime = self.oned.now()
                self.oned.host_named(record.hostname).vms.discard(vm.id)
                vm.set_state(end)

        self._transfer(vm, outcome, _Pending(event, lines, working, failed, then, "stop"))
        return outcome

    def _unpark(self, vm: Vm, outcome: Outcome, before: VmState, record: History) -> None:
        record.pstime = self.oned.now()
        self.oned.host_named(record.hostname).vms.add(vm.id)
        lines = transfers.resume(self.oned.settings, vm)
        stopped = before is VmState.STOPPED

        def then(result: Outcome) -> None:
            record.petime = record.rstime = self.oned.now()
            if stopped:
                self._boot(vm, result, "restore", Lcm.BOOT_STOPPED, Lcm.BOOT_STOPPED_FAILURE)
            else:
                self._boot(vm, result, "deploy", Lcm.BOOT_UNDEPLOY, Lcm.BOOT_UNDEPLOY_FAILURE)

        working, failed = (
            (Lcm.PROLOG_RESUME, Lcm.PROLOG_RESUME_FAILURE)
            if stopped
            else (Lcm.PROLOG_UNDEPLOY, Lcm.PROLOG_UNDEPLOY_FAILURE)
        )
        self._transfer(vm, outcome, _Pending("resume", lines, working, failed, then, "resume"))

    def _transfer(self, vm: Vm, outcome: Outcome, pending: _Pending) -> None:
        """Sends a transfer file and goes on to what follows, or into the failure state."""
        vm.active(pending.working)
        text = self._file(vm, pending.suffix, pending.lines)
        if outcome.add(*self.runner.transfer(pending.event, text)):
            vm.user_template.pop("ERROR", None)
            pending.then(outcome)
            return
        self._failed(vm, outcome.reason, pending.failed)
        self._pending[vm.id] = pending

    def _boot(self, vm: Vm, outcome: Outcome, step: str, working: Lcm, failed: Lcm) -> None:
        """The VM manager's deploy or restore: the context ISO first, then the hypervisor."""
        vm.active(working)
        line = transfers.context(self.oned.settings, vm)
        if line is not None and not outcome.add(self.runner.tm_line(outcome.event, line, checked=False)):
            self._failed(vm, outcome.reason, failed)
            return
        self._hypervisor(step, vm)
        with self.oned.lock:
            vm.deploy_id = vm.deploy_id or _uuid(vm)
            vm.active(Lcm.RUNNING)

    def _failed(self, vm: Vm, reason: str, state: Lcm) -> None:
        with self.oned.lock:
            vm.user_template["ERROR"] = f"Error executing image transfer script: {reason}"
            vm.active(state)

    def _disk_event(self, vm: Vm, outcome: Outcome, suffix: str, line: str, powered_off: bool, step: str) -> bool:
        """Attach or detach of one disk: by transfer file when off, else by the VM manager around the hypervisor."""
        if powered_off:
            vm.active(Lcm.HOTPLUG_PROLOG_POWEROFF if step == "attach" else Lcm.HOTPLUG_EPILOG_POWEROFF)
            outcome.add(*self.runner.transfer(step, self._file(vm, suffix, [line])))
        else:
            vm.active(Lcm.HOTPLUG)
            if step == "detach" and not self._try(outcome, step, vm):
                pass
            elif outcome.add(self.runner.tm_line(step, line, checked=False)) and step == "attach":
                self._try(outcome, step, vm)
        with self.oned.lock:
            if powered_off:
                vm.set_state(VmState.POWEROFF)
                self._off_again(vm)
            else:
                vm.active(Lcm.RUNNING)
        return outcome.ok

    def _snapshot_event(self, vm: Vm, outcome: Outcome, line: str, by_vmm: bool, states: tuple[Lcm, Lcm]) -> bool:
        before, lcm = vm.state, vm.lcm_state
        vm.active(states[0] if before is VmState.ACTIVE else states[1])
        if by_vmm:
            outcome.add(self.runner.tm_line(outcome.event, _live(line), checked=False))
        else:
            outcome.add(*self.runner.transfer(outcome.event, self._file(vm, "disk_snapshot", [line])))
        with self.oned.lock:
            vm.set_state(before, lcm)
            if before is not VmState.ACTIVE:
                self._off_again(vm)
        return outcome.ok

    def _try(self, outcome: Outcome, step: str, vm: Vm) -> bool:
        try:
            self._hypervisor(step, vm)
        except RuntimeError as error:
            outcome.fail(str(error))
        return outcome.ok

    def _hypervisor(self, step: str, vm: Vm) -> None:
        if self._guest is not None:
            self._guest(step, vm)

    # -- documents -------------------------------------------------------------------------------------------------

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
        vm.template["OS"] = {"UUID": str(uuid.uuid4()), **(given if isinstance(given, Mapping) else {})}
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
        for disk in vm.disks:
            self._release(vm, disk)
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
        image.release(vm.id)

    def _gone(self, vm: Vm) -> None:
        with self.oned.lock:
            vm.etime = self.oned.now()
            vm.set_state(VmState.DONE)
            for host in self.oned.hosts.values():
                host.vms.discard(vm.id)
            for disk in vm.disks:
                self._release(vm, disk)

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

    def _check_migration(self, vm: Vm, host: str, ds_id: int, live: bool = False) -> None:
        self.oned.host_named(host)
        if ds_id == vm.record.ds_id:
            if host == vm.record.hostname:
                raise ValueError(f"VM {vm.id} is on {host} already")
            return
        target = self.oned.datastore(ds_id)
        needed = ["DS_MIGRATE"] + (["DS_LIVE_MIGRATE"] if live else [])
        if any(snapshots.entries for snapshots in vm.snapshots.values()):
            needed.append("DS_MIGRATE_SNAP")
        missing = [name for name in needed if target.template.get(name) != "YES"]
        if missing or target.tm_mad != vm.record.tm_mad:
            raise ValueError(f"VM {vm.id} cannot move to datastore {ds_id}")

    def _snapshots(self, vm: Vm, disk_id: int, snapshot_id: int) -> tuple[Disk, Snapshots]:
        snapshots = vm.snapshots.get(disk_id)
        if snapshots is None or snapshot_id not in snapshots.entries:
            raise ValueError(f"disk {disk_id} of VM {vm.id} has no snapshot {snapshot_id}")
        return vm.disk(disk_id), snapshots

    def _count_snapshots(self, disk: Disk, snapshots: Snapshots) -> None:
        disk.attributes["DISK_SNAPSHOT_TOTAL_SIZE"] = str(snapshots.total_size)

    def _write_context(self, vm: Vm) -> None:
        if vm.context is not None:
            self._write_file(f"{self.oned.settings.vm_home(vm.id)}/context.sh", context_sh(vm.context))

    def _file(self, vm: Vm, suffix: str, lines: list[str]) -> str:
        text = transfers.file_text(vm, suffix, lines)
        self.transfer_files.append(text)
        self._write_file(f"{self.oned.settings.vm_home(vm.id)}/transfer.{vm.record.seq}.{suffix}", text)
        return text

    def _expect(self, vm_id: int, *states: VmState) -> Vm:
        vm = self.oned.vm(vm_id)
        if vm.state not in states:
            raise ValueError(f"VM {vm_id} is {vm.state.name}")
        return vm

    def _running(self, vm: Vm) -> None:
        if vm.lcm_state is not Lcm.RUNNING:
            raise ValueError(f"VM {vm.id} is {vm.lcm_state.name}")


def _live(line: str) -> str:
    """SNAP_CREATE of a running VM becomes SNAP_CREATE_LIVE; a suffix stays."""
    return line.replace("SNAP_CREATE", "SNAP_CREATE_LIVE", 1)


def _uuid(vm: Vm) -> str:
    values = vm.template.get("OS")
    return values["UUID"] if isinstance(values, Mapping) else str(uuid.uuid4())

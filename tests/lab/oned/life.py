# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of VMs: for each event the states oned goes through, the lines it sends and what it writes down.

Every method runs its event to the end and returns an Outcome with the calls; the documents that the API answers with
change on the way, so that a driver that asks in the middle of a call sees what a real oned would show then. A driver's
failure leaves the VM in the same failure state as with oned; `retry` and `delete` are what an operator has then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from . import transfers
from .backup_life import BackupLife
from .messages import encode, vm_document
from .outcome import Outcome
from .states import Action, Lcm, VmState
from .vm import History, Vm
from .vm_steps import Pending
from .xmldoc import TemplateValue

_ON_FRONT_END = (VmState.STOPPED, VmState.UNDEPLOYED)


class Life(BackupLife):
    """Plays oned's life cycle manager. Different VMs may be lived in different threads, each VM in one at a time."""

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

        self._transfer(vm, outcome, Pending("create", lines, Lcm.PROLOG, Lcm.PROLOG_FAILURE, then, "prolog"))
        return outcome

    def terminate(self, vm_id: int) -> Outcome:
        """Shuts the VM down and ends it, wherever it is: running, powered off, stopped, undeployed."""
        vm = self._expect(vm_id, VmState.ACTIVE, VmState.POWEROFF, VmState.SUSPENDED, *_ON_FRONT_END)
        local = vm.state in _ON_FRONT_END
        if vm.state is VmState.ACTIVE:
            self._running(vm)
            self._active(vm, Lcm.SHUTDOWN)
            self._hypervisor("shutdown", vm)
        record = vm.record
        self._close(record, Action.TERMINATE, final=False)
        record.estime = self.oned.now()
        outcome = Outcome("terminate", object_id=vm.id)
        lines = transfers.epilog(self.oned.settings, vm, local)

        def then(result: Outcome) -> None:
            record.eetime = record.etime = self.oned.now()
            self._gone(vm)

        self._transfer(vm, outcome, Pending("terminate", lines, Lcm.EPILOG, Lcm.EPILOG_FAILURE, then, "epilog"))
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
                lines = transfers.delete(settings, vm, local=vm.state in _ON_FRONT_END)
                suffix = "delete"
            in_hypervisor = vm.state is VmState.ACTIVE and vm.lcm_state is Lcm.RUNNING
            self._active(vm, Lcm.CLEANUP_DELETE)
            self._close(vm.record, Action.DELETE)
            if in_hypervisor:
                outcome.calls.extend(self.runner.cleanup("delete", lines))
            else:
                outcome.add(*self.runner.transfer("delete", self._file(vm, suffix, lines)))
        self._gone(vm)
        return outcome

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
        vm = self._expect(vm_id, VmState.POWEROFF, VmState.SUSPENDED, *_ON_FRONT_END)
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
            self._active(vm, Lcm.SAVE_MIGRATE)
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
                self._state(vm, VmState.POWEROFF)
                vm.record.action = Action.POWEROFF_HARD
                return
            vm.record.rstime = self.oned.now()
            self._boot(vm, result, "restore", Lcm.BOOT_MIGRATE, Lcm.BOOT_MIGRATE_FAILURE)

        working, failed = (
            (Lcm.PROLOG_MIGRATE_POWEROFF, Lcm.PROLOG_MIGRATE_POWEROFF_FAILURE)
            if powered_off
            else (Lcm.PROLOG_MIGRATE, Lcm.PROLOG_MIGRATE_FAILURE)
        )
        self._transfer(vm, outcome, Pending("migrate", lines, working, failed, then, "migrate"))
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
            self._active(vm, Lcm.MIGRATE)
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
            self._active(vm, Lcm.RUNNING)
        return outcome

    def poweroff(self, vm_id: int, hard: bool = False) -> Outcome:
        """Ends the guest; its disks stay where they are. No driver is called."""
        vm = self._expect(vm_id, VmState.ACTIVE)
        self._running(vm)
        self._active(vm, Lcm.SHUTDOWN_POWEROFF)
        self._hypervisor("shutdown", vm)
        with self.oned.lock:
            self._close(vm.record, Action.POWEROFF_HARD if hard else Action.POWEROFF, final=False)
            self._state(vm, VmState.POWEROFF)
        return Outcome("poweroff", object_id=vm.id)

    def suspend(self, vm_id: int) -> Outcome:
        """Saves the guest beside its disks. No driver is called."""
        vm = self._expect(vm_id, VmState.ACTIVE)
        self._running(vm)
        self._active(vm, Lcm.SAVE_SUSPEND)
        self._hypervisor("save", vm)
        with self.oned.lock:
            self._close(vm.record, Action.SUSPEND, final=False)
            self._state(vm, VmState.SUSPENDED)
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

    def _park(self, vm_id: int, event: str, action: Action, end: VmState, working: Lcm, failed: Lcm) -> Outcome:
        vm = self._expect(vm_id, VmState.ACTIVE, VmState.POWEROFF)
        if vm.state is VmState.ACTIVE:
            self._running(vm)
            self._active(vm, Lcm.SAVE_STOP if event == "stop" else Lcm.SHUTDOWN_UNDEPLOY)
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
                self._state(vm, end)

        self._transfer(vm, outcome, Pending(event, lines, working, failed, then, "stop"))
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
        self._transfer(vm, outcome, Pending("resume", lines, working, failed, then, "resume"))

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

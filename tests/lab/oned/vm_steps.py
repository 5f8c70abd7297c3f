# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps that events of a VM's life are made of: a transfer file, a boot, the hypervisor."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from . import transfers
from .context import context_sh
from .outcome import Outcome
from .runner import Runner
from .states import Lcm
from .store import Oned
from .vm import Vm
from .vm_records import VmRecords

WriteFile = Callable[[str, str], None]
Guest = Callable[[str, Vm], None]
"""Called where the hypervisor would act: deploy, save, restore, shutdown, migrate, attach, detach, resize.

It fails by raising RuntimeError, which counts in a live migration, an attach and a detach.
"""


@dataclass(frozen=True)
class Pending:
    """A transfer that failed, as `retry` runs it again."""

    event: str
    lines: list[str]
    working: Lcm
    failed: Lcm
    then: Callable[[Outcome], None]
    suffix: str


class VmSteps(VmRecords):
    """Steps, and what oned does when one fails."""

    def __init__(
        self, oned: Oned, runner: Runner, write_file: WriteFile | None = None, guest: Guest | None = None
    ) -> None:
        super().__init__(oned, runner)
        self._write_file = write_file or runner.front_end.write
        self._guest = guest
        self._pending: dict[int, Pending] = {}
        self.transfer_files: list[str] = []
        """The text of every transfer file, in the order they were sent."""

    def _transfer(self, vm: Vm, outcome: Outcome, pending: Pending) -> None:
        """Sends a transfer file and goes on to what follows, or into the failure state."""
        self._active(vm, pending.working)
        text = self._file(vm, pending.suffix, pending.lines)
        if outcome.add(*self.runner.transfer(pending.event, text)):
            vm.user_template.pop("ERROR", None)
            pending.then(outcome)
            return
        self._failed(vm, outcome.reason, pending.failed)
        self._pending[vm.id] = pending

    def _boot(self, vm: Vm, outcome: Outcome, step: str, working: Lcm, failed: Lcm) -> None:
        """The VM manager's deploy or restore: the context ISO first, then the hypervisor."""
        self._active(vm, working)
        line = transfers.context(self.oned.settings, vm)
        if line is not None and not outcome.add(self.runner.tm_line(outcome.event, line, checked=False)):
            self._failed(vm, outcome.reason, failed)
            return
        self._hypervisor(step, vm)
        with self.oned.lock:
            vm.deploy_id = vm.deploy_id or _uuid(vm)
            self._active(vm, Lcm.RUNNING)

    def _failed(self, vm: Vm, reason: str, state: Lcm) -> None:
        with self.oned.lock:
            vm.user_template["ERROR"] = f"Error executing image transfer script: {reason}"
            self._active(vm, state)

    def _hypervisor(self, step: str, vm: Vm) -> None:
        if self._guest is not None:
            self._guest(step, vm)

    def _try(self, outcome: Outcome, step: str, vm: Vm) -> bool:
        try:
            self._hypervisor(step, vm)
        except RuntimeError as error:
            outcome.fail(str(error))
        return outcome.ok

    def _file(self, vm: Vm, suffix: str, lines: list[str]) -> str:
        text = transfers.file_text(vm, suffix, lines)
        self.transfer_files.append(text)
        self._write_file(f"{self.oned.settings.vm_home(vm.id)}/transfer.{vm.record.seq}.{suffix}", text)
        return text

    def _write_context(self, vm: Vm) -> None:
        if vm.context is not None:
            self._write_file(f"{self.oned.settings.vm_home(vm.id)}/context.sh", context_sh(vm.context))


def _uuid(vm: Vm) -> str:
    values = vm.template.get("OS")
    return values["UUID"] if isinstance(values, Mapping) else str(uuid.uuid4())

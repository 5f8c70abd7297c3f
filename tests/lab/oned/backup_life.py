# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups of VMs as oned makes, keeps and restores them (contract-ds 10.1, contract-tm 8)."""

from __future__ import annotations

from . import messages
from .answers import read_backup, read_flatten
from .datastore import Datastore
from .disk import Disk
from .disk_life import DiskLife
from .image import Image
from .outcome import Outcome
from .runner import Call
from .states import ImageState, ImageType, Lcm, VmState
from .vm import Vm

#: What BACKUP_CONFIG has of a chain; a VM that is restored, or is to begin anew, loses it.
_OF_A_CHAIN = ("INCREMENTAL_BACKUP_ID", "LAST_INCREMENT_ID")


class BackupLife(DiskLife):
    """Backups are made by the VM manager in three steps; what came of them is kept as images."""

    def configure_backups(self, vm_id: int, **attributes: str) -> None:
        """BACKUP_CONFIG as a user sets it: MODE, INCREMENT_MODE, KEEP_LAST, FS_FREEZE, BACKUP_VOLATILE."""
        with self.oned.lock:
            self.oned.vm(vm_id).backup_config.update(attributes)

    def back_up(self, vm_id: int, ds_id: int, reset: bool = False) -> Outcome:
        """One backup of a VM that runs or is powered off, and what KEEP_LAST removes afterwards.

        The outcome's object is the image that has it. A failed backup leaves the VM as it was, and no image.

        :param reset: begin a new chain.
        """
        vm = self._expect(vm_id, VmState.ACTIVE, VmState.POWEROFF)
        live = vm.state is VmState.ACTIVE
        if live:
            self._running(vm)
        store = self.oned.datastore(ds_id)
        disks = self._backed_up(vm)
        with self.oned.lock:
            self._begin(vm, store, disks, reset)
            self._active(vm, Lcm.BACKUP if live else Lcm.BACKUP_POWEROFF)
        outcome = Outcome("backup")
        kept = self._three_steps(vm, store, disks, live, outcome)
        with self.oned.lock:
            self._state(vm, VmState.ACTIVE if live else VmState.POWEROFF, Lcm.RUNNING if live else Lcm.INIT)
            if kept is None:
                return outcome
            try:
                image = self._note(vm, store, disks, kept)
            except ValueError as error:
                return outcome.fail(str(error))
        outcome.object_id = image.id
        self._keep_last(vm, image, outcome)
        return outcome

    def cancel_backup(self, vm_id: int) -> Call:
        """Ask the driver of the repository to end the backup that runs."""
        vm = self.oned.vm(vm_id)
        store = self.oned.datastore(int(vm.backup_config["LAST_DATASTORE_ID"]))
        words = [self._place(vm), vm.deploy_id]
        return self.runner.ds_exec("backup_cancel", "backup_cancel", store.ds_mad, words, vm.element(False).render())

    def restore_in_place(self, vm_id: int, image_id: int, increment: int = -1, disk: int = -1) -> Outcome:
        """The disks of a VM that is powered off get back what a backup has; -1 stands for the last, for all."""
        vm = self._expect(vm_id, VmState.POWEROFF)
        outcome = Outcome("restore", object_id=vm.id)
        self._active(vm, Lcm.RESTORE)
        line = f"RESTORE {vm.record.tm_mad} {self._place(vm)} {vm.id} {image_id} {increment} {disk} "
        restored = outcome.add(*self.runner.transfer("restore", self._file(vm, "restore", [line])))
        with self.oned.lock:
            self._state(vm, VmState.POWEROFF)
            if restored:
                for known in vm.disks:
                    if not known.is_saved and disk in (-1, known.id):
                        vm.snapshots.pop(known.id, None)
                self._forget_chain(vm)
        return outcome

    def restore_as_new(self, image_id: int, ds_id: int, **wishes: str) -> Outcome:
        """New images and a template out of a backup; the driver asks for them by the API, see :mod:`.allocation`.

        :param wishes: of the user: USERNAME, NAME, NO_IP, NO_NIC, INCREMENT_ID, DISK_ID.
        """
        image = self.oned.image(image_id)
        store = self.oned.datastore(image.datastore_id)
        outcome = Outcome("restore", object_id=image_id)
        wanted = {"USERNAME": "oneadmin", **wishes}
        document = self._locked(lambda: messages.restore_action(image, store, ds_id, wanted))
        outcome.add(self.runner.ds_action("restore", "restore", store.ds_mad, 1, document))
        return outcome

    # -- the steps -------------------------------------------------------------------------------------------------

    def _place(self, vm: Vm) -> str:
        return f"{vm.record.hostname}:{self.oned.settings.record_dir(vm.record)}"

    @staticmethod
    def _backed_up(vm: Vm) -> list[Disk]:
        """The disks that go into a backup: swap, CDs and, unless asked for, volatile disks are left out."""
        volatile = vm.backup_config.get("BACKUP_VOLATILE", "NO") == "YES"
        found = [disk for disk in vm.disks if not disk.is_swap and disk.attributes.get("TYPE") != "CDROM"]
        return [disk for disk in found if volatile or not disk.is_volatile]

    @staticmethod
    def _begin(vm: Vm, store: Datastore, disks: list[Disk], reset: bool) -> None:
        config = vm.backup_config
        config["LAST_DATASTORE_ID"] = str(store.id)
        layered = any(vm.snapshots[disk.id].entries for disk in disks if disk.id in vm.snapshots)
        if layered or any(disk.format == "raw" for disk in disks):
            config["MODE"] = "FULL"
        config.setdefault("MODE", "FULL")
        if reset:
            BackupLife._forget_chain(vm)

    @staticmethod
    def _forget_chain(vm: Vm) -> None:
        for name in _OF_A_CHAIN:
            vm.backup_config.pop(name, None)

    def _three_steps(
        self, vm: Vm, store: Datastore, disks: list[Disk], live: bool, outcome: Outcome
    ) -> tuple[str, int, str] | None:
        """prebackup, backup, postbackup; what the repository answers, None for a failure."""
        numbers = ":".join(str(disk.id) for disk in disks)
        words = [self._place(vm), numbers, vm.deploy_id, "-", str(vm.id), str(vm.record.ds_id)]
        suffix = "_LIVE" if live else ""

        def step(prefix: str, document: str) -> Call:
            line = f"{prefix}BACKUP{suffix} {vm.record.tm_mad} {' '.join(words)}"
            return self.runner.tm_line("backup", line, document.encode(), checked=False)

        document = self._locked(lambda: vm.element(all_records=False).render())
        answer = None
        if outcome.add(step("PRE", document)):
            both = messages.backup_action(store, document)
            call = self.runner.ds_exec("backup", "backup", store.ds_mad, words, both)
            if outcome.add(call):
                try:
                    answer = read_backup(call.stdout)
                except ValueError as error:
                    outcome.fail(str(error))
        if answer is None:
            document = document.replace("</VM>", "<BACKUP_RESULT>FAILURE</BACKUP_RESULT></VM>")
        # its failure changes nothing for oned
        outcome.calls.append(step("POST", document))
        return answer

    # -- what is kept ----------------------------------------------------------------------------------------------

    def _note(self, vm: Vm, store: Datastore, disks: list[Disk], kept: tuple[str, int, str]) -> Image:
        reference, size, form = kept
        config = vm.backup_config
        chained = config["MODE"] == "INCREMENT"
        number = int(config.get("LAST_INCREMENT_ID", "-1")) + 1
        if chained and number:
            image = self.oned.image(int(config["INCREMENTAL_BACKUP_ID"]))
            image.size += size
        else:
            name = f"{vm.id} backup {len(self.oned.images)}"
            image = self._allocate(name, store, ImageType.BACKUP, True, size, None, None)
            image.source, image.format, image.vms = reference, form, {vm.id}
            image.settle(ImageState.READY)
            store.images.add(image.id)
            vm.backup_ids.add(image.id)
        if chained:
            image.increments.append((number, reference))
            config.update(LAST_INCREMENT_ID=str(number), INCREMENTAL_BACKUP_ID=str(image.id))
        image.backup_disks |= {disk.id for disk in disks}
        return image

    def _keep_last(self, vm: Vm, image: Image, outcome: Outcome) -> None:
        """What is more than KEEP_LAST goes: images of full backups, or increments, which are merged."""
        keep = int(vm.backup_config.get("KEEP_LAST", "0"))
        if not keep:
            return
        if not image.increments:
            full = [one for one in sorted(vm.backup_ids) if not self.oned.image(one).increments]
            for old in full[:-keep]:
                gone = self.delete_image(old)
                vm.backup_ids.discard(old)
                outcome.add(*gone.calls)
            return
        if len(image.increments) > keep:
            outcome.add(*self.flatten(image.id, keep).calls)

    def flatten(self, image_id: int, keep: int) -> Outcome:
        """Merge the oldest increments of a chain so that *keep* of them are left."""
        image = self.oned.image(image_id)
        store = self.oned.datastore(image.datastore_id)
        outcome = Outcome("flatten", object_id=image_id)
        document = self._locked(lambda: messages.flatten_action(image, store, keep))
        image.state = ImageState.LOCKED
        call = self.runner.ds_action("flatten", "increment_flatten", store.ds_mad, image.id, document)
        with self.oned.lock:
            image.settle(ImageState.READY)
            if not outcome.add(call):
                image.template["ERROR"] = call.reason
                return outcome
            if call.info == "-":
                return outcome
            try:
                _size, chain = read_flatten(call.stdout, dict(image.increments))
            except ValueError as error:
                return outcome.fail(str(error))
            image.increments = [(number, chain.get(number, known)) for number, known in image.increments
                                if number >= min(chain)]  # fmt: skip
        return outcome

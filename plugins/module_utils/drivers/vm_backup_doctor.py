# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The doctor of a VM's backups: do its disks, libvirt and OpenNebula agree on where the chain of increments stands?

Each thing that is found is a sentence with what to do about it. A *note* needs nobody: the next backup copes with it,
and the sentence says how. A *problem* is either mended by the doctor, when it is asked to, or by whoever reads it.
Nothing is mended that the next increment is made from: the bitmaps of the last two increments, the layers above a base.
"""

from __future__ import annotations

import os

from .._errors import Missing, StorageError
from ..steps.base import LEAD
from ..steps.files import Discard
from ..tools import bitmaps, chain
from .base import Answer, Plan
from .vm_backup_off import are_for, check_disk, cleared, depth_of_base

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..steps.base import Step
    from .base import Reply, Request
    from .vm_backup import Backup, BackupDisk
    from .vm_layers import Stack

#: How deep a disk's layers are after a successful increment: the one that is written to, and the base.
_AT_REST = 1
_RESET = "begin a new chain: onevm backup --reset"


def backup_doctor(request: Request, backup: Backup) -> Reply:
    """Look, and when it is asked for mend what can be mended, and look again.

    :raises Missing: there is no such VM here; nothing would be found, and that would sound well.
    """
    if not request.look(backup.directory):
        raise Missing(f"The virtual machine's directory {backup.directory} is not there", request.site.lead.name)
    visit = _Visit(request, backup)
    visit.look()
    if request["repair"] and not request.ran and visit.steps:
        return Plan(visit.steps)
    found = visit.findings
    return Answer(findings=found, sound=not any(row["level"] == "problem" for row in found))


class _Visit:
    """One look at a VM.

    :ivar findings: what was found, as rows of the answer; :ivar steps: what mends it.
    """

    def __init__(self, request: Request, backup: Backup) -> None:
        self.request = request
        self.backup = backup
        self.last: int = request["last_increment"]
        self.findings: list[dict[str, Any]] = []
        self.steps: list[Step] = []
        #: Whether libvirt has something that goes.
        self.unsettled = False
        #: Names of the bitmaps that increments may be made from.
        self.kept = [backup.mark(number) for number in (self.last - 1, self.last) if number >= 0]

    # ------------------------------------------------------------ findings

    def note(self, code: str, sentence: str, todo: str = "nothing", disk: int = -1) -> None:
        """Something that is to be known."""
        self._add("note", code, sentence, todo, disk, False)

    def problem(self, code: str, sentence: str, todo: str, disk: int = -1, repair: bool = False) -> None:
        """Something that should not be.

        :param repair: whether the doctor mends it.
        """
        self._add("problem", code, sentence, todo, disk, repair)

    def _add(self, level: str, code: str, sentence: str, todo: str, disk: int, repair: bool) -> None:
        row = {"level": level, "code": code, "disk": disk, "sentence": sentence, "todo": todo, "repairable": repair}
        self.findings.append(row)

    # ------------------------------------------------------------ looking

    def look(self) -> None:
        """Look at all of it."""
        backup = self.backup
        told = self._asked() if self.request["domain"] else {}
        for disk in backup.disks:
            try:
                stack = backup.stack(self.request, disk)
                if not told and stack.host.in_use(stack.file):
                    text = f"A virtual machine that runs writes to {disk.path}, and it is not said which"
                    self.problem("running", text, "name it with domain and targets", disk.id)
                    continue
                self._disk(disk, stack, told)
            except StorageError as error:
                self.problem("disk", f"Disk {disk.id} cannot be backed up: {error}", error.todo or _RESET, disk.id)
        if told:
            self._libvirt(told)
        self._left_behind(told)
        self._journal()

    def _asked(self) -> dict[str, Any]:
        """What libvirt says, through one process."""
        from ..steps.live import ask
        from .vm_backup_live import guest_of, named, socket_of

        guest = guest_of(self.request, self.backup, 60)
        return ask(self.request.site, LEAD, "survey", guest, disks=named(self.backup), socket=socket_of(self.backup))

    def _disk(self, disk: BackupDisk, stack: Stack, told: dict[str, Any]) -> None:
        layers = stack.check()
        if disk.format != "qcow2":
            if self.backup.chain:
                check_disk(self.backup, disk, stack)
            return
        marks = self._marks(disk, layers, told)
        if self.backup.chain == "snapshot" and self.last >= 0:
            self._layers(disk, stack, layers)
        elif self.backup.chain and self.last >= 0:
            self._next(disk, marks)
        stray = [name for name in marks if self.backup.is_mark(name) and name not in self.kept]
        for name in stray:
            text = f"Disk {disk.id} has the bitmap {name}, which no increment will be made from"
            self.problem("stray-bitmap", text, "remove it: it makes every write dearer", disk.id, repair=True)
        if told:
            self._check_chain(disk, layers, told)
            self.unsettled = self.unsettled or bool(stray)
        elif stray:
            from ..steps.marks import DropBitmaps

            self.steps.append(DropBitmaps(LEAD, layers[0].path, stray))

    def _check_chain(self, disk: BackupDisk, layers: list[chain.Layer], told: dict[str, Any]) -> None:
        """Whether QEMU has the files that the headers name."""
        from ..tools.guest.domain import differs

        files = told["disks"][disk.target]["chain"]
        wrong = "" if self._is_overlay(files[0]) else differs(files, [layer.path for layer in layers], disk.path)
        if wrong:
            text = f"Disk {disk.id} {wrong}"
            self.problem("chain", text, "power the machine off and on, so that QEMU opens what is on disk", disk.id)

    def _is_overlay(self, path: str) -> bool:
        return os.path.normpath("/" + path.lstrip("/")).startswith(self.backup.tmp + "/")

    def _marks(self, disk: BackupDisk, layers: list[chain.Layer], told: dict[str, Any]) -> dict[str, bool]:
        """The bitmaps of the file that is written to, and whether each can be believed."""
        if told:
            found: dict[str, bool] = told["disks"][disk.target]["bitmaps"]
            return found
        return {bitmap.name: bitmap.sound for bitmap in bitmaps.read(layers[0].path)}

    def _next(self, disk: BackupDisk, marks: dict[str, bool]) -> None:
        """What the next increment by bitmaps will have of a disk."""
        name = self.backup.mark(self.last)
        todo = f"nothing: increment {self.last + 1} has all of this disk"
        if name not in marks:
            text = f"Disk {disk.id} has no bitmap {name}, which the next increment would begin from"
            self.note("no-bitmap", text, todo, disk.id)
        elif not marks[name]:
            text = f"The bitmap {name} of disk {disk.id} cannot be believed: the guest was killed"
            self.note("broken-bitmap", text, todo, disk.id)

    def _layers(self, disk: BackupDisk, stack: Stack, layers: list[chain.Layer]) -> None:
        """What the next increment by layers will have of a disk."""
        check_disk(self.backup, disk, stack)
        depth = depth_of_base(stack, layers)
        if depth < 0:
            text = f"Disk {disk.id} does not stand on {stack.snap}/0, as the disks of this chain do"
            self.problem("no-base", text, _RESET, disk.id)
        elif not are_for(stack, layers[:depth], self.last + 1):
            text = f"The layers of disk {disk.id} are not those of increment {self.last + 1}"
            self.note("other-layers", text, f"nothing: increment {self.last + 1} has all of this disk", disk.id)
        elif depth > _AT_REST:
            text = f"Disk {disk.id} has {depth} layers above its base, of backups that did not come to their end"
            self.note("layers", text, "nothing: the next backup that goes well folds them in", disk.id)

    # ------------------------------------------------------------ libvirt

    def _libvirt(self, told: dict[str, Any]) -> None:
        """What libvirt knows that the disks do not, or the other way round."""
        there = {name for disk in told["disks"].values() for name in disk["bitmaps"]}
        guest = self.request["domain"]
        for name in told["checkpoints"]:
            if not self.backup.is_mark(name):
                text = f"libvirt has the checkpoint {name} of {guest}, which is none of a backup"
                self.note("other-checkpoint", text, "remove it if nobody needs it: virsh checkpoint-delete")
            elif name not in there:
                text = f"libvirt has the checkpoint {name} of {guest}, and no disk has its bitmap"
                self.problem("lost-bitmap", text, "remove the checkpoint", repair=True)
                self.unsettled = True
        for name in self.kept:
            if name in there and name not in told["checkpoints"]:
                text = f"The bitmap {name} is in the disks of {guest}, and libvirt has no checkpoint of it"
                self.note("no-checkpoint", text, "nothing: the next backup defines it again")
        if told["job"] == "ours":
            text = f"A backup job of {guest} runs in libvirt, and no backup is being made"
            self.problem("job", text, "end it: the guest's writes are copied aside as long as it runs", repair=True)
            self.unsettled = True
        elif told["job"]:
            text = f"Another job of {guest} runs in libvirt: {told['job']}"
            self.note("other-job", text, "wait for it before the next backup")
        if self.unsettled and told["job"] in ("", "ours"):
            from ..steps.backup_live import SettleMarks
            from .vm_backup_live import guest_of, named, socket_of

            asked = guest_of(self.request, self.backup, 60)
            self.steps.append(SettleMarks(LEAD, asked, named(self.backup), socket_of(self.backup), self.kept, ""))

    # ------------------------------------------------------------ what lies about

    def _left_behind(self, told: dict[str, Any]) -> None:
        backup, request = self.backup, self.request
        if request.look(backup.folder):
            text = f"The backup directory {backup.folder} is there, and no backup is being made"
            self.problem("directory", text, "remove it: it takes room", repair=True)
            self.steps += cleared(request, backup)
        if not request.look(backup.tmp):
            return
        writes = [disk for disk in backup.disks if told and self._is_overlay(told["disks"][disk.target]["chain"][0])]
        if writes:
            numbers = ", ".join(str(disk.id) for disk in writes)
            text = f"The guest writes disk {numbers} to an overlay in {backup.tmp}, which a backup left"
            self.problem("overlay", text, "bring it home: what is in there is in the disk then", repair=True)
            self._bring_home(told)
        else:
            text = f"The folder {backup.tmp} of a backup is there, and no guest writes to it"
            self.problem("folder", text, "remove it: it takes room", repair=True)
        aside = os.path.join(backup.shop(request, backup.datastore), "tmp.gone")
        self.steps.append(Discard(LEAD, backup.tmp, aside, backup.datastore, "folder"))

    def _bring_home(self, told: dict[str, Any]) -> None:
        from .vm_backup_live import guest_of, home

        backup = self.backup
        stacks = [(disk, backup.stack(self.request, disk)) for disk in backup.disks]
        self.steps += home(self.request, backup, guest_of(self.request, backup, 60), stacks)

    def _journal(self) -> None:
        """What a run left that died: the next action settles it, and so does the doctor when it mends."""
        from ..steps.journal import path_of

        path = path_of(self.backup.datastore, self.backup.key)
        if self.request.look(path) and not self.request["repair"]:
            text = f"A run that did not come to its end left the journal {path}"
            self.note("journal", text, "nothing: the next action on this virtual machine takes back what it did")

# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The call of DS ``restore``: a backup becomes new images and a VM template of the user who asked for it
(contract-ds 10.5).

The module reads what is in the backup; the objects are made here, as that user. Either all of them are made, or those
that were are deleted again: what could not be deleted is named.
"""

from __future__ import annotations

from ..module_utils._errors import BadCall, Missing, StorageError, one_line
from .documents import decode, need, number, text, yes
from .restored import Wishes, base_name, image_template, vm_of, vm_template

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lxml.etree import _Element

    from .answer import Voice
    from .calls import Call, Context
    from .calls_ds import Data
    from .oned import Oned

#: Seconds for one object: oned asks the backup's driver for the size of each image, for 90 at most (contract-ds 3).
_PATIENCE = 120


def restore(kind: str, data: Data) -> Call:
    """The call of ``datastore/<mad>/restore REQUEST_ID`` with this document.

    :param kind: ``rsync`` or ``restic``.
    """
    from .calls_backup import _where_it_lies, whose

    asked = _Asked(data)
    made: list[_Making] = []

    def more(_data: Data, _kind: str) -> dict[str, Any]:
        return {
            **whose(data.needed_image()),
            "datastore_id": asked.datastore,
            "increment_id": asked.wishes.increment,
            "format": text(data.needed_image(), "FORMAT", "raw").strip().lower(),
        }

    def reply(voice: Voice, result: dict[str, Any]) -> None:
        template, images = made[0].all(result, voice)
        voice.answer(" ".join(str(word) for word in (template, *images)))

    found = _where_it_lies(kind, "restore", data, more, reply)
    complete = found.complete

    def remembered(context: Context, here: bool) -> dict[str, Any]:
        made.append(_Making(context.oned, asked, whose(data.needed_image())["backup_job_id"]))
        return complete(context, here)

    found.complete = remembered
    return found


class _Asked:
    """What the document says (contract-ds 4.1, 10.5)."""

    def __init__(self, data: Data) -> None:
        self.user = text(data.root, "TEMPLATE/USERNAME").strip()
        if not self.user:
            raise BadCall("Cannot find USERNAME: the document does not say for whom the backup is restored")
        if not text(data.root, "DESTINATION_DS_ID").strip():
            raise BadCall("Cannot find DESTINATION_DS_ID: the document does not say where the images go")
        self.destination = number(data.root, "DESTINATION_DS_ID")
        self.datastore = number(data.store, "ID")
        wanted = "TEMPLATE/"
        self.wishes = Wishes(
            text(data.root, wanted + "NAME").strip(),
            yes(text(data.root, wanted + "NO_IP")),
            yes(text(data.root, wanted + "NO_NIC")),
            max(number(data.root, wanted + "INCREMENT_ID", -1), -1),
            max(number(data.root, wanted + "DISK_ID", -1), -1),
        )


def increments(image: _Element) -> list[str]:
    """``<number>:<reference>`` of a backup's increments, the oldest first; a full backup is number 0 (contract-ds
    10.2)."""
    found = {}
    for node in image.findall("BACKUP_INCREMENTS/INCREMENT"):
        found[number(node, "ID")] = need(node, "SOURCE").strip()
    if not found:
        found[0] = need(image, "SOURCE").strip()
    return [f"{identifier}:{found[identifier]}" for identifier in sorted(found)]


class _Making:
    """The objects of one restore, made as the user."""

    def __init__(self, oned: Oned, asked: _Asked, job: int) -> None:
        from .server_auth import oned_as

        self._oned = oned_as(asked.user, oned, _PATIENCE)
        self._job = job
        self._asked = asked
        self._images: dict[int, int] = {}

    def all(self, result: dict[str, Any], voice: Voice) -> tuple[int, list[int]]:
        """The ids of the VM template, -1 for none, and of the images."""
        asked = self._asked
        vm = vm_of(decode(result["document"].encode()))
        name = base_name(vm, asked.wishes, result["reference"])
        try:
            self._make_images(result["disks"], name)
            template = self._make_template(vm, name, result["tpm"], voice)
        except BaseException as error:
            self._take_back(error)
            raise
        return template, [self._images[disk] for disk in sorted(self._images)]

    def _make_images(self, disks: dict[str, str], name: str) -> None:
        asked = self._asked
        wanted = asked.wishes.disk
        chosen = sorted(int(disk) for disk in disks if wanted in (-1, int(disk)))
        if not chosen:
            what = f"disk {wanted}" if wanted >= 0 else "disk"
            raise Missing(f"The backup has no {what}: there are {', '.join(sorted(disks)) or 'none'}")
        for disk in chosen:
            full = f"{name}-disk-{disk}"
            template = image_template(full, disk, disks[str(disk)], asked.datastore, self._job)
            try:
                self._images[disk] = self._oned.allocate_image(full, template, asked.destination)
            except StorageError as error:
                error.sentence = f"Error restoring disk image: {error.sentence}"
                raise

    def _make_template(self, vm: _Element, name: str, tpm: str, voice: Voice) -> int:
        if self._asked.wishes.disk >= 0:
            return -1
        template, notes = vm_template(vm, self._asked.wishes, name, self._images, tpm)
        try:
            identifier = self._oned.allocate_template(name, template)
        except StorageError as error:
            error.sentence = f"Error creating VM template: {error.sentence}"
            raise
        for note in notes:
            voice.log("WARN", note)
        return identifier

    def _take_back(self, error: BaseException) -> None:
        """Delete what was made; what stays is told."""
        stay = []
        for image in self._images.values():
            try:
                self._oned.delete_image(image)
            except StorageError as trouble:
                stay.append(f"{image} ({one_line(trouble.sentence, 120)})")
        if isinstance(error, StorageError):
            error.undone = "the images that were made are deleted again" if self._images else "nothing was made"
            if stay:
                error.undone = f"these images were restored and could not be deleted again: {', '.join(stay)}"

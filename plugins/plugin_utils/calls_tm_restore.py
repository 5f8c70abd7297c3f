# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The call of TM ``restore``: oned is asked for VM, backup and datastore, that datastore's driver for the files
(contract-tm 8.6)."""

from __future__ import annotations

import json
import os

from ..module_utils._errors import BadCall, Corrupt, Missing, ToolFailed, from_os, one_line
from .calls import Call, arguments, identifier
from .calls_disks import RUNNING
from .calls_tm import Place, disk_of, image_format, image_path, rerooted
from .documents import number, text
from .repositories import BackupStore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from lxml.etree import _Element

    from .answer import Voice
    from .calls import Context

TPM = "tpm"
_BACKUP_IMAGE = 6
#: What people set for the wrapper that they call.
_NOT_FOR_OTHERS = ("ONE_STORAGE_EXPLAIN", "ONE_STORAGE_FAULT", "ONE_STORAGE_TRACE")
#: Most bytes of a listing.
_LISTED = 4 << 20


def restore(given: list[str], volumes: bool = False) -> Call:
    """The call of ``restore host:DIRECTORY VM_ID IMAGE_ID INCREMENT_ID DISK_ID``; the last two may be -1: the last
    increment, all disks.

    :param volumes: whether the disks are volumes of a cluster.
    """
    target, vm, image, increment, disk = arguments(
        "restore", given, "DIRECTORY VM_ID IMAGE_ID INCREMENT_ID DISK_ID", optional=2
    )
    place = Place(target, "directory")
    if place.is_disk:
        raise BadCall(f"{place.path} is not a VM's directory")
    place.check_ids(vm, "")
    backup = identifier(image, "backup")
    wanted = -1 if increment in ("", "-1") else identifier(increment, "increment")
    only = -1 if disk in ("", "-1") else identifier(disk, "disk")
    notes: list[str] = []

    def complete(context: Context, here: bool) -> dict[str, Any]:
        machine, document = context.vm(place.vm), context.oned.image(backup)
        _check(document, backup, place.vm)
        store = BackupStore(context, number(document, "DATASTORE_ID", what=f"Image {backup}"))
        sources = _chosen(listed(context, store, machine, document, wanted), only, backup)
        options: dict[str, Any] = _disks(machine, place, here, sources, notes)
        if volumes:
            from .calls_tm_backup import volume_options

            options.update(volume_options(context, machine, place, [int(item) for item in sources if item != TPM]))
        context.sends.extend(store.opener(url) for url in sources.values())
        return {
            **context.settings.common(),
            **options,
            "datastore": place.root,
            "path": place.path,
            "running": number(machine, "LCM_STATE", 0) in RUNNING,
            "sources": [f"{item}:{url}" for item, url in sources.items()],
        }

    def reply(voice: Voice, _result: dict[str, Any]) -> None:
        for note in notes:
            voice.log("WARN", note)

    return Call("tm_restore", complete, {"destination": place.host}, reply=reply, asks=[("vm", place.vm)])


def _check(image: _Element, backup: int, vm: int) -> None:
    if number(image, "TYPE", -1) != _BACKUP_IMAGE:
        raise BadCall(f"Image {backup} is not a backup")
    owners = [text(node, ".").strip() for node in image.findall("VMS/ID")]
    if owners and str(vm) not in owners:
        raise BadCall(f"Image {backup} is a backup of VM {owners[0]}, not of VM {vm}")


def listed(context: Context, store: BackupStore, vm: _Element, image: _Element, increment: int) -> dict[str, str]:
    """Sources by disk id, and by ``tpm``, as the backup datastore's own driver lists them (contract-ds 11.6, 12.7).

    :param increment: -1 for the last one.
    """
    from ..module_utils.tools.command import run

    if not store.mad.replace("_", "").replace("-", "").isalnum() or not store.mad.isascii():
        raise BadCall(f"'{one_line(store.mad, 40)}' is not the name of a driver")
    script = os.path.join(context.settings.root, "datastore", store.mad, "ls")
    if not os.path.exists(script):
        raise Missing(f"{script} is not there: the backup datastore's driver cannot list what is to be restored")
    document = _document(store.document, vm, image)
    deadline = context.settings.number("COMMAND_TIMEOUT", 3600)
    # what is to be explained, or to be killed, is the restore
    ours = {name: value for name, value in os.environ.items() if name not in _NOT_FOR_OTHERS}
    try:
        ended = run([script, "-i", str(increment)], deadline, stdin=document, variables=ours, most=_LISTED)
    except OSError as error:
        raise from_os(error, f"run {script}") from error
    if ended["rc"] != 0:
        raise ToolFailed(f"Cannot list the backup: {_reason(ended)}", detail=one_line(ended["err"], 2000))
    try:
        found = json.loads(ended["out"])
        if not isinstance(found, dict) or not all(isinstance(url, str) for url in found.values()):
            raise ValueError
    except ValueError:
        raise Corrupt(f"{script} does not answer with sources by disk: '{one_line(ended['out'], 120)}'") from None
    return {str(key): url for key, url in found.items() if key == TPM or (key.isascii() and key.isdigit())}


def _document(store: _Element, vm: _Element, image: _Element) -> bytes:
    """DATASTORE, VM and IMAGE in this order, plain (contract-tm 8.6); a VM may have any name, as no shell sees it."""
    from lxml import etree

    parts = b"".join(etree.tostring(node, encoding="utf-8") for node in (store, vm, image))
    return b"<DS_DRIVER_ACTION_DATA>" + parts + b"</DS_DRIVER_ACTION_DATA>"


def _reason(ended: dict[str, Any]) -> str:
    from .calls_tm_migrate import _is_log

    lines = [line for line in str(ended["err"]).splitlines() if line.strip() and not _is_log(line)]
    return one_line(lines[-1], 400) if lines else f"ls ended with code {ended['rc']}"


def _chosen(found: dict[str, str], only: int, backup: int) -> dict[str, str]:
    """The sources that are asked for, in the order of their disks; a TPM's state belongs to disk 0."""
    disks = sorted(int(key) for key in found if key != TPM and only in (-1, int(key)))
    if not disks:
        what = f"disk {only}" if only >= 0 else "disk"
        raise Missing(f"The backup {backup} has no {what}")
    chosen = {str(disk): found[str(disk)] for disk in disks}
    if TPM in found and 0 in disks:
        chosen[TPM] = found[TPM]
    return chosen


def _disks(vm: _Element, place: Place, here: bool, sources: dict[str, str], notes: list[str]) -> dict[str, list[str]]:
    """Formats, sizes, images of the disks; one that the VM has no more is left out, and noted."""
    disks, images, persistent, sizes = [], [], [], []
    for item in [item for item in sources if item != TPM]:
        try:
            disk = disk_of(vm, int(item))
        except Missing:
            del sources[item]
            notes.append(f"VM {place.vm} has no disk {item} any more, so it was not restored")
            continue
        disks.append(f"{item}:{image_format(disk)}")
        sizes.append(f"{item}:{number(disk, 'SIZE', 0, f'Disk {item} of VM {place.vm}')}")
        source = text(disk, "SOURCE").strip()
        if source.startswith("/"):
            images.append(f"{item}:{rerooted(image_path(source), place, here)}")
        if text(disk, "CLONE", "yes").strip().lower() == "no":
            persistent.append(item)
    if not disks:
        raise Missing(f"VM {place.vm} has none of the disks in the backup")
    return {"disks": disks, "images": images, "persistent": persistent, "sizes": sizes}
